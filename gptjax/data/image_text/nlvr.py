"""NLVR as text with images: is a sentence about a picture true?

    <image> There is a tower with four blocks. true

Suhr et al. 2017, "A Corpus of Natural Language for Visual Reasoning". `nlvr:DIR` reads DIR's files
*.json, which have a sentence a line, and its pictures from *.tar or from DIR/images, by their names
SPLIT-IDENTIFIER-ORDER.png; sentences without pictures are left out. A sentence has six pictures, in
which the same boxes stand in other orders. All that was shown to a writer together is on one side:
held out, or not, and is one in the intervals of a run's answers.
"""

import dataclasses
import tarfile
from collections.abc import Iterator
from pathlib import Path

from gptjax.data.corpora.json_fields import field_of, parsed
from gptjax.data.corpora.text_files import readable
from gptjax.data.image_text.documents import SETS, ImageText, Sides, divided, interleaved
from gptjax.data.pictures.picture import Picture

ORDERS = 6  # pictures of a sentence


@SETS.register("nlvr")
def nlvr(location: str, fraction: float) -> Sides:
    """Sentences about pictures, each with the answer " true" or " false"."""
    folder, spec = Path(location), f"nlvr:{location}"
    pictures = dict(_pictures(folder))
    if not pictures:
        raise ValueError(f"{spec}: got no *.png in *.tar or in images, expected the pictures")
    found = [each for path in sorted(folder.glob("*.json")) for each in _judged(path, pictures)]
    if not found:
        raise ValueError(f"{spec}: got no *.json of these pictures, expected the sentences")
    sides = divided(found, lambda each: each[0], fraction)
    learned, held_out = (tuple(document for _, document in side) for side in sides)
    return learned, held_out


def _judged(path: Path, pictures: dict[str, Picture]) -> Iterator[tuple[str, ImageText]]:
    """What was presented together, and a document of it."""
    with readable(path):
        lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        name = f"{path}:{number}"
        row = parsed(name, line, "one object a line")
        sentence, label, identifier = (
            str(field_of(name, row, field)) for field in ("sentence", "label", "identifier")
        )
        for order in range(ORDERS):
            picture = pictures.get(f"{path.stem}-{identifier}-{order}")
            if picture is not None:
                presented = identifier.partition("-")[0]
                text, answer = f"<image> {sentence.strip()}", f" {label}"
                document = interleaved(text, [picture], answer, "sentences")
                yield presented, dataclasses.replace(document, cluster=f"{path.stem}-{presented}")


def _pictures(folder: Path) -> Iterator[tuple[str, Picture]]:
    """The pictures by their names, without .png."""
    for path in sorted(folder.glob("*.tar")):
        with readable(path), tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.name.endswith(".png") else None
                if file is not None:
                    yield Path(member.name).stem, Picture.of(file.read())
    for path in sorted((folder / "images").glob("**/*.png")):
        yield path.stem, Picture.of(path)
