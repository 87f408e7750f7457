import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from experiments.configs import EXPERIMENTS
from gptjax.config import (
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    ParallelismConfig,
    TrainingConfig,
    resolve,
)
from gptjax.runs.kind import kind_of
from gptjax.runs.program import Program
from gptjax.training.optimizers import make_optimizer
from gptjax.training.partitioning import (
    AXES,
    check_divides,
    make_mesh,
    microbatches,
    placed,
    put_batch,
)
from gptjax.training.state import create
from tests.support.tiers import tiered

UNTIED = "untied, with learned scores"
QUICKLY = (UNTIED, "bert_base", "transformer_base", "gpt1_sst2_lstm", "reward_model_6b")


def _mesh(**axes):
    return make_mesh(ParallelismConfig(strategy="mesh", **axes))


def _sizes(mesh):
    return tuple(mesh.shape[axis] for axis in ("data", "fsdp", "tensor", "sequence"))


def test_a_mesh_has_the_sizes_asked_for_and_data_is_what_they_leave():
    assert jax.device_count() == 8
    assert _sizes(_mesh()) == (8, 1, 1, 1)
    assert _sizes(_mesh(fsdp=4)) == (2, 4, 1, 1)
    assert _sizes(_mesh(data=1, fsdp=2, tensor=2, sequence=2)) == (1, 2, 2, 2)
    assert _sizes(make_mesh(ParallelismConfig(strategy="pmap"))) == (8, 1, 1, 1)
    assert _sizes(make_mesh(ParallelismConfig())) == (1, 1, 1, 1)
    assert (
        _sizes(make_mesh(ParallelismConfig(strategy="mesh", tensor=2), jax.devices()[:4]))[0] == 2
    )


@pytest.mark.parametrize("axes", [{"data": 9}, {"data": 2}, {"fsdp": 3}, {"tensor": 16}])
def test_sizes_that_do_not_multiply_to_the_devices_are_refused(axes):
    with pytest.raises(ValueError, match=r"product is 8, the devices there are$") as error:
        _mesh(**axes)
    given = ParallelismConfig(**axes)
    assert f"data={given.data or 'none'}, fsdp={given.fsdp}, tensor=" in str(error.value)


@pytest.mark.parametrize("axes", [{"data": 4, "fsdp": 2}, {"data": 2, "sequence": 4}])
def test_each_device_holds_its_rows_and_positions(axes):
    batch = {"tokens": np.arange(64).reshape(8, 8), "loss_weights": np.arange(8.0)}
    mesh = _mesh(**axes)
    put = put_batch(batch, mesh)
    parts = axes.get("sequence", 1)
    rows, columns = 8 // (8 // parts), 8 // parts
    for (data, fsdp, sequence, _), device in np.ndenumerate(mesh.devices):
        first = rows * (data * mesh.shape["fsdp"] + fsdp)
        mine = slice(first, first + rows), slice(sequence * columns, (sequence + 1) * columns)
        for name, array in batch.items():
            (shard,) = [s for s in put[name].addressable_shards if s.device == device]
            np.testing.assert_array_equal(shard.data, array[mine[: array.ndim]])


def test_batches_that_do_not_divide_are_refused_before_training():
    mesh = _mesh(data=2, fsdp=2, tensor=2)

    def check(batch_size, ramp=(None, None), accumulate=1):
        training = TrainingConfig(
            batch_size=batch_size,
            batch_ramp_start=ramp[0],
            batch_ramp_tokens=ramp[1],
            accumulate=accumulate,
        )
        check_divides(ExperimentConfig(ModelConfig(context_length=16), training=training), mesh)

    check(8)
    check(8, accumulate=2)
    check(24, (4, 4096), accumulate=6)
    with pytest.raises(ValueError, match=r"\.batch_size: got 6 sequences \(from step 0\), expec"):
        check(6)
    with pytest.raises(ValueError, match=r"multiple of 12: 3 microbatches .* over 4 devices"):
        check(8, accumulate=3)
    with pytest.raises(ValueError, match=r"\.batch_ramp_start: got 2 sequences .* over 4 devices"):
        check(8, (2, 1024))
    with pytest.raises(ValueError, match=r"\.batch_size: got 10 sequences \(from step [1-9]"):
        check(10, (4, 1024))


@pytest.mark.parametrize("rows", [4, 8, 16, 20])
def test_a_smaller_batch_of_a_ramp_is_cut_as_little_as_keeps_its_pieces_small(rows):
    """Of 40 rows in 5 microbatches on 4 devices, which have 2 rows each; 20 rows are cut in 5."""
    training = TrainingConfig(batch_size=40, accumulate=5)
    config = ExperimentConfig(ModelConfig(context_length=16), training=training)
    expected = {4: 1, 8: 1, 16: 2, 20: 5}  # 5 rows a device are divided by 5 alone
    assert microbatches(config, _mesh(data=2, fsdp=2, tensor=2), rows) == expected[rows]


