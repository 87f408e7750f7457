"""Answers about images, written by greedy decoding and compared with those that were held out.

judge = Judge(model, tokenizer, form, documents, max_answer_tokens=8)
judge.accuracies(params)   # {"accuracy": 0.98, "names_accuracy": 0.99, "sums_accuracy": 0.97}
"""

import collections
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gptjax.data.image_text.documents import ImageText
from gptjax.data.image_text.rows import ImageForm, encode_parts, end_of_text
from gptjax.data.pictures.picture import Picture
from gptjax.inference.generate import Generator
from gptjax.inference.sampling import make_sampler
from gptjax.judging.metrics import with_intervals
from gptjax.models.decoder import Decoder
from gptjax.tokenization import ImageTokenizer

SLOTS = 64  # answers that are written at the same time


@dataclasses.dataclass(frozen=True)
class Judge:
    """Documents with answers, and who reads them.

    Attributes:
      model: of the answers.
      tokenizer: of the model.
      form: of its images.
      documents: each with an answer.
      max_answer_tokens: of an answer that is written.
    """

    model: Decoder
    tokenizer: ImageTokenizer
    form: ImageForm
    documents: Sequence[ImageText]
    max_answer_tokens: int

    def right(self, params: Any, documents: Sequence[ImageText] | None = None) -> np.ndarray:
        """Whether each answer is as it should be, but for white space around it: bool [N].

        `documents`: others than the judge's; those too long for the context count as wrong.
        """
        documents = self.documents if documents is None else documents
        generator = Generator(self.model, params, self.tokenizer, slots=SLOTS)
        banned, end = self.tokenizer.outside_text, end_of_text(self.tokenizer)
        sampler = make_sampler(0.0, banned_tokens=banned, vocab_size=self.model.config.vocab_size)
        requests = []
        for document in documents:
            asked = encode_parts(
                self.form.arranged(document.parts), self.tokenizer, self.form.tokens
            )
            requests.append(
                None
                if len(asked.ids) >= self.model.config.context_length
                else generator.submit(
                    asked.ids,
                    images=self.form.pixels(asked.pictures, len(asked.pictures)),
                    max_new_tokens=self.max_answer_tokens,
                    sampler=sampler,
                    stop_token=end,
                )
            )
        said = []
        for request in requests:
            ids = np.zeros(0, np.int32) if request is None else request.result()
            said.append(self.tokenizer.decode(ids[ids != end]).strip())
        return np.array(
            [
                text == (document.answer or "").strip()
                for text, document in zip(said, documents, strict=True)
            ],
            bool,
        )

    def accuracies(self, params: Any) -> dict[str, float]:
        """Shares of right answers, of all documents and of each group of them."""
        if not self.documents:
            return {}
        groups = np.array([document.group for document in self.documents])
        return _shares(self.right(params), groups, sorted(set(groups.tolist())))

    def report(self, params: Any, seed: int) -> dict[str, Any]:
        """The same with 95% intervals; counts; and the shares with other documents' images.

        Images change places between documents of the same group that show as many, so that an
        answer that does not depend on what they show stays right. An interval is drawn from whole
        clusters of documents (the cluster bootstrap), whose answers are not independent.
        """
        if not self.documents:
            return {}
        groups = np.array([document.group for document in self.documents])
        names = sorted(set(groups.tolist()))
        right = self.right(params)
        exchanged = self.right(params, _exchanged(self.documents, seed))
        clusters = [
            number if document.cluster is None else document.cluster
            for number, document in enumerate(self.documents)
        ]

        def shares(chosen: np.ndarray) -> dict[str, float]:
            return _shares(right[chosen], groups[chosen], names)

        return {
            "answers": with_intervals(shares, len(right), seed, clusters),
            "images_exchanged": _shares(exchanged, groups, names),
            "most_frequent_answer": _most_frequent(self.documents),
            "answers_judged": dict(collections.Counter(groups.tolist())),
        }


def _shares(right: np.ndarray, groups: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """The share of right answers, and of each group, where there are several; NaN of none."""
    shares = {"accuracy": float(right.mean())}
    for name in names if len(names) > 1 else ():
        of = right[groups == name]
        shares[f"{name}_accuracy"] = float(of.mean()) if len(of) else math.nan
    return shares


def _most_frequent(documents: Sequence[ImageText]) -> dict[str, float]:
    """The share of each group's most frequent answer: what answers reach that ignore the images."""
    counts: dict[str, collections.Counter[str | None]] = {}
    for document in documents:
        counts.setdefault(document.group, collections.Counter())[document.answer] += 1
    return {
        f"{name}_accuracy": max(each.values()) / sum(each.values())
        for name, each in sorted(counts.items())
    }


def _exchanged(documents: Sequence[ImageText], seed: int) -> list[ImageText]:
    """The documents, each with the pictures of another one of its group."""
    rng, made = np.random.default_rng(seed), list(documents)
    alike: dict[tuple[str, int], list[int]] = {}
    for number, document in enumerate(documents):
        alike.setdefault((document.group, len(document.pictures)), []).append(number)
    for numbers in alike.values():
        order = rng.permutation(numbers)
        for number, other in zip(order, np.roll(order, 1), strict=True):
            pictures = iter(documents[other].pictures)
            parts = tuple(
                next(pictures) if isinstance(part, Picture) else part
                for part in documents[number].parts
            )
            made[number] = dataclasses.replace(documents[number], parts=parts)
    return made
