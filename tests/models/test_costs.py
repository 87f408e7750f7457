"""Parameters against papers.md's figures; FLOPs against the matrix products of a traced program."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs import EXPERIMENTS
from gptjax import attention
from gptjax.alignment.reward_model import RewardModel
from gptjax.config import resolve
from gptjax.model_config import BertConfig
from gptjax.models.costs import (
    executed_training_flops_per_token,
    matmul_parameters,
    parameter_count,
    training_flops_per_token,
)
from gptjax.models.gpt import GPT
from gptjax.models.parameter_shapes import parameter_shapes
from tests.support.tiers import tiered

PUBLISHED = {
    "gpt1": 116_534_784,
    "gpt2_small": 124_439_808,
    "gpt2_medium": 354_823_168,
    "gpt2_large": 774_030_080,
    "gpt2_xl": 1_557_611_200,
    "gpt3_small": 125_226_240,
    "gpt3_medium": 355_871_744,
    "gpt3_large": 760_300_032,
    "gpt3_xl": 1_315_723_264,
    "gpt3_2.7b": 2_651_553_280,
    "gpt3_6.7b": 6_658_404_352,
    "gpt3_13b": 12_853_386_240,
    "gpt3_175b": 174_604_259_328,
}
NO_DECODERS = ("transformer_", "clip_", "vit_")  # see test_encoder_decoder and vision/
DECODERS = [name for name in EXPERIMENTS.names() if not name.startswith(NO_DECODERS)]


def counted(config) -> int:
    """Elements of every leaf, less the embedding rows that pad the vocabulary."""
    params = parameter_shapes(GPT(config))
    tables = 1 if config.tied_embeddings else 2
    padding = params["token_embedding"].shape[0] - config.vocab_size
    assert 0 <= padding < config.vocab_multiple
    sizes = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    return sizes - tables * padding * config.d_model


@pytest.mark.parametrize("name", tiered(zip(DECODERS, strict=True), [("gpt1",), ("gpt3_175b",)]))
def test_every_registered_model_has_its_published_size(name):
    config = resolve(EXPERIMENTS.get(name)()).model
    if isinstance(config, BertConfig):
        return  # see test_bert
    assert parameter_count(config) == counted(config)
    if name in PUBLISHED:
        assert counted(config) == PUBLISHED[name]


def test_only_the_demo_the_smoke_experiments_and_what_is_fine_tuned_have_no_published_size():
    others = set(DECODERS) - set(PUBLISHED)
    others = {name for name in others if not name.endswith("_smoke")}
    known = ("sparse_transformer_", "sft_", "reward_model_", "ppo_", "dpo_", "bert_", "gpt1_")
    unknown = {name for name in others if not name.startswith(known)}
    scaling = {"scaling_brief", "scaling_miniature"}
    assert unknown == scaling | {"demo", "moderation", "kosmos_mnist", "kosmos_1.6b"}


@pytest.mark.parametrize(("name", "published"), [("enwik8", 95e6), ("cifar10", 59e6)])
def test_sparse_transformers_have_the_papers_size_but_for_its_factored_positions(name, published):
    config = resolve(EXPERIMENTS.get(f"sparse_transformer_{name}")()).model
    table = config.context_length * config.d_model
    assert parameter_count(config) - table == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize(
    "fields",
    [
        {"tied_embeddings": False},
        {"num_kv_heads": 1, "d_head": 5, "d_ff": 7},
        {"norm": "post", "tied_embeddings": False, "vocab_size": 64},
        {"num_kv_heads": 1, "d_head": 4, "d_value": 9},
        {"positions": "rotary", "score": "alibi"},
        {"positions": "sinusoidal", "score": "soft_cap(cap=30.0),relative_bias(buckets=8)"},
        {"positions": "none"},
    ],
)
def test_parameter_count_of_odd_shapes(make_config, fields):
    config = make_config(**fields)
    assert parameter_count(config) == counted(config)


def matmul_flops(jaxpr, times=1) -> int:
    """FLOPs of all matrix products of a traced program, scan bodies as often as they run."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            ((contracted, _), _) = equation.params["dimension_numbers"]
            shared = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
            total += times * 2 * shared * math.prod(equation.outvars[0].aval.shape)
        runs = times * equation.params.get("length", 1)
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=is_program):
            if is_program(inner):
                total += matmul_flops(getattr(inner, "jaxpr", inner), runs)
    return total


