"""The classifier of undesired content: its loss, heads, windows, start and result."""

import dataclasses
import functools
import hashlib
import itertools
import json

import jax
import numpy as np
import pytest
import scipy.special

from gptjax.config import ExperimentConfig, ModelConfig
from gptjax.data.dialogue.records import Records
from gptjax.data.labelled.multilabel import LabelledText, load_multilabel
from gptjax.models.gpt import GPT
from gptjax.runs.workdir import WorkDirectory
from gptjax.tasks.configs.fine_tuning import SFTConfig
from gptjax.tasks.moderation.config import ModerationConfig
from gptjax.tasks.moderation.heads import ModerationModel, known_labels, with_heads
from gptjax.tasks.moderation.rows import highest, text_rows, windows
from gptjax.tasks.moderation.scoring import TextScorer
from tests.support.alignment_runs import make_config, params_at_start, refusal, run
from tests.support.binaries import call
from tests.support.params import random_params
from tests.support.tiers import tiered

MODEL = ModelConfig(vocab_size=11, context_length=6, num_layers=1, num_heads=1, d_model=8)
TOKENS = np.array([[9, 1, 2, 10, 3], [4, 5, 7, 7, 7], [0] * 5], np.int32)
LENGTHS = np.array([5, 2, 0], np.int32)
LABELS = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 0]], np.float32)
KNOWN = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 0]], np.float32)  # the last row is padding
BATCH = {"tokens": TOKENS, "lengths": LENGTHS, "labels": LABELS, "known": KNOWN}


@functools.cache
def params():
    gpt = random_params(GPT(MODEL))
    drawn = jax.jit(lambda gpt, key: with_heads(gpt, MODEL, 3, 4, key))(gpt, jax.random.key(1))
    heads = jax.device_get(drawn["moderation_heads"])
    moved = {
        name: x + np.float32(0.1 * (1 + i)) for i, (name, x) in enumerate(sorted(heads.items()))
    }
    return drawn | {"moderation_heads": moved}


@functools.cache
def hidden_states():
    return jax.jit(functools.partial(GPT(MODEL).apply, method="hidden"))


def states_alone(ids):
    """Hidden states of a text alone; what stands behind it in its row is not seen by it."""
    hidden, _ = hidden_states()({"params": params()}, np.pad(ids, (0, 5 - len(ids)))[None])
    return np.asarray(hidden, np.float64)[0, : len(ids)]


def logits_by_hand(pooling):
    """A text at a time, without its padding, and a category at a time; in float64."""
    heads = {name: np.asarray(x, np.float64) for name, x in params()["moderation_heads"].items()}
    rows = []
    for ids, length in zip(TOKENS, LENGTHS, strict=True):
        states = states_alone(ids[: length or 1])
        read = states[-1] if pooling == "last" else states.mean(0)
        row = []
        for category in range(3):
            inner = read @ heads["hidden_kernel"][category] + heads["hidden_bias"][category]
            gelu = 0.5 * inner * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
            row.append(gelu @ heads["out_kernel"][category] + heads["out_bias"][category])
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_the_loss_is_that_of_a_loop_over_known_labels(pooling):
    model = ModerationModel(MODEL, 3, 4, pooling=pooling)
    total, weight, _ = jax.jit(known_labels(model), static_argnums=2)(params(), BATCH, None)
    said, nats = logits_by_hand(pooling), []
    for row, category in np.argwhere(KNOWN):
        chance = scipy.special.expit(said[row, category])
        nats.append(-np.log(chance if LABELS[row, category] else 1 - chance))
    assert weight == len(nats) == 4
    assert float(total) == pytest.approx(sum(nats), rel=1e-4)


def test_an_unknown_label_changes_nothing_and_teaches_nothing():
    model = ModerationModel(MODEL, 3, 4)
    one = {name: array[:1] for name, array in BATCH.items()}
    loss = jax.jit(
        jax.value_and_grad(lambda params, batch: known_labels(model)(params, batch, None)[0])
    )
    value, gradient = jax.device_get(loss(params(), one))
    other, _ = loss(params(), one | {"labels": 1 - KNOWN[:1] + KNOWN[:1] * LABELS[:1]})
    assert value == other
    for leaf in jax.tree.leaves(gradient["moderation_heads"]):
        assert not leaf[2].any() and leaf[0].any()


