"""Translate: an answer is right if its BLEU, sentence by sentence, is above 30.

Differs from the original: where samples have several ideals, the corpus score takes them all as
references; the original fails there.

Source: evals/elsuite/translate.py of openai/evals 3.0.1.
"""

import dataclasses
import random
from collections.abc import Mapping, Sequence
from typing import Any

from gptjax.evals.openai_evals.classes.base import (
    Asks,
    Call,
    Event,
    WithExamples,
    accuracy,
    ideals,
    match,
)
from gptjax.judging.bleu import check_available

_RIGHT = 30


@dataclasses.dataclass
class Translate(WithExamples):
    """Sentence and corpus scores of sacrebleu, from 0 to 100; no temperature is sent."""

    def check(self) -> None:
        super().check()
        self._bleu = check_available().BLEU(effective_order=True)

    def asks(self, sample: Any, rng: random.Random) -> Asks:
        del rng
        expected = ideals(sample)
        text = yield Call(self.prompt(sample), {"max_tokens": self.max_tokens})
        score = {"sacrebleu_sentence_score": self._bleu.sentence_score(text, expected).score}
        right = score["sacrebleu_sentence_score"] > _RIGHT
        event = match(right, expected, None, sampled=text, **score)
        return [Event("metrics", score), event]

    def report(self, events: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
        rows = events.get("match", ())
        references = [_texts(row["expected"]) for row in rows]
        most = max(map(len, references), default=0)
        streams = [
            [each[at] if at < len(each) else None for each in references] for at in range(most)
        ]
        sampled = [row["sampled"] for row in rows]
        score = check_available().BLEU().corpus_score(sampled, streams).score if rows else None
        return {"accuracy": accuracy(rows), "sacrebleu_score": score}


def _texts(expected: Any) -> list[str]:
    return expected if isinstance(expected, list) else [expected]
