"""The running batch: which request is in which row, and the state of its texts on the device.

Texts join a batch with room for them and leave when they end. The number of rows, the room for a
text and the pieces that prompts are fed in are powers of two, so that few programs serve all.

    batch = RunningBatch(model, slots=8, piece=256)
    batch.fill(params, joining)
    batch.advance(params, num_steps=8, until_one_ends=False)
"""

import collections
import dataclasses
import itertools
import math
import threading
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from gptjax.compiled import compiled
from gptjax.inference import decoding
from gptjax.inference.decoding import Decoding
from gptjax.inference.kept_texts import KeptTexts, keeps
from gptjax.inference.prefill import Prefill, bucket, padded_images
from gptjax.inference.requests import Order, QueueFull, Request
from gptjax.inference.sampling import Alternatives, Sampler, by_row
from gptjax.models.decoder import Decoder
from gptjax.models.transformer import Cache

_SHRINKS = 4  # times too many rows, or too much room, after which a batch is made smaller


class Queue:
    """Requests that wait to join a batch, in their order.

    Attributes:
      lock: of the queue alone, so that who asks does not wait for a step of the batch. While it is
        held, none is taken: what is put meanwhile joins together.
    """

    def __init__(self, slots: int, most: int | None):
        """`slots`: rows of the batch; `most`: requests that may wait besides; None: any number."""
        self.lock = threading.RLock()
        self._slots, self._most = slots, most
        self._waiting: collections.deque[Request] = collections.deque()
        self._taken: list[Request] = []

    @property
    def any_wait(self) -> bool:
        """Whether there is a request for which no row was free."""
        return bool(self._waiting)

    def put(self, request: Request) -> None:
        """Puts a request last; QueueFull where as many wait as may."""
        with self.lock:
            waiting, free = sum(request.writing for request in self._waiting), self._free()
            if self._most is not None and waiting >= self._most + free:
                raise QueueFull(
                    f"queue: got a request beside {waiting} that wait, expected at most "
                    f"{self._most} and as many as free slots, {free}"
                )
            self._waiting.append(request)

    def first(self) -> list[Request]:
        """The first requests, as many as rows are free; they stay until they are taken."""
        with self.lock:
            self._waiting = collections.deque(x for x in self._waiting if x.writing)
            return list(itertools.islice(self._waiting, self._free()))

    def take(self, first: list[Request]) -> None:
        """Takes out the first requests."""
        with self.lock:
            self._taken += first
            for _ in first:
                self._waiting.popleft()

    def _free(self) -> int:
        self._taken = [request for request in self._taken if request.writing]
        return self._slots - len(self._taken)


