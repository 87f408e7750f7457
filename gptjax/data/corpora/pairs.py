"""Pairs of sentences, a source and its translation, by name.

    for pair in load_pairs("tsv:deu.txt"):
        print(pair.source, pair.target)

    files:SOURCE,TARGET       two aligned files, line i of one is line i of the other
    tsv:PATH[#1,0]            columns of lines with tabs; by default the first two
    jsonl:PATH[#a.b,a.c]      fields of JSON objects; by default source and target
    numbers[:count=...]       numbers in English words and in German words (embedded)
    reversed[:count=...]      words, and the same words in reversed order (embedded)

A PATH is a file, a directory or a glob, compressed or not, as of a corpus. Pairs with an empty side
are dropped and counted. The corpus `pairs:SET` has both sides of a set as documents, to train one
tokenizer for both. To add a set, register a function `(spec, location) -> Records[Pair]`.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from gptjax.data.corpora.found_files import find_files
from gptjax.data.corpora.json_fields import field_of
from gptjax.data.corpora.text import CORPORA, Corpus, Document
from gptjax.data.corpora.text_files import open_text
from gptjax.data.dialogue.instructions import WORDS
from gptjax.data.dialogue.instructions_sets import parse_options
from gptjax.data.dialogue.records import Records, Row, log_dropped, read_records, sift
from gptjax.registry import Registry, of_path
from gptjax.settings import setting


@dataclasses.dataclass(frozen=True)
class Pair:
    """A sentence and its translation."""

    source: str
    target: str


PAIRS: Registry[Callable[[str, str], Records[Pair]]] = Registry("set of pairs")

_OF_FILES = ("files", "tsv", "jsonl")
_EMPTY = "pairs with an empty side"
_MOST_WORDS = 5  # that are reversed


def load_pairs(spec: str) -> Records[Pair]:
    """Reads a set of pairs; what it drops is counted and logged.

    Raises:
      ValueError: no such set, no files there, files that are not aligned, a line that is not as it
        should be (named), or nothing left.
    """
    name, _, location = spec.partition(":")
    form = "jsonl:PATH" if ".jsonl" in spec else "tsv:PATH"
    records = PAIRS.get(name, of_path(form, spec))(spec, location)
    log_dropped(records)
    return records


def _judged(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[Pair, str | None]]:
    for source, target in pairs:
        pair = Pair(source.strip(), target.strip())
        yield pair, None if pair.source and pair.target else _EMPTY


def _lines(spec: str, location: str) -> Iterator[tuple[str, str]]:
    """Lines of files, without their ends, each with FILE:LINE."""
    for path in find_files(spec, location, ".txt"):
        with open_text(path) as file:
            for number, line in enumerate(file, start=1):
                name = f"{path}:{number}"
                try:
                    yield name, line.decode().rstrip("\r\n")
                except UnicodeDecodeError as error:
                    raise ValueError(
                        f"{name}: got invalid UTF-8 at byte {error.start} of the line, expected "
                        "UTF-8"
                    ) from error


@PAIRS.register("files")
def aligned_files(spec: str, location: str) -> Records[Pair]:
    """Two files with a sentence a line."""
    paths = location.split(",")
    if len(paths) != 2 or not all(paths):
        raise ValueError(f"{spec!r}: got {len(paths)} paths, expected files:SOURCE,TARGET")
    sources, targets = ([line for _, line in _lines(spec, path)] for path in paths)
    if len(sources) != len(targets):
        raise ValueError(
            f"{spec!r}: got {len(sources)} lines in {paths[0]} and {len(targets)} in {paths[1]}, "
            "expected as many in both, one for each sentence"
        )
    return sift(spec, _judged(zip(sources, targets, strict=True)))


@PAIRS.register("tsv")
def tab_separated(spec: str, location: str) -> Records[Pair]:
    """Columns of lines with tabs."""
    path, _, given = location.partition("#")
    columns = given.split(",") if given else ["0", "1"]
    if len(columns) != 2 or not all(column.isdecimal() for column in columns):
        raise ValueError(f"{spec!r}: got columns {given!r}, expected two numbers from 0, as #0,1")
    first, second = map(int, columns)

    def read() -> Iterator[tuple[str, str]]:
        for name, line in _lines(spec, path):
            cells = line.split("\t")
            if not line.strip():
                continue
            if len(cells) <= max(first, second):
                raise ValueError(
                    f"{name}: got {len(cells)} columns, expected at least {max(first, second) + 1} "
                    "with a tab between"
                )
            yield cells[first], cells[second]

    return sift(spec, _judged(read()))


@PAIRS.register("jsonl")
def json_lines(spec: str, location: str) -> Records[Pair]:
    """Two fields of JSON objects, one object a line."""
    path, _, given = location.partition("#")
    names = given.split(",") if given else ["source", "target"]
    if len(names) != 2 or not all(names):
        raise ValueError(f"{spec!r}: got fields {given!r}, expected two, as #source,target")

    def read(row: Row) -> Iterator[tuple[str, str]]:
        first, second = (
            row.as_text(repr(name), field_of(row.name, row.fields, name)) for name in names
        )
        yield first, second

    found = read_records(spec, path, read)
    return sift(spec, _judged(found), found.dropped)


@dataclasses.dataclass
class EmbeddedOptions:
    """Options of an embedded set."""

    count: int = setting(4000, "pairs in the set", low=1)
    seed: int = setting(0, "seed of the draws", low=0)


@PAIRS.register("numbers")
def numbers(spec: str, location: str) -> Records[Pair]:
    """Numbers below 10,000, in English words and in German ones, whose order is another."""
    options = parse_options(spec, location, EmbeddedOptions)
    drawn = np.random.default_rng([options.seed, 1]).integers(0, 10_000, options.count)
    return sift(spec, _judged((english(n), german(n)) for n in drawn.tolist()))


@PAIRS.register("reversed")
def reversed_words(spec: str, location: str) -> Records[Pair]:
    """Up to five words, and the same words from the last to the first."""
    options = parse_options(spec, location, EmbeddedOptions)
    rng = np.random.default_rng([options.seed, 2])
    drawn = [rng.choice(WORDS, rng.integers(1, _MOST_WORDS + 1)) for _ in range(options.count)]
    return sift(spec, _judged((" ".join(words), " ".join(words[::-1])) for words in drawn))


_ONES = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen
null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn
sechzehn siebzehn achtzehn neunzehn
"""
_TENS = """
twenty thirty forty fifty sixty seventy eighty ninety
zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig
"""
_ENGLISH, _GERMAN = _ONES.split()[:20], _ONES.split()[20:]
_ENGLISH_TENS, _GERMAN_TENS = _TENS.split()[:8], _TENS.split()[8:]


