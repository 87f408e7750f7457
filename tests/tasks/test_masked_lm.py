"""BERT's pretraining as a run: what it starts from and refuses; what it fills into masks."""

import re

import jax
import numpy as np
import pytest

from experiments.configs import EXPERIMENTS
from gptjax.runs.initial.inherited import inherit
from gptjax.runs.workdir import WorkDirectory
from gptjax.tasks.configs.masked_lm import MaskedLMConfig
from gptjax.tokenization import WordPiece
from gptjax.tokenization.wordpiece import SPECIAL
from tests.support.alignment_runs import (
    on_mesh,
    params_at_start,
    prepared,
    refusal,
    rows,
    run,
)
from tests.support.binaries import call


def test_rows_have_the_shares_that_the_configuration_says(trained):
    changes = {"masked_lm__mask_share": 0.0, "masked_lm__random_share": 0.0}
    task = prepared(trained.config("masked_lm", masked_lm__mask_rate=0.3, **changes))
    batch = next(task.batches(0, (), ((0,), 1)))
    at = np.take_along_axis(batch["tokens"], batch["masked_positions"], 1)
    real = batch["loss_weights"] > 0
    np.testing.assert_array_equal(at[real], batch["targets"][real])  # all are kept
    assert batch["loss_weights"].shape == (4, 12) and batch["tokens"].shape == (4, 40)


@pytest.mark.slow
def test_longer_rows_go_on_from_the_parameters_of_shorter_ones(trained, tmp_path):
    """The second part of the paper's schedule; the heads are those of the source."""
    source = trained("masked_lm")
    asked = EXPERIMENTS.get("bert_smoke")()
    asked.model.heads, asked.checkpoint.init_from = "masked_lm", str(source.path)
    inherit(asked, {"checkpoint.init_from"})
    assert (asked.model.heads, asked.model.d_model) == ("pretraining", 16)
    config = trained.config(
        "masked_lm", checkpoint__init_from=str(source.path), masked_lm__max_tokens=48
    )
    params = params_at_start(tmp_path / "run", config)
    jax.tree.map(np.testing.assert_array_equal, params, source.restored())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__heads": "encoder"}, "config.model.heads: got encoder, expected pretraining or"),
        ({"masked_lm__max_tokens": 49}, "got 49, expected at most context_length = 48"),
        ({"masked_lm__max_masked": 41}, "got 41, expected at most the 40 tokens in a row"),
        ({"masked_lm__random_share": 0.3}, "got 0.3, expected at most 1 - mask_share = 0.2"),
        ({"model__tied_embeddings": False}, "tied_embeddings: got False, expected True"),
        (
            {"data__tokenizer": "instructions_448", "model__vocab_size": 448},
            r"tokenizer: got 'instructions_448' without \[MASK\] and \[CLS\] and \[SEP\] and",
        ),
    ],
)
def test_what_the_kind_cannot_have_is_refused(trained, changes, message):
    assert re.search(message, refusal(prepared, trained.config("masked_lm", **changes)))


def test_a_vocabulary_without_masks_is_refused(trained, tmp_path):
    WordPiece(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "a"]).save(tmp_path)
    config = trained.config("masked_lm", data__tokenizer=str(tmp_path), model__vocab_size=5)
    text = refusal(prepared, config)
    assert "without [MASK], expected wordpiece:DIR with the vocab.txt of a BERT" in text


def test_a_gpt_and_a_bert_are_not_taken_for_each_other(trained, tmp_path):
    bert, gpt = (str(trained(name).path) for name in ("masked_lm", "pretrain"))
    starting = f"config.checkpoint.init_from: got {gpt}, which holds a language model, expected"
    config = trained.config("masked_lm", checkpoint__init_from=gpt)
    assert refusal(run, tmp_path / "a", config).startswith(starting)
    config = trained.config("pretrain", checkpoint__init_from=bert)
    assert "which holds a masked language model" in refusal(run, tmp_path / "b", config)
    sampled = call("sample", f"--workdir={bert}", "--prompt=a").refusal
    assert sampled == (
        f"--workdir: got {bert}, which holds a masked language model, expected a run of a "
        "language model"
    )
    filled = call("fill_mask", f"--workdir={gpt}", "--text=[MASK]").refusal
    assert filled.endswith(
        "which holds a language model, expected a run of a masked language model"
    )


