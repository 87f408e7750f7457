"""The language model of a run, as evals ask it.

model = of_run(WorkDirectory("runs/lm"))
"""

import dataclasses
import hashlib
import json

from gptjax.evals.models.language_model import LanguageModel
from gptjax.evals.models.with_images import ImageLanguageModel
from gptjax.runs.kind import kind_of
from gptjax.runs.workdir import WorkDirectory
from gptjax.tokenization import ImageTokenizer, Tokenizer
from gptjax.training.checkpoints.manifest import content_hash
from gptjax.training.checkpoints.retention import StepDirectories

_ANSWERS = 1  # raised where a change of the code changes answers, so that kept ones are not taken


def of_run(
    workdir: WorkDirectory,
    step: int | None = None,
    *,
    batch_size: int = 32,
    tokenizer: Tokenizer | None = None,
) -> LanguageModel:
    """The language model of a run, which reads pictures if the run learned from some.

    Args:
      workdir: of the run.
      step: of the checkpoint; None: the one that the run chooses.
      batch_size: texts that are scored, or written, at the same time.
      tokenizer: one with the run's ids that reads texts in another way; None: the run's.

    Raises:
      ValueError: there is no such run or checkpoint, or it is not of a language model.
    """
    model, tokenizer = workdir.model(), tokenizer or workdir.tokenizer()
    config, step = workdir.config(), workdir.resolve_step(step)
    images = kind_of(config).images(config)
    parts = {
        "checkpoint": content_hash(StepDirectories(workdir.path / "checkpoints")[step]),
        "model": dataclasses.asdict(model.config),
        "answers": _ANSWERS,
        "tokenizer": tokenizer.content_hash(),
    }
    if images is not None:
        parts["images"] = dataclasses.asdict(images)
    stands_for = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode())
    given = {"content_hash": stands_for.hexdigest(), "batch_size": batch_size}
    params = workdir.params(step)
    if images is None or not isinstance(tokenizer, ImageTokenizer):
        return LanguageModel(model, params, tokenizer, **given)
    return ImageLanguageModel(model, params, tokenizer, images, **given)
