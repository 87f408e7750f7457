r"""Classifies pictures by the names of classes, and retrieves pictures by texts.

    python -m experiments.clip --workdir=runs/clip --images=shapes:count=500,seed=2
    python -m experiments.clip --workdir=runs/clip --images=folder:pets --labels=cat,dog \
        --template="a photo of a {}."
    python -m experiments.clip --workdir=runs/clip --images=files:album --query="a red circle"
    python -m experiments.clip --workdir=runs/kosmos --images=mnist:mnist \
        --labels=zero,one,two,three --template="<image> is {}"

The run is of kind contrastive, a CLIP, or of kind image_text, which takes a text for the caption of
a picture by the probability with which it would write it. Without --labels and --query it prints
recall at 1 and at 10 among all pictures and their texts, both ways. With --labels it prints the
accuracy of the best label, where the texts of the pictures are labels. Both have 95% intervals, as
a line of JSON. Of `files:`, whose texts are not known, it prints a line for each picture instead:
its label, and its probability. With --query it prints the best pictures. Sets of pictures are those
of --config.contrastive.train.
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
_IMAGES = define_path("images", None, "Set of pictures, such as folder:PATH. It must be given.")
_LABELS = flags.DEFINE_list("labels", [], "Names of classes, with commas between.")
_TEMPLATE = flags.DEFINE_multi_string(
    "template",
    [],
    "Text with {} in the place of a label; several are averaged. By default {}, or of a run of "
    "image_text <image> {}, which takes its captions by it, too.",
)
_QUERY = flags.DEFINE_string("query", None, "Text whose best pictures are shown.")
_TOP = flags.DEFINE_integer("top", 5, "Number of pictures shown for --query.", lower_bound=1)
_FIT = flags.DEFINE_enum(
    "fit", None, FITS, "What becomes of a picture that is no square. By default as in training."
)
_BATCH = flags.DEFINE_integer(
    "batch_size", 64, "Pictures, or captions of a picture, in a batch.", lower_bound=1
)
_STEP = flags.DEFINE_integer(
    "restore_step", None, "Checkpoint to read. By default the run chooses."
)
_SEED = 0  # of the bootstrap


def main(argv: Sequence[str]) -> None:
    """Prints figures, labels or pictures."""
    import scipy.special

    from gptjax.judging.retrieval import recall_intervals
    from gptjax.tasks.vision.zero_shot import zero_shot_figures

    del argv
    model = _model()
    if _IMAGES.value is None:
        raise ValueError("--images: got none, expected a set of pictures, such as folder:PATH")
    if _LABELS.value and _QUERY.value is not None:
        raise ValueError("--query: got it with --labels, expected one of the two")
    labels = [label.strip() for label in _LABELS.value]
    if labels and len(set(labels)) < max(2, len(labels)):
        raise ValueError(f"--labels: got {', '.join(labels)}, expected two different or more")
    pictures = load_pictures(_IMAGES.value)
    enable_compilation_cache()
    if _QUERY.value is not None:
        (scores,) = model.scores(pictures, [_QUERY.value]).T
        for number in np.argsort(-scores)[: _TOP.value]:
            print(f"{scores[number]:.3f}  {pictures[number].name}  {pictures[number].text}")
        return
    if not labels:
        figures = recall_intervals(model.ranks(pictures), _SEED)
        print(json.dumps({"pictures": len(pictures)} | figures))
        return
    scores = model.class_scores(pictures, labels)
    if _IMAGES.value.startswith("files:"):
        odds = scipy.special.softmax(scores, axis=-1)
        for picture, row in zip(pictures, odds, strict=True):
            print(f"{picture.name}  {labels[row.argmax()]}  {row.max():.3f}")
        return
    print(json.dumps({"pictures": len(pictures)} | zero_shot_figures(scores, pictures, labels)))


def _model() -> Any:
    """The `Encoders` or the `Captioner` of the run."""
    from gptjax.runs.kind import kind_of
    from gptjax.runs.workdir import WorkDirectory

    workdir = WorkDirectory(_WORKDIR.value)
    config = workdir.config()
    if kind_of(config).images(config) is not None:
        from gptjax.evals.models.captioner import TEMPLATE, Captioner
        from gptjax.evals.models.of_runs import of_run

        if _FIT.value is not None:
            raise ValueError(
                f"--fit: got {_FIT.value}, expected none: {_WORKDIR.value} has its own"
            )
        asked = of_run(workdir, _STEP.value, batch_size=_BATCH.value)
        return Captioner(asked, _TEMPLATE.value or [TEMPLATE])
    from gptjax.tasks.vision.contrastive import KIND
    from gptjax.tasks.vision.zero_shot import Encoders

    model, tokenizer = workdir.model(KIND.makes), workdir.tokenizer()
    params = workdir.restored(workdir.resolve_step(_STEP.value))
    fit = _FIT.value or config.contrastive.fit
    return Encoders(model, params, tokenizer, _BATCH.value, fit, _TEMPLATE.value or ["{}"])


if __name__ == "__main__":
    run(main)
