"""Runs of DPO and IPO: against loops over single texts, across starts, meshes and references."""

import dataclasses
import json
import math
import shutil

import jax
import numpy as np
import pytest

from gptjax.data.dialogue.chat_format import ChatTemplate
from gptjax.data.dialogue.preferences import load_rankings
from gptjax.data.dialogue.prompts import load_prompts
from gptjax.judging import divergence as measured
from gptjax.judging.divergence import divergence
from gptjax.tasks.preference_optimisation import DPOConfig
from gptjax.tasks.reference_log_probs import FILE
from gptjax.tasks.reward_modelling import RewardModelConfig
from tests.support.alignment_runs import (
    binary,
    fine_tuned,
    make_config,
    params_at_start,
    rows,
    run,
    stopping,
)

HELD_OUT = "instructions:split=held_out,count=20"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _cache(cache):
    return cache


@pytest.fixture(scope="module")
def sft(tmp_path_factory):
    return fine_tuned(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def config(sft):
    return make_config(DPOConfig, dpo__epochs=1, checkpoint__init_from=str(sft.path))


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """A run that nobody interrupts; it is not to be changed."""
    return run(tmp_path_factory.mktemp("runs") / "whole", config)


def log_probs_of(workdir):
    """A function from a prompt's tokens and an answer's to the answer's log-probability, nats."""
    model, params = workdir.model(), workdir.params()
    apply = jax.jit(lambda tokens: model.apply({"params": params}, tokens))

    def log_prob(prompt, answer):
        ids = np.concatenate([prompt, answer])
        padded = np.zeros((1, 48), np.int32)
        padded[0, : len(ids)] = ids
        logits = np.asarray(apply(padded), np.float64)[0, :, :453]
        return sum(
            logits[at - 1, ids[at]] - math.log(np.exp(logits[at - 1]).sum())
            for at in range(len(prompt), len(ids))
        )

    return log_prob


def test_it_starts_at_ln_2_where_policy_and_reference_are_one(whole):
    first, *_ = training = [row for row in rows(whole) if "split" not in row]
    assert len(training) == math.ceil(30 / 4)
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)
    for name in ("margin", "chosen_reward", "rejected_reward"):
        assert abs(first[name]) <= 1e-6
    assert training[-1]["margin"] > 0.01


def test_held_out_figures_are_those_of_a_loop_over_single_answers(whole, sft):
    template = ChatTemplate(whole.tokenizer())
    ours, theirs = log_probs_of(whole), log_probs_of(sft)
    right = total = margins = 0.0
    loss = weight = 0.0
    for ranking in load_rankings(HELD_OUT):
        prompt = template.prompt(ranking.prompt)
        answers = [template.answer(response) for response in ranking.responses]
        rewards = [0.1 * (ours(prompt, each) - theirs(prompt, each)) for each in answers]
        share = 1 / len(ranking.ranks) / math.comb(len(answers), 2)
        for ranks in ranking.ranks:
            for i in range(len(answers)):
                for j in range(len(answers)):
                    if ranks[i] < ranks[j]:
                        gap = rewards[i] - rewards[j]
                        right, total = right + (gap > 0), total + 1
                        margins += share * gap
                        loss += share * math.log1p(math.exp(-gap))
                        weight += share
    result = whole.result()
    assert result["comparisons"] == total
    assert result["accuracy"] == pytest.approx(right / total, abs=1e-9)
    low, high = result["accuracy_interval"]
    assert low < result["accuracy"] < high
    assert result["margin"] == pytest.approx(margins / weight, rel=1e-3, abs=1e-5)
    assert result["loss"] == pytest.approx(loss / weight, rel=1e-4)


