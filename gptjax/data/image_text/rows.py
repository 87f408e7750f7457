"""Documents of text and images packed into rows of one length, for the training loop.

    rows = pack_image_text(documents, tokenizer, form, context_length=64, max_images=4)
    rows.batch(np.arange(8))["images"]   # uint8 [8, 4, 28, 28, 1]

A document is `end-of-text text <image> soft ... soft </image> text end-of-text`; of n tokens it
takes n - 1 places of a row. Text and the last token are learned, marks and places of images are
not (KOSMOS-1, arXiv 2302.14045, section 2.1: images do not count in the loss). Documents of a row
do not see each other, and none is cut: one that is too long is dropped, and counted.
"""

import bisect
import dataclasses
from collections.abc import Sequence

import numpy as np

from gptjax.data.batches.packing import packed_batch
from gptjax.data.batches.token_stream import HostBatch
from gptjax.data.dialogue.records import Records, log_dropped, sift
from gptjax.data.image_text.documents import ImageText
from gptjax.data.pictures.picture import Picture
from gptjax.tokenization import ImageTokenizer


@dataclasses.dataclass(frozen=True)
class ImageForm:
    """What images are for a model.

    Attributes:
      tokens: places that an image takes in a row.
      size: rows and columns of its pixels.
      channels: of its pixels, 1 or 3.
      fit: how a picture of another shape is made to fit, see `read_picture`.
      hidden: whether all pixels are 0 instead.
      first: whether images stand in front of all text of their document, in their order.
    """

    tokens: int
    size: int
    channels: int = 3
    fit: str = "crop"
    hidden: bool = False
    first: bool = False

    def arranged(self, parts: Sequence[str | Picture]) -> list[str | Picture]:
        """Texts and pictures of a document in the order in which a row has them."""
        return sorted(parts, key=lambda part: isinstance(part, str)) if self.first else list(parts)

    def pixels(self, pictures: Sequence[Picture], count: int) -> np.ndarray:
        """Pictures [count, H, W, C] uint8; behind the last of them there are zeros."""
        made = np.zeros((count, self.size, self.size, self.channels), np.uint8)
        for number, picture in enumerate(() if self.hidden else pictures):
            made[number] = picture.pixels(self.size, channels=self.channels, fit=self.fit)
        return made


@dataclasses.dataclass(frozen=True)
class Encoded:
    """A document as tokens.

    Attributes:
      ids: [n] int32.
      learned: [n] bool, which of them are text.
      pictures: in the order of their places.
    """

    ids: np.ndarray
    learned: np.ndarray
    pictures: tuple[Picture, ...]


def end_of_text(tokenizer: ImageTokenizer) -> int:
    """The token that begins and ends documents; ValueError where the vocabulary has none."""
    if tokenizer.end_of_text is None:
        raise ValueError(
            f"tokenizer: got images:{tokenizer.inner.kind}, which has no end-of-text, expected one "
            "that has it, to end documents with"
        )
    return tokenizer.end_of_text


def encode_parts(
    parts: Sequence[str | Picture], tokenizer: ImageTokenizer, image_tokens: int
) -> Encoded:
    """Text and pictures as tokens, end-of-text first; each picture between its marks."""
    texts = [part for part in parts if isinstance(part, str)]
    encoded = iter(tokenizer.encode_batch(texts))
    image = tokenizer.image(image_tokens)
    pieces: list[tuple[np.ndarray, bool]] = [(np.array([end_of_text(tokenizer)]), False)]
    for part in parts:
        is_text = isinstance(part, str)
        pieces.append((next(encoded) if is_text else image, is_text))
    return Encoded(
        np.concatenate([ids for ids, _ in pieces]).astype(np.int32),
        np.concatenate([np.full(len(ids), is_text) for ids, is_text in pieces]),
        tuple(part for part in parts if isinstance(part, Picture)),
    )


def encode_document(document: ImageText, tokenizer: ImageTokenizer, form: ImageForm) -> Encoded:
    """A whole document with its answer, and end-of-text behind it."""
    answer = [] if document.answer is None else [document.answer]
    whole = encode_parts([*form.arranged(document.parts), *answer], tokenizer, form.tokens)
    return Encoded(
        np.append(whole.ids, np.int32(end_of_text(tokenizer))),
        np.append(whole.learned, True),
        whole.pictures,
    )


