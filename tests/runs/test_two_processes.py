"""Two processes that meet, over loopback, and what their flags refuse; they train elsewhere."""

import pytest
from absl import flags
from absl.testing import flagsaver

from experiments.flags.processes import connect
from tests.support.pair_runs import on_mesh, pair_seen, run_of


def test_two_processes_meet_and_stop_where_they_are_told_different_things(tmp_path, make_config):
    config = make_config(training__batch_size=8, **on_mesh())
    first, second = pair_seen(tmp_path, {"other": run_of(tmp_path / "other", config)})
    assert first == second
    assert first["devices"] == [8, 4]
    rate = config.optimizer.learning_rate
    message = f"config.optimizer.learning_rate: got {2 * rate} in process 1, expected {rate} as in"
    assert first["other"].startswith(message)
    assert not (tmp_path / "other").exists()


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
        connect()
    assert "\n" not in str(error.value)


def test_where_nothing_is_detected_the_line_says_so(monkeypatch):
    for name in ("SLURM_JOB_ID", "OMPI_MCA_orte_hnp_uri", "JAX_COORDINATOR_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    flags.FLAGS(["train"])
    with (
        flagsaver.flagsaver(coordinator="detect"),
        pytest.raises(ValueError, match=r"^--coordinator: got detect, but no processes met: "),
    ):
        connect()
