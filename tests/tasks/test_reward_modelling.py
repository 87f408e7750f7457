"""Runs that make reward models: against loops over single texts, divided, killed, refused."""

import json
import math
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.data.batches.loader import ALL
from gptjax.data.dialogue.chat_format import ChatTemplate
from gptjax.data.dialogue.conversations import load_conversations
from gptjax.data.dialogue.preferences import load_rankings
from gptjax.judging.reward_models import load_reward_model
from gptjax.runs.program import Program
from gptjax.runs.workdir import WorkDirectory
from gptjax.tasks.configs.reward_modelling import RewardModelConfig
from gptjax.tasks.reward_modelling import KIND
from gptjax.tokenization import load_tokenizer
from gptjax.training.checkpoints.store import Checkpoints
from tests.support.alignment_runs import (
    killed_at,
    make_config,
    on_mesh,
    params_at_start,
    prepared,
    refusal,
    rows,
    run,
)
from tests.support.binaries import call
from tests.support.tiers import tiered

HELD_OUT = "instructions:split=held_out,count=20"


@pytest.fixture(scope="module")
def whole(trained):
    """A run that nobody interrupts; it is not to be changed."""
    return trained("reward_model")


@pytest.fixture(scope="module")
def reward_of(whole):
    """A function from the tokens of a text to its normalised reward."""
    model, params = load_reward_model(whole, whole.tokenizer())
    apply = jax.jit(model.apply)

    def reward(ids):
        padded = np.zeros((1, 48), np.int32)
        padded[0, : len(ids)] = ids
        return np.asarray(apply({"params": params}, padded, np.array([len(ids)])))[0]

    return reward


def test_one_epoch_takes_every_ranking_once(whole):
    task = prepared(make_config(RewardModelConfig, reward__epochs=1))
    assert task.config.training.num_steps == task.config.optimizer.decay_steps == math.ceil(30 / 4)
    training = [row for row in rows(whole) if "split" not in row]
    assert training[0]["loss"] == pytest.approx(math.log(2), abs=0.3)
    assert {"accuracy", "margin"} < training[0].keys()
    assert whole.result()["rankings"] == 20


def test_the_accuracy_is_that_of_a_loop_over_single_texts(whole, reward_of):
    template = ChatTemplate(whole.tokenizer())
    right = total = 0
    for ranking in load_rankings(HELD_OUT):
        prompt = template.prompt(ranking.prompt)
        given = [
            reward_of(np.concatenate([prompt, template.answer(response)]))
            for response in ranking.responses
        ]
        for ranks in ranking.ranks:
            for i in range(len(given)):
                for j in range(len(given)):
                    if ranks[i] < ranks[j]:
                        right += given[i] > given[j]
                        total += 1
    result = whole.result()
    assert result["comparisons"] == total
    assert result["accuracy"] == pytest.approx(right / total, abs=1e-9)
    low, high = result["accuracy_interval"]
    assert low < result["accuracy"] < high
    assert 0.5 < result["agreement"] < 1
    assert 0 <= result["calibration_error"] < 1


def test_demonstrations_average_zero(whole, reward_of):
    template = ChatTemplate(whole.tokenizer())
    chats = load_conversations("instructions:count=40")
    rewards = [reward_of(template.render(chat)[0]) for chat in chats]
    assert np.mean(rewards) == pytest.approx(0.0, abs=1e-5)
    result = whole.result()
    assert result["normalisation"]["gain"] == 1.0
    assert result["normalisation"]["shift"] == -result["demonstrations"]["mean"] != 0.0
    assert result["demonstrations"]["standard_deviation"] == pytest.approx(np.std(rewards))


def _shared(**changes):
    """A prompt is encoded once for its answers, and the demonstrations' deviation becomes one."""
    return make_config(
        RewardModelConfig, reward__share_prompts=True, reward__unit_variance=True, **changes
    )


@pytest.mark.slow
def test_a_prompt_may_be_encoded_once_for_its_answers(whole):
    params, nats = whole.restored(8), []
    for config in (make_config(RewardModelConfig), _shared()):
        batch = next(prepared(config).batches(0, (), ALL))
        loss = jax.jit(KIND.loss(config, KIND.model(config)))
        total, weight, _ = loss(params, batch, jax.random.key(0))
        nats.append(float(total / weight))
    assert {"prompts", "answers"} < batch.keys()
    assert nats[0] == pytest.approx(nats[1], rel=1e-4)
    figures = prepared(_shared()).final_metrics(Program(_shared()), params, whole)
    for name, figure in figures["demonstrations"].items():
        assert figure == pytest.approx(whole.result()["demonstrations"][name], rel=1e-4)
    assert figures["accuracy"] == pytest.approx(whole.result()["accuracy"], abs=0.01)


