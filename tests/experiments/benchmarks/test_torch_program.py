import pytest

from experiments.benchmarks.torch_program import torch_program

SIZES = {"backward": True, "length": 64, "heads": 2, "head_dim": 8, "dtype": "float32", "window": 0}


def test_a_program_is_timed_in_a_process_of_its_own():
    pytest.importorskip("torch")
    with torch_program("torch_attention", program="sdpa", **SIZES) as (run, version):
        assert version.startswith("torch ")
        assert 0 < run() < 60 and run() > 0


def test_a_program_that_does_not_run_says_why():
    with (
        pytest.raises(ValueError, match=r"does not run here: (KeyError: 'nothing'|ModuleNotFound)"),
        torch_program("torch_attention", program="nothing", **SIZES),
    ):
        pass
