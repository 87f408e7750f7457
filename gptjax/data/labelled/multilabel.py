"""Texts with a label for each of several categories, some of them unknown.

    texts = load_multilabel("jsonl:samples-1680.jsonl.gz,folds=5,of=0+2", "prompt", ("S", "H"))
    texts[0].labels    # (1, None): of S; nobody said whether of H

A specification is `jsonl:PATH`, one object a line, or `embedded[:split=held_out,count=500,...]`.
In a row the field of a category has 0 or 1; where it is missing or null the label is unknown. This
is the format of openai/moderation-api-release. Behind either stand, with commas between them,

    limit=N              the first N rows alone
    folds=K,of=A+B+...   rows whose fold is A or B or ..., of K

The fold of a row is a hash of its text, but for case and white space, so that a text that is there
twice is in one fold. Messages name rows by file and line and never show their text.
"""

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from gptjax.data.dialogue.instructions import SPLITS, WORDS
from gptjax.data.dialogue.instructions_sets import parse_options
from gptjax.data.dialogue.records import Dropped, Records, Row, log_dropped, read_records
from gptjax.registry import Registry, of_path
from gptjax.settings import setting

_PART = re.compile(r"(.*?)((?:,(?:limit|folds|of)=[^,]*)*)", re.DOTALL)
_UNKNOWN, _HELD_OUT = 0.2, 0.2  # shares of the labels, and of the texts, of the embedded set


@dataclasses.dataclass(frozen=True)
class LabelledText:
    """A text and what it is of.

    Attributes:
      text: not empty.
      labels: of each category 1, 0, or None where it is unknown; one of them at least is known.
    """

    text: str
    labels: tuple[int | None, ...]

    def fold(self, folds: int) -> int:
        """Which of so many folds it is in."""
        same = " ".join(self.text.casefold().split())
        digest = hashlib.sha256(same.encode()).digest()
        return int.from_bytes(digest[:8], "big") % folds


Read = Callable[[str, str, str, Sequence[str]], Records[LabelledText]]
MULTILABEL: Registry[Read] = Registry("set of labelled texts")


def load_multilabel(spec: str, text: str, categories: Sequence[str]) -> Records[LabelledText]:
    """Reads a set of labelled texts; what it drops is counted and logged.

    Args:
      spec: a specification.
      text: field of the text.
      categories: fields of the labels.

    Raises:
      ValueError: no such set or files, a row that is not as it should be (named), folds that there
        are not, or nothing left.
    """
    found = _PART.fullmatch(spec)
    assert found is not None, spec
    whole, options = found.groups()
    part = _Part.parse(spec, options)
    name, _, location = whole.partition(":")
    read = MULTILABEL.get(name, of_path("jsonl:PATH", whole))
    records = part.taken_of(spec, read(whole, location, text, categories))
    log_dropped(records)
    return records


@dataclasses.dataclass(frozen=True)
class _Part:
    """What is taken of a set."""

    limit: int | None
    folds: int
    of: frozenset[int]

    @classmethod
    def parse(cls, spec: str, options: str) -> "_Part":
        given = dict(part.split("=", 1) for part in options.split(",")[1:])
        numbers = {"limit": given.get("limit", "1"), "folds": given.get("folds", "1")}
        for name, value in numbers.items():
            if not re.fullmatch(r"[1-9]\d{0,8}", value):
                raise ValueError(f"{spec!r}: {name}: got {value!r}, expected a number from 1")
        if ("folds" in given) != ("of" in given):
            got = f"{'folds' if 'folds' in given else 'of'} alone"
            raise ValueError(f"{spec!r}: got {got}, expected both, such as folds=5,of=0+2")
        folds = int(numbers["folds"])
        kept = given.get("of", "0").split("+")
        if not all(re.fullmatch(r"\d{1,9}", one) and int(one) < folds for one in kept):
            raise ValueError(
                f"{spec!r}: of: got {given['of']!r}, expected folds from 0 to {folds - 1} with + "
                "between them"
            )
        limit = int(numbers["limit"]) if "limit" in given else None
        return cls(limit, folds, frozenset(map(int, kept)))

    def taken_of(self, spec: str, records: Records[LabelledText]) -> Records[LabelledText]:
        """The records that belong to it; ValueError where none does."""
        kept = (x for x in records.items[: self.limit] if x.fold(self.folds) in self.of)
        return Records(spec, tuple(kept), records.dropped)


@MULTILABEL.register("jsonl")
def json_lines(
    spec: str, location: str, text: str, categories: Sequence[str]
) -> Records[LabelledText]:
    """One object a line."""
    return read_records(spec, location, lambda row: [_labelled(row, text, categories)])


@dataclasses.dataclass
class EmbeddedOptions:
    """Options of the embedded set."""

    split: str = setting("train", "split that the texts are of", choices=SPLITS)
    count: int = setting(1000, "texts in the set", low=1)
    seed: int = setting(0, "seed of all that is random", low=0)


@MULTILABEL.register("embedded")
def embedded(
    spec: str, location: str, text: str, categories: Sequence[str]
) -> Records[LabelledText]:
    """Harmless words; a text is of category i where the i-th word of `WORDS` stands in it."""
    options = parse_options(spec, location, EmbeddedOptions)
    if len(categories) >= len(WORDS):
        raise ValueError(
            f"{spec!r}: got {len(categories)} categories, expected fewer than {len(WORDS)}"
        )
    rows = (
        Row(f"{spec}:{number}", {text: words} | dict(zip(categories, labels, strict=True)))
        for number, (words, labels) in enumerate(_made_up(options, len(categories)), start=1)
    )
    return Records(spec, tuple(_labelled(row, text, categories) for row in rows))


def _made_up(options: EmbeddedOptions, count: int) -> Iterator[tuple[str, list[int | None]]]:
    """Texts of four to ten words of a split; text number i is a function of (split, seed, i)."""
    for index in range(options.count):
        rng = np.random.default_rng([options.seed, SPLITS.index(options.split), index])
        while True:
            words = rng.choice(WORDS[count:], size=int(rng.integers(4, 9))).tolist()
            for named in rng.choice(count, size=int(rng.integers(0, 3))).tolist():
                words.insert(int(rng.integers(len(words) + 1)), WORDS[named])
            digest = hashlib.sha256(" ".join(words).encode()).digest()
            held_out = int.from_bytes(digest[:8], "big") < _HELD_OUT * 2**64
            unknown = rng.random(count) < _UNKNOWN
            if held_out == (options.split == "held_out") and not unknown.all():
                break
        of = zip(WORDS, unknown.tolist(), strict=False)
        yield " ".join(words), [None if hidden else int(word in words) for word, hidden in of]


def _labelled(row: Row, text: str, categories: Sequence[str]) -> LabelledText:
    """Reads a row.

    Raises:
      Dropped: the text is empty, or no label is known.
      ValueError: there is no text, or a label is neither 0 nor 1.
    """
    said = row.text(text)
    labels = tuple(_label(row, name) for name in categories)
    if not said.strip():
        raise Dropped(str(row.wrong(repr(text), "an empty text", "a text")), "empty text")
    if all(label is None for label in labels):
        raise Dropped(str(row.wrong("row", "no label", ", ".join(categories))), "no label")
    return LabelledText(said, labels)


def _label(row: Row, name: str) -> int | None:
    value = row.fields.get(name)
    if value is None:
        return None
    if value not in (0, 1) or isinstance(value, str):
        raise row.wrong(repr(name), repr(value)[:20], "0, 1, or no such field where it is unknown")
    return int(value)
