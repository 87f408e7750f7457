import contextlib
import fnmatch
import functools
import json

import pytest

from experiments.benchmarks import beside_torch
from experiments.benchmarks import train as suite
from experiments.benchmarks.figures import figure_lines, with_targets
from experiments.benchmarks.training_program import TrainingProgram
from gptjax.models.costs import training_flops_per_token

SHAPE = suite.TrainShape(50, 8, num_layers=1, num_heads=1, d_model=8, batch_size=2)
TINY = suite.TrainSizes(
    models={"six_layers": (SHAPE, 2), "gpt2_small": (SHAPE, 2)},
    depth=SHAPE,
    beside=SHAPE,
    saved=SHAPE,
    depths=(1, 2),
    saves=3,
)


@contextlib.contextmanager
def some_torch(module, *, compiled, **arguments):
    """Eager takes three seconds a step; compiled two, or is not to be had."""
    assert module == "gpt" and arguments["d_model"] == 8
    yield lambda: 2.0 if compiled else 3.0, "torch 0.0"


@contextlib.contextmanager
def eager_torch(module, *, compiled, **arguments):
    if compiled:
        raise ValueError("no compiler")
    yield lambda: 3.0, "torch 0.0"


@contextlib.contextmanager
def no_torch(module, **arguments):
    raise ValueError("not here")
    yield


def ours_in_half_a_second(programs, rounds):
    """Runs what is not ours, which would take a moment that nobody knows."""
    fixed = {"ours": 0.5, "matmul_flop": 1e-6, "shallow": 2.0, "deep": 2.5}
    return {
        name: [fixed[name] if name in fixed else program()] * rounds
        for name, program in programs.items()
    }


@pytest.fixture(scope="module")
def programs():
    """The one program of this file, compiled once."""
    return TrainingProgram(SHAPE.config)


@pytest.fixture(scope="module")
def measured(programs):
    """Returns a function from what torch can do to the suite's figures."""

    @functools.cache
    def measure(torch):
        patch.setattr(beside_torch, "torch_program", torch)
        return json.loads(json.dumps(suite.measure_train(TINY)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suite, "TrainingProgram", lambda config: programs)
        for module in (suite, beside_torch):
            patch.setattr(module, "interleaved", ours_in_half_a_second)
        yield measure


@pytest.mark.slow
def test_figures_of_programs_that_take_known_seconds(measured):
    figures = measured(some_torch)
    model = figures["six_layers"]
    tokens = 2 * 8
    assert model["over_torch"] == 2.0 / 0.5  # the better of the two
    assert model["torch_eager_tokens_per_second"] == tokens / 3
    assert model["torch_compiled_tokens_per_second"] == tokens / 2
    assert model["tokens_per_second"] == tokens / 0.5
    flops = training_flops_per_token(SHAPE.config.model) * tokens
    assert model["mfu"] == pytest.approx(flops * 1e-6 / 0.5)
    assert model["executed_mfu"] <= model["mfu"]
    assert figures["compilation"]["deep_over_shallow"] == 1.25
    beside = figures["beside_steps"]
    of_a_step = beside["batch_seconds"] + beside["row_seconds"] / 10 + beside["save_seconds"] / 1000
    assert beside["share_of_step"] == pytest.approx(of_a_step / beside["step_seconds"])
    assert min(beside.values()) > 0
    assert figures["saves"]["resident_bytes"] > 1e7


@pytest.mark.slow
@pytest.mark.parametrize("torch", [eager_torch, no_torch])
def test_what_torch_cannot_do_is_named(measured, torch, monkeypatch):
    for name in ("_compilation", "beside_steps", "memory_over_saves"):  # which have no torch
        monkeypatch.setattr(suite, name, lambda *_: {})
    model = measured(torch)["gpt2_small"]
    if torch is eager_torch:
        assert model["torch_compiled"] == "no compiler" and model["over_torch"] == 6.0
    else:
        assert model["torch_eager"] == model["torch_compiled"] == "not here"
        assert "over_torch" not in model
    assert model["tokens_per_second"] == 16 / 0.5


@pytest.mark.slow
def test_every_target_names_a_figure(measured):
    figures = measured(some_torch)
    paths = [f"{group}.{name}" for group in figures for name in figures[group]]
    for targets in (suite.CPU_TARGETS, suite.GPU_TARGETS):
        assert all(fnmatch.filter(paths, target) for target in targets)
    shown = "\n".join(figure_lines(with_targets(figures, suite.CPU_TARGETS)))
    assert shown.count("at least") + shown.count("at most") == len(suite.CPU_TARGETS)


def test_a_program_trains(programs):
    before = int(programs.state.step)
    assert programs() > 0
    assert int(programs.state.step) == before + 1
    assert programs.tokens == 16 and programs.bytes > 0
