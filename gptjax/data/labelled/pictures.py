"""Pictures with a text each, a caption or the name of a class, by name.

    pictures = load_pictures("jsonl:cats.jsonl#image,caption")
    pictures[0].pixels(32), pictures[0].text

    jsonl:ROWS[#image,caption][,pictures=PATH]  rows of a file *.jsonl, or a list in *.json, with
                                                the name of a picture, or its data URI, and a text
    folder:PATH                                 a folder of pictures for each class, named so
    files:PATH                                  a picture, or a folder of them; texts are names
    mnist:PATH[,images=NAME,labels=NAME]        MNIST's idx files, compressed or not
    emoji:PATH[,style=google][,language=en]     emoji in two renderings (npm emoji-datasource-*)
    shapes[:count=...,seed=...,classes=true]    drawings of two shapes (embedded)

Pictures of rows are files beside ROWS, or below `pictures`, which is a folder or a tar file. To add
a set, register a function `(spec, location) -> Records[LabelledPicture]`.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from gptjax.data.corpora.json_fields import field_of
from gptjax.data.dialogue.instructions_sets import parse_options
from gptjax.data.dialogue.records import Records, Row, log_dropped, read_records, sift
from gptjax.data.labelled.picture_files import SUFFIXES, LabelledPicture, opener, with_options
from gptjax.data.pictures.decoding import data_uri_content
from gptjax.data.pictures.digits import WORDS, found, read_digits
from gptjax.data.pictures.shapes import RELATIONS, two_shapes
from gptjax.registry import Registry, of_path
from gptjax.settings import setting

STYLES, LANGUAGES = ("google", "twitter"), ("en", "de", "zh")
_NO_TEXT = "pictures without a text"

PICTURES: Registry[Callable[[str, str], Records[LabelledPicture]]] = Registry("set of pictures")


def load_pictures(spec: str) -> Records[LabelledPicture]:
    """Reads a set of pictures; what it drops is counted and logged. No picture is decoded yet.

    Raises:
      ValueError: no such set, no files there, a row that is not as it should be (named), a picture
        that is not there, or nothing left.
    """
    name, _, location = spec.partition(":")
    form = "jsonl:PATH" if ".json" in spec else "folder:PATH"
    records = PICTURES.get(name, of_path(form, spec))(spec, location)
    log_dropped(records)
    return records


def _judged(pictures: Iterable[LabelledPicture]) -> Iterator[tuple[LabelledPicture, str | None]]:
    """Pairs of a picture and why it is dropped, for `sift`."""
    for picture in pictures:
        yield picture, None if picture.text.strip() else _NO_TEXT


@PICTURES.register("jsonl")
def rows(spec: str, location: str) -> Records[LabelledPicture]:
    """Rows of JSON with the name of a picture and its text."""
    path, options = with_options(spec, location, {"pictures": None})
    path, _, given = path.partition("#")
    names = given.split(",") if given else ["image", "caption"]
    if len(names) != 2 or not all(names):
        raise ValueError(f"{spec!r}: got fields {given!r}, expected two, as #image,caption")
    place = Path(options["pictures"] or Path(path).parent)
    open_picture = functools.cache(lambda: opener(spec, place))

    def read(row: Row) -> Iterator[LabelledPicture]:
        image, text = (
            row.as_text(repr(name), field_of(row.name, row.fields, name)) for name in names
        )
        if image.startswith("data:"):
            name = f"{row.name}: {names[0]!r}"
            yield LabelledPicture.of(name, text, data_uri_content(image, row.name))
        elif "://" in image:
            raise row.wrong(repr(names[0]), repr(image), "the name of a file, or data:image/...")
        else:
            yield open_picture()(image, text)

    suffix = ".json" if path.endswith(".json") else ".jsonl"
    read_rows = read_records(spec, path, read, suffix)
    return sift(spec, _judged(read_rows), read_rows.dropped)


@PICTURES.register("folder")
def folders(spec: str, location: str) -> Records[LabelledPicture]:
    """A folder of pictures for each class; its name, with spaces for _, is the text."""
    path, _ = with_options(spec, location, {})
    root = Path(path)
    if not root.is_dir():
        raise ValueError(f"{spec!r}: no folder at {path!r}, expected one with a folder a class")
    files = sorted(
        file for file in root.glob("*/*") if file.suffix.lower() in SUFFIXES and file.is_file()
    )
    if not files:
        raise ValueError(
            f"{spec!r}: got no pictures in folders of {path!r}, expected PATH/CLASS/NAME.png"
        )
    return _of_files(spec, files, lambda file: file.parent.name)


@PICTURES.register("files")
def files(spec: str, location: str) -> Records[LabelledPicture]:
    """A picture, or all in a folder; the name of each, less its ending, is its text."""
    path, _ = with_options(spec, location, {})
    root = Path(path)
    candidates = sorted(root.iterdir()) if root.is_dir() else [root]
    pictures = [file for file in candidates if file.suffix.lower() in SUFFIXES]
    if not pictures:
        raise ValueError(f"{spec!r}: got no *.png, *.jpg or *.jpeg at {path!r}, expected one")
    return _of_files(spec, pictures, lambda file: file.stem)


def _of_files(
    spec: str, files: Iterable[Path], text_of: Callable[[Path], str]
) -> Records[LabelledPicture]:
    """Pictures in files, whose texts have spaces for _."""
    pictures = (
        LabelledPicture.of(str(file), text_of(file).replace("_", " "), file) for file in files
    )
    return Records(spec, tuple(pictures))


@PICTURES.register("mnist")
def mnist(spec: str, location: str) -> Records[LabelledPicture]:
    """MNIST (LeCun et al. 1998): a folder with its idx files; texts are zero to nine."""
    names: dict[str, str | None] = {
        "images": "t10k-images-idx3-ubyte",
        "labels": "t10k-labels-idx1-ubyte",
    }
    path, options = with_options(spec, location, names)
    files = [found(Path(path), str(options[name])) for name in names]
    for file, name in zip(files, names, strict=True):
        if file is None:
            raise ValueError(f"{spec!r}: no file {options[name]} or {options[name]}.gz in {path!r}")
    images, labels = read_digits(*(file for file in files if file is not None))
    pictures = (
        LabelledPicture.of(f"{options['images']}#{number}", WORDS[label], image)
        for number, (image, label) in enumerate(zip(images, labels.tolist(), strict=True))
    )
    return Records(spec, tuple(pictures))


@PICTURES.register("emoji")
def emoji(spec: str, location: str) -> Records[LabelledPicture]:
    """Emoji with their names: STYLE_64.tar, emoji.json and, for names, cldr_LANGUAGE.json.

    Names are those of Unicode's CLDR; where it has none (flags, above all), emoji.json's, which are
    English.
    """
    path, options = with_options(spec, location, {"style": "google", "language": "en"})
    for name, allowed in (("style", STYLES), ("language", LANGUAGES)):
        if options[name] not in allowed:
            raise ValueError(
                f"{spec!r}: got {name}={options[name]}, expected one of {', '.join(allowed)}"
            )
    folder = Path(path)
    listed, cldr = (
        _json(spec, folder / name) for name in ("emoji.json", f"cldr_{options['language']}.json")
    )
    open_picture = opener(spec, folder / f"{options['style']}_64.tar")
    try:
        names = cldr["annotations"]["annotations"]
        pictures = tuple(open_picture(row["image"], _name(row, names)) for row in listed)
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(
            f"{spec!r}: got files without {error}, expected emoji-datasource's emoji.json and "
            "CLDR's annotations"
        ) from None
    return Records(spec, pictures)


def _name(row: Any, names: Any) -> str:
    character = "".join(chr(int(code, 16)) for code in row["unified"].split("-"))
    entry = names.get(character) or names.get(character.replace("\ufe0f", ""))
    return entry["tts"][0] if entry and "tts" in entry else row["name"].lower()


def _json(spec: str, path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ValueError(f"{spec!r}: {path}: got {error.strerror}, expected a file") from None
    except ValueError:
        raise ValueError(f"{spec!r}: {path}: got no JSON, expected JSON") from None


@dataclasses.dataclass
class ShapesOptions:
    """Options of drawings of shapes."""

    count: int = setting(2000, "drawings in the set", low=1)
    seed: int = setting(0, "seed of the draws", low=0)
    classes: bool = setting(False, "whether texts are two classes: left of, or above")


@PICTURES.register("shapes")
def shapes(spec: str, location: str) -> Records[LabelledPicture]:
    """Drawings of 32 x 32 pixels: "a red circle left of a blue square", 1,152 texts."""
    options = parse_options(spec, location, ShapesOptions)
    drawings = two_shapes(options.count, options.seed)
    pictures = (
        LabelledPicture.of(f"shapes#{number}", _relation(text) if options.classes else text, pixels)
        for number, (pixels, text) in enumerate(drawings)
    )
    return Records(spec, tuple(pictures))


def _relation(text: str) -> str:
    return next(relation for relation in RELATIONS if relation in text)