def test_a_step_takes_a_batch_of_a_ramp_that_has_fewer_rows_than_there_are_microbatches():
    model = ModelConfig(16, context_length=4, num_layers=1, num_heads=1, d_model=8)
    training = TrainingConfig(batch_size=8, batch_ramp_start=2, batch_ramp_tokens=64, accumulate=4)
    program = Program(resolve(ExperimentConfig(model, training=training)))
    for rows, scanned in ((2, False), (8, True)):
        shape = jax.ShapeDtypeStruct((rows, 4), np.int32)
        batch = {"tokens": shape, "targets": shape, "loss_weights": shape.update(dtype=np.float32)}
        traced = str(program.train_step.trace(program.target, batch, 0).jaxpr)
        assert ("length=4" in traced) == scanned, rows  # four microbatches; there is one layer


def test_runs_that_differ_in_their_seed_share_their_programs():
    """Of all seeds of a study one compiles; the others find its programs in the cache."""
    model = ModelConfig(16, 4, num_layers=1, num_heads=1, d_model=8, residual_dropout=0.1)

    def texts(seed):
        program = Program(resolve(ExperimentConfig(model, training=TrainingConfig(seed=seed))))
        shape = jax.ShapeDtypeStruct((8, 4), np.int32)
        batch = {"tokens": shape, "targets": shape, "loss_weights": shape.update(dtype=np.float32)}
        step = program.train_step.lower(program.target, batch, seed).as_text()
        statistics = program.statistics.lower(program.target, batch, seed).as_text()
        return step, statistics, jax.jit(program.fresh).lower(seed).as_text()

    assert texts(0) == texts(1)


def _state(config):
    """The shapes of the state of a resolved `config`, with an average of the parameters."""
    tx = make_optimizer(config.optimizer, optax.constant_schedule(0.1))

    params = kind_of(config).shapes(config)
    return jax.eval_shape(lambda params: create(params, tx, with_ema=True), params)


def _small(optimizer="adamw", **fields):
    model = ModelConfig(vocab_size=500, num_layers=2, num_heads=4, d_model=32, **fields)
    return resolve(ExperimentConfig(model, optimizer=OptimizerConfig(name=optimizer)))


@pytest.mark.parametrize(
    "name", tiered(zip([*EXPERIMENTS, UNTIED], strict=True), [(name,) for name in QUICKLY])
)
def test_the_table_covers_every_parameter_and_divides_nearly_all_of_them(name):
    if name == UNTIED:
        config = _small(tied_embeddings=False, score="relative_bias")
    else:
        config = resolve(EXPERIMENTS.get(name)())
    mesh = AbstractMesh((1, 4, 1, 1), AXES)
    leaves = jax.tree.leaves(placed(_state(config), mesh))
    whole = sum(math.prod(leaf.shape) for leaf in leaves)
    held = sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) for leaf in leaves)
    assert held < 0.3 * whole


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_what_an_optimizer_keeps_of_a_parameter_lives_where_it_does(optimizer):
    state = placed(_state(_small(optimizer)), AbstractMesh((1, 2, 2, 2), AXES))
    assert state.step.sharding.spec == PartitionSpec()
    params = _by_path(state.params)
    assert params["token_embedding"].spec == PartitionSpec("tensor", "fsdp")
    query = params["trunk/layers/attention/query/kernel"]
    assert query.spec == PartitionSpec(None, "fsdp", "tensor", None)
    assert _by_path(state.ema) == params
    kept = _by_path(state.opt_state)
    owners = {path: [own for own in params if path.endswith("/" + own)] for path in kept}
    for path, owner in owners.items():
        longest = max(owner, key=len, default=None)
        expected = PartitionSpec() if longest is None else params[longest].spec
        assert kept[path].spec == expected, path
    assert sum(bool(owner) for owner in owners.values()) >= len(params)


def _by_path(tree):
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf.sharding
        for path, leaf in leaves
    }


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (
            {"trunk": {"layers": {"gate": {"kernel": (2, 8, 8)}}}},
            r"'trunk/layers/gate/kernel' of 3 axes, expected a row",
        ),
        ({"token_embedding": (8,)}, r"'token_embedding' of 1 axes, expected a row"),
        ({"kernel": (8, 8)}, r"parameter 'kernel' of 2 axes"),
        ({"token_embedding": (50257, 8)}, r"parallelism\.tensor: got 2, .* 50257, .* token_embed"),
        ({"position_embedding": (8, 3)}, r"parallelism\.fsdp: got 2, .* 3, .* position_embedding"),
    ],
)
def test_a_parameter_without_a_rule_or_a_fitting_size_is_named(tree, expected):
    mesh = AbstractMesh((1, 2, 2, 2), AXES)
    shapes = jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32),
        tree,
        is_leaf=lambda x: isinstance(x, tuple),
    )
    with pytest.raises(ValueError, match=expected) as error:
        placed((optax.EmptyState(), shapes), mesh)
    assert "\n" not in str(error.value)