def english(number: int) -> str:
    """A number below 10,000 in English words."""
    if number < 20:
        return _ENGLISH[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return " ".join([_ENGLISH_TENS[tens - 2], *([_ENGLISH[ones]] if ones else [])])
    size, name = (1000, "thousand") if number >= 1000 else (100, "hundred")
    count, rest = divmod(number, size)
    return " ".join([_ENGLISH[count], name, *([english(rest)] if rest else [])])


def german(number: int) -> str:
    """A number below 10,000 in German words: one word, the ones before the tens."""
    if number < 20:
        return _GERMAN[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        before = ["", "einund", *(f"{name}und" for name in _GERMAN[2:10])]
        return before[ones] + _GERMAN_TENS[tens - 2]
    size, name = (1000, "tausend") if number >= 1000 else (100, "hundert")
    count, rest = divmod(number, size)
    first = "ein" if count == 1 else _GERMAN[count]
    return first + name + (german(rest) if rest else "")


@CORPORA.register("pairs")
def both_sides(location: str, invalid_utf8: str) -> Corpus:
    """Sources and targets of a set of pairs, each side a document."""
    del invalid_utf8  # pairs are refused where they are not UTF-8
    records, name = load_pairs(location), location.partition(":")[0]
    paths = location.removeprefix(f"{name}:").partition("#")[0].split(",")
    suffix = ".jsonl" if name == "jsonl" else ".txt"
    found = (find_files(location, path, suffix) for path in paths if name in _OF_FILES)

    def read() -> Iterator[Document]:
        sides = itertools.chain.from_iterable((pair.source, pair.target) for pair in records)
        for number, text in enumerate(sides):
            yield Document(f"{location}#{number}", text)

    return Corpus(f"pairs:{location}", tuple(itertools.chain.from_iterable(found)), read)
