"""PyTorch's encoders compute what ours do, with our parameters under their names."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments.benchmarks import encoders as suite
from experiments.benchmarks.pytorch.program import torch_program
from gptjax.inference.translate import Translator
from gptjax.model_config import BertConfig, EncoderDecoderConfig
from gptjax.models.bert import Bert
from gptjax.models.costs import encoder_decoder_parameter_count
from gptjax.models.encoder_decoder import EncoderDecoder
from gptjax.training.label_smoothing import translation
from gptjax.training.losses import masked_language_model
from tests.support.params import random_params

torch = pytest.importorskip("torch")
theirs = pytest.importorskip("experiments.benchmarks.pytorch.encoders")

SHAPE = suite.Shape(vocab_size=128, context_length=16, num_layers=2, num_heads=4, d_model=32)
SIZES = dataclasses.asdict(SHAPE)
ROWS = np.random.default_rng(0).integers(128, size=(3, 2, 16), dtype=np.int32)
LENGTHS = np.array([16, 9], np.int32)


def attention_of(name, params):
    joined = [params[part] for part in ("query", "key", "value")]
    kernels = np.concatenate([part["kernel"].reshape(32, 32) for part in joined], axis=1)
    yield f"{name}.in_proj_weight", kernels.T
    yield f"{name}.in_proj_bias", np.concatenate([part["bias"].ravel() for part in joined])
    yield f"{name}.out_proj.weight", params["out"]["kernel"].reshape(32, 32).T
    yield f"{name}.out_proj.bias", params["out"]["bias"]


def norm_of(name, params):
    yield f"{name}.weight", params["scale"]
    yield f"{name}.bias", params["bias"]


def linear_of(name, params):
    yield f"{name}.weight", params["kernel"].T
    yield f"{name}.bias", params["bias"]


def layers_of(name, stack):
    """The layers of a stack under PyTorch's names: norms are counted in the order of branches."""
    for i in range(2):
        layer = jax.tree.map(lambda leaf, i=i: leaf[i], stack)
        at = f"{name}.layers.{i}"
        yield from attention_of(f"{at}.self_attn", layer["attention"])
        norms = ["attention_norm", "feed_forward_norm"]
        if "cross_attention" in layer:
            yield from attention_of(f"{at}.multihead_attn", layer["cross_attention"])
            norms.insert(1, "cross_attention_norm")
        for number, norm in enumerate(norms, start=1):
            yield from norm_of(f"{at}.norm{number}", layer[norm])
        yield from linear_of(f"{at}.linear1", layer["feed_forward"]["up"])
        yield from linear_of(f"{at}.linear2", layer["feed_forward"]["down"])


def encoder_decoder_of(params):
    yield "token_embedding.weight", params["token_embedding"]
    yield from layers_of("transformer.encoder", params["encoder"]["layers"])
    yield from layers_of("transformer.decoder", params["trunk"]["layers"])


def loaded(module, named):
    """`module` with these parameters; all that it has, and no others."""
    named = {name: torch.from_numpy(np.array(value)) for name, value in named}
    assert named.keys() == dict(module.named_parameters()).keys()
    module.load_state_dict(named, strict=False)
    return module


def longs(*arrays):
    return [torch.from_numpy(array).long() for array in arrays]


@pytest.mark.slow
def test_the_encoder_decoder_has_the_logits_and_the_loss_of_ours():
    config = suite.paper(SHAPE, EncoderDecoderConfig)
    model, (sources, tokens, targets) = EncoderDecoder(config), ROWS
    params = random_params(model, sources, tokens)
    batch = {"sources": sources, "lengths": LENGTHS, "tokens": tokens, "targets": targets}
    batch["loss_weights"] = (np.arange(16) < LENGTHS[:, None]).astype(np.float32)

    @jax.jit
    def ours(params, batch):
        total, weight, _ = translation(model, 0.1)(params, batch | {"words": LENGTHS}, None)
        given = (batch[name] for name in ("sources", "tokens", "lengths"))
        return model.apply({"params": params}, *given), total / weight

    module = loaded(theirs.EncoderDecoder(**SIZES, d_ff=128), encoder_decoder_of(params))
    sources, lengths, tokens, targets = longs(sources, LENGTHS, tokens, targets)
    behind = theirs.padding(targets, lengths)
    with torch.no_grad():
        hidden = module.decode(tokens, module.encode(sources, lengths), lengths)
        logits = module.logits(hidden)
        loss = float(module(sources, lengths, tokens, targets.masked_fill(behind, theirs.IGNORED)))
    expected, total = ours(params, batch)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    eps = 0.1  # whose entropy ours subtracts
    entropy = -(1 - eps) * np.log(1 - eps) - eps * np.log(eps / 127)
    assert loss - entropy == pytest.approx(float(total), abs=1e-4)


