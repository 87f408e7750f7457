"""Corpora by name: streams of documents, each with a hash of its content.

    for document in load_corpus("python_docs"):
        print(document.name, len(document.text))

A specification is the name of an entry of `CORPORA`, with a location where the entry takes one:

    python_docs         the interpreter's help topics and its standard library's docstrings
    python_source       the source files of the standard library
    text:PATH           plain text, *.txt in directories; longer files are cut into documents of at
                        most 32 KiB, at blank lines where there are some
    jsonl:PATH#field    one JSON object a line, its `field` is the document; `a.b` is a field in a
                        field; null is passed over and counted; *.jsonl in directories
    parquet:PATH#field  a column of Parquet files, likewise, with the extra `parquet`
    cifar10:PATH        the images of CIFAR-10, as bytes (`images`)
    sample_images       pieces of a photograph that comes with matplotlib, as bytes (`images`)
    instructions        made-up prose that goes with small tasks (`instructions_text`)

PATH is a file, a directory (searched through, in sorted order, each real file once) or a glob, or
the URL of one, such as s3://bucket/folder, with the extra `remote`; files that end in .gz, .zst,
.bz2 or .xz are decompressed. A byte order mark is dropped. To add a corpus, register a function
`(location, invalid_utf8) -> Corpus`.
"""

import ast
import dataclasses
import functools
import hashlib
import importlib.util
import json
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from absl import logging

from gptjax.data.corpora.division import LARGEST, held_out_rule
from gptjax.data.corpora.found_files import find_files
from gptjax.data.corpora.json_fields import NULL, field_of, parsed
from gptjax.data.corpora.remote import FilePath, RemotePath
from gptjax.data.corpora.text_files import Decoder, open_bytes, open_text, pieces
from gptjax.registry import Registry, of_path

DOCUMENT_BYTES = 1 << 15  # longer text files are cut into documents of at most this many bytes

_STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib"))
_TEST_PACKAGES = {"test", "tests", "idle_test"}
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_SETTLED_SECONDS = 2.0  # well above the tick of any file system's time stamps


@dataclasses.dataclass(frozen=True)
class Document:
    """One text, and a name that says where it came from.

    Bytes that are no UTF-8 stand in a text as `surrogateescape` writes them (PEP 383), from which
    they are had back exactly.
    """

    name: str
    text: str

    @functools.cached_property
    def content(self) -> bytes:
        """The bytes of the text."""
        return self.text.encode(errors="surrogateescape")

    @functools.cached_property
    def digest(self) -> bytes:
        """SHA-256 of the content; the name plays no part."""
        return hashlib.sha256(self.content).digest()


def _number(document: Document) -> int:
    return int.from_bytes(document.digest[:8], "big")


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A named stream of documents, read anew from its files at each iteration.

    Attributes:
      name: the specification it was loaded from.
      files: every file that its documents are read from.
      read: yields the documents; those without text are dropped.
      invalid_utf8: what `read` does with invalid UTF-8, see `load_corpus`.
    """

    name: str
    files: tuple[FilePath, ...]
    read: Callable[[], Iterator[Document]]
    invalid_utf8: str = "error"

    def __iter__(self) -> Iterator[Document]:
        empty = True
        for document in self.read():
            if document.text:
                empty = False
                yield document
        if empty:
            raise ValueError(
                f"corpus {self.name!r} holds no text in its {len(self.files)} file(s); "
                "expected at least one document"
            )

    def held_out(self, fraction: float) -> Callable[[Document], bool]:
        """The rule that says which documents belong to the validation split.

        They are those of which the first 64 bits of the digest, read as a number in [0, 1), are
        below `fraction`: the answer depends on a document's text alone, not on its place or on
        other documents, and what is held out at one fraction is held out at every larger one.
        Where that leaves a side empty, as it does in a corpus of few documents, one is held out, or
        one is not, see `held_out_rule`. At 0 none is held out, and at 1 all are.
        """
        sizes: dict[int, int] = {}
        sides: set[bool] = set()
        for document in self if 0 < fraction < 1 else ():
            number = _number(document)
            sizes[number] = sizes.get(number, 0) + len(document.content)
            sides.add(number < fraction * LARGEST)
            if len(sides) > 1:
                break
        is_held_out = held_out_rule(sizes, fraction)
        return lambda document: is_held_out(_number(document))

    def content_hash(self) -> str:
        """Reads everything and returns the SHA-256 (hex) of the documents' digests, in order."""
        content = hashlib.sha256()
        for document in self:
            content.update(document.digest)
        return content.hexdigest()

    def fingerprint(self) -> str | None:
        """Returns a hash of the files' paths, sizes, inodes and times, without reading them.

        The code that reads them counts as a file of theirs. While it is unchanged so is the
        content. None when a file changed within the last two seconds: a later change could then
        carry the same time stamp.
        """
        code = sorted(Path(__file__).parents[1].rglob("*.py"))
        remote = [path for path in self.files if isinstance(path, RemotePath)]
        local = [path for path in self.files if isinstance(path, Path)]
        stats = [(str(path.absolute()), path.stat()) for path in (*local, *code)]
        if time.time() - max(stat.st_ctime for _, stat in stats) < _SETTLED_SECONDS:
            return None
        fields = [(p, s.st_size, s.st_ino, s.st_mtime_ns, s.st_ctime_ns) for p, s in stats]
        states = [(path.url, path.state()) for path in remote]
        known = [self.name, self.invalid_utf8, sys.version, fields, states]
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()