def test_their_deviation_becomes_one_where_that_is_asked_for(whole):
    figures = prepared(_shared()).final_metrics(Program(_shared()), whole.restored(8), whole)
    deviation = whole.result()["demonstrations"]["standard_deviation"]
    assert figures["normalisation"]["gain"] == pytest.approx(1 / deviation, rel=1e-4)
    mean = whole.result()["demonstrations"]["mean"]
    assert figures["normalisation"]["shift"] == pytest.approx(-mean, rel=1e-4)


def test_what_is_dropped_of_the_rankings_that_are_learned_is_counted(monkeypatch):
    module = "gptjax.tasks.reward_modelling"
    monkeypatch.setattr(f"{module}.rewards_of_texts", lambda *_: np.arange(40.0))
    monkeypatch.setattr(
        f"{module}.rewards_of_rankings",
        lambda program, params, rows, size: [np.arange(len(each)) for each in rows.answers],
    )
    task = prepared(make_config(RewardModelConfig, reward__max_prompt_tokens=11))
    template = ChatTemplate(task.tokenizer)
    lengths = [
        len(template.prompt(ranking.prompt))
        for ranking in load_rankings("instructions:count=30,answers=3")
    ]
    dropped = sum(length > 11 for length in lengths)
    assert 0 < dropped < 30
    expected = {"prompts longer than 11 tokens": dropped}
    assert task.final_metrics(None, None, None)["dropped"] == expected


@pytest.mark.slow
def test_a_mesh_gives_the_figures_of_one_device(whole, tmp_path):
    """But for the rewards' zero, which the loss does not see: rounding moves it."""
    divided = run(tmp_path / "run", _shared(**on_mesh(data=2, fsdp=2, tensor=2)))
    for row, expected in zip(rows(divided), rows(whole), strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    deviations = [w.result()["demonstrations"]["standard_deviation"] for w in (divided, whole)]
    assert deviations[0] == pytest.approx(deviations[1], rel=1e-3)
    assert divided.result()["accuracy"] == pytest.approx(whole.result()["accuracy"], abs=0.01)
    template = ChatTemplate(divided.tokenizer())
    model, params = load_reward_model(divided, divided.tokenizer())
    texts = [template.render(c)[0] for c in load_conversations("instructions:count=40")]
    tokens = np.zeros((40, 48), np.int32)
    for row, ids in enumerate(texts):
        tokens[row, : len(ids)] = ids
    lengths = np.array([len(ids) for ids in texts], np.int32)
    rewards = jax.jit(model.apply)({"params": params}, tokens, lengths)
    assert np.mean(rewards) == pytest.approx(0.0, abs=1e-4)
    assert np.std(rewards) == pytest.approx(1.0, rel=1e-4)


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_to_the_same_bits(whole, tmp_path):
    """Before there is a checkpoint, while one may be half written, and again."""
    config = make_config(RewardModelConfig, checkpoint__every_steps=2)
    killed = killed_at(tmp_path / "killed", config, 1, 3, 6)
    with Checkpoints(killed.path / "checkpoints") as checkpoints:
        assert checkpoints.latest_step() in (2, 4, 6)
    assert not killed.has_result()
    run(killed.path, config)
    assert rows(killed) == rows(whole)
    (_, params), (_, expected) = (load_reward_model(w, w.tokenizer()) for w in (killed, whole))
    jax.tree.map(np.testing.assert_array_equal, params, expected)
    for figure in ("accuracy", "calibration", "normalisation", "demonstrations"):
        assert killed.result()[figure] == whole.result()[figure]


def test_what_is_no_reward_model_of_the_policy_is_refused(trained, whole, tmp_path):
    ours = whole.tokenizer()
    for load in (whole.model, whole.params):
        assert "holds a reward model, expected a run of a language" in refusal(load)
    said = refusal(load_reward_model, trained("sft"), ours)
    assert (
        "a run of kind sft, which makes a language model, expected a run that makes a reward"
        in said
    )
    said = refusal(load_reward_model, whole, load_tokenizer("chat:bytes"))
    assert re.search(r"reward model: got .* of the tokenizer \w{12}, expected", said)
    unfinished = shutil.copytree(whole.path, tmp_path / "run")
    (unfinished / "result.json").unlink()
    said = refusal(load_reward_model, WorkDirectory(str(unfinished)), ours)
    assert "run has not ended; expected its result" in said


def test_it_starts_from_the_fine_tuned_model_with_a_head_of_its_own(trained, tmp_path):
    start = trained("sft")
    config = make_config(RewardModelConfig, checkpoint__init_from=str(start.path))
    params = dict(params_at_start(tmp_path / "run", config))
    head = params.pop("scalar_head")
    assert head["kernel"].shape == (16,) and float(jnp.std(head["kernel"])) > 0.1
    jax.tree.map(np.testing.assert_array_equal, params, start.params())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reward__demonstrations": None}, r"config\.reward\.demonstrations: got none, expected a"),
        (
            {"reward__random_start": False},
            r"init_from: got none for a new run of kind reward_model",
        ),
        ({"reward__max_prompt_tokens": 2}, r"got none of 30 \(30 prompts longer than 2 tokens\)"),
        ({"reward__max_answer_tokens": 30}, r"max_answer_tokens: got 30, expected at most 22: con"),
        ({"training__statistics_every": 2}, r"statistics_every: got 2, expected none for the kind"),
        (
            {"parallelism__strategy": "mesh", "parallelism__sequence": 2},
            "parallelism.sequence: got 2, expected 1 for the kind of run reward_model",
        ),
    ],
)
def test_bad_input_is_one_line(tmp_path, changes, message):
    said = refusal(run, tmp_path / "run", make_config(RewardModelConfig, **changes))
    assert re.search(message, said)
    assert not (tmp_path / "run/metrics.jsonl").exists()


