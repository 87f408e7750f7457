"""Runs of DPO and IPO: against loops over single texts, across starts, meshes and references."""

import dataclasses
import itertools
import math
import re
import shutil

import jax
import numpy as np
import pytest

from gptjax.data.batches.loader import ALL
from gptjax.data.dialogue.chat_format import ChatTemplate
from gptjax.data.dialogue.preferences import load_rankings
from gptjax.data.dialogue.prompts import load_prompts
from gptjax.judging import divergence as measured
from gptjax.judging.divergence import divergence
from gptjax.runs.workdir import WorkDirectory
from gptjax.tasks.configs.preference_optimisation import DPOConfig
from gptjax.tasks.preference_optimisation import KIND
from gptjax.tasks.reference_log_probs import FILE
from tests.support.alignment_runs import (
    assert_same_params,
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
def sft(trained):
    return trained("sft")


@pytest.fixture(scope="module")
def config(trained):
    return trained.config("dpo")


@pytest.fixture(scope="module")
def whole(trained):
    """A run that nobody interrupts; it is not to be changed."""
    return trained("dpo")


def log_probs_of(workdir, params=None):
    """A function from a prompt's tokens and an answer's to the answer's log-probability, nats."""
    model, params = workdir.model(), workdir.params() if params is None else params
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
    one_epoch = prepared(make_config(DPOConfig, dpo__epochs=1)).config
    assert len(training) == one_epoch.training.num_steps == math.ceil(30 / 4)
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


@pytest.mark.parametrize("count", tiered([(1,), (2,)], [(1,)]))
def test_the_divergence_is_that_of_its_own_answers_one_by_one(whole, sft, count, monkeypatch):
    found, drawn = whole.result()["kl"], {}
    generate = measured.Generator.generate

    def kept(self, prompts, **options):
        drawn["prompts"], drawn["answers"] = prompts, generate(self, prompts, **options)
        return drawn["answers"]

    monkeypatch.setattr(measured.Generator, "generate", kept)
    template = ChatTemplate(whole.tokenizer())
    prompts = [template.prompt(prompt) for prompt in load_prompts(HELD_OUT)][:8]
    arguments = whole.model(), whole.params(), sft.params(), prompts, template
    ours, theirs = log_probs_of(whole), log_probs_of(sft)
    again = divergence(*arguments, count=count, max_answer_tokens=22)
    gained = [
        ours(prompt, answer) - theirs(prompt, answer)
        for prompt, answer in zip(drawn["prompts"], drawn["answers"], strict=True)
    ]
    of_prompts = np.reshape(gained, (8, count)).mean(1)
    error = np.std(of_prompts, ddof=1) / math.sqrt(8)
    assert again.kl == pytest.approx(np.mean(gained), rel=1e-3, abs=1e-5)
    assert again.standard_error == pytest.approx(error, rel=1e-3)
    assert again.kl > 2 * again.standard_error
    if count == 1:
        said = {"kl": again.kl, "standard_error": again.standard_error, "answers": 8}
        assert found == pytest.approx(said, rel=1e-3, abs=1e-5)
    assert divergence(arguments[0], sft.params(), *arguments[2:], max_answer_tokens=22).kl == 0.0


def test_a_run_goes_on_without_what_it_started_from(whole, config, tmp_path):
    """It has kept all that it needs of that, but for the divergence of its end."""
    copy, gone = shutil.copytree(whole.path, tmp_path / "run"), str(tmp_path / "gone")
    shutil.rmtree(copy / "checkpoints/8")
    (copy / "result.json").unlink()
    start = config.checkpoint.init_from
    said = (copy / "config.json").read_text()
    (copy / "config.json").write_text(said.replace(start, gone))
    kept = dict(np.load(copy / FILE))
    kept["made_for"] = np.array(str(kept["made_for"]).replace(start, gone))
    np.savez(copy / FILE, **kept)
    ended = run(copy, make_config(DPOConfig, checkpoint__init_from=gone))
    assert rows(ended) == rows(whole)
    assert_same_params(ended, whole)
    assert ended.result()["kl"] is None
    assert ended.result()["accuracy"] == whole.result()["accuracy"]


@pytest.mark.slow
def test_a_mesh_gives_the_figures_of_one_device(whole, sft, config, tmp_path):
    """To 1e-5, also absolute: rewards are a tenth of differences of up to 48 nats in float32.

    Of other parameters, however near, other answers may be drawn: the divergence is compared with
    that which one device finds of the mesh's own.
    """
    divided = make_config(
        DPOConfig,
        checkpoint__init_from=config.checkpoint.init_from,
        training__loss_chunk=16,
        **on_mesh(data=2, fsdp=2, tensor=2),
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


@pytest.mark.slow
def test_ipo_starts_at_its_square_and_random_parameters_are_their_own_reference(tmp_path):
    config, tasks = make_config(DPOConfig, dpo__loss="ipo", dpo__beta=0.5), []

    def kept(task):
        tasks.append(task)
        return task

    params = params_at_start(tmp_path / "run", config, change=kept)
    batch = next(tasks[0].batches(0, (), ALL))
    loss = KIND.loss(config, KIND.model(config))
    nats, weight, _ = jax.jit(loss)(params, batch, jax.random.key(0))
    assert nats / weight == pytest.approx((1 / (2 * 0.5)) ** 2, rel=1e-5)

    workdir = WorkDirectory(str(tmp_path / "run"))
    template, found = ChatTemplate(workdir.tokenizer()), np.load(workdir.path / FILE)["validation"]
    ranking = load_rankings(HELD_OUT)[3]
    prompt, answer = template.prompt(ranking.prompt), template.answer(ranking.responses[1])
    assert found[3, 1] == pytest.approx(log_probs_of(workdir, params)(prompt, answer), rel=1e-5)


def test_smoothing_adds_its_share_of_the_margin_to_the_loss(whole):
    """-(1 - e) log s(m) - e log s(-m) is -log s(m) + e m, of the sigmoid s and a margin m."""
    batch = next(prepared(make_config(DPOConfig)).batches(0, (), ALL))
    batch["reference_log_probs"] = np.zeros_like(batch["reference_log_probs"])
    params, found = whole.params(), []
    for smoothing in (0.0, 0.2):
        config = make_config(DPOConfig, dpo__label_smoothing=smoothing)
        loss = KIND.loss(config, KIND.model(config))
        found.append(jax.jit(loss)(params, batch, jax.random.key(0)))
    (plain, _, metrics), (smoothed, *_) = found
    margin = float(metrics["margin"])
    assert abs(margin) > 0.01
    assert float(smoothed - plain) == pytest.approx(0.2 * margin, rel=1e-3)


@pytest.mark.slow
def test_the_reference_is_made_anew_for_another_start(whole, config, tmp_path):
    """A run that has not made a step may be given another start."""
    workdir, kept = tmp_path / "run", []
    for start in (make_config(DPOConfig, training__seed=1), make_config(DPOConfig), config):
        params_at_start(workdir, start)
        (workdir / "metrics.jsonl").unlink(missing_ok=True)
        kept.append(np.load(workdir / FILE)["train"])
    np.testing.assert_array_equal(kept[2], np.load(whole.path / FILE)["train"])
    for one, other in itertools.pairwise(kept):
        assert not np.allclose(one, other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dpo__random_start": False}, r"for a new run of kind dpo, .* kind sft"),
        ({"dpo__max_prompt_tokens": 2}, r"got none of 30 \(30 prompts longer than 2 tokens\)"),
        ({"dpo__max_answers": 2}, r"got none of 30 \(30 rankings of more than 2 answers\)"),
        ({"dpo__max_answer_tokens": 30}, r"dpo\.max_answer_tokens: got 30, expected at most 22"),
        ({"training__statistics_every": 2}, r"got 2, expected none for the kind of run dpo"),
        (
            {"model__attention": "prefix(length=20)"},
            r"attention prefix.length=20.: got \d+ tokens at once, .*; or config\.dpo\.kl_pro",
        ),
        ({"model__residual_dropout": 0.1}, r"residual_dropout: got 0\.1, expected 0 for the ki"),
        (
            {"dpo__loss": "ipo", "dpo__label_smoothing": 0.1},
            r"dpo\.label_smoothing: got 0\.1, expected 0 with dpo\.loss=ipo",
        ),
    ],
)
def test_bad_input_is_one_line(tmp_path, changes, message):
    said = refusal(run, tmp_path / "run", make_config(DPOConfig, **changes))
    assert re.search(message, said)
    assert not (tmp_path / "run/metrics.jsonl").exists()


def test_a_start_of_another_kind_is_refused(trained, tmp_path):
    config = make_config(DPOConfig, checkpoint__init_from=str(trained("reward_model").path))
    said = refusal(run, tmp_path / "run", config)
    assert "holds a reward model, expected a run of a language" in said


def test_a_damaged_reference_is_named(whole, config, tmp_path):
    copy = shutil.copytree(whole.path, tmp_path / "run")
    (copy / FILE).write_bytes((copy / FILE).read_bytes()[:-40])
    said = refusal(run, copy, config)
    assert re.search(r"reference\.npz: .*; expected the file as the run wrote", said)


def test_the_command_line_has_its_fields(tmp_path):
    command = ["--experiment=dpo_smoke", f"--workdir={tmp_path}/run"]
    for flag, message in (
        ("rankings=none", "config.dpo.rankings: got none, expected jsonl:PATH"),
        ("beta=0", "config.dpo.beta: got 0.0, expected float > 0"),
    ):
        ended = call("train", *command, f"--config.dpo.{flag}")
        assert ended.code == 2 and "Traceback" not in ended.errors
        assert message in ended.errors
