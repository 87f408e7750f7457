"""GPT-1's fine-tuning: its loss against a loop, its start, its figures, and what is refused."""

import dataclasses
import functools
import json
import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from gptjax.config import ModelConfig
from gptjax.data.labelled.examples import Example
from gptjax.judging.metrics import metrics_of
from gptjax.models.classifier import Classifier, with_first_layers, with_task_head
from gptjax.models.gpt import GPT
from gptjax.runs.program import Program
from gptjax.tasks.classification.config import ClassificationConfig
from gptjax.tasks.classification.report import SEED, task_evaluator
from gptjax.training.task_losses import mean_loss, task_parts, with_dropped_tables
from tests.support.alignment_runs import (
    make_config,
    on_mesh,
    params_at_start,
    prepared,
    rows,
    run,
)
from tests.support.binaries import call
from tests.support.params import random_params

MODEL = ModelConfig(vocab_size=11, context_length=6, num_layers=1, num_heads=1, d_model=8)
TOKENS = np.array([[[9, 1, 2, 10, 0], [9, 3, 10, 0, 0]], [[9, 4, 5, 6, 10], [0] * 5]], np.int32)
LENGTHS = np.array([[4, 3], [5, 0]], np.int32)


@functools.cache
def gpt_params():
    return random_params(GPT(MODEL))


def classifier(num_outputs, **attributes):
    """A classifier of random parameters, with a head whose outputs are not all near 0."""
    model = Classifier(MODEL, num_outputs, **attributes)
    params = with_task_head(gpt_params(), model.config, num_outputs, jax.random.key(1))
    head = jax.tree.map(lambda x: 50 * np.asarray(x) + 0.1, params["task_head"])
    return model, params | {"task_head": head}


@functools.cache
def gpt():
    model = GPT(MODEL)
    return jax.jit(lambda *given: (model.apply(*given, method="hidden"), model.apply(*given)))


@functools.cache
def read_by_gpt(ids):
    """Hidden states and log-probabilities of a sequence, other tokens than padding behind it."""
    padded = np.array([[*ids, *[7] * (5 - len(ids))]], np.int32)
    hidden, logits = gpt()({"params": gpt_params()}, padded)
    return np.asarray(hidden[0], np.float64)[0], log_softmax(logits)[0]


def log_softmax(x):
    return scipy.special.log_softmax(np.asarray(x, np.float64), axis=-1)


def by_hand(head, targets, lm_weight, chooses):
    """The mean loss of the batch, a sequence at a time, in float64."""
    losses = []
    for several, lengths, target in zip(TOKENS, LENGTHS, targets, strict=True):
        real = [tuple(ids[:n].tolist()) for ids, n in zip(several, lengths, strict=True) if n]
        outputs = [read_by_gpt(ids)[0][len(ids) - 1] for ids in real]
        nats = [
            -np.mean([read_by_gpt(ids)[1][i, ids[i + 1]] for i in range(len(ids) - 1)])
            for ids in real
        ]
        if chooses:
            loss = -log_softmax([(x @ head["kernel"] + head["bias"])[0] for x in outputs])[target]
        else:
            said = np.sum(outputs, axis=0) @ head["kernel"] + head["bias"]
            of_class = isinstance(target, int)
            loss = -log_softmax(said)[target] if of_class else (said[0] - target) ** 2
        losses.append(loss + lm_weight * np.mean(nats))
    return np.mean(losses)


@pytest.mark.parametrize(
    ("num_outputs", "targets", "lm_weight", "chooses"),
    [(3, [2, 0], 0.5, False), (1, [0.5, 4.0], 0.0, False), (1, [1, 0], 0.5, True)],
)
def test_the_loss_is_that_of_a_loop_over_sequences(num_outputs, targets, lm_weight, chooses):
    """Classes of features that are added up, numbers, and candidates, of which some are missing."""
    model, params = classifier(num_outputs, chooses=chooses)
    batch = {
        "tokens": np.concatenate([TOKENS, np.zeros_like(TOKENS[:1])]),  # the last row is padding
        "lengths": np.concatenate([LENGTHS, np.zeros_like(LENGTHS[:1])]),
        "targets": np.array([*targets, 0], np.int32 if isinstance(targets[0], int) else np.float32),
        "weights": np.array([1, 1, 0], np.float32),
    }
    loss = mean_loss(task_parts(model, lm_weight), lm_weight)
    total, weight, sums = jax.jit(loss, static_argnums=2)(params, batch, None)
    assert weight == 2.0 and ("lm_loss" in sums) == bool(lm_weight)
    head = jax.tree.map(lambda x: np.asarray(x, np.float64), params["task_head"])
    expected = by_hand(head, targets, lm_weight, chooses)
    assert float(total / weight) == pytest.approx(expected, rel=1e-5)


