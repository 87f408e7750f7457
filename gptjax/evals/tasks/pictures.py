"""Questions about pictures, of any set of text with images: answers that are chosen or written.

    --tasks="image_choices(documents=mnist_sums:mnist,group=sums)" --shots=0,1,4

KOSMOS-1 (Huang et al. 2023, arXiv 2302.14045) is asked in both ways: it writes captions and answers
to questions about a picture, and takes the most probable of several candidates. Items are held-out
documents of the set, and shots are documents that are learned, with pictures and answers, of the
item's group where that has any.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

from gptjax.data.image_text.documents import ImageText, load_image_text
from gptjax.data.image_text.shots import SEPARATOR
from gptjax.data.pictures.picture import Picture
from gptjax.evals.forms.choices import COUNTS, ChoiceItem, Choices
from gptjax.evals.forms.free_text import FreeText, TextItem, stripped_match
from gptjax.evals.registry import Source, task
from gptjax.evals.task import Layout
from gptjax.registry import unknown_name

_LAYOUT = Layout(separator=SEPARATOR)
MOST_CHOICES = 100  # of an item whose own choices are not given


@dataclasses.dataclass(frozen=True)
class Shown:
    """What an item shows.

    Attributes:
      pictures: in the order of the places that its text has for them.
      group: its shots are of.
    """

    pictures: tuple[Picture, ...] = ()
    group: str = ""


@dataclasses.dataclass(frozen=True)
class ImageChoice(Shown, ChoiceItem):
    """A question about pictures, with choices."""


@dataclasses.dataclass(frozen=True)
class ImageQuestion(Shown, TextItem):
    """A question about pictures, whose answer is written."""


class OfPictures:
    """What tasks about pictures have in common."""

    training: Sequence[Any]

    def pictures(self, item: Any) -> tuple[Picture, ...]:
        return item.pictures

    def pool(self, item: Any) -> Sequence[Any]:
        return self._by_group.get(item.group, self.training)

    @functools.cached_property
    def _by_group(self) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for each in self.training:
            found.setdefault(each.group, []).append(each)
        return found


@dataclasses.dataclass(frozen=True)
class ImageChoices(OfPictures, Choices):
    """Questions about pictures with choices."""


@dataclasses.dataclass(frozen=True)
class ImageAnswers(OfPictures, FreeText):
    """Questions about pictures whose answers are written."""


@task("image_choices")
def image_choices(
    source: Source,
    *,
    documents: str = "shapes",
    validation: str | None = None,
    fraction: float = 0.1,
    group: str | None = None,
    normalisation: str = "plain",
) -> ImageChoices:
    """Any questions about pictures, as of KOSMOS-1 (2302.14045): the most probable of the answers.

    The choices are those of the document, where it has some, else all answers of its group.
    """
    if normalisation not in COUNTS:
        raise unknown_name(f"normalisation of {source.name}", normalisation, COUNTS)
    learned, held_out = _documents(source, documents, validation, fraction, group)
    answers: dict[str, dict[str, None]] = {}
    for each in (*learned, *held_out):
        answers.setdefault(each.group, {})[_answer(each)] = None

    def item(id: str, document: ImageText) -> ImageChoice:
        texts = document.choices or tuple(sorted(answers[document.group]))
        if not 2 <= len(texts) <= MOST_CHOICES and not document.choices:
            raise ValueError(
                f"{source.name}: got {len(texts)} different answers in {document.group}, expected "
                f"2 to {MOST_CHOICES}; image_answers has them written"
            )
        return ImageChoice(
            id=id,
            texts=tuple((document.text, text) for text in texts),
            answer=texts.index(_answer(document)),
            pictures=tuple(document.pictures),
            group=document.group,
            cluster=document.cluster,
        )

    return ImageChoices(
        source.name,
        *_items(item, held_out, learned),
        layout=_LAYOUT,
        normalisation=normalisation,
    )


@task("image_answers")
def image_answers(
    source: Source,
    *,
    documents: str = "shapes",
    validation: str | None = None,
    fraction: float = 0.1,
    group: str | None = None,
    max_new_tokens: int = 16,
    num_beams: int = 1,
) -> ImageAnswers:
    """Any questions about pictures, or captions, as of KOSMOS-1 (2302.14045): what is written.

    It is right where it is the answer word for word.
    """
    learned, held_out = _documents(source, documents, validation, fraction, group)
    return answers_of(
        source.name, held_out, learned, max_new_tokens=max_new_tokens, num_beams=num_beams
    )


def answers_of(
    name: str,
    items: Sequence[ImageText],
    training: Sequence[ImageText],
    *,
    max_new_tokens: int,
    num_beams: int = 1,
) -> ImageAnswers:
    """The task of documents, `items`, whose shots are of others, `training`."""

    def item(id: str, document: ImageText) -> ImageQuestion:
        return ImageQuestion(
            id=id,
            prompt=document.text,
            answers=(_answer(document),),
            pictures=tuple(document.pictures),
            group=document.group,
            cluster=document.cluster,
        )

    return ImageAnswers(
        name,
        *_items(item, items, training),
        layout=_LAYOUT,
        scores={"exact_match": stripped_match},
        max_new_tokens=max_new_tokens,
        num_beams=num_beams,
        answer_space=False,
    )


def _documents(
    source: Source, documents: str, validation: str | None, fraction: float, group: str | None
) -> tuple[list[ImageText], list[ImageText]]:
    """Documents with answers that are learned, and those that are asked about."""
    if not 0.0 < fraction < 1.0 and validation is None:
        raise ValueError(f"{source.name}: fraction: got {fraction}, expected more than 0, below 1")
    sides = load_image_text(documents, fraction, validation)
    learned, held_out = ([each for each in side if each.answer is not None] for side in sides)
    if not held_out:
        raise ValueError(f"{source.name}: got no document with an answer, expected one or more")
    if group is None:
        return learned, held_out
    groups = {each.group for each in held_out}
    if group not in groups:
        raise unknown_name(f"group of {source.name}", group, sorted(groups))
    return learned, [each for each in held_out if each.group == group]


def _items(
    item: Any, items: Sequence[ImageText], training: Sequence[ImageText]
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Items to ask about, and items to show; none of an id of the others."""
    return (
        tuple(item(f"held_out:{number}", each) for number, each in enumerate(items)),
        tuple(item(f"learned:{number}", each) for number, each in enumerate(training)),
    )


def _answer(document: ImageText) -> str:
    assert document.answer is not None
    return document.answer
