"""Small evaluation sets, and training documents of which some have pieces of them."""

import random

import pytest

from gptjax.curation.decontamination.evaluation_sets import EvaluationItem, EvaluationSet
from gptjax.curation.document import Document


def sentence(rng, words):
    return " ".join(
        rng.choice(["It", "was", "(Ünder)", "the", "ta-ble", "7", "--", "nobody's", "said:"])
        for _ in range(words)
    )


@pytest.fixture
def sets():
    rng = random.Random(0)
    lengths = {"short": (4, 12), "long": (20, 40)}
    return [
        EvaluationSet(
            name,
            tuple(
                EvaluationItem(f"{name}:{i}", sentence(rng, rng.randrange(*span)))
                for i in range(30)
            ),
        )
        for name, span in lengths.items()
    ]


@pytest.fixture
def documents(sets):
    """Prose of other words, into which pieces of items are put, one of them into many documents."""
    rng = random.Random(1)
    texts = [item.text for each in sets for item in each.items]
    documents = []
    for i in range(60):
        parts = []
        for _ in range(rng.randrange(1, 16 if i % 5 == 0 else 5)):
            length = rng.randrange(20, 120)
            parts.append(" ".join(rng.choices(["some", "other", "wörds", "here"], k=length)))
            if rng.random() < 0.6:
                words = rng.choice(texts).upper().split()
                parts.append(" , ".join(words[rng.randrange(3) :]))
        if i < 12:
            parts.append(texts[-1])
        documents.append(Document(str(i), "\n".join(parts), "web"))
    items = [Document(item.id, item.text, "web") for item in sets[1].items[:5]]
    return [*documents, *items]  # the latter are nothing but an item