def test_the_divergence_is_that_of_its_own_answers_one_by_one(whole, sft, monkeypatch):
    found, drawn = whole.result()["kl"], {}
    generate = measured.Generator.generate

    def kept(self, prompts, **options):
        drawn["prompts"], drawn["answers"] = prompts, generate(self, prompts, **options)
        return drawn["answers"]

    monkeypatch.setattr(measured.Generator, "generate", kept)
    template = ChatTemplate(whole.tokenizer())
    prompts = [template.prompt(prompt) for prompt in load_prompts(HELD_OUT)][:8]
    arguments = whole.model(), whole.params(), sft.params(), prompts, template
    again = divergence(*arguments, max_answer_tokens=22)
    ours, theirs = log_probs_of(whole), log_probs_of(sft)
    gained = [
        ours(prompt, answer) - theirs(prompt, answer)
        for prompt, answer in zip(drawn["prompts"], drawn["answers"], strict=True)
    ]
    assert again.kl == pytest.approx(np.mean(gained), rel=1e-3, abs=1e-5)
    assert again.standard_error == pytest.approx(np.std(gained, ddof=1) / math.sqrt(8), rel=1e-3)
    assert found == pytest.approx(
        {"kl": again.kl, "standard_error": again.standard_error} | {"answers": 8},
        rel=1e-3,
        abs=1e-5,
    )
    several = divergence(*arguments, count=40, max_answer_tokens=22, batch_size=64)
    assert several.kl > 2 * several.standard_error
    assert divergence(arguments[0], sft.params(), *arguments[2:]).kl == 0.0


def test_a_run_stopped_half_way_goes_on_to_the_same_bits(whole, config, tmp_path):
    """Without what it started from, which it has kept all it needs of."""
    source = shutil.copytree(config.checkpoint.init_from, tmp_path / "sft")
    moved = make_config(DPOConfig, dpo__epochs=1, checkpoint__init_from=str(source))
    stopped = run(tmp_path / "run", moved, change=stopping(5))
    assert not stopped.has_result() and rows(stopped)[-1]["step"] < 8
    shutil.rmtree(source)
    run(stopped.path, moved)
    assert rows(stopped) == rows(whole)
    jax.tree.map(np.testing.assert_array_equal, stopped.params(), whole.params())
    assert stopped.result()["kl"] is None
    assert stopped.result()["accuracy"] == whole.result()["accuracy"]


def test_a_mesh_gives_the_figures_of_one_device(whole, sft, config, tmp_path):
    """To 1e-5, also absolute: rewards are a tenth of differences of up to 48 nats in float32.

    Of other parameters, however near, other answers may be drawn: the divergence is compared with
    that which one device finds of the mesh's own.
    """
    mesh = {"strategy": "mesh", "data": 2, "fsdp": 2, "tensor": 2}
    divided = make_config(
        DPOConfig,
        dpo__epochs=1,
        checkpoint__init_from=config.checkpoint.init_from,
        training__loss_chunk=16,
        **{f"parallelism__{name}": value for name, value in mesh.items()},
    )
    found = run(tmp_path / "run", divided)
    for row, expected in zip(rows(found), rows(whole), strict=True):
        assert row["step"] == expected["step"]
        for name in ("loss", "margin", "chosen_reward", "rejected_reward"):
            assert row[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-5)
    ours, alone = found.result(), whole.result()
    for name in ("comparisons", "accuracy", "accuracy_interval"):
        assert ours[name] == alone[name]
    template = ChatTemplate(found.tokenizer())
    prompts = [template.prompt(prompt) for prompt in load_prompts(HELD_OUT)][:8]
    expected = divergence(
        found.model(), found.params(), sft.params(), prompts, template, max_answer_tokens=22
    )
    assert ours["kl"] == pytest.approx(dataclasses.asdict(expected), rel=1e-5, abs=1e-5)


def test_ipo_starts_at_its_square_and_goes_towards_its_margin(config, tmp_path):
    ipo = make_config(
        DPOConfig, dpo__loss="ipo", dpo__beta=0.5, checkpoint__init_from=config.checkpoint.init_from
    )
    training = [r for r in rows(run(tmp_path / "run", ipo)) if "split" not in r]
    assert training[0]["loss"] == pytest.approx((1 / (2 * 0.5)) ** 2, rel=1e-5)
    assert 0 < training[-1]["margin"] / 0.5 < 1


