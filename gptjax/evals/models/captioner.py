"""Which caption a picture has, and which picture a caption, by a model that writes text of images.

    captioner = Captioner(ImageLanguageModel(decoder, params, tokenizer, form, content_hash="..."))
    captioner.ranks(load_pictures("emoji:emoji,style=twitter"))["text"]

A caption's score is its log-probability behind the picture, as of KOSMOS-1's choices (Huang et al.
2023, arXiv 2302.14045), and its end's. CLIP is asked alike (`gptjax/tasks/vision/zero_shot.py`).
"""

from collections.abc import Callable, Sequence

import numpy as np

from gptjax.data.labelled.picture_files import LabelledPicture
from gptjax.data.pictures.picture import Picture
from gptjax.evals.models.with_images import ImageLanguageModel
from gptjax.judging.retrieval import check_labels, score_ranks
from gptjax.tokenization.images import PLACE

TEMPLATE = f"{PLACE} {{}}"
_SLOT = "{}"

Say = Callable[[str, int, int, str], None]


class Captioner:
    """A model of text with images, asked for the captions of pictures."""

    def __init__(
        self,
        model: ImageLanguageModel,
        templates: Sequence[str] = (TEMPLATE,),
        say: Say = lambda what, done, total, unit: None,
    ):
        """A model to be asked.

        Args:
          model: it keeps its compiled programs.
          templates: each with one `<image>` and, behind it, one {} in the place of the caption; the
            scores of several are averaged.
          say: is told how many captions of pictures are scored, of how many, as `Screen.say` is.

        Raises:
          ValueError: another template.
        """
        for template in templates:
            before, slot, after = template.partition(_SLOT)
            if before.count(PLACE) != 1 or not slot or PLACE in after or _SLOT in after:
                raise ValueError(
                    f"template: got {template!r}, expected one with one {PLACE} and one {_SLOT} "
                    "behind it"
                )
        self._model, self._templates, self._say = model, templates, say

    def scores(self, pictures: Sequence[LabelledPicture], captions: Sequence[str]) -> np.ndarray:
        """Log-probabilities [N, M] float64 of M captions of N pictures, in nats.

        Raises:
          ValueError: a picture is broken, or a caption does not fit the context behind one.
        """
        numbers: dict[Picture, int] = {}
        rows = [numbers.setdefault(each.picture, len(numbers)) for each in pictures]
        found, total = [], len(self._templates) * len(numbers) * len(captions)

        def say(done: int) -> None:
            earlier = len(found) * len(numbers)
            self._say("pictures", (earlier + done) * len(captions), total, "captions")

        for template in self._templates:
            before, _, after = template.partition(_SLOT)
            prompt = before.rstrip()
            texts = [before[len(prompt) :] + caption + after for caption in captions]
            found.append(self._model.picture_log_probs(prompt, list(numbers), texts, say))
        return np.mean(found, axis=0)[rows]

    def class_scores(
        self, pictures: Sequence[LabelledPicture], labels: Sequence[str]
    ) -> np.ndarray:
        """Logits [N, C] float64 of N pictures over C classes; ValueError as `check_labels`."""
        check_labels(labels)
        return self.scores(pictures, labels)

    def ranks(self, pictures: Sequence[LabelledPicture]) -> dict[str, np.ndarray]:
        """Ranks among all pictures and their distinct captions; see `retrieval_ranks`."""
        captions = [picture.text for picture in pictures]
        return score_ranks(self.scores(pictures, list(dict.fromkeys(captions))), captions)
