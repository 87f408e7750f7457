"""From the page to a new model and back: people rank, a reward model learns it, PPO follows it."""

import itertools

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from gptjax.data.dialogue.prompts import load_prompts
from gptjax.data.feedback.opening import open_store
from gptjax.judging.named_rewards import load_rewards
from gptjax.judging.policies import Policy, as_field
from gptjax.serving.feedback import feedback_routes
from gptjax.tasks.configs.fine_tuning import SFTConfig
from gptjax.tasks.configs.reward_modelling import RewardModelConfig
from tests.support.alignment_runs import make_config, refusal, run
from tests.support.policy_runs import make_ppo, run_policy
from tests.support.said import prompt, reply

LONGEST = 12


@pytest.fixture
def page(tmp_path):
    """Where the page sends what people say, and the specification of the store behind it."""
    with open_store(f"{tmp_path}/feedback.db", create=True) as store:
        yield TestClient(Starlette(routes=feedback_routes(store))), f"votes:{store.name}"


def ranked(client, prompts, answers):
    """A labeller who likes the shorter answer ranks those of several players, ties and all.

    `answers`: by player, those to each prompt.
    """
    for i, asked in enumerate(prompts):
        several = [(name, answer.text) for name, of in answers.items() for answer in of[i]]
        lengths = [len(text) for _, text in several]
        body = {
            "prompt": prompt(as_field(asked)),
            "replies": [reply(text, *name.split("@")) for name, text in several],
            "ranks": [1 + sorted(set(lengths)).index(length) for length in lengths],
            "labeller": "ann",
        }
        assert client.post("/feedback/rankings", json=body).status_code == 200


@pytest.mark.slow
def test_votes_train_a_reward_model_that_ppo_follows(trained, page, tmp_path):
    client, votes = page
    sft, prompts = trained("sft"), list(load_prompts("instructions:count=160"))
    old = Policy(sft)
    drawn = old.answers(prompts, 4, seed=1, max_new_tokens=LONGEST)
    ranked(client, prompts, {"sft@temperature=1": drawn})
    assert client.get("/feedback").json()["rankings"] == len(prompts)
    for asked, answers in zip(prompts, drawn, strict=True):
        body = {"prompt": prompt(as_field(asked)), "reply": reply(answers[0].text), "vote": 1}
        assert client.post("/feedback/votes", json=body).status_code == 200

    settings = {
        "reward__rankings": votes,
        "reward__validation": None,
        "reward__demonstrations": votes,
        "reward__random_start": False,
        "checkpoint__init_from": str(sft.path),
        "training__num_steps": 80,
        "training__batch_size": 8,
        "training__eval_every": 40,
        "optimizer__learning_rate": 0.005,
    }
    config = make_config(RewardModelConfig, **settings)
    reward = run(tmp_path / "reward", config)
    assert reward.result()["accuracy"] > 0.65  # of 64 comparisons on other prompts
    (score,) = load_rewards(f"reward_model:{reward.path}", old.template.tokenizer)
    short, long = (score.scores([prompts[0]], [text])[0] for text in ("fox", "fox jar sun jar fox"))
    assert short > long

    ppo = run_policy(
        tmp_path / "ppo",
        make_ppo(
            (sft, reward),
            ppo__rewards=f"reward_model:{reward.path}",
            ppo__prompts=votes,
            ppo__samples=None,
            ppo__pretraining_coefficient=0.0,
            ppo__kl_target=None,
            ppo__kl_coefficient=0.0,
            training__num_steps=12,
            training__batch_size=32,
        ),
    )
    new = {
        "sft@temperature=1": old.answers(prompts, 1, seed=2, max_new_tokens=LONGEST),
        "ppo@temperature=1": Policy(ppo).answers(prompts, 1, seed=2, max_new_tokens=LONGEST),
    }
    lengths = [np.mean([len(one.text) for (one,) in answers]) for answers in new.values()]
    assert lengths[1] < 0.8 * lengths[0]
    ranked(client, prompts, new)
    table = client.get("/feedback/ratings").json()
    assert [each["name"] for each in table["players"]] == [
        "ppo (temperature=1)",
        "sft (temperature=1)",
    ]
    best, other = table["players"]
    assert best["low"] > other["high"]

    # The store has grown: the run is refused by name, unless it reads what it had read.
    assert "rankings_hash" in refusal(run, reward.path, make_config(RewardModelConfig, **settings))
    settings |= {
        f"reward__{field}": f"{votes}#{2 * len(prompts)}"
        for field in ("rankings", "demonstrations")
    }
    again = run(reward.path, make_config(RewardModelConfig, **settings))
    assert again.result()["accuracy"] == reward.result()["accuracy"]


@pytest.mark.slow
def test_replies_that_are_liked_are_what_fine_tuning_learns(page, tmp_path):
    client, votes = page
    prompts = list(load_prompts("instructions:count=40"))
    for asked, (text, vote) in itertools.product(prompts, {"fox": 1, "jar": -1}.items()):
        body = {"prompt": prompt(as_field(asked)), "reply": reply(text), "vote": vote}
        assert client.post("/feedback/votes", json=body).status_code == 200
    settings = {"sft__conversations": votes, "training__num_steps": 40}
    tuned = run(tmp_path / "sft", make_config(SFTConfig, **settings))
    answers = Policy(tuned).answers(prompts[:8], 1, temperature=0.0, max_new_tokens=8)
    assert {answer.text for (answer,) in answers} == {"fox"}
