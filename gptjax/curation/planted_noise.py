"""Noise that is planted to try a preparation with: what must be found is known.

The corpora `planted_noise:copies` and `planted_noise:junk` are made of the help topics that come
with Python, and need no download. The name of a document says what it is:

    copy of X          the text of X, a document of `python_docs`
    near copy of X     the same with one word in a hundred replaced
    question N in X    X with a question of the evaluation set `planted_questions` in the middle
    repetition of X    its first line again and again
    symbols of X       its words among symbols, on short lines
    advert of X        its words among the words of advertisements
"""

import hashlib
import itertools
from collections.abc import Iterator

from gptjax.curation.decontamination.evaluation_sets import EVALUATION_SETS, EvaluationItem
from gptjax.data.corpora.text import CORPORA, Corpus, Document, load_corpus
from gptjax.registry import unknown_name

KINDS = {"copies": ("copy", "near copy", "question"), "junk": ("repetition", "symbols", "advert")}
QUESTIONS = 40
_ADVERTS = (  # an opening, a middle and an end make a line
    (
        "Order your {} today",
        "Click below to claim a free {}",
        "Sign up for our {} newsletter",
        "Compare the prices of {} online",
        "Shop the {} that celebrities love",
        "Upgrade to premium {} this week",
        "Book a {} with our friendly team",
    ),
    (
        "and get the second one for half",
        "while these bargains are in stock",
        "to be the first to hear of our sales",
        "and save big on famous brands",
        "with a warranty that lasts forever",
        "that shoppers have rated five stars",
        "at the lowest cost in your area",
    ),
    (
        "with shipping that is free worldwide.",
        "and your money back if unhappy.",
        "before this offer ends tonight!",
        "using the coupon that you have in your inbox.",
        "from a seller you can trust!",
        "and share it to win prizes.",
        "at checkout, no card needed.",
    ),
)
_LENGTHS = range(800, 40_000)  # characters of the documents that noise is made of
_REPLACED = 100  # of so many words one is replaced


def _drawn(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def question(number: int) -> str:
    """A made-up question of an evaluation set, with its answer."""
    name = ("Alma", "Bram", "Cleo", "Dirk", "Esra")[number % 5]
    goods = ("pears", "plums", "figs", "limes")[number % 4]
    boxes, each = number + 3, 2 * number + 5
    return (
        f"On market day number {number} {name} carries {boxes} wooden boxes with {each} {goods} in "
        f"every box over the old bridge, and sells half of all the {goods} before the bell rings. "
        f"How many {goods} were in the boxes that {name} carried at first? The answer is "
        f"{boxes * each} {goods}."
    )


@EVALUATION_SETS.register("planted_questions")
def planted_questions(spec: str, location: str) -> Iterator[EvaluationItem]:
    """The questions that `planted_noise` hides in documents."""
    if location:
        raise ValueError(f"evaluation set {spec!r}: got {location!r}, expected no location")
    for number in range(QUESTIONS):
        yield EvaluationItem(f"question {number}", question(number))


@CORPORA.register("planted_noise")
def planted_noise(location: str, invalid_utf8: str) -> Corpus:
    """Noise made of help topics; see the module's docstring."""
    if location not in KINDS:
        raise unknown_name("corpus planted_noise:", location, KINDS)
    docs = load_corpus("python_docs")

    def read() -> Iterator[Document]:
        topics = itertools.takewhile(lambda document: document.name.startswith("topic "), docs)
        whole = (document for document in topics if len(document.text) in _LENGTHS)
        for number, document in enumerate(whole):
            kind = KINDS[location][number % len(KINDS[location])]
            asked = number % QUESTIONS
            named = f"question {asked} in" if kind == "question" else f"{kind} of"
            yield Document(f"{named} {document.name}", _noise(kind, document.text, asked))

    return Corpus(f"planted_noise:{location}", docs.files, read, invalid_utf8)


def _noise(kind: str, text: str, asked: int) -> str:
    words = text.split(" ")
    if kind == "near copy":
        for place in range(_drawn(text) % _REPLACED, len(words), _REPLACED):
            words[place] = words[_drawn(f"{place} {text[:80]}") % len(words)]
        return " ".join(words)
    if kind == "repetition":
        return "\n".join([text.strip().splitlines()[0]] * 40)
    if kind == "symbols":
        return "\n".join(f"# | {word} | ... #" for word in words[:200])
    if kind == "advert":
        plain = [word for word in dict.fromkeys(words) if word.isalpha() and len(word) > 3]
        return " ".join(_advert(word, line) for line, word in enumerate(plain[: len(_ADVERTS[0])]))
    if kind == "question":
        middle = len(words) // 2
        return " ".join([*words[:middle], f"\n\n{question(asked)}\n\n", *words[middle:]])
    return text


def _advert(word: str, line: int) -> str:
    """A line about a word; the lines of a text have no part in common."""
    parts = [choices[(line * step) % len(choices)] for step, choices in enumerate(_ADVERTS, 1)]
    return " ".join(parts).format(word)
