"""Documents in which text and images stand in any order, and the sets that a run can read.

A row of a set in JSON lines says where its images stand, and which they are, in order:

    {"text": "<image> plus <image> is", "images": ["a.png", "data:image/png;base64,..."],
     "answer": " twelve"}

An answer, if there is one, is what follows the text; held-out answers are what a model is judged
by. A row may have `choices` besides, a list of answers one of which is right. KOSMOS-1 (arXiv
2302.14045, section 2.1) has such documents from web pages.

    learned, held_out = load_image_text("jsonl:pages/*.jsonl", fraction=0.05)
"""

import collections
import dataclasses
import hashlib
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path

from gptjax.data.corpora.division import held_out_rule
from gptjax.data.dialogue.records import Item, Records, Row, read_records
from gptjax.data.pictures.picture import Picture
from gptjax.registry import Registry, of_path, unknown_name
from gptjax.tokenization.images import PLACE

Sides = tuple[tuple["ImageText", ...], tuple["ImageText", ...]]
SETS: Registry[Callable[[str, float], Sides]] = Registry("set of images and text")


@dataclasses.dataclass(frozen=True)
class ImageText:
    """A document.

    Attributes:
      parts: texts and pictures, in their order; at least one.
      answer: what follows them; None: nothing does, and the document is not judged by it.
      group: name of what its answers are counted with.
      choices: of which the answer is one; (): none are given.
      cluster: name of what is one in a sample of documents, where several belong together, as the
        pictures of a presentation of NLVR do; None: the document is.
    """

    parts: tuple[str | Picture, ...]
    answer: str | None = None
    group: str = "answers"
    # Documents are divided by their `repr`, which so stays as it was.
    choices: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    cluster: str | None = dataclasses.field(default=None, repr=False)

    @property
    def pictures(self) -> list[Picture]:
        """The pictures, in their order."""
        return [part for part in self.parts if isinstance(part, Picture)]

    @property
    def text(self) -> str:
        """The texts, with `PLACE` for each picture."""
        return "".join(PLACE if isinstance(part, Picture) else part for part in self.parts)


def interleaved(
    text: str, pictures: Sequence[Picture], answer: str | None = None, group: str = "answers"
) -> ImageText:
    """The document of a text in which `PLACE` stands for each picture.

    Raises:
      ValueError: other numbers of both, or neither text nor picture.
    """
    texts = text.split(PLACE)
    if len(texts) - 1 != len(pictures):
        raise ValueError(
            f"images: got {len(pictures)}, expected {len(texts) - 1}, as many as the text has "
            f"{PLACE}"
        )
    parts: list[str | Picture] = [texts[0]]
    for picture, after in zip(pictures, texts[1:], strict=True):
        parts += [picture, after]
    kept = tuple(part for part in parts if part != "")
    if not kept:
        raise ValueError("text: got nothing, expected text, an image, or both")
    return ImageText(kept, answer, group)


def divided(
    items: Iterable[Item], key_of: Callable[[Item], Hashable], fraction: float
) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Divides items by a hash of their keys: those to learn from, and those held out.

    Args:
      items: equal keys are on one side.
      key_of: gives an item's key, whose `repr` is hashed.
      fraction: share that is held out; 0: none, 1: all.
    """
    items = tuple(items)
    if fraction in (0.0, 1.0):
        return (items, ()) if fraction == 0.0 else ((), items)
    numbers = [
        int.from_bytes(hashlib.sha256(repr(key_of(item)).encode()).digest()[:8], "big")
        for item in items
    ]
    is_held_out = held_out_rule(collections.Counter(numbers), fraction)
    sides: tuple[list[Item], list[Item]] = ([], [])
    for item, number in zip(items, numbers, strict=True):
        sides[is_held_out(number)].append(item)
    return tuple(sides[0]), tuple(sides[1])


def load_image_text(
    spec: str, fraction: float, validation: str | None = None
) -> tuple[Records[ImageText], Records[ImageText]]:
    """Loads documents to learn from, and held-out ones.

    Args:
      spec: `jsonl:PATH`, `shapes`, or another name of `SETS` and its location.
      fraction: share of `spec` that is held out where `validation` is None.
      validation: the held-out documents, likewise.

    Raises:
      ValueError: no such set, or one that cannot be read, or nothing on a side.
    """
    if validation is None:
        learned, held_out = _sides(spec, fraction)
        return Records(spec, learned), Records(f"{spec} (held out)", held_out)
    return (
        Records(spec, _sides(spec, 0.0)[0]),
        Records(validation, _sides(validation, 1.0)[1]),
    )


def _sides(spec: str, fraction: float) -> Sides:
    name, _, location = spec.partition(":")
    if name not in SETS:
        places = {"shapes": "", "captions": ":SET"}
        choices = [f"{each}{places.get(each, ':PATH')}" for each in SETS]
        raise unknown_name("set of images and text", spec, choices, of_path("jsonl:PATH", spec))
    return SETS.get(name)(location, fraction)


@SETS.register("jsonl")
def jsonl(location: str, fraction: float) -> Sides:
    """Rows of `text`, `images`, `answer` and `choices`; paths begin where the file lies."""

    def read(row: Row) -> Iterable[ImageText]:
        folder = Path(row.name.rpartition(":")[0]).parent
        answer = row.fields.get("answer")
        given = row.fields.get("images") or []
        if not isinstance(given, list):
            raise row.wrong("'images'", type(given).__name__, "a list of files and data URIs")
        references = [row.as_text("'images'", each) for each in given]
        try:
            pictures = [Picture.at(each, folder) for each in references]
            document = interleaved(
                row.text("text"),
                pictures,
                None if answer is None else row.as_text("'answer'", answer),
            )
            document = dataclasses.replace(document, choices=_choices(row, document.answer))
        except ValueError as error:
            if str(error).startswith(row.name):
                raise
            raise ValueError(f"{row.name}: {error}") from error
        yield document

    records = read_records(f"jsonl:{location}", location, read)
    return divided(records, lambda document: document, fraction)


def _choices(row: Row, answer: str | None) -> tuple[str, ...]:
    """The choices of a row, two or more different ones; (): it has none."""
    if (given := row.fields.get("choices")) is None:
        return ()
    listed = row.as_list("'choices'", given)
    choices = tuple(row.as_text("'choices'", each) for each in listed)
    if len(set(choices)) != len(choices) or len(choices) < 2 or answer not in choices:
        raise row.wrong("'choices'", repr(listed)[:60], "two or more, each once, with the answer")
    return choices
