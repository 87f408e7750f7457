"""Documents behind shots, taken apart again."""

import collections

from gptjax.data.image_text.documents import ImageText, interleaved, load_image_text
from gptjax.data.image_text.shots import behind_shots


def taken_apart(document):
    """The texts and pictures of the shots, then those of the document itself."""
    texts, pictures = document.text.split("\n\n"), iter(document.pictures)
    return [(text, *(next(pictures) for _ in range(text.count("<image>")))) for text in texts]


def test_documents_stand_behind_others_of_their_group():
    shapes, _ = load_image_text("shapes:count=400", 0.1)
    others, _ = load_image_text("shapes:count=410", 0.01)
    pairs = [
        interleaved("<image> and <image>", [*others[i].pictures, *others[-i].pictures], " so", "p")
        for i in (1, 2, 3)
    ]
    documents = (*shapes, *pairs, ImageText(("words",)))
    made = behind_shots(documents, 2, seed=0, fits=lambda each: True)
    assert len(made) == len(documents) and made[-1] == documents[-1]
    counts = collections.Counter()
    groups = {"answers": shapes, "p": pairs}
    for document, whole in zip(documents[:-1], made[:-1], strict=True):
        *shots, last = taken_apart(whole)
        assert last == (document.text, *document.pictures)
        assert (whole.answer, whole.group) == (document.answer, document.group)
        learned = {(each.text + each.answer, *each.pictures) for each in groups[document.group]}
        own = (document.text + document.answer, *document.pictures)
        assert set(shots) <= learned - {own} and len(set(shots)) == len(shots)
        counts[len(shots)] += 1
    assert set(counts) == {0, 1, 2} and min(counts.values()) > 90
    assert made != behind_shots(documents, 2, seed=1, fits=lambda each: True)


def test_as_many_shots_are_taken_as_fit():
    shapes, _ = load_image_text("shapes:count=60", 0.1)
    made = behind_shots(shapes, 4, seed=0, fits=lambda each: True)
    fewer = behind_shots(shapes, 4, seed=0, fits=lambda each: len(each.pictures) <= 3)
    for whole, cut in zip(made, fewer, strict=True):
        shots, kept = taken_apart(whole), taken_apart(cut)
        assert kept == [*shots[:-1][:2], shots[-1]]
    assert behind_shots(shapes, 4, seed=0, fits=lambda each: False) == shapes.items