def test_masks_are_filled_with_the_most_probable_tokens(trained):
    workdir = trained("masked_lm")
    tokenizer, model, params = (
        workdir.tokenizer(),
        workdir.model("masked language model"),
        workdir.restored(),
    )
    done = call(
        "fill_mask", f"--workdir={workdir.path}", "--text=the [MASK] [SEP] a[MASK]", "--top=3"
    )
    assert done.code == 0, done.errors
    names = tokenizer.special_tokens
    the, a = (int(tokenizer.encode(word)[0]) for word in ("the", "a"))
    tokens = [
        names["[CLS]"],
        the,
        names["[MASK]"],
        names["[SEP]"],
        a,
        names["[MASK]"],
        names["[SEP]"],
    ]
    outputs = jax.jit(model.apply)(
        {"params": params}, np.array([tokens]), token_types=np.array([[0, 0, 0, 0, 1, 1, 1]])
    )
    expected = ["the [MASK] [SEP] a[MASK]"]
    for number, place in enumerate((2, 5), start=1):
        odds = np.exp(np.asarray(outputs.masked_lm[0, place], np.float64))
        best = np.argsort(-odds)[:3]
        shown = "  ".join(f"{tokenizer.tokens[i]} {odds[i] / odds.sum():.3f}" for i in best)
        expected.append(f"[MASK] {number}: {shown}")
    assert done.output.splitlines() == expected
    for text, message in {
        "none": "--text: got 'none', expected at least one [MASK] in it",
        "a " * 60 + "[MASK]": "--text: got 63 tokens with [CLS] and [SEP], expected at most the 48",
    }.items():
        refused = call("fill_mask", f"--workdir={workdir.path}", f"--text={text}").refusal
        assert refused.startswith(message)


def test_a_run_is_converted_to_a_model_directory_and_back(trained, tmp_path):
    workdir, theirs, again = trained("masked_lm"), tmp_path / "theirs", tmp_path / "again"
    out = call("convert", f"--workdir={workdir.path}", f"--to_huggingface={theirs}")
    back = call("convert", f"--from_huggingface={theirs}", f"--workdir={again}")
    parameters = f"{workdir.result()['parameters']:,} parameters are written"
    assert (
        (out.code, back.code) == (0, 0) and parameters in out.output and parameters in back.output
    )
    config = trained.config("pretrain", checkpoint__init_from=str(theirs))
    assert refusal(run, tmp_path / "gpt", config) == (
        f"config.checkpoint.init_from: got {theirs}, which holds a masked language model, expected "
        "a language model"
    )
    found = WorkDirectory(str(again))
    assert isinstance(found.config(), MaskedLMConfig)
    assert found.tokenizer().content_hash() == workdir.tokenizer().content_hash()

    def unpadded(params):
        table = params["token_embedding"]
        return params | {"token_embedding": table[:2048]}

    jax.tree.map(
        np.testing.assert_array_equal, unpadded(found.restored()), unpadded(workdir.restored())
    )


@pytest.mark.slow
@pytest.mark.parametrize("heads", ["pretraining", "masked_lm"])
def test_a_mesh_gives_the_figures_of_one_device(trained, tmp_path, heads):
    changes = {"model__heads": heads, "model__residual_dropout": 0.0, "training__batch_size": 8}
    alone = rows(run(tmp_path / "alone", trained.config("masked_lm", **changes)))
    axes = on_mesh(data=2, fsdp=2, tensor=2)
    divided = rows(run(tmp_path / "mesh", trained.config("masked_lm", **changes, **axes)))
    for row, expected in zip(divided, alone, strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-4)


@pytest.mark.slow
def test_neighbours_on_both_sides_tell_what_is_masked(trained, tmp_path):
    """Text in which each word is known from its neighbours: far above how frequent words are."""
    words = [a + b for a in "bdfg" for b in ("a", "e", "i", "o")]
    lines = [" ".join(words[start:] + words[:start]) + "." for start in range(16)] * 40
    for number in range(0, len(lines), 8):
        (tmp_path / f"{number}.txt").write_text("\n\n".join(lines[number : number + 8]))
    WordPiece([*SPECIAL, *words, "."]).save(tmp_path / "words")
    config = trained.config(
        "masked_lm",
        data__corpus=f"text:{tmp_path}",
        data__tokenizer=str(tmp_path / "words"),
        model__vocab_size=22,
        model__init_std=0.2,
        model__residual_dropout=0.0,
        masked_lm__whole_words=False,
        optimizer__learning_rate=1e-2,
        training__num_steps=300,
        optimizer__decay_steps=300,
        training__batch_size=16,
        training__eval_every=300,
    )
    last = rows(run(tmp_path / "run", config))[-1]
    assert last["split"] == "validation" and last["masked_lm_accuracy"] > 3 / 17
