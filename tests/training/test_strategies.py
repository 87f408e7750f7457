"""Every strategy and shape of mesh against one device: the losses, and what devices exchange."""

import collections
import dataclasses
import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.config import (
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    ParallelismConfig,
    TrainingConfig,
    resolve,
)
from gptjax.runs.program import Program
from gptjax.training.checkpoints.start import initial_state, resume
from gptjax.training.checkpoints.store import Checkpoints
from gptjax.training.gradients import gradient_sums
from gptjax.training.partitioning import put_batch

ROWS, LENGTH, WIDTH, VOCABULARY = 8, 16, 16, 64
STEPS = 10
ONE = {"num_layers": 1, "attention": "banded(window=6)"}
TWO = {"num_layers": 2, "attention": "dense,banded(window=6)"}
STRATEGIES = {
    "pmap": {"strategy": "pmap"},
    "data": {"strategy": "mesh"},
    "fsdp": {"strategy": "mesh", "fsdp": 8},
    "tensor": {"strategy": "mesh", "tensor": 4},
    "gather": {"strategy": "mesh", "sequence": 4},
    "ring": {"strategy": "mesh", "sequence": 4, "sequence_attention": "ring"},
    "all but data": {"strategy": "mesh", "fsdp": 2, "tensor": 2, "sequence": 2},
}


def _config(strategy="single", *, model=None, training=None, **parallelism):
    return resolve(
        ExperimentConfig(
            model=ModelConfig(
                vocab_size=50,
                vocab_multiple=VOCABULARY,
                context_length=LENGTH,
                num_heads=4,
                d_model=WIDTH,
                **ONE | (model or {}),
            ),
            optimizer=OptimizerConfig(learning_rate=0.01, warmup_steps=2, schedule="constant"),
            training=TrainingConfig(batch_size=ROWS, **(training or {})),
            parallelism=ParallelismConfig(strategy=strategy, **parallelism),
        )
    )


def _batch(step):
    """Rows of a few documents, some targets without weight, more of them in later rows."""
    rng = np.random.default_rng(step)
    tokens = np.cumsum(rng.integers(3, size=(ROWS, LENGTH + 1)), axis=1, dtype=np.int32) % 50
    weights = rng.random((ROWS, LENGTH)) < np.linspace(1, 0.2, ROWS)[:, None]
    return {
        "tokens": tokens[:, :-1],
        "targets": tokens[:, 1:],
        "loss_weights": weights.astype(np.float32),
        "segment_ids": np.sort(rng.integers(3, size=(ROWS, LENGTH), dtype=np.int32), axis=1),
    }


class Run:
    """A run of a configuration, from NumPy's random parameters; its step is compiled once."""

    name = ""

    def __init__(self, config, random_params):
        self.program = Program(config)
        where = jax.tree.map(lambda leaf: leaf.sharding, self.program.target)
        fresh = self.program.fresh(0, random_params(config.model))
        self.state = jax.tree.map(jax.device_put, jax.device_get(fresh), where)
        self.compiled = self.program.train_step.lower(self.state, self._put(0), 0).compile()

    def _put(self, step):
        return put_batch(_batch(step), self.program.mesh)

    def train(self, steps=STEPS):
        """Loss and gradient norm of each step."""
        rows = []
        for _ in range(steps):
            self.state, metrics = self.compiled(self.state, self._put(int(self.state.step)), 0)
            rows.append([float(metrics["loss"]), float(metrics["grad_norm"])])
        return np.array(rows)


def _exchanged(compiled):
    """Collective -> the shapes that it makes, over a whole compiled program."""
    made = collections.defaultdict(list)
    text = re.sub(r"/\*index=\d+\*/", "", compiled.as_text())
    names = "all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute"
    for shapes, name in re.findall(rf"= (\(?[^=]*?) ({names})(?:-start)?\(", text):
        for shape in re.findall(r"\w+\[([\d,]*)\]", shapes):
            made[name].append(tuple(map(int, shape.split(","))) if shape else ())
    return made


@pytest.fixture(scope="module")
def make_run(random_params):
    """Returns a function from a strategy, or from what `_config` takes, to a `Run`."""

    def make(name="", **changes):
        return Run(_config(**{**STRATEGIES.get(name, {}), **changes}), random_params)

    return make


@pytest.fixture(scope="module")
def expected(make_run):
    """Returns a function from model fields to what one device computes."""

    @functools.cache
    def trained(num_layers, attention):
        rows = make_run(model={"num_layers": num_layers, "attention": attention}).train()
        assert rows[-1, 0] < rows[0, 0] - 0.1
        return rows

    return lambda model: trained(model["num_layers"], model["attention"])


BOTH = [ONE, pytest.param(TWO, marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=BOTH, ids=["one layer", "two layers"])
def model(request):
    return request.param


LATER = ("data", "fsdp", "tensor", "gather")  # of the second tier; the others contain what they do


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[pytest.mark.slow] * (name in LATER)) for name in STRATEGIES],
)
def run(request, make_run, model):
    run = make_run(request.param, model=model)
    run.name = request.param
    return run


def _elements(shapes):
    return sum(map(math.prod, shapes))


def test_every_strategy_trains_as_one_device_does(run, model, expected):
    np.testing.assert_allclose(run.train(), expected(model), rtol=1e-5)


