"""POST /v1/completions: continuations of text or of token ids, and scores of what is given.

With `echo` and `logprobs` a prompt's own tokens are scored, as lm-eval's `local-completions` asks.
Source: OpenAI's API reference, "Create completion".
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gptjax.chat.drafts import Asked
from gptjax.serving.bodies.fields import Field, read, table, unsupported
from gptjax.serving.bodies.sampling_fields import (
    COUNT,
    SAMPLING,
    check_stream_options,
    policy_of,
    stops,
)
from gptjax.serving.bodies.shapes import legacy_logprobs, usage
from gptjax.serving.bodies.texts import TEXTS, texts_of
from gptjax.serving.errors import APIError, refused
from gptjax.serving.generation import Chosen, Writing, started, top_of
from gptjax.serving.screening import FILTERED, Screen
from gptjax.serving.served import Models, new_id, seed_of
from gptjax.serving.streaming import event_stream, merged

_DEFAULT_TOKENS = 16  # the API's
FIELDS = table(
    SAMPLING,
    Field("prompt", TEXTS, "A text or token ids, or several of either; end-of-text by default."),
    Field(
        "max_tokens",
        {**COUNT, "minimum": 0},
        "Most new tokens, 16 by default; 0 with echo scores the prompt alone.",
    ),
    Field("echo", {"type": "boolean"}, "Whether the prompt stands before what continues it."),
    Field(
        "logprobs",
        {"type": "integer", "minimum": 0, "maximum": 5},
        "Most probable tokens beside each, whose own log-probability comes too.",
    ),
    unsupported("suffix", ""),
)
Screened = tuple[Screen, np.ndarray, str] | Screen
Scores = tuple[list[int], list[float | None], list[list[tuple[int, float]] | None]]


class _Call:
    """One request, read and checked."""

    def __init__(self, values: Mapping[str, Any], models: Models):
        self.values, self.served = values, models.get(values.get("model"))
        served = self.served
        self.policy = policy_of(values, served, served.limits)
        self.count, self.top = values.get("n", 1), values.get("logprobs")
        self.echo = values.get("echo", False)
        self.most = values.get("max_tokens", _DEFAULT_TOKENS)
        if not self.most and not self.echo:
            raise APIError("max_tokens: got 0 without echo, expected 1 or more", param="max_tokens")
        self.filters = models.filters
        self.room = served.model.config.context_length - (self.most > 0)
        self.prompts = texts_of(served, values.get("prompt", ""), "prompt", self.room)
        self.seed = seed_of(values)
        draws = max(self.count, values.get("best_of", 1))
        self.places = asyncio.Semaphore(max(1, served.limits.waiting // (4 * draws)))
        end = served.model.tokenizer.end_of_text
        self.stop_token = end if end is not None and end < served.model.config.vocab_size else None
        self.head = {
            "id": new_id("cmpl"),
            "object": "text_completion",
            "created": int(time.time()),
            "model": served.name,
            "system_fingerprint": None,
        }

    @property
    def read_tokens(self) -> int:
        """Tokens of all prompts."""
        return sum(tokens.size for tokens, _ in self.prompts)

    def asked(self, tokens: np.ndarray) -> Asked:
        return Asked(
            tokens,
            stop_token=self.stop_token,
            max_new_tokens=self.most,
            stop=stops(self.values),
            seed=self.seed,
            alternatives=max(self.top, 1) if self.top is not None else 0,
        )

    async def screened(self, number: int) -> Screened:
        """What is left of a prompt, and its filters; these alone where it is refused."""
        tokens, prompt = self.prompts[number]
        screen = Screen(self.filters, number * self.count)
        left = await screen.texts([prompt])
        if left is None:
            return screen
        if left[0] != prompt:
            ((tokens, prompt),) = texts_of(self.served, left[0], "prompt", self.room)
        return screen, tokens, prompt

    def refused(self, number: int) -> list[dict[str, Any]]:
        """The choices of a prompt that a filter refused."""
        empty = {"text": "", "logprobs": None, "finish_reason": FILTERED}
        return [{"index": number * self.count + i, **empty} for i in range(self.count)]

    async def started(self, number: int, tokens: np.ndarray) -> Writing:
        """The texts of a prompt, in the batch; errors are those of `generation.started`.

        The first prompt finds the queue full or not; the others wait for places there.
        """
        asked = self.asked(tokens)
        return await started(self.served, self.policy, asked, self.count, patient=number > 0)

    async def echoed(self, tokens: np.ndarray) -> Scores:
        """The prompt's tokens with their log-probabilities; the first one has none."""
        scorer, most = self.served.model.scorer, max(self.top or 0, 1)
        if tokens.size == 1:
            return tokens.tolist(), [None], [None]
        try:
            log_probs, ids, best = await self.served.aside(
                lambda: scorer.alternatives(tokens, most)
            )
        except ValueError as error:
            raise refused(error, "echo") from error
        tops = [
            list(zip(*pair, strict=True)) for pair in zip(ids.tolist(), best.tolist(), strict=True)
        ]
        return tokens.tolist(), [None, *log_probs.tolist()], [None, *tops]

    def ours(self, screens: Sequence[Screen]) -> dict[str, Any]:
        """What the answer says besides."""
        decisions = [decision for screen in screens for decision in screen.decisions]
        return {"seed": self.seed, "policy": str(self.policy), "moderation": decisions}

    def choice(
        self, index: int, prompt: str, scores: Scores | None, reply: Chosen | None
    ) -> dict[str, Any]:
        """A choice, from the prompt's scores and what continues it; None where there is neither."""
        shown = prompt if self.echo else ""
        text = shown + (reply.text if reply else "")
        logprobs = None
        if self.top is not None:
            tokens, log_probs, tops = scores or ([], [], [])
            tokens, log_probs, tops = tokens.copy(), log_probs.copy(), tops.copy()
            for i in range(_told(reply) if reply else 0):
                assert reply is not None
                tokens.append(reply.draft.tokens[i])
                log_probs.append(reply.draft.log_probs[i])
                tops.append(top_of(reply.draft, i, self.top))
            start = 0 if scores else len(shown)
            logprobs = legacy_logprobs(self.served, tokens, log_probs, tops, start)
        reason = reply.reason if reply else "length"
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}


