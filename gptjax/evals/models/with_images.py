"""A language model that reads pictures among its text, as evals ask it.

A prompt with pictures is one document, as training has them: end-of-text first, each picture
between its marks, and, of a model that has images first, all pictures before all text. A
continuation is divided from its context as an answer is in training. Such a prompt is never cut.

    model = ImageLanguageModel(decoder, params, tokenizer, form, content_hash="...")
    model.all_answers([Likelihood("<image> is", " seven", (picture,))])
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from gptjax.config import ModelConfig
from gptjax.data.image_text.documents import interleaved
from gptjax.data.image_text.rows import ImageForm, encode_parts, end_of_text
from gptjax.data.pictures.picture import Picture
from gptjax.evals.models.language_model import LanguageModel
from gptjax.evals.models.prompts import Asked, Prompt
from gptjax.evals.requests import Generation, Likelihood, Request, room_of
from gptjax.inference.sampling import Sampler, make_sampler
from gptjax.models.decoder import Decoder
from gptjax.tokenization import ImageTokenizer


class ImageReader:
    """How requests with pictures become tokens of a model."""

    def __init__(self, config: ModelConfig, tokenizer: ImageTokenizer, form: ImageForm):
        """`config`: of the model, resolved; `form`: of its images."""
        self.context_length = config.context_length
        self._config, self._tokenizer, self._form = config, tokenizer, form

    def encoded(self, text: str, pictures: Sequence[Picture]) -> np.ndarray:
        """The tokens [n] of text in which `<image>` stands for each picture.

        Raises:
          ValueError: another number of pictures than the text has places for.
        """
        parts = self._form.arranged(interleaved(text, pictures).parts)
        return encode_parts(parts, self._tokenizer, self._form.tokens).ids

    def check(self, requests: Iterable[Request]) -> None:
        """Refuses nothing: it reads text and pictures."""

    def fit(self, requests: Sequence[Likelihood | Generation]) -> list[bool]:
        """Whether each can be answered, as all of it must be read."""
        sizes: dict[tuple[str, tuple[Picture, ...]], int] = {}
        fitting = []
        for request in requests:
            is_prompt = isinstance(request, Generation)
            read = request.prompt if is_prompt else request.context, request.pictures
            if read not in sizes:
                sizes[read] = self.encoded(*read).size
            answer = 0 if is_prompt else len(self._tokenizer.encode(request.continuation))
            fits = sizes[read] + answer <= room_of(request, self.context_length)
            fitting.append(fits and self._config.has_room_for(len(request.pictures)))
        return fitting

    def pixels(self, pictures: Sequence[Picture]) -> np.ndarray | None:
        """Pixels [N, H, W, C] uint8; None where there are no pictures."""
        return self._form.pixels(pictures, len(pictures)) if pictures else None


class ImageLanguageModel(LanguageModel):
    """A `LanguageModel` whose requests may have pictures."""

    tokenizer: ImageTokenizer

    def __init__(
        self,
        model: Decoder,
        params: Any,
        tokenizer: ImageTokenizer,
        form: ImageForm,
        *,
        content_hash: str,
        batch_size: int = 32,
    ):
        """`form`: of the model's images; other arguments and errors are of `LanguageModel`."""
        super().__init__(model, params, tokenizer, content_hash=content_hash, batch_size=batch_size)
        self._reader = ImageReader(model.config, tokenizer, form)
        self._samplers: dict[float, Sampler] = {}

    def check(self, requests: Iterable[Request]) -> None:
        """Refuses nothing, as `ImageReader`."""

    def fit(self, requests: Sequence[Likelihood | Generation]) -> list[bool]:
        fitting: dict[int, bool] = {}
        for shown, fit in ((False, super().fit), (True, self._reader.fit)):
            numbers = [i for i, request in enumerate(requests) if bool(request.pictures) == shown]
            fitting |= zip(numbers, fit([requests[i] for i in numbers]), strict=True)
        return [fitting[number] for number in range(len(requests))]

    def picture_log_probs(
        self,
        prompt: str,
        pictures: Sequence[Picture],
        texts: Sequence[str],
        say: Callable[[int], None] = lambda done: None,
    ) -> np.ndarray:
        """Log-probabilities of documents that differ in a picture and in what follows a prompt.

        End-of-text is counted, so that a text is not more probable for being the beginning of
        another. All texts are scored for each picture, which is read once a batch of texts.

        Args:
          prompt: text with one `<image>`.
          pictures: N, each shown alone.
          texts: M, as they follow the prompt.
          say: is told how many pictures are done.

        Returns:
          [N, M] float64, in nats.

        Raises:
          ValueError: a picture is broken, or a text does not fit the context behind the prompt.
        """
        prefix = self._reader.encoded(prompt, pictures[:1])
        room, end = self.context_length + 1 - prefix.size, end_of_text(self.tokenizer)
        answers = [np.append(ids, end) for ids in self.tokenizer.encode_batch(texts)]
        for text, ids in zip(texts, answers, strict=True):
            if ids.size > room:
                raise ValueError(
                    f"text: got {text[:40]!r} of {ids.size} tokens with its end, expected at most "
                    f"{room} behind the picture"
                )
        scores, step = np.empty((len(pictures), len(texts))), max(self._batch_size // len(texts), 1)
        for first in range(0, len(pictures), step):
            images = [self._reader.pixels([each]) for each in pictures[first : first + step]]
            found = self._scorer.score_questions([(prefix, answers)] * len(images), images)
            scores[first : first + step] = [[each.total for each in row] for row in found]
            say(first + len(images))
        return scores

    def _divided(
        self, requests: Sequence[tuple[int, Likelihood]]
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        yield from super()._divided([each for each in requests if not each[1].pictures])
        read: dict[tuple[str, tuple[Picture, ...]], np.ndarray] = {}
        for number, request in requests:
            if not request.pictures:
                continue
            key = request.context, request.pictures
            if key not in read:
                read[key] = self._reader.encoded(*key)
            continuation = np.asarray(self.tokenizer.encode(request.continuation), np.int32)
            self._check_room(read[key].size + continuation.size, self.context_length + 1)
            yield number, read[key], continuation

    def _prompt(self, request: Generation) -> Prompt:
        if not request.pictures:
            return super()._prompt(request)
        tokens = self._reader.encoded(request.prompt, request.pictures)
        self._check_room(tokens.size, self.context_length - 1)
        return Prompt(tokens, pictures=request.pictures)

    def _check_room(self, size: int, most: int) -> None:
        if size > most:
            raise ValueError(
                f"prompt with pictures: got {size} tokens, expected at most {most} in the context "
                f"of {self.context_length} tokens"
            )

    def _images(self, asked: Iterable[Asked]) -> list[np.ndarray | None]:
        return [self._reader.pixels(each.pictures) for each in asked]

    def _sampler(self, temperature: float) -> Sampler:
        """One that writes no marks of images."""
        if temperature not in self._samplers:
            self._samplers[temperature] = make_sampler(
                temperature,
                banned_tokens=self.tokenizer.outside_text,
                vocab_size=self._model.config.vocab_size,
            )
        return self._samplers[temperature]
