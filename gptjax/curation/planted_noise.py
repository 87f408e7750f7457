"""Noise that is planted to try a preparation with: what must be found is known.

The corpus `planted_noise` is made of the documentation that comes with Python, and needs no
download. The name of a document says what it is:

    copy of X          the text of X, a document of `python_docs`
    near copy of X     the same with one word in fifty replaced
    repetition of X    its first line again and again
    symbols of X       its words, most of them symbols and short lines
    question N in X    X with a question of the evaluation set `planted_questions` in the middle
"""

import hashlib
from collections.abc import Iterator

from gptjax.curation.decontamination.evaluation_sets import EVALUATION_SETS, EvaluationItem
from gptjax.data.corpora.text import CORPORA, Corpus, Document, load_corpus

KINDS = ("copy of", "near copy of", "repetition of", "symbols of", "question")
QUESTIONS = 40
_LENGTHS = range(800, 40_000)  # characters of the documents that noise is made of
_SHARE = 4  # of so many documents one is taken
_REPLACED = 50  # of so many words one is replaced


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
    """Noise made of `python_docs`; see the module's docstring."""
    if location:
        raise ValueError(f"corpus 'planted_noise:{location}' takes no location")
    docs = load_corpus("python_docs")

    def read() -> Iterator[Document]:
        asked = 0
        for document in docs:
            drawn = _drawn(document.name)
            if len(document.text) not in _LENGTHS or drawn % _SHARE:
                continue
            kind = KINDS[drawn // _SHARE % len(KINDS)]
            if kind == "question":
                kind = f"question {asked % QUESTIONS} in"
                asked += 1
            yield Document(f"{kind} {document.name}", _noise(kind, document))

    return Corpus("planted_noise", docs.files, read, invalid_utf8)


def _noise(kind: str, document: Document) -> str:
    text = document.text
    words = text.split(" ")
    if kind == "near copy of":
        first = _drawn(text) % _REPLACED
        for place in range(first, len(words), _REPLACED):
            words[place] = words[_drawn(f"{place}{text[:80]}") % len(words)]
        return " ".join(words)
    if kind == "repetition of":
        return "\n".join([text.strip().splitlines()[0]] * 40)
    if kind == "symbols of":
        return "\n".join(f"# | {word} | ... #" for word in words[:200])
    if kind.startswith("question"):
        middle = len(words) // 2
        asked = question(int(kind.split()[1]))
        return " ".join([*words[:middle], "\n\n" + asked + "\n\n", *words[middle:]])
    return text
