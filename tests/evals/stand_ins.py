"""Models that answer by a rule that a test can follow, and count what they are asked."""

import zlib
from collections.abc import Iterator, Sequence

from gptjax.evals.requests import (
    Answer,
    Generation,
    GenerationAnswer,
    Likelihood,
    LikelihoodAnswer,
    Request,
    Rolling,
    room_of,
    text_of,
)


class Counting:
    """A token is a character; log-probabilities are a hash of the text; writes `writes[prompt]`."""

    context_length = 10_000

    def __init__(self, name: str = "one", writes: dict[str, str] | None = None, fails_after=None):
        self.content_hash, self.asked = name, []
        self._writes, self._fails_after = writes or {}, fails_after

    def check(self, requests: Sequence[Request]) -> None:
        pass

    def fit(self, requests: Sequence[Likelihood | Generation]) -> list[bool]:
        return [len(text_of(each)) <= room_of(each, self.context_length) for each in requests]

    def log_prob(self, text: str) -> float:
        return -(zlib.crc32((self.content_hash + text).encode()) % 1000) / 100 - 0.01

    def answers(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        for number in reversed(range(len(requests))):
            if len(self.asked) == self._fails_after:
                raise KeyboardInterrupt
            request = requests[number]
            self.asked.append(request)
            yield number, self._answer(request)

    def _answer(self, request: Request) -> Answer:
        if isinstance(request, Generation):
            return GenerationAnswer(self._writes.get(request.prompt, " nothing"))
        if isinstance(request, Rolling):
            return LikelihoodAnswer(self.log_prob(request.text), len(request.text))
        assert isinstance(request, Likelihood)
        log_prob = self.log_prob(request.context + request.continuation)
        return LikelihoodAnswer(log_prob, len(request.continuation), greedy=log_prob > -5)
