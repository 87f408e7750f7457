"""Corpora of images, for models of raw bytes: each image is one document, its pixels in order.

An image is written pixel by pixel, R, G, B, row by row, as the Sparse Transformer reads images
(arXiv 1904.10509, section 5.3). The tokenizer `bytes` has no end-of-text, so that with a
`context_length` of the bytes of an image each window is one. Differs from the paper: the first byte
of an image is predicted after the image before it, at the end of that one's window.

    load_corpus("cifar10:cifar-10-batches-bin")
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gptjax.data.corpora.found_files import find_files
from gptjax.data.corpora.text import CORPORA, Corpus, Document
from gptjax.data.corpora.text_files import open_bytes

PATCH = 16  # pixels of a side of a sample image
_CIFAR_SHAPE = (3, 32, 32)  # planes, rows, columns
_CIFAR_RECORD = 1 + 3 * 32 * 32  # a label, then the planes


def _document(name: str, image: np.ndarray) -> Document:
    """A document of uint8 pixels [rows, columns, 3]."""
    return Document(name, image.tobytes().decode(errors="surrogateescape"))


@CORPORA.register("cifar10")
def cifar10(location: str, invalid_utf8: str) -> Corpus:
    """CIFAR-10 (Krizhevsky 2009) in its binary version: files *.bin of 3,073 bytes an image.

    A document has 3,072 bytes; labels are left out. Differs from the paper: the held-out images
    are drawn by their hash from all files, where the paper reports on the test images.
    """
    spec = f"cifar10:{location}"
    files = find_files(spec, location, ".bin")

    def read() -> Iterator[Document]:
        for path in files:
            with open_bytes(path) as file:
                content = np.frombuffer(file.read(), np.uint8)
            if content.size % _CIFAR_RECORD or (content[::_CIFAR_RECORD] > 9).any():
                raise ValueError(
                    f"{path}: {content.size} bytes that are not images of CIFAR-10; expected its "
                    f"binary version, {_CIFAR_RECORD} bytes an image, the first a label below 10"
                )
            planes = content.reshape(-1, _CIFAR_RECORD)[:, 1:].reshape(-1, *_CIFAR_SHAPE)
            for number, image in enumerate(planes.transpose(0, 2, 3, 1)):
                yield _document(f"{path}:{number}", image)

    return Corpus(spec, files, read)


@CORPORA.register("sample_images")
def sample_images(location: str, invalid_utf8: str) -> Corpus:
    """The photograph of Grace Hopper that comes with matplotlib, in pieces of 16 x 16 pixels.

    Some 1,200 documents of 768 bytes, to try models of images with.
    """
    if location:
        raise ValueError(
            f"corpus 'sample_images:{location}' takes no location; expected 'sample_images'"
        )
    # Takes 0.3 s, which other corpora need not wait for.
    from matplotlib import cbook, image

    path = Path(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))

    def read() -> Iterator[Document]:
        pixels = image.imread(path)
        rows, columns = (size // PATCH for size in pixels.shape[:2])
        for row, column in np.ndindex(rows, columns):
            top, left = row * PATCH, column * PATCH
            piece = pixels[top : top + PATCH, left : left + PATCH]
            yield _document(f"{path.name}@{top},{left}", piece)

    return Corpus("sample_images", (path,), read)