def _told(reply: Chosen) -> int:
    """How many tokens have log-probabilities: all in the text, and the token that ended it."""
    ended = reply.scored and reply.draft.finished == "stop_token"
    return len(reply.draft.tokens) if ended else reply.count


async def create(request: Request, body: Mapping[str, Any], models: Models) -> Response:
    """Answers a request."""
    values = read(body, FIELDS)
    check_stream_options(values)
    call = await asyncio.to_thread(_Call, values, models)  # it encodes
    if values.get("stream"):
        first, writing = await call.screened(0), None
        if call.most and not isinstance(first, Screen):
            writing = await call.started(0, first[1])  # a full queue has its status, before events
        events = _Stream(call).events(first, writing)
        return event_stream(events, writing.end if writing else lambda: None)

    begun = asyncio.Event()  # the first prompt has found a place, or needs none

    async def one(number: int) -> tuple[list[dict[str, Any]], int, Screen]:
        left = await call.screened(number)
        if isinstance(left, Screen):
            begun.set()
            return call.refused(number), 0, left
        if number and call.most:
            await begun.wait()
        screen, tokens, prompt = left
        async with call.places:
            scores = await call.echoed(tokens) if call.echo and call.top is not None else None
            replies: Sequence[Chosen | None] = [None] * call.count
            written = 0
            if call.most:
                writing = await call.started(number, tokens)
                begun.set()
                replies = await screen.replies(await writing.whole(request))
                written = writing.tokens
        first = number * call.count
        choices = [call.choice(first + i, prompt, scores, each) for i, each in enumerate(replies)]
        return choices, written, screen

    tasks = [asyncio.create_task(one(number)) for number in range(len(call.prompts))]
    try:
        parts = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    return JSONResponse(
        {
            **call.head,
            "choices": [choice for choices, _, _ in parts for choice in choices],
            "usage": usage(call.read_tokens, sum(count for _, count, _ in parts)),
            "gptjax": call.ours([screen for _, _, screen in parts]),
        }
    )


class _Stream:
    """The events of one answer; its prompts are continued side by side, as in a whole answer."""

    def __init__(self, call: _Call):
        self._call = call
        options = call.values.get("stream_options") or {}
        self._counted = options.get("include_usage", False)
        self._head = {**call.head} | ({"usage": None} if self._counted else {})
        self._left, self._written = len(call.prompts) * call.count, 0
        self._screens: list[Screen] = []

    async def events(
        self, first: Screened, begun: Writing | None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """All of them. The first prompt is screened, and `begun` where any of it is written."""
        rest = range(1, len(self._call.prompts))
        prompts = [self._prompt(0, first, begun), *(self._screened(number) for number in rest)]
        async with contextlib.aclosing(merged(prompts)) as events:
            async for event in events:
                yield event
        if self._counted:
            count = usage(self._call.read_tokens, self._written)
            yield {**self._head, "choices": [], "usage": count}

    async def _screened(self, number: int) -> AsyncGenerator[dict[str, Any], None]:
        async with self._call.places:
            left = await self._call.screened(number)
            async for event in self._prompt(number, left, None):
                yield event

    async def _prompt(
        self, number: int, left: Screened, begun: Writing | None
    ) -> AsyncGenerator[dict[str, Any], None]:
        call, first = self._call, number * self._call.count
        if isinstance(left, Screen):
            self._screens.append(left)
            for choice in call.refused(number):
                yield self._told({**self._head, "choices": [choice]})
            return
        screen, tokens, prompt = left
        self._screens.append(screen)

        def chunk(index: int, text: str, **rest: Any) -> dict[str, Any]:
            choice = {"index": first + index, "text": text, "logprobs": None, "finish_reason": None}
            return {**self._head, "choices": [{**choice, **rest}]}

        scores = await call.echoed(tokens) if call.echo and call.top is not None else None
        for index in range(call.count) if call.echo else ():
            given = legacy_logprobs(call.served, *scores) if scores else None
            yield chunk(index, prompt, logprobs=given)
        if not call.most:
            for index in range(call.count):
                yield self._told(chunk(index, "", finish_reason="length"))
            return
        writing = begun or await call.started(number, tokens)
        texts = [""] * call.count
        async for index, piece, ended in screen.pieces(writing):
            texts[index] += piece
            if piece:
                yield chunk(index, piece)
            if ended:
                reply = screen.ended(index, writing.chosen(writing.drafts[index], texts[index]))
                logprobs = None
                if call.top is not None:
                    logprobs = call.choice(index, prompt, None, reply)["logprobs"]
                yield self._told(chunk(index, "", finish_reason=reply.reason, logprobs=logprobs))
        self._written += writing.tokens

    def _told(self, event: dict[str, Any]) -> dict[str, Any]:
        """The end of a choice; that of the last one says what the answer says besides."""
        self._left -= 1
        return event if self._left else {**event, "gptjax": self._call.ours(self._screens)}