# Modules are imported when one of their corpora is named; those of this one need no line.
_PLACES = {
    **dict.fromkeys(("python_docs", "python_source", "text", "jsonl"), __name__),
    **dict.fromkeys(("cifar10", "sample_images"), "gptjax.data.corpora.images"),
    "instructions": "gptjax.data.corpora.instructions_text",
    "pairs": "gptjax.data.corpora.pairs",
    "parquet": "gptjax.data.corpora.parquet",
    "sums": "gptjax.data.corpora.sums",
    "prepared": "gptjax.data.prepared.corpus",
}
CORPORA: Registry[Callable[[str, str], Corpus]] = Registry("corpus", _PLACES)


def load_corpus(spec: str, *, invalid_utf8: str = "error") -> Corpus:
    """Finds the files of a corpus; its documents are read when it is iterated over.

    Args:
      spec: NAME or NAME:LOCATION, see the module's docstring.
      invalid_utf8: "error" refuses a file with invalid UTF-8, saying how many sequences are
        invalid and where the first is; "replace" puts U+FFFD for each and logs their number.

    Raises:
      ValueError: no such corpus, a location that is missing or not wanted, no files there; and
        while iterating: an unreadable or malformed file, invalid UTF-8, no text at all.
    """
    if invalid_utf8 not in ("error", "replace"):
        raise ValueError(f"invalid_utf8 is {invalid_utf8!r}; expected 'error' or 'replace'")
    name, _, location = spec.partition(":")
    by_ending = (f"{kind}:PATH#FIELD" for kind in ("jsonl", "parquet") if f".{kind}" in spec)
    form = next(by_ending, "text:PATH")
    return CORPORA.get(name, of_path(form, spec))(location, invalid_utf8)


@CORPORA.register("python_docs")
def python_docs(location: str, invalid_utf8: str) -> Corpus:
    """English reference text that comes with every interpreter: help topics and docstrings.

    A document is one topic of `pydoc_data.topics`, or all docstrings of one module, in the order
    of its source. A text that came before is dropped. Sources are parsed, never imported.
    """
    files = _standard_library("python_docs", location)
    topics_file = _STANDARD_LIBRARY / "pydoc_data" / "topics.py"
    if topics_file not in files:
        raise ValueError(f"corpus 'python_docs': no {topics_file}; expected a whole Python install")

    def texts() -> Iterator[tuple[str, list[str]]]:
        for topic, text in _topics(_parse(topics_file)).items():
            yield f"topic {topic}", [text]
        for path in files:
            yield _module_name(path), _docstrings(_parse(path))

    def read() -> Iterator[Document]:
        seen: set[str] = set()
        for name, repeated in texts():
            fresh = [text for text in dict.fromkeys(repeated) if text not in seen]
            seen.update(fresh)
            yield Document(name, "\n\n".join(fresh))

    return Corpus("python_docs", files, read)


