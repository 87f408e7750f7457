r"""Classifies pictures by the names of classes, and retrieves pictures by texts.

    python -m experiments.clip --workdir=runs/clip --images=shapes:count=500,seed=2
    python -m experiments.clip --workdir=runs/clip --images=folder:pets --labels=cat,dog \
        --template="a photo of a {}."
    python -m experiments.clip --workdir=runs/clip --images=files:album --query="a red circle"
    python -m experiments.clip --workdir=runs/captions --images=emoji:emoji,style=twitter

The run is a CLIP, of kind contrastive, which compares by cosines, or of kind image_text, which
scores a text by its log-probability behind the picture, in nats. Without --labels and --query it
prints recall at 1 and at 10 among all pictures and their texts, both ways; with --labels, which are
these texts, the accuracy: JSON, with 95% intervals. Of `files:`, which have no texts, it prints the
label of each picture and its probability; with --query the best pictures and their scores.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags

from experiments.flags.command_line import run
from experiments.flags.paths import define_path
from gptjax.data.choices import FITS
from gptjax.data.labelled.pictures import load_pictures
from gptjax.runs.caches import enable_compilation_cache

_WORKDIR = define_path("workdir", None, "Work directory of a run of kind contrastive, image_text.")
_IMAGES = define_path("images", None, "Set of pictures, as config.contrastive.train has; required.")
_LABELS = flags.DEFINE_list("labels", [], "Names of classes, with commas between.")
_TEMPLATE = flags.DEFINE_multi_string(
    "template",
    [],
    "Text with {} in the place of a label; several are averaged. By default {} for a CLIP, and "
    "<image> {} for a run of image_text, which puts captions and --query in its place, too.",
)
_QUERY = flags.DEFINE_string("query", None, "Text whose best pictures are shown.")
_TOP = flags.DEFINE_integer("top", 5, "Number of pictures shown for --query.", lower_bound=1)
_FIT = flags.DEFINE_enum(
    "fit", None, FITS, "What becomes of a picture that is no square. By default as in training."
)
_BATCH = flags.DEFINE_integer(
    "batch_size", 64, "Pictures, or captions of a picture, in a batch.", lower_bound=1
)
_STEP = flags.DEFINE_integer("restore_step", None, "Checkpoint; by default the run chooses one.")


def main(argv: Sequence[str]) -> None:
    """Prints figures, labels or pictures."""
    import scipy.special

    from gptjax.evals.screen import Screen
    from gptjax.judging.metrics import metrics_of
    from gptjax.judging.retrieval import check_labels, recall_intervals
    from gptjax.tasks.vision.zero_shot import label_numbers

    del argv
    if _IMAGES.value is None:
        raise ValueError("--images: got none, expected a set of pictures, such as folder:PATH")
    if _LABELS.value and _QUERY.value is not None:
        raise ValueError("--query: got it with --labels, expected one of the two")
    labels = [label.strip() for label in _LABELS.value]
    if labels:
        check_labels(labels)
    pictures, of_files = load_pictures(_IMAGES.value), _IMAGES.value.startswith("files:")
    targets = label_numbers(pictures, labels) if labels and not of_files else None
    enable_compilation_cache()
    with Screen() as screen:
        model = _model(screen)
        if _QUERY.value is not None:
            (scores,) = model.scores(pictures, [_QUERY.value]).T
        else:
            scores = model.class_scores(pictures, labels) if labels else model.ranks(pictures)
    if _QUERY.value is not None:
        for number in np.argsort(-scores)[: _TOP.value]:
            print(f"{scores[number]:.3f}  {pictures[number].name}  {pictures[number].text}")
    elif targets is not None:
        figures = metrics_of(scores.argmax(-1), targets, len(labels), seed=0)
        print(json.dumps({"pictures": len(pictures)} | figures))
    elif labels:
        odds = scipy.special.softmax(scores, axis=-1)
        for picture, row in zip(pictures, odds, strict=True):
            print(f"{picture.name}  {labels[row.argmax()]}  {row.max():.3f}")
    else:
        print(json.dumps({"pictures": len(pictures)} | recall_intervals(scores, pictures, seed=0)))


def _model(screen: Any) -> Any:
    """The run's `Encoders`, or its `Captioner`, which says on `screen` how far it is."""
    from gptjax.runs.kind import kind_of
    from gptjax.runs.workdir import WorkDirectory
    from gptjax.tasks.vision.contrastive import KIND
    from gptjax.tasks.vision.zero_shot import Encoders

    workdir = WorkDirectory(_WORKDIR.value)
    config: Any = workdir.config()
    kind = kind_of(config)
    if kind.makes == KIND.makes:
        model, tokenizer = workdir.model(KIND.makes), workdir.tokenizer()
        params = workdir.restored(workdir.resolve_step(_STEP.value))
        fit, templates = _FIT.value or config.contrastive.fit, _TEMPLATE.value or ["{}"]
        return Encoders(model, params, tokenizer, _BATCH.value, fit, templates)
    if kind.images(config) is None:
        raise ValueError(
            f"--workdir: got {_WORKDIR.value}, which holds a {kind.makes} without images, expected "
            "a run of kind contrastive or image_text"
        )
    if _FIT.value is not None:
        raise ValueError(f"--fit: got {_FIT.value}, expected none: {_WORKDIR.value} has its own")
    from gptjax.evals.models.captioner import TEMPLATE, Captioner
    from gptjax.evals.models.of_runs import of_run

    asked: Any = of_run(workdir, _STEP.value, batch_size=_BATCH.value)
    return Captioner(asked, _TEMPLATE.value or [TEMPLATE], screen.say)


if __name__ == "__main__":
    run(main)
