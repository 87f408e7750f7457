"""Whether a model finds what was said far back: passkeys and needles by depth and length.

trials = made_trials("passkey", tokenizer, filler, length=2048, depth=0.5, number=4, seed=0)
found = judged(scorer, trials)["gain"]      # nats

passkey: a number, stated twice, within sentences that repeat (Landmark Attention, arXiv 2305.16300;
YaRN, arXiv 2309.00071).
needle: the number of a word, within text of books (the "needle in a haystack"; RULER, arXiv
2404.06654).

Small models seldom answer, so that there is a second figure: how much more probable the answer is
than with the sentence taken out, in nats. It is 0 of a model that does not read so far back.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from gptjax.inference.scoring import Scorer
from gptjax.studies.equal_budget.summary import t_interval
from gptjax.tokenization import Tokenizer

_INTRODUCTION = "There is a pass key hidden in this text. Find it and remember it.\n"
_FILLER = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back. "
_WORDS = ("amber", "basil", "cedar", "delta", "ember", "fjord", "grove", "hazel", "ivory", "jade")


@dataclasses.dataclass(frozen=True)
class Kind:
    """Sentences of a kind of trial; KEY and WORD stand for what a trial draws."""

    introduction: str
    said: str
    asked: str


KINDS = {
    "passkey": Kind(
        _INTRODUCTION,
        "\nThe pass key is KEY. Remember it. KEY is the pass key.\n",
        "\nWhat is the pass key? The pass key is",
    ),
    "needle": Kind(
        "",
        "\nThe number of WORD is KEY.\n",
        "\nThe number of WORD is",
    ),
}


@dataclasses.dataclass(frozen=True)
class Trial:
    """One question.

    Attributes:
      prompt: ids [n] of the text with the sentence in it, and the question.
      without: ids [n], the same with more filler in the sentence's place.
      answer: ids of the answer.
    """

    prompt: np.ndarray
    without: np.ndarray
    answer: np.ndarray


def least_length(kind: str, tokenizer: Tokenizer) -> int:
    """The fewest tokens in which any trial of a kind fits."""
    sentences = KINDS[kind]
    longest = [
        "".join((sentences.introduction, sentences.said, sentences.asked, " KEY"))
        .replace("KEY", "50000")
        .replace("WORD", word)
        for word in _WORDS
    ]
    # Parts that are encoded apart may have more tokens than the whole.
    return max(tokenizer.encode(text).size for text in longest) + 8


def made_trials(
    kind: str,
    tokenizer: Tokenizer,
    haystack: np.ndarray,
    *,
    length: int,
    depth: float,
    number: int,
    seed: int,
) -> list[Trial]:
    """Trials whose prompt and answer have `length` tokens in all.

    Args:
      kind: one of `KINDS`.
      tokenizer: of the model.
      haystack: ids of running text, in which needles are hidden.
      length: in tokens.
      depth: where the sentence stands: 0 at the beginning, 1 at the end.
      number: of trials.
      seed: of their keys, words and places in the haystack.

    Raises:
      ValueError: the sentences alone are longer than that, or the haystack is shorter.
    """
    sentences = KINDS[kind]
    rng = np.random.default_rng([seed, length, round(1000 * depth)])
    if kind == "passkey":
        haystack = tokenizer.encode(_FILLER)
        haystack = np.tile(haystack, length // haystack.size + 2)
    if haystack.size < length:
        raise ValueError(f"needle: got {haystack.size} tokens of text, expected {length} or more")
    trials = []
    for _ in range(number):
        drawn = {"KEY": str(rng.integers(1, 50001)), "WORD": str(rng.choice(_WORDS))}

        def said(sentence: str, drawn: dict[str, str] = drawn) -> np.ndarray:
            for name, value in drawn.items():
                sentence = sentence.replace(name, value)
            return tokenizer.encode(sentence)

        begun, needle, asked = map(said, (sentences.introduction, sentences.said, sentences.asked))
        answer = said(" KEY")
        room = length - sum(part.size for part in (begun, needle, asked, answer))
        if room < 0:
            raise ValueError(
                f"{kind}: got {length} tokens, expected {length - room} or more: its sentences "
                "have as many"
            )
        start = int(rng.integers(0, haystack.size - room - needle.size + 1))
        text = haystack[start : start + room + needle.size]
        at = round(depth * room)
        trials.append(
            Trial(
                np.concatenate([begun, text[:at], needle, text[at:room], asked]),
                np.concatenate([begun, text, asked]),
                answer,
            )
        )
    return trials


def judged(scorer: Scorer, trials: Sequence[Trial]) -> dict[str, Any]:
    """What a model makes of trials.

    Returns:
      `exact`: the share whose answer greedy decoding writes; `gain`: mean nats of the answer that
      the sentence is worth, with `half_width` of its 95% interval over trials.
    """
    pairs = [(each.prompt, each.answer) for each in trials]
    pairs += [(each.without, each.answer) for each in trials]
    scores = scorer.score(pairs)
    there, gone = scores[: len(trials)], scores[len(trials) :]
    gains = [one.total - other.total for one, other in zip(there, gone, strict=True)]
    found = t_interval(gains)
    exact = float(np.mean([score.greedy for score in there]))
    return {"exact": exact, "gain": found["mean"], "half_width": found["half_width"]}