def test_dropout_falls_on_the_heads_alone():
    model = ModerationModel(MODEL, 3, 4, dropout=0.5)
    batch = {"tokens": np.repeat(TOKENS[:1], 64, 0), "lengths": np.repeat(LENGTHS[:1], 64)}

    @jax.jit
    def both(params, rngs):
        dropped = model.apply({"params": params}, **batch, deterministic=False, rngs=rngs)
        return dropped, model.apply({"params": params}, **batch)

    dropped, whole = both(params(), {"dropout": jax.random.key(0)})
    assert np.ptp(whole, axis=0) == pytest.approx(0) and (np.ptp(dropped, axis=0) > 0).all()


@pytest.mark.parametrize("size", [1, 7, 8, 9, 14, 15, 40])
def test_windows_hold_every_token_and_share_a_quarter(size):
    tokens = np.arange(size)
    found = windows(tokens, 8)
    assert {int(x) for each in found for x in each} == set(range(size))
    assert all(len(each) == min(size, 8) for each in found)
    for one, other in itertools.pairwise(found):
        assert len({*one.tolist()} & {*other.tolist()}) >= 2
    assert len(found) == 1 + max(0, -(-(size - 8) // 6))


class Bytes:
    def encode_batch(self, texts):
        return [np.frombuffer(text.encode(), np.uint8).astype(np.int32) for text in texts]


def test_rows_are_beginnings_to_learn_from_and_whole_texts_to_judge():
    texts = Records("x", (LabelledText("abcdefgh", (1, None)), LabelledText("xy", (0, 1))))
    first, whole = (text_rows(texts, Bytes(), context_length=4, whole=w) for w in (False, True))
    assert [bytes(x.astype(np.uint8)) for x in first.sequences] == [b"abcd", b"xy"]
    assert [bytes(x.astype(np.uint8)) for x in whole.sequences] == [
        b"abcd",
        b"defg",
        b"efgh",
        b"xy",
    ]
    assert whole.owners.tolist() == [0, 0, 0, 1] and (first.truncated, whole.truncated) == (1, 0)
    batch = whole.batch(np.array([3, 2, 9]))
    assert batch["lengths"].tolist() == [2, 4, 0] and batch["tokens"][2].sum() == 0
    assert batch["labels"].tolist() == [[0, 1], [1, 0], [0, 0]]
    assert batch["known"].tolist() == [[1, 1], [1, 0], [0, 0]]
    outputs = np.array([[1.0, 5.0], [3.0, 2.0], [2.0, 1.0], [0.0, -1.0]])
    assert highest(outputs, whole.owners).tolist() == [[3.0, 5.0], [0.0, -1.0]]
    assert highest(outputs[:2], whole.owners).tolist() == [[3.0, 5.0]]


def predictions(workdir):
    return [json.loads(x) for x in (workdir.path / "predictions.jsonl").read_text().splitlines()]


def test_a_run_tells_what_its_predictions_say(trained):
    """Its figures and thresholds, from predictions.jsonl; which has hashes in place of texts."""
    workdir = trained("moderation")
    result, config = workdir.result(), workdir.config().moderation
    lines = predictions(workdir)
    texts = load_multilabel(config.validation, config.text, config.names)
    assert [x["sha256"] for x in lines] == [
        hashlib.sha256(text.text.encode()).hexdigest() for text in texts
    ]
    assert not any(
        texts[0].text in path.read_text("utf-8", "ignore") for path in workdir.path.glob("*.json*")
    )
    assert [tuple(x["labels"].values()) for x in lines] == [text.labels for text in texts]
    for name in config.names:
        rows = [x for x in lines if x["labels"][name] is not None]
        scores = np.array([x["probabilities"][name] for x in rows])
        labels = np.array([x["labels"][name] for x in rows])
        found = result["chosen"][name]
        assert (found["labelled"], found["positive"]) == (len(rows), labels.sum())
        assert found["brier"] == pytest.approx(((scores - labels) ** 2).mean())
        having = [t for t in scores.tolist() if labels[scores >= t].mean() >= 0.8]
        assert result["thresholds"][name] == (min(having) if having else None)


def test_a_scorer_says_what_the_run_says_whatever_else_it_is_asked(trained):
    workdir = trained("moderation")
    scorer, config = TextScorer.load(workdir), workdir.config().moderation
    texts = [x.text for x in load_multilabel(config.validation, config.text, config.names)]
    lines = predictions(workdir)
    expected = np.array([list(x["probabilities"].values()) for x in lines])
    np.testing.assert_allclose(scorer(texts), expected, atol=1e-6)
    long = " ".join(texts)
    mixed = scorer(["", long, texts[3]])
    assert mixed[0].tolist() == [0.0, 0.0]
    np.testing.assert_allclose(mixed[2], expected[3], atol=1e-6)
    ids = scorer.tokenizer.encode(long)
    assert len(ids) > 2 * scorer.model.config.context_length
    apply = jax.jit(scorer.model.apply)
    parts = [
        apply({"params": scorer.params}, part[None], np.array([len(part)], np.int32))
        for part in windows(ids, scorer.model.config.context_length)
    ]
    best = scipy.special.expit(np.concatenate(parts).max(0))
    np.testing.assert_allclose(mixed[1], best, atol=1e-6)
    assert scorer([]).shape == (0, 2) and scorer.thresholds == workdir.result()["thresholds"]
    broken = jax.tree.map(lambda x: x * np.nan, scorer.params)
    with pytest.raises(ValueError, match="logits that are not finite"):
        dataclasses.replace(scorer, params=broken)(texts)


@pytest.mark.parametrize("kind", tiered([(ExperimentConfig,), (SFTConfig,)], [(SFTConfig,)]))
def test_a_run_starts_from_any_language_model(kind, trained, tmp_path):
    source = trained(kind.kind)
    tokenizer, vocab = source.config().data.tokenizer, source.config().model.vocab_size
    config = make_config(
        ModerationConfig,
        checkpoint__init_from=str(source.path),
        data__tokenizer=tokenizer,
        model__vocab_size=vocab,
        moderation__random_start=False,
    )
    at_start = params_at_start(tmp_path / "run", config)
    assert at_start["moderation_heads"]["hidden_kernel"].shape == (2, 16, 8)
    heads = at_start.pop("moderation_heads")
    jax.tree.map(np.testing.assert_array_equal, at_start, source.restored())
    assert np.any(heads["hidden_kernel"]) and not np.any(heads["hidden_bias"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": None}, "config.moderation.train: got none, expected jsonl:PATH"),
        ({"categories": "A,A"}, "config.moderation.categories: got A,A, expected different names"),
        ({"categories": "A,prompt"}, "config.moderation.categories: got A,prompt"),
        ({"train": "jsonl:/nowhere"}, "/nowhere"),
        ({"random_start": False}, "config.checkpoint.init_from: got none for a new run of kind"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(changes, message, tmp_path):
    config = make_config(
        ModerationConfig, **{f"moderation__{name}": value for name, value in changes.items()}
    )
    assert message in refusal(run, tmp_path / "run", config)


def test_categories_that_no_row_has_are_refused(tmp_path):
    rows = "".join(json.dumps({"prompt": f"text {i}", "A": i % 2}) + "\n" for i in range(20))
    (tmp_path / "rows.jsonl").write_text(rows)
    config = make_config(
        ModerationConfig,
        moderation__train=f"jsonl:{tmp_path}/rows.jsonl",
        moderation__validation=None,
    )
    said = refusal(run, tmp_path / "run", config)
    assert said.startswith("config.moderation.categories: got B, which no row of")


def test_another_kind_and_an_unended_run_have_no_scores(trained, tmp_path):
    assert "which makes a language model, expected one that makes a classifier of" in refusal(
        TextScorer.load, trained("pretrain")
    )
    config = make_config(ModerationConfig)
    begun = WorkDirectory(str(tmp_path / "run"))
    begun.begin("tiny", config, {})
    assert "has not ended; expected its result.json" in refusal(TextScorer.load, begun)


@pytest.mark.slow
def test_the_smoke_experiment_learns(tmp_path):
    done = call("train", "--experiment=moderation_smoke", f"--workdir={tmp_path}/run")
    assert done.code == 0, done.errors
    result = WorkDirectory(f"{tmp_path}/run").result()
    assert max(result["mean_auprc"], 0.0) > 0.85
