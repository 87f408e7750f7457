r"""Generation: one running batch that requests join and leave, for one text or for many.

Prompts are fed in pieces, tokens come from one compiled loop, and between two stretches of it the
batch is filled from the queue. A text is the same as if it ran alone.

    generator = Generator(model, params, tokenizer)
    texts = generator.generate(["The", "A list"], sampler=make_sampler(0.8), seed=1)
    for piece in generator.submit(prompt, stop=("\n",)).text():
        ...

Threads may share a generator: whoever waits for a token takes all texts a step further.

Source: continuous batching is the iteration-level scheduling of Orca (Yu et al. 2022, section 3).
"""

import contextlib
import dataclasses
import threading
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, overload

import numpy as np

from gptjax.inference.batch import Queue, RunningBatch
from gptjax.inference.decoding import decoding_params
from gptjax.inference.prefill import PIECE
from gptjax.inference.requests import (
    Request,
    check_number,
    check_sampler,
    check_stop,
    make_order,
    room_after,
)
from gptjax.inference.sampling import Sampler, kind_of
from gptjax.inference.text import encode_prompt
from gptjax.models.decoder import Decoder
from gptjax.tokenization import Tokenizer


class Generator:
    """Generates with one model; it holds compiled programs and the running batch, so keep it."""

    def __init__(
        self,
        model: Decoder,
        params: Any,
        tokenizer: Tokenizer | None = None,
        *,
        slots: int = 8,
        max_queue: int | None = None,
        chunk: int = 8,
        piece: int = PIECE,
        longest: tuple[int, int] | None = None,
        dtype: str | None = None,
        kept_texts: int = 0,
    ):
        """Makes `params` ready for decoding.

        Args:
          model: what writes.
          params: its parameters, as such or as `{"params": ...}`.
          tokenizer: needed for text and stop strings.
          slots: texts that are written at the same time.
          max_queue: requests that may wait besides; None for any number.
          chunk: most tokens of a text between two looks at it, while it is read as it comes.
          piece: most tokens of a prompt that are fed at once.
          longest: tokens of the longest prompt and the longest answer to come, where they are
            known, as in training: the batch is then of one size from the first text on, and one
            program serves texts that would take turns with several. Longer ones are served too.
          dtype: of weights and cache, "float32" or "bfloat16"; None: as the model computes.
          kept_texts: ended texts whose keys and values are kept: of a prompt that begins like one
            of them, as the next turn of a conversation does, only the rest is read.

        Raises:
          ValueError: a number out of range, another dtype, a tokenizer that lacks tokens of the
            model, or parameters of another model.
        """
        for name, value, least in (("slots", slots, 1), ("chunk", chunk, 1), ("piece", piece, 1)):
            check_number(name, value, least)
        check_number("kept_texts", kept_texts, 0)
        if max_queue is not None:
            check_number("max_queue", max_queue, 0)
        if dtype not in (None, "float32", "bfloat16"):
            raise ValueError(f"dtype: got {dtype!r}, expected float32 or bfloat16")
        if tokenizer is not None and tokenizer.vocab_size < model.config.vocab_size:
            raise ValueError(
                f"tokenizer: got {tokenizer.vocab_size} tokens, expected no fewer than "
                f"the model's {model.config.vocab_size}"
            )
        config = dataclasses.replace(model.config, dtype=dtype or model.config.dtype)
        self._model = model = model.clone(config=config)
        self._tokenizer, self._slots = tokenizer, slots
        end = None if tokenizer is None else tokenizer.end_of_text
        self._end_of_text = end if end is not None and end < config.vocab_size else None
        self._chunk, self._lock = chunk, threading.RLock()
        self._queue = Queue(slots, max_queue)
        self._batch = RunningBatch(model, slots, piece, longest, kept_texts)
        self.params = params
        self._kinds: set[Hashable] = set()  # of samplers that were checked

    @property
    def slots(self) -> int:
        """Texts that are written at the same time, at most."""
        return self._slots

    @property
    def model(self) -> Decoder:
        """What writes, in the dtype in which it does."""
        return self._model

    @property
    def params(self) -> Any:
        """Parameters of the model, set while no request runs (ValueError: of another model)."""
        return self._params

    @params.setter
    def params(self, params: Any) -> None:
        self._params = decoding_params(self._model, params)
        self._batch.forget()

    def room(self, prompt: np.ndarray | str) -> int:
        """The most new tokens that fit in the context after `prompt`.

        Raises:
          ValueError: the prompt is longer than the context.
        """
        return room_after(self._tokens(prompt), self._model.config)

    def submit(
        self,
        prompt: np.ndarray | str,
        *,
        max_new_tokens: int | None = None,
        sampler: Sampler | None = None,
        seed: int = 0,
        sample_index: int = 0,
        stop_token: int | None = None,
        stop: Sequence[str] = (),
        sliding_window: bool = False,
        alternatives: int = 0,
        images: np.ndarray | None = None,
    ) -> Request:
        """Asks for a continuation; it is written while it, or another one, is read.

        It does not wait for a step that another thread takes.

        Args:
          prompt: text, or token ids [n], at least one and at most the context. Of an empty text
            it is end-of-text, where documents start.
          max_new_tokens: None, and what exceeds the context, is all that fits.
          sampler: draws from the unfiltered distribution by default.
          seed: 0 or more, below 2**31.
          sample_index: equal (prompt, seed, sample index) give equal texts.
          stop_token: ends the text, as its last token; None: end-of-text ends what continues
            text, and nothing what continues tokens.
          stop: strings that end it, found across tokens too; needs a tokenizer.
          sliding_window: of a prompt that leaves no room in the context for `max_new_tokens`, or
            half of the context, takes the last tokens that do; else such a prompt is refused, or
            its text ends with the context.
          alternatives: how many of the most probable tokens to keep beside each new one.
          images: uint8 [N, H, W, C], in the order of their places in the prompt.

        Raises:
          ValueError: at once, for a prompt and numbers that do not fit, a sampler that fails, or
            a full queue.
        """
        check_stop(stop, self._tokenizer is not None)
        tokens = self._tokens(prompt)
        if isinstance(prompt, str) and stop_token is None:
            stop_token = self._end_of_text
        order = make_order(
            self._model.config,
            tokens,
            sample_index=sample_index,
            max_new_tokens=max_new_tokens,
            sampler=sampler,
            seed=seed,
            stop_token=stop_token,
            stop=stop,
            sliding_window=sliding_window,
            alternatives=alternatives,
            images=images,
        )
        if kind_of(order.sampler) not in self._kinds:
            check_sampler(order.sampler, self._model.config.vocab_size)
            self._kinds.add(kind_of(order.sampler))
        request = Request(order, self._proceed, self._tokenizer)
        self._queue.put(request)
        return request

    def _tokens(self, prompt: np.ndarray | str) -> np.ndarray:
        """The tokens of a prompt."""
        if not isinstance(prompt, str):
            return prompt
        if self._tokenizer is None:
            raise ValueError(
                f"prompt: got {prompt!r} without a tokenizer, expected tokens, or a generator with "
                "a tokenizer"
            )
        return encode_prompt(self._tokenizer, prompt)

    def complete(
        self,
        prompts: Sequence[np.ndarray | str],
        *,
        sample_indices: Sequence[int] | None = None,
        **options: Any,
    ) -> list[Request]:
        """Continues prompts to their ends.

        Args:
          prompts: one or more.
          sample_indices: one for each prompt, 0, 1, 2, ... by default.
          **options: of `submit`, as are its errors.

        Raises:
          RuntimeError: the batch that one of them was in failed.
        """
        requests = self._submit_all(prompts, sample_indices, options)
        with _none_left_behind(requests):
            while any(request.writing for request in requests):
                self.step(self._model.config.context_length)
        return requests

    @overload
    def generate(self, prompts: Sequence[str], **options: Any) -> list[str]: ...

    @overload
    def generate(self, prompts: Sequence[np.ndarray], **options: Any) -> list[np.ndarray]: ...

    def generate(self, prompts: Sequence[np.ndarray | str], **options: Any) -> list[Any]:
        """What follows each prompt: text after text, tokens [n] int32 after tokens.

        Arguments are those of `complete`.
        """
        made = zip(prompts, self.complete(prompts, **options), strict=True)
        return [
            "".join(request.text()) if isinstance(prompt, str) else request.result()
            for prompt, request in made
        ]

    def best_of(self, prompt: np.ndarray | str, count: int, **options: Any) -> Request:
        """The sample, of `count`, whose tokens are the most probable on average.

        Args:
          prompt: text, or token ids [n].
          count: samples, of indices 0, 1, 2, ...
          **options: of `submit`.
        """
        return max(
            self.complete([prompt] * count, **options),
            key=lambda request: float(np.mean(request.log_probs or [-np.inf])),
        )

    def stream(
        self,
        prompts: Sequence[np.ndarray | str],
        *,
        sample_indices: Sequence[int] | None = None,
        **options: Any,
    ) -> Iterator[list[np.ndarray]]:
        """Yields new tokens [0..] int32 of each text as they come; arguments as of `complete`."""
        return self._stream(self._submit_all(prompts, sample_indices, options))

    def step(self, num_steps: int | None = None) -> None:
        """Fills the batch from the queue and takes it up to `num_steps` tokens further.

        It stops earlier where a text ends for which another one waits.
        """
        with self._lock:
            joining = self._queue.first()
            try:
                self._queue.take(joining)
                self._batch.fill(self._params, joining)
            except BaseException:
                for request in joining:
                    request.finish("failed")
                raise
            steps = self._chunk if num_steps is None else num_steps
            self._batch.advance(self._params, steps, until_one_ends=self._queue.any_wait)

    def _proceed(self, request: Request) -> None:
        """Goes on until `request` has more tokens than now."""
        seen = len(request.tokens)
        with self._lock:
            if request.writing and len(request.tokens) == seen:
                self.step()

    def _stream(self, requests: list[Request]) -> Iterator[list[np.ndarray]]:
        shown, ended = [0] * len(requests), False
        with _none_left_behind(requests):
            while not ended:
                ended = not any(request.writing for request in requests)
                pairs = zip(shown, requests, strict=True)
                new = [np.array(request.tokens[at:], np.int32) for at, request in pairs]
                if any(tokens.size for tokens in new):
                    shown = [at + tokens.size for at, tokens in zip(shown, new, strict=True)]
                    yield new
                if not ended:
                    self.step()

    def _submit_all(
        self,
        prompts: Sequence[np.ndarray | str],
        sample_indices: Sequence[int] | None,
        options: dict[str, Any],
    ) -> list[Request]:
        if isinstance(prompts, str):
            raise ValueError(f"prompts: got the text {prompts!r}, expected a list of texts")
        indices = range(len(prompts)) if sample_indices is None else sample_indices
        if not prompts or len(indices) != len(prompts):
            raise ValueError(
                f"prompts: got {len(prompts)} with {len(indices)} sample indices, expected one or "
                "more, and as many indices"
            )
        requests: list[Request] = []
        with self._queue.lock:
            try:
                for prompt, index in zip(prompts, indices, strict=True):
                    requests.append(self.submit(prompt, sample_index=index, **options))
            finally:
                if len(requests) < len(prompts):
                    for request in requests:
                        request.cancel()
        return requests


@contextlib.contextmanager
def _none_left_behind(requests: Sequence[Request]) -> Iterator[None]:
    """Cancels what is not finished where its reader leaves; raises where a batch failed."""
    try:
        yield
    finally:
        for request in requests:
            request.cancel()
    for request in requests:
        request.result()