def test_the_command_line_has_its_fields(tmp_path):
    command = ["--experiment=reward_model_smoke", f"--workdir={tmp_path}/run"]
    ended = call("train", *command, "--config.reward.rankings=none")
    assert ended.code == 2 and "Traceback" not in ended.errors
    assert "config.reward.rankings: got none, expected jsonl:PATH" in ended.errors


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"responses": ["one"], "ranks": [1]}, r"bad\.jsonl:2: ranking: got 1 answer\(s\), expect"),
        ({"chosen": "one"}, r"bad\.jsonl:2: .*rejected"),
        ({"responses": ["one", "two"], "ranks": [1]}, r"bad\.jsonl:2: ranks of annotator 0: got 1"),
    ],
)
def test_bad_rankings_are_named(tmp_path, row, message):
    good = {"prompt": "Hi", "chosen": "Hello.", "rejected": "Go."}
    lines = [good, {"prompt": "Hi"} | row]
    (tmp_path / "bad.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = make_config(RewardModelConfig, reward__rankings=f"jsonl:{tmp_path}/bad.jsonl")
    assert re.search(message, refusal(run, tmp_path / "run", config))


def test_a_model_of_another_tokenizer_is_refused(trained, tmp_path):
    config = make_config(
        RewardModelConfig,
        checkpoint__init_from=str(trained("sft").path),
        data__tokenizer="chat:bytes",
        model__vocab_size=261,
        model__vocab_multiple=512,
        reward__max_prompt_tokens=40,
        reward__max_answer_tokens=40,
        model__context_length=80,
    )
    said = refusal(run, tmp_path / "run", config)
    assert re.search(r"init_from: got .*sft of the tokenizer \w{12}, expected", said)


def _of_people(spec, shared_data):
    return make_config(
        RewardModelConfig,
        reward__rankings=spec.format(shared_data),
        reward__validation=None,
        reward__demonstrations="instructions:count=8",
        reward__max_prompt_tokens=64,
        reward__max_answer_tokens=64,
        model__context_length=128,
        data__tokenizer="chat:python_docs_1024",
        model__vocab_size=1029,
        training__num_steps=3,
    )


REAL = ["hh:{}/hh_harmless/test.jsonl.gz", "pandalm:{}/pandalm_prefs"]


@pytest.mark.parametrize("spec", tiered(zip(REAL, strict=True), [(REAL[1],)]))
def test_real_rankings_are_read_and_a_share_of_them_held_out(shared_data, spec):
    task = prepared(_of_people(spec, shared_data))
    batch = next(task.batches(0, (), ALL))
    assert batch["tokens"].shape[:2] == (4, 2)
    assert (batch["preferred"].sum((1, 2)) > 0).any()
    assert task.hashes["rankings_hash"] != task.hashes["validation_hash"]


@pytest.mark.slow
@pytest.mark.parametrize("spec", REAL)
def test_real_rankings_are_learned_from(shared_data, tmp_path, spec):
    result = run(tmp_path / "run", _of_people(spec, shared_data)).result()
    low, high = result["accuracy_interval"]
    assert 0 <= low < result["accuracy"] < high <= 1
    assert sum(result["dropped"].values()) > 0
    assert (result["agreement"] is None) == spec.startswith("hh")
