"""Pictures as rows of pixels, with their texts as tokens or as classes.

rows = PairRows(pixel_rows(pictures, config), captions(pictures, tokenizer, 77))
batch = rows.batch(np.arange(8))
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from gptjax.data.batches.token_stream import HostBatch
from gptjax.data.dialogue.records import Records
from gptjax.data.labelled.picture_files import LabelledPicture
from gptjax.tokenization import Tokenizer
from gptjax.tokenization.clip_bpe import ClipBPE
from gptjax.vision_config import VisionConfig

MOST_HELD = 2**29  # bytes of decoded pictures that are kept; those of larger sets are read anew


@dataclasses.dataclass(frozen=True)
class PixelRows:
    """The pixels of pictures.

    Attributes:
      pictures: a set of N.
      size: rows and columns of an image.
      channels: of an image.
      fit: as of `read_picture`.
      held: all of them [N, H, W, C] uint8; None: each is decoded when it is asked for.
    """

    pictures: Records[LabelledPicture]
    size: int
    channels: int
    fit: str
    held: np.ndarray | None

    def __len__(self) -> int:
        return len(self.pictures)

    def of(self, indices: np.ndarray) -> np.ndarray:
        """The pixels [B, H, W, C] uint8 of pictures, given by number; zeros past the last."""
        found = np.zeros((len(indices), self.size, self.size, self.channels), np.uint8)
        for row, index in enumerate(indices.tolist()):
            if index < len(self):
                found[row] = self._decoded(index) if self.held is None else self.held[index]
        return found

    def _decoded(self, number: int) -> np.ndarray:
        picture = self.pictures[number]
        return picture.pixels(self.size, channels=self.channels, fit=self.fit)


def pixel_rows(
    pictures: Records[LabelledPicture], model: VisionConfig, fit: str, most_held: int = MOST_HELD
) -> PixelRows:
    """The pictures as an encoder reads them.

    Args:
      pictures: a set.
      model: its `image_size` and `num_channels` are those of the images.
      fit: as of `read_picture`.
      most_held: bytes up to which all are decoded now, so that a broken one is refused now.

    Raises:
      ValueError: as `read_picture`.
    """
    rows = PixelRows(pictures, model.image_size, model.num_channels, fit, None)
    if len(rows) * rows.size**2 * rows.channels > most_held:
        return rows
    held = np.stack([rows._decoded(number) for number in range(len(rows))])
    return dataclasses.replace(rows, held=held)


@dataclasses.dataclass(frozen=True)
class Captions:
    """Texts as tokens.

    Attributes:
      sequences: of each text [n] int32, at least one token.
      truncated: texts of which only the beginning is kept.
    """

    sequences: Sequence[np.ndarray]
    truncated: int

    def of(self, indices: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens [B, length] int32, padding on the right, and lengths [B]; of none: 0."""
        tokens = np.zeros((len(indices), length), np.int32)
        lengths = np.zeros(len(indices), np.int32)
        for row, index in enumerate(indices.tolist()):
            if index < len(self.sequences):
                ids = self.sequences[index]
                tokens[row, : len(ids)], lengths[row] = ids, len(ids)
        return tokens, lengths


def captions(texts: Sequence[str], tokenizer: Tokenizer, context_length: int) -> Captions:
    """Encodes texts, with the tokenizer's end of text behind each, where it has one.

    CLIP's own tokenizer has a token that begins a text, too.

    Args:
      texts: not empty.
      tokenizer: of the model.
      context_length: the most tokens of a text; the end of text is kept.
    """
    end = tokenizer.end_of_text
    behind = [] if end is None else [end]
    start = tokenizer.start_of_text if isinstance(tokenizer, ClipBPE) else None
    before = [] if start is None else [start]
    room = max(1, context_length - len(before) - len(behind))
    encoded = tokenizer.encode_batch(list(texts))
    kept = [np.array([*before, *ids[:room], *behind], np.int32) for ids in encoded]
    return Captions(kept, sum(len(ids) > room for ids in encoded))


@dataclasses.dataclass(frozen=True)
class PairRows:
    """Pictures and their captions; all batches have the same shapes.

    Attributes:
      pixels: of N pictures.
      captions: of N texts.
      length: T, to which texts are padded.
    """

    pixels: PixelRows
    captions: Captions
    length: int

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, indices: np.ndarray) -> HostBatch:
        """Gathers pairs, given by number, in any order; those past the last are padding.

        Returns:
          tokens: [B, T] int32; lengths: [B] int32; images: [B, H, W, C] uint8; loss_weights: [B]
          float32, 1 of pairs and 0 of padding.
        """
        tokens, lengths = self.captions.of(indices, self.length)
        return {
            "tokens": tokens,
            "lengths": lengths,
            "images": self.pixels.of(indices),
            "loss_weights": (indices < len(self)).astype(np.float32),
        }


@dataclasses.dataclass(frozen=True)
class ClassRows:
    """Pictures and the numbers of their classes; all batches have the same shapes.

    Attributes:
      pixels: of N pictures.
      classes: [N] int32.
    """

    pixels: PixelRows
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, indices: np.ndarray) -> HostBatch:
        """Gathers pictures, given by number, in any order; those past the last are padding.

        Returns:
          images: [B, H, W, C] uint8; classes: [B] int32; loss_weights: [B] float32.
        """
        real = indices < len(self)
        return {
            "images": self.pixels.of(indices),
            "classes": np.where(real, self.classes[np.where(real, indices, 0)], 0),
            "loss_weights": real.astype(np.float32),
        }