def test_random_parameters_are_their_own_reference(tmp_path):
    config = make_config(DPOConfig, training__num_steps=1)
    params = params_at_start(tmp_path / "start", config)
    workdir = run(tmp_path / "run", config)
    assert rows(workdir)[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    template, kept = ChatTemplate(workdir.tokenizer()), np.load(workdir.path / FILE)["validation"]
    ranking = load_rankings(HELD_OUT)[3]
    ids = np.concatenate([template.prompt(ranking.prompt), template.answer(ranking.responses[1])])
    logits = np.asarray(workdir.model().apply({"params": params}, ids[None]), np.float64)[0]
    start = len(template.prompt(ranking.prompt))
    expected = sum(
        logits[at - 1, ids[at]] - math.log(np.exp(logits[at - 1]).sum())
        for at in range(start, len(ids))
    )
    assert kept[3, 1] == pytest.approx(expected, rel=1e-5)


def test_the_reference_is_made_anew_for_another_start(whole, config, tmp_path):
    """A run that has not made a step may be given another start."""
    workdir = tmp_path / "run"
    other = make_config(DPOConfig, dpo__epochs=1)
    params_at_start(workdir, other)
    (workdir / "metrics.jsonl").unlink(missing_ok=True)
    again = run(workdir, config)
    assert rows(again) == rows(whole)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dpo__rankings": None}, r"config\.dpo\.rankings: got none, expected jsonl:PATH"),
        ({"dpo__random_start": False}, r"for a new run of kind dpo, .* kind sft"),
        ({"dpo__max_prompt_tokens": 2}, r"got none of 30 \(30 prompts longer than 2 tokens\)"),
        ({"dpo__max_answers": 2}, r"got none of 30 \(30 rankings of more than 2 answers\)"),
        ({"dpo__max_answer_tokens": 30}, r"dpo\.max_answer_tokens: got 30, expected at most 22"),
        ({"training__statistics_every": 2}, r"got 2, expected none for the kind of run dpo"),
        ({"model__residual_dropout": 0.1}, r"residual_dropout: got 0\.1, expected 0 for experim"),
        (
            {"dpo__loss": "ipo", "dpo__label_smoothing": 0.1},
            r"dpo\.label_smoothing: got 0\.1, expected 0 with dpo\.loss=ipo",
        ),
        ({"dpo__beta": 0.0}, r"config\.dpo\.beta: got 0\.0, expected float > 0"),
    ],
)
def test_bad_input_is_one_line(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message) as error:
        run(tmp_path / "run", make_config(DPOConfig, **changes))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run/metrics.jsonl").exists()


def test_a_start_of_another_kind_is_refused(tmp_path):
    reward = make_config(RewardModelConfig, training__num_steps=1)
    workdir = run(tmp_path / "reward", reward)
    config = make_config(DPOConfig, checkpoint__init_from=str(workdir.path))
    with pytest.raises(ValueError, match="holds a reward model, expected a run of a language"):
        run(tmp_path / "run", config)


def test_a_damaged_reference_is_named(whole, config, tmp_path):
    copy = shutil.copytree(whole.path, tmp_path / "run")
    (copy / FILE).write_bytes((copy / FILE).read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"reference\.npz: .*; expected the file as the run wrote"):
        run(copy, config)


def test_the_binary_runs_from_its_command_line(tmp_path):
    small = [
        f"--workdir={tmp_path / 'run'}",
        "--config.dpo.rankings=instructions:count=40",
        "--config.dpo.validation=instructions:split=held_out,count=20",
    ]
    done = binary("train", "--experiment=dpo_smoke", *small)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("run/result.json, loss.png and checkpoints are written\n")
    planned = binary("train", "--experiment=dpo_smoke", "--dry_run")
    figures = json.loads(planned.stdout.splitlines()[-1])
    assert figures["estimated_total_bytes"] > figures["parameter_bytes"] > 0, planned.stderr
    tokens = 16 * 4 * 64
    assert figures["flops_per_step"] > 6 * tokens * 2 * 12 * 64**2
