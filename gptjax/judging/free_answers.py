"""Figures of an answer in words beside the right ones, as SQuAD's evaluate-v1.1.py counts them.

exact_match("the Broncos", ("Denver Broncos",)), f1("the Broncos", ("Denver Broncos",))
"""

import collections
import re
import string
from collections.abc import Sequence

PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(text: str) -> list[str]:
    """Words of a text in small letters, without punctuation and articles (evaluate-v1.1.py)."""
    return re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(PUNCTUATION)).split()


def exact_match(given: str, right: Sequence[str]) -> float:
    """1 if an answer is one of the right ones, normalised; else 0."""
    return float(any(normalized(given) == normalized(each) for each in right))


def f1(given: str, right: Sequence[str]) -> float:
    """Highest F1 of the words of an answer and those of a right one, normalised."""
    return max(_f1(normalized(given), normalized(each)) for each in right)


def _f1(given: list[str], right: list[str]) -> float:
    shared = (collections.Counter(given) & collections.Counter(right)).total()
    return 2 * shared / (len(given) + len(right)) if shared else 0.0
