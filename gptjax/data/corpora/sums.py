"""The corpus `sums`: questions as GPT-3's arithmetic sets put them, with their answers.

    Q: What is 98 plus 45?

    A: 143

A document has questions of one set, so that an earlier one shows how the later ones are meant. The
sets are those of GPT-3 (2005.14165, section 3.9.1): addition and subtraction of 2 to 5 digits,
multiplication of 2, and three operations of one digit. Operands are uniform in 0 to 10^digits - 1.
A tenth of all questions, by a hash of their text, is held out: the corpus has none of them.

    load_corpus("sums:documents=2000")
"""

import dataclasses
import zlib
from collections.abc import Callable, Iterator

import numpy as np

from gptjax.data.corpora.text import CORPORA, Corpus, Document
from gptjax.data.dialogue.instructions_sets import parse_options
from gptjax.settings import setting

SETS = (
    *((name, digits) for digits in (2, 3, 4, 5) for name in ("addition", "subtraction")),
    ("multiplication", 2),
    ("three_ops", 1),
)
OPERATIONS = ("addition", "subtraction", "multiplication", "three_ops")

_WORDS = {"addition": "plus", "subtraction": "minus", "multiplication": "times"}
_SIGNS: dict[str, Callable[[int, int], int]] = {
    "+": int.__add__,
    "-": int.__sub__,
    "*": int.__mul__,
}
_SIGN_OF = {"addition": "+", "subtraction": "-", "multiplication": "*"}
_QUESTIONS = 8  # of a document
_HELD_OUT = 10  # one of so many questions
_SEED = 20_200_528


@dataclasses.dataclass
class SumsOptions:
    """Options of the corpus."""

    documents: int = setting(20_000, "documents in the corpus", low=1)


def question(rng: np.random.Generator, operation: str, digits: int) -> tuple[str, str]:
    """A question and its answer, of a set of one of `OPERATIONS`."""
    if operation == "three_ops":
        a, b, c = (int(x) for x in rng.integers(10**digits, size=3))
        first, second = (str(x) for x in rng.choice(list(_SIGNS), size=2))
        asked = f"({a} {first} {b}) {second} {c}"
        answer = _SIGNS[second](_SIGNS[first](a, b), c)
    else:
        a, b = (int(x) for x in rng.integers(10**digits, size=2))
        asked = f"{a} {_WORDS[operation]} {b}"
        answer = _SIGNS[_SIGN_OF[operation]](a, b)
    return f"Q: What is {asked}?\n\nA:", str(answer)


def num_questions(operation: str, digits: int) -> int:
    """How many different questions there are."""
    if operation == "three_ops":
        return 10 ** (3 * digits) * len(_SIGNS) ** 2
    return 10 ** (2 * digits)


def is_held_out(asked: str) -> bool:
    """Whether the corpus leaves a question out."""
    return zlib.crc32(asked.encode()) % _HELD_OUT == 0


def document_text(index: int) -> str:
    """Document number `index`, whatever the corpus' size."""
    rng = np.random.default_rng([_SEED, index])
    operation, digits = SETS[rng.integers(len(SETS))]
    shown: list[str] = []
    while len(shown) < _QUESTIONS:
        asked, answer = question(rng, operation, digits)
        if not is_held_out(asked):
            shown.append(f"{asked} {answer}\n\n")
    return "".join(shown)


@CORPORA.register("sums")
def sums(location: str, invalid_utf8: str) -> Corpus:
    """Questions of arithmetic; 20,000 documents of 8 unless `documents` says others."""
    del invalid_utf8  # they are ASCII
    spec = f"sums:{location}" if location else "sums"
    options = parse_options(spec, location, SumsOptions)

    def read() -> Iterator[Document]:
        for index in range(options.documents):
            yield Document(f"{spec}#{index}", document_text(index))

    return Corpus(spec, (), read)
