"""Translation: each source is encoded once, and beams search for its target.

Arguments are those of Attention Is All You Need (arXiv 1706.03762, section 6.1): 4 beams, the
length penalty of Wu et al. 2016 (arXiv 1609.08144, equation 14) with alpha 0.6, and targets of at
most 50 tokens more than the source.

    translate = Translator(model, params)
    translate(sources, start=0)[0].tokens
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.compiled import compiled
from gptjax.inference import decoding
from gptjax.inference.beam import (
    NORMALIZATIONS,
    Hypothesis,
    Rules,
    advance_search,
    begin_search,
    hypotheses,
)
from gptjax.inference.prefill import Prompts, bucket
from gptjax.inference.requests import check_number

INPUTS = (jax.ShapeDtypeStruct((1, 1), jnp.int32),) * 2  # a source and a target, for shapes


class Translator:
    """Translates with one model; it holds compiled programs, so keep it."""

    def __init__(
        self,
        model: Any,
        params: Any,
        *,
        num_beams: int = 4,
        length_penalty: float = 0.6,
        more_tokens: int = 50,
        batch_size: int = 32,
    ):
        """Makes `params` ready for decoding.

        Args:
          model: an `EncoderDecoder`.
          params: its parameters.
          num_beams: texts that are followed at the same time; 1 is greedy decoding.
          length_penalty: alpha; a sum of log-probabilities is divided by ((5 + n) / 6) ** alpha.
          more_tokens: how much longer than its source a target may be, in tokens.
          batch_size: sources that are translated at the same time.

        Raises:
          ValueError: a number out of range, or parameters of another model.
        """
        for name, value in (("num_beams", num_beams), ("batch_size", batch_size)):
            check_number(name, value, 1)
        self._model, self._num_beams, self._batch_size = model, num_beams, batch_size
        self._length_penalty, self._more_tokens = length_penalty, more_tokens
        self._params = decoding.decoding_params(model, params, *INPUTS)
        self._search = compiled(_translate, model, static_argnames=("num_beams", "size"))

    def __call__(self, sources: Sequence[np.ndarray], start: int) -> list[Hypothesis]:
        """The best target of each source; the result for each does not depend on the others.

        Args:
          sources: token ids [n], each with the end-of-text behind it.
          start: the end-of-text: it is before the first token of a target, and ends it.

        Raises:
          ValueError: a source past the context.
        """
        context = self._model.config.context_length
        for number, source in enumerate(sources, start=1):
            if len(source) > context:
                raise ValueError(
                    f"sentence {number}: got {len(source)} tokens, end-of-text included, expected "
                    f"at most {context}, the context of the model"
                )
        order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
        found: dict[int, Hypothesis] = {}
        for first in range(0, len(order), self._batch_size):
            held = order[first : first + self._batch_size]
            found |= zip(held, self._batch([sources[i] for i in held], start), strict=True)
        return [found[i] for i in range(len(sources))]

    def _batch(self, sources: Sequence[np.ndarray], start: int) -> Iterator[Hypothesis]:
        context, longest = self._model.config.context_length, max(map(len, sources))
        rows = 1 << (len(sources) - 1).bit_length()
        tokens = np.zeros((rows, min(bucket(longest), context)), np.int32)
        lengths, limits = np.zeros(rows, np.int32), np.zeros(rows, np.int32)
        for row, source in enumerate(sources):
            tokens[row, : len(source)], lengths[row] = source, len(source)
            limits[row] = min(1 + len(source) + self._more_tokens, context)
        size = min(bucket(int(limits.max())), context)
        prompts = Prompts(np.full((rows, size), start, np.int32), np.ones(rows, np.int32), limits)
        added, divisor = NORMALIZATIONS["gnmt"]
        rules = Rules(
            stop_token=np.int32(start),
            penalty=np.float32(self._length_penalty),
            added=np.float32(added),
            divisor=np.float32(divisor),
            when_full=np.bool_(self._num_beams == 1),
            to_limit=np.bool_(self._length_penalty > 0),
        )
        made = self._search(
            self._params, tokens, lengths, prompts, rules, num_beams=self._num_beams, size=size
        )
        results = hypotheses(prompts, *jax.device_get(made), num_best=1)
        return (best for best, *_ in results[: len(sources)])


def _translate(
    model: Any,
    params: Any,
    sources: jax.Array,
    lengths: jax.Array,
    prompts: Prompts,
    rules: Rules,
    *,
    num_beams: int,
    size: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Targets [B, n, S] of sources [B, S] of `lengths` [B], their scores and lengths [B, n]."""
    variables = {"params": params}
    context = model.apply(variables, sources, lengths, method="contexts")
    cache = model.init_cache(len(sources), size, 1)
    begun = begin_search(prompts, cache, num_beams=num_beams)
    end = advance_search(model, params, prompts, begun, (), rules, size, context=context)
    return end.found, end.scores, end.lengths
