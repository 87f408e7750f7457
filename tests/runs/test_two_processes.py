"""Two processes that meet, over loopback, and what their flags refuse; they train elsewhere."""

import os
import subprocess
import sys

import jax
import pytest
from absl import flags
from absl.testing import flagsaver

from experiments.flags.processes import connect
from gptjax.config import ParallelismConfig
from tests.support.alignment_runs import on_mesh
from tests.support.binaries import call
from tests.support.pair_runs import REPOSITORY, pair_seen, run_of


@pytest.mark.slow
def test_two_processes_meet_and_stop_where_they_are_told_different_things(tmp_path, make_config):
    config = make_config(training__batch_size=8, **on_mesh())
    names = ("other", "unshared")
    first, second = pair_seen(tmp_path, {name: run_of(tmp_path / name, config) for name in names})
    assert first == second
    assert first["devices"] == [8, 4]
    rate = config.optimizer.learning_rate
    message = f"config.optimizer.learning_rate: got {2 * rate} in process 1, expected {rate} as in"
    assert first["other"].startswith(message)
    assert not (tmp_path / "other").exists()
    assert first["unshared"] == (
        f"--workdir: {tmp_path}/unshared1 of process 1 is not the directory of process 0; expected "
        "one on a disk that all processes share"
    )
    assert not list(tmp_path.glob("unshared*"))


@pytest.mark.slow
def test_two_processes_stop_where_a_tracker_of_the_first_cannot_start(tmp_path, make_config):
    config = make_config(training__batch_size=8, **on_mesh())
    seen = pair_seen(tmp_path, {"untracked": run_of(tmp_path / "untracked", config)})
    for each in seen:
        assert each["untracked"].endswith("expected a tracker that can start")


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
    flags.FLAGS(["train"])
    with (
        flagsaver.flagsaver(**given),
        pytest.raises(ValueError, match=r"^--coordinator: got .* expected all three, or") as error,
    ):
        connect(lambda: ParallelismConfig(strategy="mesh"))
    assert "\n" not in str(error.value)


def test_where_nothing_is_detected_the_line_says_so(monkeypatch):
    for name in ("SLURM_JOB_ID", "OMPI_MCA_orte_hnp_uri", "JAX_COORDINATOR_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    flags.FLAGS(["train"])
    with (
        flagsaver.flagsaver(coordinator="detect"),
        pytest.raises(ValueError, match=r"^--coordinator: got detect, but no processes met: "),
    ):
        connect(lambda: ParallelismConfig(strategy="mesh"))


COUNTED = ["--coordinator=127.0.0.1:1", "--num_processes=2", "--process_id=1"]
STEPS = ["--config.parallelism.strategy=mesh", "--config.training.num_steps=9"]  # and epochs
DETECTED = ["--coordinator=detect"]
SINGLE = "config.parallelism.strategy: got single, which is one device, with 2 processes"


@pytest.mark.parametrize(
    ("given", "variables", "refusal"),
    [
        ([*COUNTED, "--workdir=run"], {}, SINGLE),
        ([*DETECTED, "--workdir=run"], {"SLURM_NTASKS": "2"}, SINGLE),
        ([*DETECTED, "--workdir=run"], {"SLURM_NTASKS": "1", "OMPI_COMM_WORLD_SIZE": "2"}, SINGLE),
        ([*COUNTED, STEPS[0]], {}, "--workdir: got none"),
        ([*COUNTED, "--experiment=sft_smoke", *STEPS], {}, "--config.training.num_steps: got 9"),
    ],
)
def test_what_a_process_can_refuse_alone_is_refused_before_it_joins(
    given, variables, refusal, monkeypatch
):
    def joined(*_, **__):
        raise AssertionError("the process has joined")

    monkeypatch.setattr(jax.distributed, "initialize", joined)
    for name in ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert call("train", "--experiment=demo", *given).refusal.startswith(refusal)


@pytest.mark.parametrize("binary", ["sample", "verify"])
def test_a_directory_that_one_process_does_not_see_is_refused_after_all_have_joined(
    binary, tmp_path, monkeypatch
):
    joined = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_, **__: joined.append(True))
    refused = call(binary, f"--workdir={tmp_path}", *COUNTED).refusal
    assert refused.startswith(f"--workdir: no run in {tmp_path} (config.json: No such file")
    assert joined == [True]


@pytest.mark.slow
def test_real_processes_that_slurm_starts_refuse_a_run_of_one_device_at_once(tmp_path):
    """Each of them; the node they would meet at does not exist."""
    command = [sys.executable, "-m", "experiments.train", "--experiment=demo"]
    command += [f"--workdir={tmp_path / 'run'}", "--coordinator=detect"]
    slurm = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "node[1-2]", "SLURM_NTASKS": "2"}
    processes = [
        subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=os.environ | slurm | {"SLURM_PROCID": i, "SLURM_LOCALID": "0"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in "01"
    ]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors.count("\n")) == (2, 1), errors
        assert errors.startswith(f"error: {SINGLE}")
    assert not (tmp_path / "run").exists()
