"""The evaluate binary: windows that overlap, and windows that do not."""

import json
import math
import shutil

import jax
import numpy as np
import pytest

from gptjax.config import DataConfig, ExperimentConfig, ModelConfig, TrainingConfig, resolve
from gptjax.inference.scoring import Scorer
from gptjax.models.gpt import GPT
from gptjax.runs.inputs import prepare_corpus
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import to_dict
from gptjax.tokenization import load_tokenizer
from tests.support.binaries import call
from tests.support.params import random_params
from tests.support.tiers import tiered

CONTEXT = 16


@pytest.fixture(scope="module")
def run(cache, tmp_path_factory) -> WorkDirectory:
    """A work directory as pretrain leaves it, of an untrained model, with checkpoints 2 and 3."""
    folder = tmp_path_factory.mktemp("evaluate")
    for i in range(20):
        words = [f"document {i} has {j} words and {i * j} letters" for j in range(1 + i % 4)]
        (folder / f"{i:02}.txt").write_text("\n".join(words))
    tokenizer = load_tokenizer("bytes")
    model = ModelConfig(
        vocab_size=tokenizer.vocab_size,
        context_length=CONTEXT,
        num_layers=1,
        num_heads=2,
        d_model=16,
        init_std=0.5,
    )
    data = DataConfig(corpus=f"text:{folder}", tokenizer="bytes", validation_fraction=0.4)
    config = resolve(
        ExperimentConfig(model=model, data=data, training=TrainingConfig(batch_size=2))
    )
    prepared = prepare_corpus(config, tokenizer)
    workdir = WorkDirectory(str(tmp_path_factory.mktemp("run")))
    workdir.begin("test", config, prepared.hashes)
    tokenizer.save(workdir.path / "tokenizer")
    with workdir.checkpoints() as checkpoints:
        for step in (2, 3):
            params = jax.device_put(random_params(GPT(config.model), std=0.5, seed=step))
            state = {"count": jax.device_put(np.float32(0))}
            checkpoints.save(step, params=params, opt_state=state, data={}, config=to_dict(config))
    return workdir


def figures(run: WorkDirectory, *arguments: str) -> dict:
    done = call("evaluate", f"--workdir={run.path}", *arguments)
    assert (done.code, done.errors) == (0, "")
    (row,) = done.rows
    return row


@pytest.mark.slow
def test_windows_that_do_not_overlap_give_the_default_figures(run):
    for more in (("--split=validation",), ("--batches=3", "--split=train")):
        default = figures(run, *more)
        strided = figures(run, f"--stride={CONTEXT}", *more)
        assert strided.pop("stride") == CONTEXT
        for name in ("loss", "perplexity", "bits_per_byte"):
            assert strided.pop(name) == pytest.approx(default.pop(name), rel=1e-5)
        assert strided == default and strided["bytes_of"] == "documents"


@pytest.mark.slow
def test_so_many_batches_as_are_asked_for_are_evaluated(run):
    """Two rows of the context length each; by the run's own evaluators, and on text."""
    split = prepare_corpus(run.config(), run.tokenizer()).validation
    tokens = split.tokens[: 3 * 2 * CONTEXT + 1]
    expected = Scorer(run.model(), run.params()).perplexity(tokens, CONTEXT).per_token
    for more in ((), ("--split=validation",)):
        some, all_of_them = figures(run, "--batches=3", *more), figures(run, *more)
        assert some["loss"] == pytest.approx(expected, rel=1e-5)
        assert some["loss"] != all_of_them["loss"]


@pytest.mark.slow
def test_a_run_of_more_devices_than_there_are_is_evaluated_on_one(run, tmp_path):
    path = shutil.copytree(run.path, tmp_path / "copy")
    said = json.loads((path / "config.json").read_text())
    said["config"]["parallelism"] |= {"strategy": "mesh", "data": 16}
    (path / "config.json").write_text(json.dumps(said))
    for more in ((), ("--split=validation",)):
        assert figures(WorkDirectory(str(path)), *more) == figures(run, *more)


def test_a_stride_gives_each_token_more_before_it(run):
    """Against a loop: token by token, after all that its window holds."""
    split = prepare_corpus(run.config(), run.tokenizer()).validation
    tokens, params, stride = np.asarray(split.tokens, np.int32), run.params(3), 5
    forward = jax.jit(lambda tokens: run.model().apply({"params": params}, tokens))
    nats, done, start = 0.0, 1, 0
    while done < tokens.size:
        window = tokens[start : start + CONTEXT]
        logits = forward(np.pad(window, (0, CONTEXT - window.size))[None])[0]
        log_probs = np.asarray(jax.nn.log_softmax(logits), np.float64)
        for target in range(done, min(start + CONTEXT + 1, tokens.size)):
            nats -= log_probs[target - start - 1, tokens[target]]
        done, start = start + CONTEXT + 1, start + stride
    got = figures(run, f"--stride={stride}")
    assert got["loss"] == pytest.approx(nats / (tokens.size - 1), rel=1e-5)
    assert got["perplexity"] == pytest.approx(math.exp(got["loss"]), rel=1e-6)
    assert got["bits_per_byte"] == pytest.approx(nats / math.log(2) / split.num_bytes, rel=1e-5)


