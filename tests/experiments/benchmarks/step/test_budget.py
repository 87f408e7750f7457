import jax
import pytest

from experiments.benchmarks.step.budget import PARTS, step_budget
from experiments.benchmarks.step.forms import FORMS
from experiments.benchmarks.train_shape import TrainShape
from experiments.benchmarks.training_program import TrainingProgram


@pytest.mark.slow
@pytest.mark.skipif(jax.default_backend() != "cpu", reason="reads the profile of a CPU")
def test_shares_of_a_step_add_up():
    program = TrainingProgram(TrainShape(50, 32, 1, 2, 32, batch_size=4).config)
    figures = step_budget(program, steps=2)
    shares = figures["shares"]
    assert tuple(shares) == PARTS and min(shares.values()) >= 0
    assert sum(shares.values()) == pytest.approx(1)
    for part in ("products", "attention", "normalisation", "activation", "optimizer", "loss"):
        assert shares[part] > 0, part
    products = figures["products"]
    assert sum(each["share"] for each in products.values()) == pytest.approx(shares["products"])
    # Up, down, query, key, value and out; each forward and with its two gradients.
    assert {"forward [128,32] x [32,128]", "forward [128,128] x [128,32]"} <= products.keys()
    for each in products.values():
        assert each["gflop_a_second"] > 0 and each["best_gflop_a_second"] > 0
        assert each["best_form"] in FORMS
    assert figures["products_seconds"] == pytest.approx(
        shares["products"] * figures["step_seconds"]
    )
    assert figures["products_seconds_at_best"] > 0
