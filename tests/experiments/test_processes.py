"""Two processes of four devices each, over loopback, against one process of one device."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import sources
from experiments.alignment.fine_tuning import fine_tuning
from experiments.alignment.reward_modelling import reward_modelling
from experiments.processes import connect
from experiments.task_configs import RewardModelConfig, SFTConfig
from experiments.training_run import pretrain
from experiments.workdir import WorkDirectory
from gptjax.inference.generate import Generator
from gptjax.settings import to_dict
from gptjax.training.checkpoints import Checkpoints
from gptjax.training.metrics import read_metrics
from tests.experiments import alignment_runs, policy_runs

REPOSITORY = Path(__file__).resolve().parents[2]
MESHES = {
    "alone": {},
    "resumed": {"strategy": "mesh", "tensor": 8},  # every process holds every row of a batch
    "stopped": {"strategy": "mesh", "fsdp": 4},
    "long": {"strategy": "mesh", "sequence": 8},  # every process holds half of every row
    "other": {"strategy": "mesh"},
    "rewards": {"strategy": "mesh", "fsdp": 4, "tensor": 2},
    "after": {"strategy": "mesh", "fsdp": 2, "tensor": 4},
}
BATCHES = sources.training_batches


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
    return pretrain("pair", config, WorkDirectory(str(path)))


def _rewards_config(mesh):
    """Of a reward model, of three steps."""
    return alignment_runs.make_config(
        RewardModelConfig,
        training__batch_size=8,
        training__num_steps=3,
        **{f"parallelism__{axis}": size for axis, size in mesh.items()},
    )


def _sft_config(mesh):
    """Of fine-tuning whose checkpoint is chosen by what its answers earn."""
    return alignment_runs.make_config(
        SFTConfig,
        training__batch_size=8,
        sft__choose="reward",
        sft__judges="gold",
        sft__judged_prompts=8,
        **{f"parallelism__{axis}": size for axis, size in mesh.items()},
    )


def _command(*flags):
    return [sys.executable, "-m", *flags]


def _pair(*command, **environment):
    """Runs a command as two processes; returns what each wrote to stdout, and their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = [f"--coordinator=127.0.0.1:{port}", "--num_processes=2"]
    processes = [
        subprocess.Popen(
            [*_command(*command), *address, f"--process_id={i}"],
            cwd=REPOSITORY,
            env={**os.environ, "JAX_NUM_CPU_DEVICES": "4", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    ended = [process.communicate(timeout=600) for process in processes]
    return ended, [process.returncode for process in processes]


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
        patch.setattr(sources, "training_batches", interrupted)
        assert _run(folder / "resumed", configs["alone"]).steps == 5

    plan = {
        name: {"workdir": str(folder / name), "config": to_dict(configs[name]), "task": "pretrain"}
        for name in ("resumed", "stopped", "long", "other")
    }
    alignment_runs.run(folder / "rewards_alone", _rewards_config({}), reward_modelling)
    config = to_dict(_rewards_config(MESHES["rewards"]))
    plan["rewards"] = {"workdir": str(folder / "rewards"), "config": config, "task": "reward_model"}
    alignment_runs.run(folder / "sft_alone", _sft_config({}), fine_tuning)
    config = to_dict(_sft_config(MESHES["rewards"]))
    plan["sft"] = {"workdir": str(folder / "sft"), "config": config, "task": "sft"}
    starts = policy_runs.make_starts(folder / "starts")
    policy_runs.run_policy(folder / "ppo_alone", policy_runs.make_ppo(starts))
    divided = {f"parallelism__{axis}": size for axis, size in MESHES["rewards"].items()}
    config = to_dict(policy_runs.make_ppo(starts, **divided))
    plan["ppo"] = {"workdir": str(folder / "ppo"), "config": config, "task": "ppo"}
    (folder / "plan.json").write_text(json.dumps(plan))
    ended, codes = _pair("tests.experiments.pair", f"--plan={folder / 'plan.json'}")
    assert codes == [0, 0], [errors[-3000:] for _, errors in ended]
    assert ended[1][0].replace("[Gloo]", "").count("step ") == 0  # process 0 alone prints
    seen = [json.loads((folder / f"seen_{i}.json").read_text()) for i in range(2)]
    return folder, seen


def _assert_alike(path, other):
    """Losses and gradient norms to 1e-5, as the design promises of another topology."""
    rows, expected = (read_metrics(run / "metrics.jsonl") for run in (path, other))
    assert [(row["step"], row.get("split")) for row in rows] == [
        (row["step"], row.get("split")) for row in expected
    ]
    for row, like in zip(rows, expected, strict=True):
        assert row["loss"] == pytest.approx(like["loss"], rel=1e-5)
        assert row.get("grad_norm", 0) == pytest.approx(like.get("grad_norm", 0), rel=1e-4)


@pytest.mark.parametrize(
    "given",
    [
        {"coordinator": "127.0.0.1:1"},
        {"coordinator": "127.0.0.1:1", "num_processes": 2},
        {"coordinator": "detect", "process_id": 0},
        {"num_processes": 2, "process_id": 1},
    ],
)
def test_flags_that_say_half_are_refused_in_one_line(given):
    flags.FLAGS(["pretrain"])
    with (
        flagsaver.flagsaver(**given),
        pytest.raises(ValueError, match=r"^--coordinator: got .* expected all three, or") as error,
    ):
        connect()
    assert "\n" not in str(error.value)


def test_where_nothing_is_detected_the_line_says_so(monkeypatch):
    for name in ("SLURM_JOB_ID", "OMPI_MCA_orte_hnp_uri", "JAX_COORDINATOR_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    flags.FLAGS(["pretrain"])
    with (
        flagsaver.flagsaver(coordinator="detect"),
        pytest.raises(ValueError, match=r"^--coordinator: got detect, but no processes met: "),
    ):
        connect()


@pytest.mark.slow
def test_both_see_all_devices_and_the_same_steps(runs):
    _, (first, second) = runs
    assert first == second
    assert first["devices"] == [8, 4]
    assert first["resumed"] == {"step": 12, "steps": 7, "interrupted_by": None}


@pytest.mark.slow
def test_two_processes_go_on_with_the_run_of_one(runs):
    """Data, metrics, checkpoints and the result."""
    folder, _ = runs
    _assert_alike(folder / "resumed", folder / "alone")
    with Checkpoints(folder / "resumed/checkpoints") as checkpoints:
        assert checkpoints.good_steps() == checkpoints.steps() == [3, 6, 9, 12]
    ours, alone = (WorkDirectory(str(folder / name)) for name in ("resumed", "alone"))
    assert ours.result()["loss"] == pytest.approx(alone.result()["loss"], rel=1e-5)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=2e-5), ours.params(), alone.params()
    )


@pytest.mark.slow
def test_two_processes_share_the_positions_of_a_row(runs):
    folder, _ = runs
    rows, expected = (read_metrics(folder / name / "metrics.jsonl") for name in ("long", "alone"))
    assert [row["step"] for row in rows] == [1, 2, 3, 3]
    for row, like in zip(rows[:3], expected, strict=False):
        assert row["loss"] == pytest.approx(like["loss"], rel=1e-5)


@pytest.mark.slow
def test_two_processes_train_and_judge_a_reward_model(runs):
    """Its figures take the rewards of both. Their zero, which the loss does not see, may differ."""
    folder, (first, second) = runs
    assert first["rewards"] == second["rewards"] == {"step": 3, "steps": 3, "interrupted_by": None}
    _assert_alike(folder / "rewards", folder / "rewards_alone")
    ours, alone = (
        WorkDirectory(str(folder / name)).result() for name in ("rewards", "rewards_alone")
    )
    for figure in ("rankings", "comparisons", "agreement", "dropped"):
        assert ours[figure] == alone[figure]
    assert ours["accuracy"] == pytest.approx(alone["accuracy"], abs=0.02)  # rounding decides a tie
    assert ours["demonstrations"]["count"] == alone["demonstrations"]["count"]
    deviations = [result["demonstrations"]["standard_deviation"] for result in (ours, alone)]
    assert deviations[0] == pytest.approx(deviations[1], rel=1e-3)


@pytest.mark.slow
def test_two_processes_choose_by_what_their_answers_earn(runs):
    folder, (first, second) = runs
    assert first["sft"] == second["sft"] == {"step": 8, "steps": 8, "interrupted_by": None}
    _assert_alike(folder / "sft", folder / "sft_alone")
    ours, alone = (WorkDirectory(str(folder / name)) for name in ("sft", "sft_alone"))
    assert ours.resolve_step(None) == alone.resolve_step(None)
    assert ours.record()["judges_hash"] == alone.record()["judges_hash"]


@pytest.mark.slow
def test_two_processes_optimise_a_policy(runs):
    folder, (first, second) = runs
    assert first["ppo"] == second["ppo"] == {"step": 4, "steps": 4, "interrupted_by": None}
    ours, alone = (
        policy_runs.curve(WorkDirectory(str(folder / name))) for name in ("ppo", "ppo_alone")
    )
    for row, expected in zip(ours, alone, strict=True):
        assert row == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.slow
def test_processes_that_are_told_different_things_all_stop(runs, configs):
    folder, (first, second) = runs
    rate = configs["other"].optimizer.learning_rate
    message = f"config.optimizer.learning_rate: got {2 * rate} in process 1, expected {rate} as in"
    assert first["other"] == second["other"]
    assert first["other"].startswith(message)
    assert not (folder / "other").exists()


@pytest.mark.slow
def test_a_signal_to_one_stops_both_after_the_same_step_and_one_goes_on(runs, configs):
    folder, (first, _) = runs
    step = first["stopped"]["step"]
    assert first["stopped"]["interrupted_by"] == "SIGTERM"
    assert 4 < step < 12
    assert Checkpoints(folder / "stopped/checkpoints").latest_step() == step
    assert _run(folder / "stopped", configs["after"]).steps == 12 - step
    _assert_alike(folder / "stopped", folder / "alone")


@pytest.mark.slow
def test_generation_is_that_of_one_process(runs):
    folder, seen = runs
    workdir = WorkDirectory(str(folder / "resumed"))
    prompts = [np.arange(1, 4), np.array([7])]
    texts = Generator(workdir.model(), workdir.params()).generate(prompts, max_new_tokens=8, seed=3)
    assert seen[0]["texts"] == [text.tolist() for text in texts]
