"""The evaluate binary: windows that overlap, and windows that do not."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.config import DataConfig, ExperimentConfig, ModelConfig, TrainingConfig, resolve
from gptjax.models.gpt import GPT
from gptjax.runs.inputs import prepare_corpus
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import to_dict
from gptjax.tokenization import load_tokenizer
from tests.support.binaries import call

CONTEXT = 16


@pytest.fixture(scope="module")
def run(cache, tmp_path_factory) -> WorkDirectory:
    """A work directory as pretrain leaves it, of an untrained model of bytes."""
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
    params = jax.jit(GPT(config.model).init)(jax.random.key(1), jnp.zeros((1, 1), jnp.int32))
    with workdir.checkpoints() as checkpoints:
        checkpoints.save(
            3,
            params=params["params"],
            opt_state={"count": jnp.zeros(())},
            data={},
            config=to_dict(config),
        )
    return workdir


def figures(run: WorkDirectory, *arguments: str) -> dict:
    done = call("evaluate", f"--workdir={run.path}", *arguments)
    assert (done.code, done.errors) == (0, "")
    (row,) = done.rows
    return row


def test_windows_that_do_not_overlap_give_the_default_figures(run):
    for more in (("--split=validation",), ("--batches=3", "--split=train")):
        default = figures(run, *more)
        strided = figures(run, f"--stride={CONTEXT}", *more)
        assert strided.pop("stride") == CONTEXT
        for name in ("loss", "perplexity", "bits_per_byte"):
            assert strided.pop(name) == pytest.approx(default.pop(name), rel=1e-5)
        assert strided == {name: default[name] for name in ("step", "corpus", "split")}


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