@CORPORA.register("python_source")
def python_source(location: str, invalid_utf8: str) -> Corpus:
    """The source files of the interpreter's standard library; a document is one file."""
    files = _standard_library("python_source", location)

    def read() -> Iterator[Document]:
        for path in files:
            with open_bytes(path) as file:
                yield Document(_module_name(path), importlib.util.decode_source(file.read()))

    return Corpus("python_source", files, read)


@CORPORA.register("text")
def plain_text(location: str, invalid_utf8: str) -> Corpus:
    """Plain text in UTF-8; a document is a file, or a piece of a file above `DOCUMENT_BYTES`.

    Pieces keep memory bounded and give a corpus of one large file a validation split. They end at
    a blank line, else at a line's end, else at a space, in their second half; nothing is lost.
    """
    spec = f"text:{location}"
    files = find_files(spec, location, ".txt")

    def read() -> Iterator[Document]:
        for path in files:
            decoder = Decoder(path, invalid_utf8)
            with open_text(path) as file:
                for offset, piece in pieces(file, DOCUMENT_BYTES):
                    yield Document(f"{path}@{offset}", decoder.decode(piece, offset))
            decoder.finish()

    return Corpus(spec, files, read, invalid_utf8)


@CORPORA.register("jsonl")
def json_lines(location: str, invalid_utf8: str) -> Corpus:
    """JSON objects, one a line; a document is the string in one of their fields."""
    spec = f"jsonl:{location}"
    path_location, _, field = location.rpartition("#")
    if not path_location or not field:
        raise ValueError(f"corpus {spec!r} names no path or no field; expected jsonl:PATH#field")
    files = find_files(spec, path_location, ".jsonl")

    def read() -> Iterator[Document]:
        nulls = 0
        for path in files:
            decoder = Decoder(path, invalid_utf8)
            offset = 0
            with open_text(path) as file:
                for number, line in enumerate(file, start=1):
                    record = decoder.decode(line, offset).strip()
                    if record:
                        name = f"{path}:{number}"
                        value = _text_of(name, record, field)
                        if value is None:
                            nulls += 1
                        else:
                            yield Document(name, decoder.without_lone_surrogates(value, offset))
                    offset += len(line)
            decoder.finish()
        if nulls:
            warn_once(f"{spec}: dropped {nulls} rows: {NULL}")

    return Corpus(spec, files, read, invalid_utf8)


def _standard_library(name: str, location: str) -> tuple[Path, ...]:
    """Source files of the modules in `sys.stdlib_module_names`, without their test packages.

    That list is what keeps out the `test` package, site-packages, and generated build variables.
    """
    if location:
        raise ValueError(f"corpus '{name}:{location}' takes no location; expected {name!r}")
    modules = [_STANDARD_LIBRARY / module for module in sorted(sys.stdlib_module_names)]
    paths = [module.with_name(f"{module.name}.py") for module in modules]
    paths += [path for module in modules for path in sorted(module.rglob("*.py"))]
    return tuple(
        path
        for path in paths
        if path.is_file() and _TEST_PACKAGES.isdisjoint(path.relative_to(_STANDARD_LIBRARY).parts)
    )


def _module_name(path: Path) -> str:
    return path.relative_to(_STANDARD_LIBRARY).as_posix()


def _parse(path: Path) -> ast.Module:
    with open_bytes(path) as file:
        return ast.parse(file.read())


def _topics(module: ast.Module) -> dict[str, str]:
    return ast.literal_eval(next(n.value for n in module.body if isinstance(n, ast.Assign)))


def _docstrings(module: ast.Module) -> list[str]:
    nodes = [node for node in ast.walk(module) if isinstance(node, _DOCUMENTED)]
    nodes.sort(key=lambda node: 0 if isinstance(node, ast.Module) else node.lineno)
    return [docstring for node in nodes if (docstring := ast.get_docstring(node))]


def _text_of(name: str, record: str, field: str) -> str | None:
    value = field_of(name, parsed(name, record, "one object a line"), field)
    if not isinstance(value, str | None):
        raise ValueError(
            f"{name}: field {field!r} is of type {type(value).__name__}; expected a string"
        )
    return value


@functools.cache
def warn_once(message: str) -> None:
    """A corpus is read several times."""
    logging.warning(message)