def test_candidates_of_an_example_share_the_mask_of_dropout():
    model, params = classifier(1, chooses=True, dropout=0.5)
    twice = np.stack([TOKENS[:, 0], TOKENS[:, 0]], axis=1), LENGTHS[:, [0, 0]]

    @jax.jit
    def outputs(key):
        apply = functools.partial(model.apply, {"params": params}, *twice)
        dropped, _ = apply(deterministic=False, rngs={"dropout": key})
        return dropped, apply()[0]

    dropped, whole = jax.device_get(outputs(jax.random.key(0)))
    np.testing.assert_array_equal(dropped[:, 0], dropped[:, 1])
    assert not np.allclose(whole, dropped)


def test_a_share_of_the_tables_is_dropped_for_all_their_readers():
    """What the wrapped loss is given: as without, but for numbers that are 0 or doubled."""
    params = jax.device_get(gpt_params())
    given = with_dropped_tables(lambda params, batch, rng: params, 0.5)
    assert given(params, {}, None) is params
    drop = jax.jit(lambda tables, rng: given(params | tables, {}, rng))
    tables = {name: params[name] for name in ("token_embedding", "position_embedding")}
    first, again, other = (jax.device_get(drop(tables, jax.random.key(seed))) for seed in (1, 1, 2))
    for name in ("token_embedding", "position_embedding"):
        kept = np.asarray(first[name] != 0)
        np.testing.assert_array_equal(first[name], np.where(kept, 2 * params[name], 0))
        np.testing.assert_array_equal(first[name], again[name])
        assert (kept != (other[name] != 0)).any() and 0.25 < kept.mean() < 0.75
    jax.tree.map(np.testing.assert_array_equal, first["trunk"], params["trunk"])


@pytest.mark.slow
def test_the_first_layers_are_transferred_and_the_others_drawn():
    config = dataclasses.replace(MODEL, num_layers=3, norm="pre").resolved()
    params, fresh = (
        GPT(config).init(jax.random.key(seed), jnp.zeros((1, 1), jnp.int32))["params"]
        for seed in (1, 2)
    )
    mixed = with_first_layers(params, config, 2, jax.random.key(2))
    assert mixed["token_embedding"] is params["token_embedding"]
    layers = (tree["trunk"]["layers"] for tree in (mixed, params, fresh))
    for leaf, old, new in zip(*map(jax.tree.leaves, layers), strict=True):
        np.testing.assert_array_equal(leaf, np.concatenate([old[:2], new[2:]]))


def test_a_run_without_its_layers_starts_from_the_tables(trained, tmp_path):
    from_tables = {"checkpoint__init_from": str(trained("pretrain").path)}
    config = make_config(ClassificationConfig, **from_tables, task__transferred_layers=0)
    params, theirs = params_at_start(tmp_path / "run", config), trained("pretrain").params()
    kernel = ("trunk", "layers", "feed_forward", "up", "kernel")
    ours, before = (functools.reduce(dict.__getitem__, kernel, x) for x in (params, theirs))
    assert ours.shape == before.shape and not np.any(np.asarray(ours) == np.asarray(before))
    np.testing.assert_array_equal(params["position_embedding"], theirs["position_embedding"])


def test_a_pretrained_model_gets_three_rows_and_a_head(trained, tmp_path):
    """With LoRA, the head is trained beside the adapters."""
    source = trained("pretrain")
    changes = {"checkpoint__init_from": str(source.path), "task__random_start": False}
    config = make_config(ClassificationConfig, **changes)
    started = jax.device_get(params_at_start(tmp_path / "run", config))
    theirs = jax.device_get(source.params())
    head = started.pop("task_head")
    assert head["kernel"].shape == (16, 2) and not head["bias"].any()
    rows = started["token_embedding"]
    np.testing.assert_array_equal(rows[:448], theirs["token_embedding"][:448])
    assert 0.01 < rows[448:451].std() < 0.04
    jax.tree.map(np.testing.assert_array_equal, started["trunk"], theirs["trunk"])
    adapted = make_config(ClassificationConfig, lora__rank=2, **changes)
    assert set(Program(adapted).target.params) == {"trunk", "task_head"}


def test_metrics_are_those_of_the_libraries_and_intervals_hold_them():
    rng = np.random.default_rng(0)
    targets = rng.integers(2, size=200)
    predicted = np.where(rng.random(200) < 0.8, targets, 1 - targets)
    figures = metrics_of(predicted, targets, 2, seed=0)
    assert figures["accuracy"] == np.mean(predicted == targets)
    assert figures["matthews"] == pytest.approx(scipy.stats.pearsonr(predicted, targets).statistic)
    of_classes = []
    for label in (0, 1):
        hits = np.sum((predicted == label) & (targets == label))
        precision, recall = hits / np.sum(predicted == label), hits / np.sum(targets == label)
        of_classes.append(2 * precision * recall / (precision + recall))
    assert figures["macro_f1"] == pytest.approx(np.mean(of_classes))
    spread = math.sqrt(figures["accuracy"] * (1 - figures["accuracy"]) / 200)
    bounds = figures["accuracy_low"], figures["accuracy_high"]
    wilson = figures["accuracy"] - 1.96 * spread, figures["accuracy"] + 1.96 * spread
    np.testing.assert_allclose(bounds, wilson, atol=0.01)
    x = rng.normal(size=100)
    numbers = metrics_of(x + rng.normal(size=100), x, None, seed=0)
    assert set(numbers) == {
        f"{n}{e}" for n in ("pearson", "spearman") for e in ("", "_low", "_high")
    }
    assert numbers["pearson_low"] < numbers["pearson"] < numbers["pearson_high"]
    constant = metrics_of(np.zeros(9, int), np.arange(9) % 2, 2, seed=0)
    assert constant["matthews"] == 0.0 == metrics_of(np.ones(9), np.arange(9.0), None, 0)["pearson"]
    assert metrics_of(predicted, targets, 2, seed=0) == figures


