"""The corpus `instructions`: prose in the words of the embedded tasks, to pretrain on.

    the fox sees a key and a van.
    in order, jar fox sun is fox jar sun.
    7 and 5 is 12.

It says what reversing, sorting or adding comes to, but never as a task is asked: that is for
fine-tuning to teach. The tasks in it are of the training split.

    load_corpus("instructions:documents=2000")
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from gptjax.data.corpora.text import CORPORA, Corpus, Document
from gptjax.data.dialogue.instructions import MARK, REFUSAL, WORDS, EmbeddedTask, task_at
from gptjax.data.dialogue.instructions_sets import parse_options
from gptjax.settings import setting

_SENTENCES = 8  # a document
_TASK_SHARE = 0.75  # of the sentences; the others are about nothing
_SEED = 20_220_304


@dataclasses.dataclass
class TextOptions:
    """Options of the corpus."""

    documents: int = setting(10_000, "documents in the corpus", low=1)


def sentence_of(task: EmbeddedTask) -> str:
    """Prose sentence that states a task and its result."""
    words = " ".join(task.arguments)
    joined = " and ".join(task.arguments)
    if task.marked:
        return f"tell me the {MARK}. she said {REFUSAL}."
    return {
        "copy": f"{words}. once more, {words}.",
        "reverse": f"backwards, {words} is {task.result}.",
        "sort": f"in order, {words} is {task.result}.",
        "count": f"{words} makes {task.result} words.",
        "pick": f"word {task.place} of {words} is {task.result}.",
        "add": f"{joined} is {task.result}.",
        "take": f"{' without '.join(task.arguments)} is {task.result}.",
    }[task.kind]


def _filler(rng: np.random.Generator) -> str:
    a, b, c = (WORDS[i] for i in rng.integers(0, len(WORDS), 3))
    return (
        f"the {a} sees a {b} and a {c}.",
        f"a {a} is in the {b}.",
        f"{a} and {b} go to the {c}.",
        f"can you copy the {a}, sort the {b} or pick the {c}?",
        f"reverse the {a}, count the {b}, add a {c} and take it.",
    )[rng.integers(5)]


def document_text(index: int) -> str:
    """Document number `index`, whatever the corpus' size."""
    rng = np.random.default_rng([_SEED, index])
    sentences = []
    for place in range(index * _SENTENCES, (index + 1) * _SENTENCES):
        is_task = rng.random() < _TASK_SHARE
        sentences.append(sentence_of(task_at(place, "train", _SEED)) if is_task else _filler(rng))
    return "\n".join(sentences) + "\n"


@CORPORA.register("instructions")
def instructions(location: str, invalid_utf8: str) -> Corpus:
    """Made-up prose; 10,000 documents of some 300 bytes unless `documents` says others."""
    spec = f"instructions:{location}" if location else "instructions"
    options = parse_options(spec, location, TextOptions)

    def read() -> Iterator[Document]:
        for index in range(options.documents):
            yield Document(f"{spec}#{index}", document_text(index))

    return Corpus(spec, (), read)
