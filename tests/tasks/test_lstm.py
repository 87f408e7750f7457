import jax
import numpy as np
import pytest

from gptjax.config import ExperimentConfig
from gptjax.training.reporting.metrics import read_metrics
from tests.support.alignment_runs import make_config, on_mesh, rows, run, stopping

LSTM = {
    "model__trunk": "lstm",
    "model__positions": "none",
    "model__num_layers": 2,
    "data__document_masking": True,
    "training__statistics_every": 4,
}


@pytest.mark.slow
def test_a_run_resumes_to_the_same_bits_and_learns_on_a_mesh_as_on_one_device(tmp_path):
    config = make_config(ExperimentConfig, **LSTM)
    whole = run(tmp_path / "whole", config)
    stopped = run(tmp_path / "stopped", config, change=stopping(5))
    assert not stopped.has_result()
    run(stopped.path, config)
    assert rows(stopped) == rows(whole)
    jax.tree.map(np.testing.assert_array_equal, stopped.restored(), whole.restored())
    measured = [row for row in read_metrics(whole.path / "metrics.jsonl") if "gradient_norm" in row]
    assert measured and all(len(row["activation_rms"]) == 2 for row in measured)

    divided = run(
        tmp_path / "mesh", make_config(ExperimentConfig, **LSTM, **on_mesh(fsdp=2, tensor=2))
    )
    for row, expected in zip(rows(divided), rows(whole), strict=True):
        if "loss" in row:
            assert row["loss"] == pytest.approx(expected["loss"], rel=1e-5)