class RunningBatch:
    """Texts that are written together; it holds the compiled programs."""

    def __init__(
        self,
        model: Decoder,
        slots: int,
        piece: int,
        longest: tuple[int, int] | None = None,
        kept_texts: int = 0,
    ):
        """`slots`: rows at most; `piece`, `longest` and `kept_texts`: as of `Generator`."""
        self._model, self._slots, self._piece = model, slots, piece
        self._prompt, answer = longest or (1, 0)
        self._text = self._prompt + answer
        self._shrinks = _SHRINKS if longest is None else math.inf
        self._rows: list[Request | None] = []
        none: list[Sampler | None] = []
        self._samplers = none, by_row([None])  # of the rows, and as they are on the device
        self._state: Decoding | None = None
        self._room = 0  # for each text
        self._alternatives = False
        self._kept = KeptTexts(kept_texts if keeps(model.config) else 0)
        self._prefill = Prefill(model, piece)
        self._begin = compiled(decoding.begin, donate_argnames="cache")
        self._advance = compiled(decoding.advance, model, donate_argnames="state")
        self._insert = compiled(decoding.insert, donate_argnames="state")
        self._row_of = compiled(decoding.row_of)
        self._continued = compiled(decoding.continued, model, static_argnames=("size", "piece"))
        self._arranged = compiled(decoding.arranged, model, static_argnames=("size", "piece"))

    def fill(self, params: Any, joining: Sequence[Request]) -> None:
        """Gives rows to requests, no more than are free.

        What fails before rows change leaves the other texts as they are.
        """
        self._fail_if_lost()
        self._keep_ended()
        groups: dict[int, list[Request]] = {}
        begun: list[tuple[Request, tuple[Cache, int]]] = []
        for request in joining:
            found = None
            if request.order.images is None:  # equal tokens may stand for other images
                found = self._kept.longest(request.order.prompt)
            if found:
                begun.append((request, found))
            else:
                size = max(request.order.prompt.size, self._prompt)
                groups.setdefault(bucket(size - 1), []).append(request)
        try:
            self._make_room(params, [request.order for request in joining])
            for group in groups.values():
                self._join(params, group)
            for request, found in begun:
                self._join(params, [request], found)
            self._set_samplers([request and request.order.sampler for request in self._rows])
        finally:
            self._fail_if_lost()

    def advance(self, params: Any, num_steps: int, until_one_ends: bool) -> None:
        """Takes all texts up to `num_steps` tokens further, and hands them to their requests.

        It stops earlier where so few are left that the batch may shrink.
        """
        running = np.array([request is not None and request.writing for request in self._rows])
        if self._state is None or not running.any():
            return
        try:
            state, self._state = self._state, None
            count, few = running.sum(), running.size // self._shrinks
            least = count if until_one_ends else few + 1 if count > few else 1
            state = self._advance(
                params, state, self._samplers[1], running, np.int32(num_steps), np.int32(least)
            )
            self._deliver(state)
            self._state = state
        finally:
            self._fail_if_lost()

    def _active(self) -> list[int]:
        return [row for row, request in enumerate(self._rows) if request and request.writing]

    def _make_room(self, params: Any, joining: list[Order]) -> None:
        """Brings the batch to a size that fits its texts and those that join."""
        active = self._active()
        orders = [request.order for request in self._rows if request] + joining
        if not orders:
            return
        self._alternatives = any(order.alternatives for order in orders)
        if self._state is not None:
            self._state = self._with_alternatives(self._state)
        rows = min(1 << (len(orders) - 1).bit_length(), self._slots)
        longest = max(self._text, *(order.limit for order in orders))
        size = min(bucket(longest), self._model.config.context_length)
        if not active or self._state is None:
            if self._state is None or self._state.texts.tokens.shape != (rows, size):
                self._state = None
                self._rows = [None] * rows
                self._room = size
            return
        batch, room = self._state.texts.tokens.shape
        if (
            batch < rows
            or batch >= self._shrinks * rows
            or room < size
            or room >= self._shrinks * size
        ):
            order = np.full(rows, batch, np.int32)
            order[: len(active)] = active
            state = self._arranged(self._state, order, size=size, piece=self._piece)
            kept = [self._rows[row] for row in active]
            self._state = None
            self._rows = kept + [None] * (rows - len(kept))
            self._room = size
            self._state = state

    def _set_samplers(self, samplers: list[Sampler | None]) -> None:
        """Puts the samplers of rows on the device, where they have changed."""
        before, _ = self._samplers
        same = len(samplers) == len(before) and all(
            one is other for one, other in zip(samplers, before, strict=True)
        )
        if not same:
            made = by_row(samplers or [None])
            # Of several processes each has the same numbers, and no device of the others.
            on_device = jax.device_put(made) if jax.process_count() == 1 else made
            self._samplers = samplers, on_device

    def forget(self) -> None:
        """Forgets the texts that have ended, which other parameters have read."""
        self._kept.clear()
        self._drop_ended()

    def _drop_ended(self) -> None:
        self._rows = [request if request and request.writing else None for request in self._rows]

    def _keep_ended(self) -> None:
        """Keeps the texts of rows that have ended since the last time, and frees their rows."""
        ended = [row for row, request in enumerate(self._rows) if request and not request.writing]
        requests = ((row, self._rows[row]) for row in ended)
        kept = [row for row, request in requests if request and request.order.images is None]
        for row in ended:  # first of all: a copy that fails must not fail again at each step
            self._rows[row] = None
        state, alone = self._state, len(self._rows) == 1
        if not (kept and self._kept and state is not None):
            return
        tokens, lengths = fetched((state.texts.tokens, state.texts.length))
        if alone:  # then its cache is given away, and the next text begins another batch
            self._state = None
        for row in kept:
            cache = state.cache if alone else self._row_of(state.cache, np.int32(row))
            self._kept.keep(tokens[row, : lengths[row]].copy(), cache)

    def _join(
        self, params: Any, group: list[Request], found: tuple[Cache, int] | None = None
    ) -> None:
        """Feeds prompts of about one length, and gives their texts free rows.

        `found`: a kept cache of so many tokens of the prompt, of which there is one.
        """
        batch, size = len(self._rows), self._room
        free = [row for row, request in enumerate(self._rows) if request is None][: len(group)]
        count = min(1 << (len(group) - 1).bit_length(), self._slots)
        rows = np.full(count, batch, np.int32)
        rows[: len(group)] = free
        new = self._begun(params, [request.order for request in group], count, size, found)
        alone = count == batch and not any(self._rows)  # then they are the batch, as it is
        if self._state is None and not alone:
            self._state = self._begun(params, [], batch, size)
        state, self._state = self._state, None
        for row, request in zip(free, group, strict=True):
            self._rows[row] = request
        self._state = new if alone else self._insert(state, new, rows)

    def _begun(
        self,
        params: Any,
        orders: list[Order],
        rows: int,
        size: int,
        found: tuple[Cache, int] | None = None,
    ) -> Decoding:
        """The state before the first new token of each order, and of rows with no text."""
        tokens = np.zeros((rows, size), np.int32)
        lengths, limits = np.ones(rows, np.int32), np.zeros(rows, np.int32)
        seeds, indices = np.zeros((2, rows), np.int32)
        stop_tokens = np.full(rows, decoding.NEVER, np.int32)
        for row, order in enumerate(orders):
            lengths[row], limits[row] = order.prompt.size, order.limit
            tokens[row, : order.prompt.size] = order.prompt
            seeds[row], indices[row] = order.seed, order.sample_index
            if order.stop_token is not None:
                stop_tokens[row] = order.stop_token
        begun = None
        if found is not None:
            held, count = found
            cache = self._continued(held, np.int32(count), size=size, piece=self._piece)
            begun = cache, count
        longest = self._prompt - 1
        images = padded_images([order.images for order in orders], rows)
        cache = self._prefill(
            params, tokens, lengths - 1, longest=longest, begun=begun, images=images
        )
        state = self._begin(tokens, lengths, limits, stop_tokens, seeds, indices, cache)
        return self._with_alternatives(state)

    def _with_alternatives(self, state: Decoding) -> Decoding:
        """`state` with places for alternatives where any text wants them, else without."""
        if not self._alternatives:
            return dataclasses.replace(state, alternatives=None)
        if state.alternatives is not None:
            return state
        batch, size = state.texts.tokens.shape
        none = Alternatives.none(batch, size, self._model.config.vocab_size)
        return dataclasses.replace(state, alternatives=none)

    def _deliver(self, state: Decoding) -> None:
        """Hands new tokens to their requests."""
        tokens, log_probs, lengths, others = fetched(
            (state.texts.tokens, state.log_probs, state.texts.length, state.alternatives)
        )
        for row, request in enumerate(self._rows):
            if request is not None and request.writing:
                new = slice(request.order.prompt.size + len(request.tokens), lengths[row])
                beside = None
                if others is not None:
                    kept = slice(request.order.alternatives)
                    beside = others.tokens[row, new, kept], others.log_probs[row, new, kept]
                request.add(tokens[row, new], log_probs[row, new], beside)

    def _fail_if_lost(self) -> None:
        """Ends the texts of a batch whose state is gone: donated, or half changed."""
        if self._state is not None:
            return
        for row in self._active():
            request = self._rows[row]
            assert request is not None
            request.finish("failed")
        self._rows = []


def fetched(arrays: Any) -> Any:
    """All of each array of a tree, of which this process may have parts; all processes ask."""

    def gathered(array: jax.Array) -> Any:
        here = array.is_fully_addressable or array.is_fully_replicated
        return array if here else multihost_utils.process_allgather(array, tiled=True)

    return jax.device_get(jax.tree.map(gathered, arrays))