def test_the_checkpoint_that_is_asked_for_is_evaluated(run):
    tokens = prepare_corpus(run.config(), run.tokenizer()).validation.tokens
    losses = [
        Scorer(run.model(), run.params(step)).perplexity(tokens, CONTEXT).per_token
        for step in (2, 3)
    ]
    for asked, step in ((("--restore_step=2",), 2), ((), 3)):
        for more in (("--split=validation",), (f"--stride={CONTEXT}",), ()):
            got = figures(run, *asked, *more)
            assert (got["step"], got["loss"]) == (step, pytest.approx(losses[step - 2], rel=1e-5))
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize(
    "texts",
    tiered(
        [(["a short text"],), ([f"Number {i} is another." for i in range(12)],)],
        [(["a short text"],)],
    ),
)
def test_another_text_is_evaluated_whole(run, tmp_path, texts):
    for i, text in enumerate(texts):
        (tmp_path / f"{i:02}.txt").write_text(text)
    corpus, scorer = f"text:{tmp_path}", Scorer(run.model(), run.params())
    loss = scorer.perplexity(np.frombuffer("".join(texts).encode(), np.uint8), CONTEXT).per_token
    for more in ((), (f"--stride={CONTEXT}",)):
        got = figures(run, f"--corpus={corpus}", *more)
        assert (got["corpus"], got["split"]) == (corpus, "all")
        assert got["loss"] == pytest.approx(loss, rel=1e-5)


def test_a_split_of_another_text_is_evaluated_on_request(run, tmp_path):
    """However short; the two together are the whole."""
    texts = ["one text", "another"]
    for text in texts:
        (tmp_path / f"{text}.txt").write_text(text)
    scorer = Scorer(run.model(), run.params())
    losses = [scorer.perplexity(np.frombuffer(t.encode(), np.uint8), CONTEXT) for t in texts]
    got = [
        figures(run, f"--corpus=text:{tmp_path}", f"--split={split}")["loss"]
        for split in ("train", "validation")
    ]
    assert sorted(got) == pytest.approx(sorted(loss.per_token for loss in losses), rel=1e-5)


def test_text_without_a_token_to_predict_is_refused(run, tmp_path):
    (tmp_path / "one.txt").write_text("a")
    arguments = (f"--workdir={run.path}", f"--corpus=text:{tmp_path}")
    for more in ((), ("--stride=4",)):
        refused = call("evaluate", *arguments, *more).refusal
        assert "has 1 token(s) and 1 byte(s) of text; expected at least one token to p" in refused


def test_the_text_that_a_run_was_trained_on_is_evaluated_with_a_warning(run):
    corpus = run.config().data.corpus
    done = call("evaluate", f"--workdir={run.path}", f"--corpus={corpus}")
    assert f"the run was trained on {corpus}; --split=validation was held out" in done.errors
    assert [row["split"] for row in done.rows] == ["all"]


def test_a_text_that_has_changed_is_evaluated_with_a_warning(run, tmp_path):
    path = shutil.copytree(run.path, tmp_path / "copy")
    texts = shutil.copytree(run.config().data.corpus.removeprefix("text:"), tmp_path / "texts")
    (texts / "20.txt").write_text("a new document")
    said = json.loads((path / "config.json").read_text())
    said["config"]["data"]["corpus"] = f"text:{texts}"
    (path / "config.json").write_text(json.dumps(said))
    for more, warning in (
        ((), "corpus_hash: got "),
        (("--split=validation",), f"text:{texts} has changed since the run was trained on it"),
    ):
        done = call("evaluate", f"--workdir={path}", *more)
        assert done.code == 0 and warning in done.errors


def test_a_stride_out_of_range_is_refused(run):
    refused = call("evaluate", f"--workdir={run.path}", "--stride=17").refusal
    assert refused.endswith("stride: got 17, expected 1 to 16, the context length")


def test_sixteen_bits_cost_a_little(run):
    exact, rounded = figures(run), figures(run, "--dtype=bfloat16")
    assert rounded["dtype"] == "bfloat16" and "dtype" not in exact
    assert 0 < abs(rounded["loss"] / exact["loss"] - 1) < 0.02


def test_a_run_that_read_no_text_is_evaluated_on_some_without_a_warning(trained):
    """Nothing of it can have changed."""
    run = trained("sft")
    assert "corpus_hash" not in run.record()
    for arguments in ((), ("--split=validation",)):
        assert figures(run, *arguments)["split"] == "validation"
