"""The loop of PPO alone: what it asks of its environment, and in which order it learns.

Its programs note what they are given, so that nothing is compiled.
"""

import dataclasses
import unittest.mock
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.alignment.ppo import PPOState
from gptjax.alignment.ppo_loop import Environment, Programs, optimise
from gptjax.alignment.ppo_settings import PPOSettings, StopSettings
from gptjax.alignment.rollouts import Rollouts
from gptjax.config import (
    CheckpointConfig,
    ExperimentConfig,
    OptimizerConfig,
    ParallelismConfig,
    TrainingConfig,
    resolve,
)
from gptjax.training.partitioning import make_mesh
from gptjax.training.state import TrainState

ROWS = 8


def _rollouts(iteration):
    """Answers without end, whose tokens are the numbers of their episodes."""
    numbers = ROWS * iteration + np.arange(ROWS, dtype=np.int32)
    ones = np.ones(ROWS, np.int32)
    return Rollouts(np.stack([numbers, numbers], 1), ones, numbers[:, None], ones, ones == 0)


@pytest.fixture(scope="module")
def seen():
    return _iterations()


def _iterations(first=0, tokens=None):
    """Iterations to the third, of two epochs of two minibatches, as those that they call see them.

    The policy's one parameter counts updates; its average is a hundred more.
    """
    seen: Any = SimpleNamespace(drawn=[], shown=[], learned=[], saved=[], rows=[], drawn_by=[])
    seen.phases = unittest.mock.MagicMock()
    config = resolve(
        ExperimentConfig(
            optimizer=OptimizerConfig(
                learning_rate=1.0, schedule="linear", decay_steps=4, final_fraction=0.0
            ),
            training=TrainingConfig(num_steps=3, batch_size=ROWS, eval_every=2),
            checkpoint=CheckpointConfig(every_steps=2),
        )
    )

    def update(state, minibatch, text, _):
        of_minibatch, of_text = (np.asarray(x["tokens"]).tolist() for x in (minibatch, text))
        seen.learned.append(([row[0] for row in of_minibatch], of_text))
        return dataclasses.replace(state, params=state.params + 1, ema=state.ema + 1), {}

    def draw(params, iteration):
        seen.drawn.append((int(params), iteration))
        return _rollouts(iteration)

    programs = Programs(
        measure=lambda params, reference, critic, batch: {"log_probs": batch["answers"]},
        learning_targets=lambda *given: ({}, {"kl": 0.0, "entropy": 1.0}, *given[-2:]),
        update=update,
        mesh=make_mesh(ParallelismConfig()),
    )
    environment = Environment(
        draw=draw,
        score=lambda rollouts, iteration: (np.full(ROWS, float(iteration)), {}),
        text=lambda iteration: {"tokens": 10 * iteration + np.arange(4)},
        show=lambda params, iteration: seen.shown.append((int(params), iteration)),
    )
    io: Any = SimpleNamespace(
        save=lambda step, state, config, tokens: seen.saved.append((step, tokens)),
        checkpoints=SimpleNamespace(wait=lambda: None),
        writer=SimpleNamespace(write=seen.rows.append),
        data_record={} if tokens is None else {"tokens": tokens},
        progress=SimpleNamespace(update=lambda row: None, phase=seen.phases),
        redraw=lambda: seen.drawn_by.append(len(seen.rows)),
    )
    rest = PPOState({}, {}, {}, jnp.float32(0.1), {})
    state = TrainState(jnp.int32(first), jnp.int32(0), rest, jnp.int32(100))
    settings = PPOSettings(minibatches=2, inner_epochs=2)
    optimise(state, None, programs, environment, config, settings, StopSettings(), io)
    return seen


def test_the_policy_answers_and_its_average_is_shown(seen):
    assert seen.drawn == [(0, 0), (4, 1), (8, 2)]
    assert seen.shown == [(100, 0), (108, 2), (112, 3)]


def test_rows_are_of_their_iterations_and_checkpoints_are_saved_when_due(seen):
    assert [(row["step"], row["score"]) for row in seen.rows] == [(1, 0.0), (2, 1.0), (3, 2.0)]
    assert [row["learning_rate"] for row in seen.rows] == [1.0, 0.75, 0.5]
    drawn = np.cumsum([row["answer_length"] * ROWS for row in seen.rows])
    assert [row["tokens"] for row in seen.rows] == drawn.tolist()
    assert seen.drawn_by == [2, 3]  # the picture, after each evaluation
    seen.phases.assert_called_once_with("compiling, and the first iteration")
    assert seen.saved == [(2, drawn[1]), (3, drawn[2])]


@pytest.mark.parametrize(("saved", "expected"), [(1000, 1008), (None, None)])
def test_tokens_go_on_from_the_checkpoints_where_it_says_how_many(saved, expected):
    seen = _iterations(first=2, tokens=saved)
    (row,) = seen.rows
    assert (row["step"], row.get("tokens")) == (3, expected) and seen.saved == [(3, expected)]


def test_later_epochs_of_each_iteration_have_an_order_of_their_own(seen):
    drawn, orders = list(range(ROWS)), []
    for iteration in range(3):
        updates = [rows for rows, _ in seen.learned[4 * iteration :][:4]]
        first, later = (
            [number - ROWS * iteration for rows in epoch for number in rows]
            for epoch in (updates[:2], updates[2:])
        )
        assert first == drawn == sorted(later)
        orders.append(tuple(later))
    assert len({tuple(drawn), *orders}) == 4


def test_each_iteration_learns_its_own_text_in_each_epoch(seen):
    expected = [
        [10 * iteration + row for row in rows]
        for iteration in range(3)
        for rows in ([0, 1], [2, 3]) * 2
    ]
    assert [text for _, text in seen.learned] == expected
