"""Two processes of four devices each, over loopback, against one process of one device.

What two processes refuse is in test_two_processes.
"""

import signal

import jax
import numpy as np
import pytest

from gptjax.inference.generate import Generator
from gptjax.runs import inputs
from gptjax.runs.train import train
from gptjax.runs.workdir import WorkDirectory
from gptjax.training.checkpoints.store import Checkpoints
from gptjax.training.reporting.metrics import read_metrics
from tests.support.good_steps import good_steps
from tests.support.pair_runs import assert_alike, pair_seen, run_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # two processes that compile
MESHES = {
    "alone": {},
    "resumed": {"strategy": "mesh", "tensor": 8},  # every process holds every row of a batch
    "stopped": {"strategy": "mesh", "fsdp": 4},
    "long": {"strategy": "mesh", "sequence": 8},  # every process holds half of every row
    "after": {"strategy": "mesh", "fsdp": 2, "tensor": 4},
}
BATCHES = inputs.training_batches


@pytest.fixture(scope="module")
def configs(make_config):
    shape = {"model__num_heads": 8, "model__d_model": 16, "training__batch_size": 8}
    return {
        name: make_config(
            **shape,
            training__num_steps=3 if name == "long" else 12,
            training__log_every=1,
            checkpoint__keep_every=3,
            **{f"parallelism__{axis}": size for axis, size in mesh.items()},
        )
        for name, mesh in MESHES.items()
    }


def _run(path, config):
    return train("pair", config, WorkDirectory(str(path)))


@pytest.fixture(scope="module")
def runs(tmp_path_factory, configs):
    """Runs by name, in a folder each, and what both processes have seen."""
    folder = tmp_path_factory.mktemp("runs")
    _run(folder / "alone", configs["alone"])

    def interrupted(*args):
        for step, batch in enumerate(BATCHES(*args)):
            if step == 4:
                signal.raise_signal(signal.SIGTERM)
            yield batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "training_batches", interrupted)
        assert _run(folder / "resumed", configs["alone"]).steps == 5

    plan = {name: run_of(folder / name, configs[name]) for name in ("resumed", "long", "stopped")}
    return folder, pair_seen(folder, plan)


def test_both_see_all_devices_and_the_same_steps(runs):
    _, (first, second) = runs
    assert first == second
    assert first["devices"] == [8, 4]
    assert first["resumed"] == {"step": 12, "steps": 7, "interrupted_by": None}


def test_two_processes_go_on_with_the_run_of_one(runs):
    """Data, metrics, checkpoints and the result."""
    folder, _ = runs
    assert_alike(folder / "resumed", folder / "alone")
    with Checkpoints(folder / "resumed/checkpoints") as checkpoints:
        assert good_steps(checkpoints) == checkpoints.steps() == [3, 6, 9, 12]
    ours, alone = (WorkDirectory(str(folder / name)) for name in ("resumed", "alone"))
    assert ours.result()["loss"] == pytest.approx(alone.result()["loss"], rel=1e-5)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=2e-5), ours.params(), alone.params()
    )


def test_two_processes_share_the_positions_of_a_row(runs):
    folder, _ = runs
    rows, expected = (read_metrics(folder / name / "metrics.jsonl") for name in ("long", "alone"))
    assert [row["step"] for row in rows] == [1, 2, 3, 3]
    for row, like in zip(rows[:3], expected, strict=False):
        assert row["loss"] == pytest.approx(like["loss"], rel=1e-5)


def test_a_signal_to_one_stops_both_after_the_same_step_and_one_goes_on(runs, configs):
    folder, (first, _) = runs
    step = first["stopped"]["step"]
    assert first["stopped"]["interrupted_by"] == "SIGTERM"
    assert 4 < step < 12
    assert Checkpoints(folder / "stopped/checkpoints").latest_step() == step
    assert _run(folder / "stopped", configs["after"]).steps == 12 - step
    assert_alike(folder / "stopped", folder / "alone")


def test_generation_is_that_of_one_process(runs):
    folder, seen = runs
    workdir = WorkDirectory(str(folder / "resumed"))
    prompts = [np.arange(1, 4), np.array([7])]
    texts = Generator(workdir.model(), workdir.params()).generate(prompts, max_new_tokens=8, seed=3)
    assert seen[0]["texts"] == [text.tolist() for text in texts]
