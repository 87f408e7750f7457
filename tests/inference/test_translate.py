"""Translation by beams against a loop that scores whole targets again for each token."""

import jax
import numpy as np
import pytest

from gptjax.inference.translate import Translator
from gptjax.model_config import EncoderDecoderConfig
from gptjax.models.encoder_decoder import EncoderDecoder
from tests.support.params import random_params

CONTEXT, MORE, ALPHA, END = 12, 3, 0.6, 0
CONFIG = EncoderDecoderConfig(
    vocab_size=11, vocab_multiple=4, context_length=CONTEXT, num_layers=1, num_heads=2, d_model=8
)


@pytest.fixture(scope="module")
def model():
    return EncoderDecoder(CONFIG)


@pytest.fixture(scope="module")
def params(model):
    token = np.zeros((1, 1), np.int32)
    return jax.device_put(random_params(model, token, token, std=0.5))


def loop(log_probs_of, source, beams, limit):
    """The best target of a source, with its score: plain Python, one row a beam."""

    def normalized(total, count):
        return total / ((5 + count) / 6) ** ALPHA

    growing, finished = [(0.0, [END])], []
    for count in range(1, limit):
        rows = np.zeros((beams, CONTEXT), np.int32)
        for row, (_, text) in zip(rows, growing, strict=False):
            row[: len(text)] = text
        each = log_probs_of(source, rows)[: len(growing), count - 1]
        found = [
            (total + float(x), [*text, token])
            for (total, text), row in zip(growing, each, strict=True)
            for token, x in enumerate(row)
        ]
        found = sorted(found, key=lambda one: -one[0])[: 2 * beams]
        ends = [one for one in found[:beams] if one[1][-1] == END or count == limit - 1]
        finished += [(normalized(total, count), text[1:]) for total, text in ends]
        finished = sorted(finished, key=lambda one: -one[0])[:beams]
        growing = [one for one in found if one[1][-1] != END][:beams]
        if len(finished) == beams and normalized(growing[0][0], limit - 1) <= finished[-1][0]:
            break
    return finished[0]


@pytest.mark.parametrize("beams", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_beams_find_what_a_loop_finds(model, params, beams):
    random = np.random.default_rng(1)
    sources = [random.integers(1, 11, size).astype(np.int32) for size in (3, 7, 9, 1, 5)]
    apply = jax.jit(model.apply)

    def log_probs_of(source, rows):
        padded = np.zeros((beams, CONTEXT), np.int32)
        padded[:, : len(source)] = source
        lengths = np.full(beams, len(source), np.int32)
        return np.asarray(jax.nn.log_softmax(apply({"params": params}, padded, rows, lengths)))

    translate = Translator(
        model, params, num_beams=beams, length_penalty=ALPHA, more_tokens=MORE, batch_size=4
    )
    found, lengths = translate(sources, END), set()
    for source, got in zip(sources, found, strict=True):
        limit = min(1 + len(source) + MORE, CONTEXT)
        if beams == 1:  # greedy decoding ends with the first end
            (score, text) = greedy(log_probs_of, source, limit)
        else:
            (score, text) = loop(log_probs_of, source, beams, limit)
        assert got.tokens.tolist() == text
        assert got.score == pytest.approx(score, abs=1e-5)
        lengths.add(len(text))
    assert len(lengths) > 2


def greedy(log_probs_of, source, limit):
    text, total = [END], 0.0
    while len(text) < limit and (len(text) == 1 or text[-1] != END):
        rows = np.zeros((1, CONTEXT), np.int32)
        rows[0, : len(text)] = text
        row = log_probs_of(source, rows)[0, len(text) - 1]
        text.append(int(row.argmax()))
        total += float(row.max())
    return total / ((5 + len(text) - 1) / 6) ** ALPHA, text[1:]


def test_a_source_past_the_context_is_named(model, params):
    translate = Translator(model, params)
    with pytest.raises(ValueError, match=r"sentence 2: got 13 tokens, .* expected at most 12"):
        translate([np.ones(3, np.int32), np.ones(13, np.int32)], END)