@dataclasses.dataclass(frozen=True)
class ImageTextRows:
    """Rows of whole documents.

    Attributes:
      form: of the images.
      context_length: T, tokens a row.
      max_images: N, images that a row has room for.
      padding: the token that fills rows up.
      documents: all of them.
      members: the documents of each row, in order.
      dropped: documents that were left out, by reason.
    """

    form: ImageForm
    context_length: int
    max_images: int
    padding: int
    documents: Records[Encoded]
    members: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.members)

    @property
    def num_targets(self) -> int:
        """Tokens that are learned, in all rows."""
        return sum(int(each.learned[1:].sum()) for each in self.documents)

    @property
    def fill(self) -> float:
        """Share of the places that are not padding."""
        places = sum(len(each.ids) - 1 for each in self.documents)
        return places / (len(self) * self.context_length)

    def batch(self, indices: np.ndarray) -> HostBatch:
        """Makes rows, given by number, in any order.

        Args:
          indices: which rows, [B] int64; rows past the last are all padding.

        Returns:
          What `PackedRows.batch` does, and images: [B, N, H, W, C] uint8, those of a row in the
          order of their places, zeros behind them.

        Raises:
          ValueError: a picture that cannot be read.
        """
        rows = [
            [self.documents[member] for member in (self.members[i] if i < len(self) else ())]
            for i in indices.tolist()
        ]
        batch = packed_batch(
            [[(each.ids, each.learned[1:]) for each in row] for row in rows],
            self.context_length,
            self.padding,
        )
        batch["images"] = np.stack(
            [
                self.form.pixels([p for each in row for p in each.pictures], self.max_images)
                for row in rows
            ]
        )
        return batch


def pack_image_text(
    documents: Records[ImageText],
    tokenizer: ImageTokenizer,
    form: ImageForm,
    *,
    context_length: int,
    max_images: int,
    seed: int = 0,
) -> ImageTextRows:
    """Encodes documents and decides which go together.

    They are taken in an order drawn from `seed`, each into the fullest row that has room for it and
    for its images.

    Args:
      documents: what to pack.
      tokenizer: of the model.
      form: of the images.
      context_length: T; documents of more than T + 1 tokens are dropped.
      max_images: N; documents of more images are dropped.
      seed: of the order.

    Raises:
      ValueError: none fits, or a vocabulary without end-of-text.
    """
    too_long = f"documents longer than {context_length + 1} tokens"
    too_many = f"documents of more than {max_images} images"

    def judged(document: ImageText) -> tuple[Encoded, str | None]:
        encoded = encode_document(document, tokenizer, form)
        if len(encoded.ids) > context_length + 1:
            return encoded, too_long
        return encoded, too_many if len(encoded.pictures) > max_images else None

    kept = sift(documents.name, map(judged, documents), documents.dropped)
    log_dropped(kept, documents.dropped)
    sizes = [len(each.ids) - 1 for each in kept]
    counts = [len(each.pictures) for each in kept]
    order = np.random.default_rng(seed).permutation(len(kept))
    members = _packed(sizes, counts, context_length, max_images, order)
    return ImageTextRows(form, context_length, max_images, end_of_text(tokenizer), kept, members)


def _packed(
    sizes: Sequence[int], counts: Sequence[int], length: int, images: int, order: np.ndarray
) -> tuple[tuple[int, ...], ...]:
    """As `best_fit`, of items that take places and images, both of which a row has so many of."""
    rows: list[list[int]] = []
    room: list[tuple[int, int, int]] = []  # (places left, row, images left), sorted
    for item in map(int, order):
        size, count = sizes[item], counts[item]
        at = bisect.bisect_left(room, (size, -1, -1))
        while at < len(room) and room[at][2] < count:
            at += 1
        if at < len(room):
            left, row, free = room.pop(at)
        else:
            left, row, free = length, len(rows), images
            rows.append([])
        rows[row].append(item)
        if left > size and free > count:  # a row without room for images takes no more text
            bisect.insort(room, (left - size, row, free - count))
    return tuple(map(tuple, rows))