def is_program(value) -> bool:
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"num_kv_heads": 1, "d_head": 5, "d_ff": 7},
        {"tied_embeddings": False, "score": "relative_bias,soft_cap(cap=9.0)"},
        {"num_heads": 4, "num_kv_heads": 2, "d_head": 4, "d_value": 9, "positions": "rotary"},
    ],
)
def test_model_flops_are_those_of_the_matrix_products(make_config, fields):
    config = make_config(vocab_size=64, attention_impl="reference", **fields)
    tokens = jax.ShapeDtypeStruct((2, config.context_length), jnp.int32)
    params = parameter_shapes(GPT(config))

    def forward(params, tokens):
        return GPT(config).apply({"params": params}, tokens).sum()

    a_token = training_flops_per_token(config)
    forward_program = jax.make_jaxpr(forward)(params, tokens).jaxpr
    assert matmul_flops(forward_program) == a_token / 3 * 2 * config.context_length
    training_program = jax.make_jaxpr(jax.value_and_grad(forward))(params, tokens).jaxpr
    assert matmul_flops(training_program) == a_token * 2 * config.context_length


def test_model_flops_of_gpt3_are_table_d1s():
    """Table D.1 takes 6 N, leaving out what attention adds: within 5% at 175B."""
    config = resolve(EXPERIMENTS.get("gpt3_175b")()).model
    assert 6 * matmul_parameters(config) * 300e9 == pytest.approx(3.14e23, rel=0.01)
    assert training_flops_per_token(config) * 300e9 == pytest.approx(3.14e23, rel=0.05)


@pytest.mark.parametrize(
    "specification",
    [
        "dense",
        "dense,banded(window=40)",
        "banded(window=1)",
        "heads(dense,banded(window=1)),banded(window=40)",
    ],
)
def test_executed_flops_count_the_blocks_with_a_pair_in_them(make_config, specification):
    length, block = 200, 64
    config = make_config(
        attention=specification, context_length=length, num_heads=3, d_head=4, d_value=7
    )
    patterns = attention.parse(specification)
    position = np.arange(length)
    pairs = 0
    for layer, head in np.ndindex(config.num_layers, 3):
        heads = patterns[layer % len(patterns)].per_head()
        allowed = np.array(heads[head % len(heads)](position[:, None], position[None]))
        allowed &= position[None] <= position[:, None]
        for row in range(0, length, block):
            for column in range(0, length, block):
                tile = allowed[row : row + block, column : column + block]
                pairs += tile.size * tile.any()
    matmuls = 6 * matmul_parameters(config)
    assert executed_training_flops_per_token(config) == pytest.approx(
        matmuls + 6 * (4 + 7) * pairs / length, rel=1e-12
    )
    assert executed_training_flops_per_token(config) < training_flops_per_token(config)


@pytest.mark.parametrize(
    "fields", [{}, {"tied_embeddings": False}, {"norm": "post", "num_kv_heads": 1, "d_value": 9}]
)
def test_a_scalar_head_costs_no_table_of_logits(make_config, fields):
    config = make_config(vocab_size=64, attention_impl="reference", **fields)
    model = RewardModel(config)
    tokens = jax.ShapeDtypeStruct((2, config.context_length), jnp.int32)
    lengths = jax.ShapeDtypeStruct((2,), jnp.int32)
    params = jax.eval_shape(model.init, jax.random.key(0), tokens, lengths)["params"]
    sizes = [math.prod(leaf.shape) for leaf in jax.tree.leaves(params)]
    assert parameter_count(config, scalar_head=True) == sum(sizes)

    def forward(params, tokens, lengths):
        return model.apply({"params": params}, tokens, lengths).sum()

    program = jax.make_jaxpr(forward)(params, tokens, lengths).jaxpr
    a_token = training_flops_per_token(config, scalar_head=True)
    assert matmul_flops(program) == a_token / 3 * 2 * config.context_length
    saved = executed_training_flops_per_token(config) - executed_training_flops_per_token(
        config, scalar_head=True
    )
    assert saved == pytest.approx(6 * (64 - 1) * config.d_model, rel=1e-9)
