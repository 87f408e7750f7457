"""Classes by their names, and retrieval, with a trained pair of encoders (CLIP).

    encoders = Encoders(model, params, tokenizer, templates=("a photo of a {}.",))
    scores = encoders.class_scores(pictures, ("cat", "dog"))
    (scores.argmax(-1) == label_numbers(pictures, ("cat", "dog"))).mean()

Radford et al. 2021 (arXiv 2103.00020, section 3.1.2 to 3.1.4): an image is of the class whose text
is nearest; with several templates the place of a class is the mean of those of its texts.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from gptjax.compiled import compiled
from gptjax.data.dialogue.records import Records
from gptjax.data.labelled.picture_files import LabelledPicture
from gptjax.finite import check_finite
from gptjax.judging.retrieval import check_labels, retrieval_ranks
from gptjax.models.vision.clip import CLIP
from gptjax.tasks.vision.rows import PixelRows, captions
from gptjax.tokenization import Tokenizer


def _images_of(model: CLIP, params: Any, pixels: jax.Array) -> Any:
    return model.apply({"params": params}, pixels, method="encode_images")


def _texts_of(model: CLIP, params: Any, tokens: jax.Array, lengths: jax.Array) -> Any:
    return model.apply({"params": params}, tokens, lengths, method="encode_texts")


class Encoders:
    """A trained CLIP with its tokenizer, which places pictures and texts in batches.

    Attributes:
      scale: the factor of the cosines.
    """

    def __init__(
        self,
        model: CLIP,
        params: Any,
        tokenizer: Tokenizer,
        batch_size: int = 64,
        fit: str = "crop",
        templates: Sequence[str] = ("{}",),
    ):
        """A CLIP to be asked.

        Args:
          model: a pair of encoders.
          params: its parameters.
          tokenizer: its own.
          batch_size: pictures, and texts, that are placed at a time.
          fit: what becomes of pictures, as of `read_picture`.
          templates: texts with {} in the place of the name of a class.

        Raises:
          ValueError: a template without {}.
        """
        for template in templates:
            if "{}" not in template:
                raise ValueError(f"template: got {template!r}, expected one with {{}} in it")
        self._model, self._params, self._tokenizer = model, params, tokenizer
        self._batch_size, self._fit, self._templates = batch_size, fit, templates
        scale: Any = model.apply({"params": params}, method="scale")
        self.scale = float(scale)
        self._images, self._texts = compiled(_images_of, model), compiled(_texts_of, model)

    def of_pictures(self, pictures: Records[LabelledPicture]) -> np.ndarray:
        """Places of pictures [N, P] float32, of length 1.

        Raises:
          ValueError: a picture is broken.
          NotFinite: the model's places are not.
        """
        vision = self._model.config.vision
        rows = PixelRows(pictures, vision.image_size, vision.num_channels, self._fit, None)
        found = [
            np.asarray(self._images(self._params, rows.of(indices)))
            for indices in self._batches(len(rows))
        ]
        places = np.concatenate(found)[: len(rows)]
        check_finite(places, "places of pictures")
        return places

    def of_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Places of texts [N, P] float32, of length 1; NotFinite where the model's are not."""
        length = self._model.config.context_length
        said = captions(texts, self._tokenizer, length)
        found = []
        for indices in self._batches(len(texts)):
            tokens, lengths = said.of(indices, length)
            # Of padding one token is read, so that nothing is divided by zero.
            found.append(np.asarray(self._texts(self._params, tokens, np.maximum(lengths, 1))))
        places = np.concatenate(found)[: len(texts)]
        check_finite(places, "places of texts")
        return places

    def scores(self, pictures: Records[LabelledPicture], texts: Sequence[str]) -> np.ndarray:
        """Cosines [N, M] float32 of pictures and texts."""
        return self.of_pictures(pictures) @ self.of_texts(texts).T

    def ranks(self, pictures: Records[LabelledPicture]) -> dict[str, np.ndarray]:
        """Ranks among all pictures and their distinct captions; see `retrieval_ranks`."""
        texts = [picture.text for picture in pictures]
        return retrieval_ranks(self.of_pictures(pictures), self.of_texts(texts), texts)

    def class_scores(self, pictures: Records[LabelledPicture], labels: Sequence[str]) -> np.ndarray:
        """Logits [N, C] float32 of N pictures over C classes; ValueError as `check_labels`."""
        check_labels(labels)
        texts = [template.replace("{}", label) for template in self._templates for label in labels]
        places = self.of_texts(texts).reshape(len(self._templates), len(labels), -1).mean(0)
        places /= np.linalg.norm(places, axis=-1, keepdims=True)
        return self.scale * self.of_pictures(pictures) @ places.T

    def _batches(self, count: int) -> list[np.ndarray]:
        """Numbers 0..count-1 and past it, in batches of one size."""
        size = self._batch_size
        return [np.arange(first, first + size) for first in range(0, count, size)]


def label_numbers(pictures: Records[LabelledPicture], labels: Sequence[str]) -> np.ndarray:
    """The place [N] int64 of each picture's text among labels; ValueError where it has none."""
    numbers = {label: number for number, label in enumerate(labels)}
    for picture in pictures:
        if picture.text not in numbers:
            raise ValueError(
                f"labels: got {', '.join(labels)}, expected {picture.text!r} among them, the text "
                f"of {picture.name}"
            )
    return np.array([numbers[picture.text] for picture in pictures])
