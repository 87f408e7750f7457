import dataclasses

import jax
import numpy as np
import pytest

from gptjax.config import ExperimentConfig, ModelConfig, resolve
from gptjax.inference.generate import Generator
from gptjax.inference.sampling import make_sampler
from gptjax.inference.speculative import SpeculativeGenerator
from gptjax.models.costs import matmul_parameters, parameter_count, training_flops_per_token
from gptjax.models.gpt import GPT
from gptjax.models.parameter_shapes import parameter_shapes

LSTM = ModelConfig(
    vocab_size=11,
    vocab_multiple=1,
    context_length=24,
    num_layers=2,
    num_heads=1,
    d_model=6,
    positions="none",
    trunk="lstm",
)


@pytest.fixture(scope="module")
def lstm():
    model = GPT(LSTM)
    drawn, shapes = np.random.default_rng(1), parameter_shapes(model)
    return model, jax.tree.map(lambda x: drawn.normal(0, 0.5, x.shape).astype("f"), shapes)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def logits_of_a_loop(params, tokens, begins=()):
    """Token after token, gate after gate; the states are empty at 0 and at `begins`."""
    layers, width = params["trunk"]["layers"], LSTM.d_model
    states = np.zeros((LSTM.num_layers, 2, width))
    made = []
    for place, token in enumerate(tokens):
        x = params["token_embedding"][token]
        for layer, state in enumerate(states):
            h, c = np.zeros((2, width)) if place in begins else state
            gates = x @ layers["input"]["kernel"][layer] + layers["input"]["bias"][layer]
            gates = gates + h @ layers["recurrent"]["kernel"][layer]
            i, f, g, o = (gates[n * width : (n + 1) * width] for n in range(4))
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            x = sigmoid(o) * np.tanh(c)
            state[:] = x, c
        made.append(params["token_embedding"] @ x)
    return np.array(made)


def test_logits_are_those_of_a_loop_over_gates(lstm):
    model, params = lstm
    tokens = np.random.default_rng(2).integers(0, 11, (2, 9))
    segments = np.array([[0] * 9, [3] * 4 + [1] * 2 + [2] * 3])
    found = np.asarray(jax.jit(model.apply)({"params": params}, tokens, segment_ids=segments))
    for row, begins in enumerate(((), (4, 6))):
        expected = logits_of_a_loop(params, tokens[row], begins)
        np.testing.assert_allclose(found[row], expected, rtol=2e-5, atol=2e-5)


def test_greedy_texts_are_those_of_a_loop_whoever_stands_beside(lstm):
    """Five prompts in two rows, fed by three tokens: rows end, grow and are filled again."""
    model, params = lstm
    prompts = [np.arange(n) % 11 for n in (1, 9, 4, 2, 7)]
    generator = Generator(model, params, slots=2, piece=3)
    texts = generator.generate(prompts, max_new_tokens=6, sampler=make_sampler(0))
    for prompt, text in zip(prompts, texts, strict=True):
        tokens = list(prompt)
        for _ in range(6):
            tokens.append(int(logits_of_a_loop(params, tokens)[-1].argmax()))
        assert text.tolist() == tokens[prompt.size :]


def test_costs_are_those_of_its_leaves():
    config = GPT(LSTM).config
    leaves = jax.tree.leaves(parameter_shapes(GPT(LSTM)))
    assert parameter_count(config) == sum(leaf.size for leaf in leaves)
    kernels = sum(leaf.size for leaf in leaves if leaf.ndim == 3) + 11 * 6
    assert matmul_parameters(config) == kernels
    assert training_flops_per_token(config) == 6 * kernels


def test_the_papers_is_as_large_as_gpt1():
    """2,048 units (table 5): within a thousandth of GPT-1's 116,534,784 parameters."""
    paper = dataclasses.replace(LSTM, vocab_size=40478, num_layers=1, d_model=2048)
    count = 40478 * 2048 + 2 * 4 * 2048**2 + 4 * 2048
    assert parameter_count(paper.resolved()) == count == pytest.approx(116_534_784, rel=1e-3)


@pytest.mark.parametrize(
    ("field", "value"),
    [("positions", "learned"), ("attention", "banded(window=2)"), ("remat", "block")],
)
def test_what_it_does_not_have_is_refused(field, value):
    changed = dataclasses.replace(LSTM, **{field: value})
    with pytest.raises(ValueError, match=rf"model\.{field}: got .* with trunk=lstm, expected"):
        resolve(ExperimentConfig(model=changed))


def test_it_takes_no_token_back(lstm):
    with pytest.raises(ValueError, match="model: got an LSTM, which cannot take tokens back"):
        SpeculativeGenerator(*lstm, *lstm)