def test_examples_with_one_first_text_are_of_one_cluster():
    """Four hypotheses about each of 40 premises, all right or all wrong."""
    right = np.random.default_rng(1).random(40) < 0.7
    examples = [Example((f"p{i}", f"h{j}"), 1) for i in range(40) for j in range(4)]
    rows = types.SimpleNamespace(examples=examples)
    outputs = np.stack([np.zeros(160), np.repeat(right, 4) - 0.5], axis=1)
    losses = {"task_loss": np.ones(160)}
    found = task_evaluator(lambda _: (outputs, losses), rows, ("a", "b"), 0.0)(None)
    alone = metrics_of(right.astype(int), np.ones(40, int), 2, SEED)
    for name in ("accuracy", "accuracy_low", "accuracy_high"):
        assert found[name] == pytest.approx(alone[name])


def test_the_chosen_checkpoint_is_that_of_the_best_figure_and_its_predictions_are_kept(trained):
    workdir = trained("classification")
    result, path = workdir.result(), workdir.path
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    judged = {row["step"]: row["accuracy"] for row in rows if row.get("split") == "validation"}
    assert judged[result["chosen_step"]] == max(judged.values()) == result["chosen"]["accuracy"]
    said = [json.loads(line) for line in (path / "predictions.jsonl").read_text().splitlines()]
    right = [line["label"] == line["prediction"] for line in said]
    assert len(said) == 20 and np.mean(right) == result["chosen"]["accuracy"]
    labels = [line["label"] for line in said]
    assert result["majority_share"] == max(labels.count(label) for label in set(labels)) / 20
    for line in said:
        odds = line["probabilities"]
        assert max(odds, key=odds.get) == line["prediction"] and sum(
            odds.values()
        ) == pytest.approx(1)
    (row,) = call("evaluate", f"--workdir={path}").rows
    assert {name: row[name] for name in result["chosen"]} == result["chosen"]


def test_epochs_make_the_steps_and_their_share_of_warmup():
    config = make_config(ClassificationConfig, task__epochs=3, task__warmup_fraction=0.1)
    task = prepared(config)
    assert task.config.training.num_steps == 45 and task.config.optimizer.warmup_steps == 4
    assert prepared(task.config).config == task.config


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"task__text_b": "b"},
            r"config\.task\.text_b: got b, expected none with task\.form=class",
        ),
        ({"task__form": "choice"}, r"config\.task\.choices: got None, expected fields of the cand"),
        ({"task__labels": None}, r"config\.task\.labels: got None, expected names such as 0,1"),
        ({"task__labels": "a,a"}, r"expected two different names or more"),
        (
            {"task__metric": "pearson"},
            r"config\.task\.metric: got pearson, expected one of accuracy",
        ),
        (
            {"task__labels": "animals,toys"},
            r"embedded:count=60:\d+: 'label': got 'things', expected",
        ),
        ({"task__labels": "animals,things,toys"}, r"config\.task\.train: got no example of toys"),
        ({"task__train": None}, r"config\.task\.train: got none, expected jsonl:PATH or tsv:PATH"),
        (
            {"model__context_length": 5},
            r"config\.model\.context_length: got 5, expected at least 6",
        ),
        (
            {"data__tokenizer": "instructions_448", "model__vocab_size": 448},
            r"without the tokens of a task, expected task:instructions_448",
        ),
        (
            {"data__tokenizer": "task:chat:instructions_448"},
            r"config\.data\.tokenizer: got the kind chat below the marks of the kind task",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(changes, expected):
    with pytest.raises(ValueError, match=expected) as error:
        prepared(make_config(ClassificationConfig, **changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("reward_model", "holds a reward model, expected a run of a language model"),
        ("classification", "holds a classifier, expected a run of a language model"),
        ("sft", "got the kind chat below the marks of the kind task"),
    ],
)
def test_it_starts_from_a_language_model_alone(name, expected, trained, tmp_path):
    ended = call(
        "train",
        "--experiment=classification_smoke",
        f"--workdir={tmp_path}/run",
        f"--config.checkpoint.init_from={trained(name).path}",
    )
    assert ended.code == 2 and expected in ended.refusal
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_rows_divided_over_a_mesh_give_the_same_run(trained, tmp_path):
    """Head dropout draws the same bits on every mesh."""
    found, alone = (
        rows(run(tmp_path / f"run{number}", trained.config("classification", **changes)))
        for number, changes in enumerate(
            {"training__batch_size": 8, **axes} for axes in (on_mesh(fsdp=4, data=2), {})
        )
    )
    for row, expected in zip(found, alone, strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-5)