def test_bert_has_the_loss_of_ours():
    model = Bert(suite.paper(SHAPE, BertConfig))
    tokens, targets = ROWS[0], ROWS[1, :, :5]
    params = random_params(model, tokens)
    token_types = np.broadcast_to(np.int32(np.arange(16) >= 6), (2, 16))
    masked = np.array([[0, 3, 7, 8, 15], [1, 2, 4, 6, 8]], np.int32)
    batch = {"tokens": tokens, "token_types": token_types, "masked_positions": masked}
    batch |= {"segment_ids": np.where(np.arange(16) < LENGTHS[:, None], 0, -1).astype(np.int32)}
    batch |= {"targets": targets, "loss_weights": np.ones((2, 5), np.float32)}
    total, weight, _ = jax.jit(masked_language_model(model))(params, batch, None)

    tables = ("token_embedding", "position_embedding", "token_type_embedding")
    named = [(f"{name}.weight", params[name]) for name in tables]
    named += norm_of("embedding_norm", params["embedding_norm"])
    named += layers_of("encoder", params["trunk"]["layers"])
    head = params["masked_lm_head"]
    named += [*linear_of("dense", head["dense"]), *norm_of("norm", head["norm"])]
    module = loaded(theirs.Bert(**SIZES), [*named, ("bias", head["bias"])])
    with torch.no_grad():
        loss = float(module(*longs(tokens, token_types.copy(), LENGTHS, masked, targets)))
    assert loss == pytest.approx(float(total / weight), rel=1e-5)


@pytest.mark.slow
def test_marian_has_the_shape_of_ours():
    marian = pytest.importorskip("experiments.benchmarks.pytorch.marian")
    model = marian.model_of(SIZES | {"d_ff": 128})
    count = sum(each.numel() for each in model.parameters() if each.requires_grad)
    config = suite.paper(SHAPE, EncoderDecoderConfig).resolved()
    assert count == encoder_decoder_parameter_count(config)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["bert", "encoder_decoder"])
def test_a_step_is_timed_in_a_process_of_its_own(model):
    more = {"bert": {"masked": 3}, "encoder_decoder": {"d_ff": 64}}[model]
    arguments = SIZES | more | {"batch_size": 2, "model": model, "compiled": False}
    with torch_program("encoders", **arguments) as (run, version):
        assert version.startswith("torch ")
        assert 0 < run() < 60


@pytest.mark.slow
def test_translations_are_timed_in_a_process_of_their_own():
    pytest.importorskip("transformers")
    arguments = {"rows": 2, "num_beams": 2, "source": 5, "new": 6, "shape": SIZES | {"d_ff": 64}}
    with torch_program("marian", **arguments) as (run, version):
        assert "transformers" in version
        assert 0 < run() < 60


@pytest.mark.slow
def test_greedy_translations_are_those_of_ours():
    program = pytest.importorskip("experiments.benchmarks.pytorch.translation")
    model = EncoderDecoder(suite.paper(SHAPE, EncoderDecoderConfig))
    params = random_params(model, *ROWS[:2])
    module = loaded(theirs.EncoderDecoder(**SIZES, d_ff=128), encoder_decoder_of(params))
    sources = [row[:length] for row in ROWS[0] for length in (3, 16, 7, 5)]
    ours = Translator(model, params, num_beams=1, more_tokens=6)(sources, start=9)
    found = program.translated(module, sources, 9, 6, 16)
    expected = [[token for token in each.tokens.tolist() if token != 9] for each in ours]
    assert found == expected and any(expected)
