"""One small model with random weights for all tests of what generates, and what it computes.

Tests use few shapes: batches of one row or four, of 16, 32 or `CONTEXT` tokens, one kind of draw.
So few programs serve them all.
"""

import dataclasses
import functools

import jax
import numpy as np

from gptjax.config import ExperimentConfig, ModelConfig, resolve
from gptjax.inference.generate import Generator
from gptjax.inference.sampling import make_sampler
from gptjax.models.gpt import GPT
from gptjax.models.parameter_shapes import parameter_shapes

VOCAB, CONTEXT = 120, 72  # all tokens are characters where they stand for bytes
MODEL = ModelConfig(
    vocab_size=VOCAB,
    vocab_multiple=128,
    context_length=CONTEXT,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    d_model=16,
    attention="dense,sinks(window=4,sinks=2)",
    init_std=0.3,
)
GREEDY = make_sampler(temperature=0)
DRAWN = make_sampler(0.9, top_k=40)
Made = tuple[GPT, dict]
FORWARD = {}  # compiled, by the model


def model_of(**changes) -> GPT:
    """A model of the fields of `MODEL`, but for `changes`."""
    return GPT(resolve(ExperimentConfig(model=dataclasses.replace(MODEL, **changes))).model)


@functools.cache
def made(seed: int = 0, **changes) -> Made:
    """A model of `MODEL` but for `changes`, and parameters that are all random, biases too."""
    gpt, rng = model_of(**changes), np.random.default_rng(seed)

    def drawn(path, leaf) -> np.ndarray:
        name = jax.tree_util.keystr(path[-1:], simple=True)
        size, mean = gpt.config.init_std, 0.0
        if name in ("bias", "scale"):
            size, mean = 0.1, float(name == "scale")
        return (mean + size * rng.normal(size=leaf.shape)).astype(np.float32)

    return gpt, jax.tree.map_with_path(drawn, parameter_shapes(gpt))


def generator_of(model_and_params: Made | None = None, *rest, **options) -> Generator:
    """A generator of `made()`, or of another model, which fits the shapes of the others."""
    return Generator(*(model_and_params or made()), *rest, **{"slots": 4, "piece": 8} | options)


def alone(prompt: np.ndarray, **options) -> list[int]:
    """What a request gives in a batch of its own, of `made()`."""
    generator = generator_of(slots=1, longest=(1, 31))
    return generator.submit(prompt, **options).result().tolist()


def random_prompts(vocab_size: int, *lengths: int, seed: int = 0) -> list[np.ndarray]:
    """Random tokens, one prompt a length."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, vocab_size, length) for length in lengths]


prompts_of = functools.partial(random_prompts, VOCAB)


def _forward(model: GPT, params, tokens: np.ndarray) -> jax.Array:
    return model.apply({"params": params}, tokens)


def full_logits(model_and_params: Made, text) -> np.ndarray:
    """Logits [n, V] after each token of a text [n], by one forward pass without a cache.

    Patterns that look ahead see that the text is padded: pass it at full length.
    """
    model, params = model_and_params
    padded = np.zeros((1, max(CONTEXT, len(text))), np.int32)
    padded[0, : len(text)] = text
    if any(name in model.config.attention for name in ("prefix", "block_causal")):
        padded = padded[:, : len(text)]
    forward = FORWARD.setdefault(repr(model), jax.jit(functools.partial(_forward, model)))
    return np.asarray(forward(params, padded), np.float64)[0, : len(text)]


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """In float64, over the last axis."""
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))