def test_devices_exchange_what_the_strategy_needs_and_no_more(run, model):
    made = _exchanged(run.compiled)
    params = run.program.target.params
    sizes = [leaf.size for leaf in jax.tree.leaves(params)]
    layers = model["num_layers"]
    layer = max(leaf.size // layers for leaf in jax.tree.leaves(params["trunk"]["layers"]))
    mesh = run.program.mesh.shape
    keys = (ROWS // mesh["data"] // mesh["fsdp"], LENGTH, 4 // mesh["tensor"], 4)
    if run.name in ("pmap", "data"):
        # Every gradient once and a few numbers, the loss and its weight. The compiler reduces the
        # two gradients of the tied table apart, on a CPU.
        twice = 0 if run.name == "pmap" else params["token_embedding"].size
        assert made.keys() == {"all-reduce"}
        assert sum(sizes) <= _elements(made["all-reduce"]) <= sum(sizes) + twice + 2
    if run.name == "fsdp":
        # Each kernel of a layer and each table when it is their turn.
        assert made.keys() == {"all-gather", "all-reduce"}
        tables = [params[name].shape for name in ("token_embedding", "position_embedding")]
        gathered = [math.prod(shape) for shape in made["all-gather"] if shape not in tables]
        assert len(gathered) >= 6 * layers and max(gathered) <= layer
    if run.name == "tensor":
        # Sums of activations: one forward and one backward for each branch of a layer.
        assert made.keys() == {"all-reduce"}
        rows = ROWS // mesh["data"]
        assert made["all-reduce"].count((rows, LENGTH, WIDTH)) >= 4 * layers
    if run.name in ("gather", "all but data"):
        assert made["all-gather"].count(keys) == 2 * layers
        assert len(made["reduce-scatter"]) == 2 * layers
        assert "collective-permute" not in made
    if run.name == "ring":
        # "dense" goes all the way round, "banded(window=6)" two hops of 4 positions: keys
        # and values forward, with their gradients backward, which go home at last.
        # On a CPU the compiler keeps those of the forward pass.
        hops = 2 if layers == 1 else 3 + 2
        sent = hops * 2 + hops * 2 + layers * 2
        share = (keys[0], LENGTH // 4, *keys[2:])
        assert made["collective-permute"].count(share) in (sent, sent + hops * 2)
        assert keys not in made["all-gather"]


DROPOUT = {f"{where}_dropout": 0.1 for where in ("embedding", "attention", "residual")}
DIVIDED = {"strategy": "mesh", "fsdp": 2, "tensor": 2}


def test_dropout_of_a_loss_does_not_depend_on_the_mesh(random_params):
    def losses(**parallelism):
        config = _config(model=DROPOUT, **parallelism)
        program = Program(config)
        target = program.target.params
        where = jax.tree.map(lambda leaf: leaf.sharding, target)
        params = jax.device_put(jax.device_get(random_params(config.model)), where)
        loss = jax.jit(lambda *given: program.loss(*given)[0])
        batch = put_batch(_batch(0), program.mesh)
        return [float(loss(params, batch, jax.random.key(seed))) for seed in (0, 1)]

    alone = losses()
    assert abs(alone[0] - alone[1]) > 1e-3
    np.testing.assert_allclose(losses(**DIVIDED), alone, rtol=1e-5)


@pytest.mark.slow
def test_training_with_dropout_does_not_depend_on_the_mesh(make_run, expected):
    alone = make_run(model=TWO | DROPOUT).train(5)
    assert np.abs(alone - expected(TWO)[:5]).min() > 1e-3
    divided = make_run(model=TWO | DROPOUT, **DIVIDED).train(5)
    np.testing.assert_allclose(divided, alone, rtol=1e-5)


def test_under_fsdp_scanned_layers_are_gathered_one_by_one():
    """Twelve layers, in a loop: what is gathered in it is of one, forward and backward."""
    program = Program(_config(model={"num_layers": 12, "attention": "dense"}, **STRATEGIES["fsdp"]))
    params = program.target.params
    batch = put_batch(_batch(0), program.mesh)
    gradient = jax.jit(gradient_sums(program.loss)).lower(params, batch, jax.random.key(0))
    largest = max(leaf.size // 12 for leaf in jax.tree.leaves(params["trunk"]["layers"]))
    tables = [(VOCABULARY, WIDTH), (LENGTH, WIDTH)]
    made = _exchanged(gradient.compile())["all-gather"]
    gathered = [shape for shape in made if shape not in tables]
    assert 6 <= len(gathered) <= 12
    assert max(map(math.prod, gathered)) <= largest


def test_random_parameters_do_not_depend_on_the_mesh():
    def begun(**parallelism):
        program = Program(_config(**parallelism))
        state = initial_state(program.fresh, program.target, 0)
        for leaf, target in zip(*map(jax.tree.leaves, (state, program.target)), strict=True):
            assert leaf.sharding == target.sharding
        return jax.device_get(state)

    alone, divided = begun(), begun(strategy="mesh", fsdp=2, tensor=2, sequence=2)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), divided, alone)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["all but data", "fsdp"])
def test_a_state_saved_on_one_mesh_is_restored_on_all_others(name, random_params, tmp_path):
    config = _config(**STRATEGIES[name])
    program = Program(config)
    fresh = program.fresh(0, random_params(config.model))
    saved = jax.device_get(dataclasses.replace(fresh, step=jnp.int32(STEPS)))
    placed = jax.tree.map(lambda x, leaf: jax.device_put(x, leaf.sharding), saved, program.target)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(
            STEPS, params=placed.params, opt_state=placed.opt_state, data={}, config={}
        )
        checkpoints.wait()
        for other in STRATEGIES:
            target = Program(_config(**STRATEGIES[other])).target
            state, _ = resume(target, checkpoints, None)
            jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), saved)
            for leaf, wanted in zip(*map(jax.tree.leaves, (state, target)), strict=True):
                assert leaf.sharding == wanted.sharding
