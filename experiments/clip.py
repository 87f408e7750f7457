r"""Classifies pictures by the names of classes, and retrieves pictures by texts, with a CLIP.

    python -m experiments.clip --workdir=runs/clip --images=shapes:count=500,seed=2
    python -m experiments.clip --workdir=runs/clip --images=folder:pets --labels=cat,dog \
        --template="a photo of a {}."
    python -m experiments.clip --workdir=runs/clip --images=files:album --query="a red circle"

The run is of kind contrastive. Without --labels and --query it prints recall at 1 and at 10 among
all pictures and their texts, both ways. With --labels it prints the accuracy of the nearest label,
where the texts of the pictures are labels. Both have 95% intervals, as a line of JSON. Of `files:`,
whose texts are not known, it prints a line for each picture instead: its label, and its
probability. With --query it prints the nearest pictures. Sets of pictures are those of
--config.contrastive.train.
"""

import json
from collections.abc import Sequence

import numpy as np
from absl import flags

from experiments.flags.command_line import run
from experiments.flags.paths import define_path
from gptjax.data.choices import FITS
from gptjax.data.labelled.pictures import load_pictures
from gptjax.runs.caches import enable_compilation_cache

_WORKDIR = define_path("workdir", None, "Work directory of a run of kind contrastive.")
_IMAGES = define_path("images", None, "Set of pictures, such as folder:PATH. It must be given.")
_LABELS = flags.DEFINE_list("labels", [], "Names of classes, with commas between.")
_TEMPLATE = flags.DEFINE_multi_string(
    "template", ["{}"], "Text with {} in the place of a label; several are averaged."
)
_QUERY = flags.DEFINE_string("query", None, "Text whose nearest pictures are shown.")
_TOP = flags.DEFINE_integer("top", 5, "Number of pictures shown for --query.", lower_bound=1)
_FIT = flags.DEFINE_enum("fit", "crop", FITS, "What becomes of a picture that is no square.")
_BATCH = flags.DEFINE_integer("batch_size", 64, "Pictures in a batch.", lower_bound=1)
_STEP = flags.DEFINE_integer(
    "restore_step", None, "Checkpoint to read. By default the run chooses."
)


def main(argv: Sequence[str]) -> None:
    """Prints figures, labels or pictures."""
    import scipy.special

    from gptjax.runs.workdir import WorkDirectory
    from gptjax.tasks.vision.contrastive import KIND
    from gptjax.tasks.vision.zero_shot import Encoders, retrieval_figures, zero_shot_figures

    del argv
    workdir = WorkDirectory(_WORKDIR.value)
    model, tokenizer = workdir.model(KIND.makes), workdir.tokenizer()
    if _IMAGES.value is None:
        raise ValueError("--images: got none, expected a set of pictures, such as folder:PATH")
    if _LABELS.value and _QUERY.value is not None:
        raise ValueError("--query: got it with --labels, expected one of the two")
    pictures, fit = load_pictures(_IMAGES.value), _FIT.value
    enable_compilation_cache()
    params = workdir.restored(workdir.resolve_step(_STEP.value))
    encoders = Encoders(model, params, tokenizer, _BATCH.value)
    if _QUERY.value is not None:
        scores = encoders.of_pictures(pictures, fit) @ encoders.of_texts([_QUERY.value])[0]
        for number in np.argsort(-scores)[: _TOP.value]:
            print(f"{scores[number]:.3f}  {pictures[number].name}  {pictures[number].text}")
        return
    if not _LABELS.value:
        print(json.dumps({"pictures": len(pictures)} | retrieval_figures(encoders, pictures, fit)))
        return
    labels = [label.strip() for label in _LABELS.value]
    scores = encoders.class_scores(pictures, labels, _TEMPLATE.value, fit)
    if _IMAGES.value.startswith("files:"):
        odds = scipy.special.softmax(scores, axis=-1)
        for picture, row in zip(pictures, odds, strict=True):
            print(f"{picture.name}  {labels[row.argmax()]}  {row.max():.3f}")
        return
    print(json.dumps({"pictures": len(pictures)} | zero_shot_figures(scores, pictures, labels)))


if __name__ == "__main__":
    run(main)
