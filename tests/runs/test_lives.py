import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_run_killed_twenty_times_ends_with_the_bits_of_one_left_alone(tmp_path, cache):
    """Losses, evaluations and parameters; `lives` compares them, and fails where they differ."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.support.lives", tmp_path / "runs"],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kills"] == 20
    assert 0 < found["during_a_save"] < 20
    assert len(set(found["resumed_from"])) > 3
