"""Classes of images: a ViT with a head learns which class an image is of.

ended = train("vit_smoke", config, WorkDirectory("runs/vit"))
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.config import batch_schedule
from gptjax.data.batches.loader import batches_of
from gptjax.data.batches.mixture import Mixture
from gptjax.data.dialogue.records import Records
from gptjax.data.labelled.picture_files import LabelledPicture
from gptjax.judging.metrics import metrics_of
from gptjax.models.vision.classifier import ImageClassifier
from gptjax.models.vision.costs import (
    vit_executed_training_flops_per_image,
    vit_parameter_count,
    vit_training_flops_per_image,
)
from gptjax.runs import inputs
from gptjax.runs.kind import Best
from gptjax.runs.life.moved import Content
from gptjax.runs.planning.costs import Costs, Shapes, array
from gptjax.runs.program import Program
from gptjax.runs.supervised import Supervised
from gptjax.runs.task import Task, with_epochs
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import Check
from gptjax.tasks.classification.report import Judged, judge
from gptjax.tasks.shared_checks import saves_what_is_judged, whole_rows
from gptjax.tasks.vision.config import ImageClassificationConfig, checks_of_images
from gptjax.tasks.vision.losses import classes_of_images
from gptjax.tasks.vision.rows import ClassRows, pixel_rows
from gptjax.tasks.vision.sets import learned_and_held_out
from gptjax.tokenization import load_tokenizer
from gptjax.training.evaluation import Evaluator
from gptjax.training.losses import Batch, Loss, cross_entropy
from gptjax.training.processes import together
from gptjax.training.task_losses import PartsOf

BEST = "accuracy"  # the figure that chooses a checkpoint
_SEED = 0  # of the bootstrap


class ImageClassification(Supervised[ImageClassificationConfig]):
    r"""A ViT with a head: it learns which class an image is of.

    python -m experiments.train --experiment=vit_smoke --workdir=runs/vit
    python -m experiments.train --experiment=vit_smoke --workdir=runs/digits \
        --config.model.num_classes=10 --config.model.image_size=28 --config.model.num_channels=1 \
        --config.images.train=mnist:downloads/mnist

    Classes are the distinct texts of images.train in the order of the alphabet, of which there must
    be model.num_classes. The head starts at zero (arXiv 2010.11929). Evaluations have accuracy and
    its relatives on held-out pictures with 95% intervals; the highest accuracy decides which
    checkpoint later commands take. result.json has the figures of that one in `chosen`, and the
    classes in `labels`. A run reads no text, whatever data.tokenizer says. In figures of speed a
    token is an image.
    """

    config = ImageClassificationConfig
    identity = ("model.", "images.")
    contents = (
        *Supervised.contents,
        Content("images.train", "train_hash"),
        Content("images.validation", "validation_hash"),
    )
    makes = takes = "classifier of images"
    chunks_loss = False
    curves = (("loss", "loss (nats per image)"), (BEST, "accuracy (share of images)"))

    def model(self, config: ImageClassificationConfig, **attributes: Any) -> ImageClassifier:
        return ImageClassifier(config.model, **attributes)

    def inputs(self, config: ImageClassificationConfig) -> tuple[jax.ShapeDtypeStruct, ...]:
        return (_images(config, 1, jnp.float32),)

    def loss(self, config: ImageClassificationConfig, model: Any) -> Loss:
        return classes_of_images(model, config.images.augmentation)

    def costs(self, config: ImageClassificationConfig) -> Costs:
        """FLOPs an image; those of the head are among them."""
        model = config.model
        head = model.d_model * model.num_classes
        return Costs(
            vit_parameter_count(model) + head + model.num_classes,
            vit_training_flops_per_image(model) + 6 * head,
            vit_executed_training_flops_per_image(model) + 6 * head,
        )

    def largest_batch(self, config: ImageClassificationConfig) -> Shapes:
        rows = config.training.batch_size
        return {
            "images": _images(config, rows, jnp.uint8),
            "classes": array(rows),
            "loss_weights": array(rows, dtype="float32"),
        }

    def attention_calls(self, config: ImageClassificationConfig) -> Sequence[Mapping[str, Any]]:
        positions = config.model.num_positions
        return [{"num_queries": positions, "num_keys": positions}]

    def tokens(self, batch: Mapping[str, Any]) -> int:
        """Images: each counts as one token, so that figures a token are those an image."""
        return batch["images"].shape[0]

    def checks(self, config: ImageClassificationConfig) -> Iterable[Check]:
        yield from super().checks(config)
        yield from whole_rows(config)
        yield from checks_of_images(config)
        yield saves_what_is_judged(config)
        augments = config.images.augmentation.changes and config.parallelism.strategy == "pmap"
        yield "parallelism.strategy", not augments, "single or mesh, to change images at random"

    def best(self, config: ImageClassificationConfig) -> Best:
        del config
        return Best(BEST, highest=True)

    def prepare(self, config: ImageClassificationConfig) -> Task:
        """Reads both sets of pictures; see `Kind.prepare`."""
        section, model = config.images, config.model
        learned, held_out = together(lambda: learned_and_held_out(config, "images", section))
        labels = classes_of(learned, model.num_classes)
        numbers = [numbered(each, labels) for each in (learned, held_out)]
        pixels = together(
            lambda: [pixel_rows(each, model, section.fit) for each in (learned, held_out)]
        )
        rows, validation = map(ClassRows, pixels, numbers)
        tokenizer = load_tokenizer("bytes")  # a work directory has one
        hashes = inputs.content_hashes(
            tokenizer_hash=tokenizer, train_hash=learned, validation_hash=held_out
        )
        config = with_epochs(config, section.epochs, section.warmup_fraction, len(rows))
        mixture = Mixture({"images": rows}, {"images": 1.0}, config.training.seed)

        def evaluators(program: Program) -> dict[str, Evaluator]:
            judged = judged_images(program, config, validation)
            return {"validation": lambda params: _figures(judged, params, validation, len(labels))}

        def final_metrics(program: Program, params: Any, workdir: WorkDirectory) -> dict[str, Any]:
            step, params = workdir.chosen(params, config.training.num_steps, program.mesh)
            judged = judged_images(program, config, validation)
            return {
                "chosen_step": step,
                "chosen": _figures(judged, params, validation, len(labels)),
                "labels": labels,
                "images": len(learned),
                "held_out": len(held_out),
                "dropped": dict(learned.dropped),
            }

        return Task(
            config=config,
            data=f"{len(learned):,} pictures of {len(labels)} classes; held out: {len(held_out):,}",
            tokenizer=tokenizer,
            hashes=hashes,
            batches=batches_of(mixture, batch_schedule(config)),
            evaluators=evaluators,
            final_metrics=final_metrics,
        )


def classes_of(pictures: Records[LabelledPicture], num_classes: int) -> list[str]:
    """The distinct texts of a set, in the order of the alphabet.

    Raises:
      ValueError: there are not `num_classes`.
    """
    labels = sorted({picture.text for picture in pictures})
    if len(labels) != num_classes:
        some = ", ".join(labels[:4]) + (", ..." if len(labels) > 4 else "")
        raise ValueError(
            f"config.model.num_classes: got {num_classes}, expected {len(labels)}, the distinct "
            f"texts of {pictures.name!r}: {some}"
        )
    return labels


def numbered(pictures: Records[LabelledPicture], labels: Sequence[str]) -> np.ndarray:
    """The number of each picture's text among `labels`, [N] int32.

    Raises:
      ValueError: a text is none of them.
    """
    numbers = {label: number for number, label in enumerate(labels)}
    for picture in pictures:
        if picture.text not in numbers:
            some = ", ".join(labels[:4]) + (", ..." if len(labels) > 4 else "")
            raise ValueError(
                f"{picture.name}: got the class {picture.text!r}, expected one of the "
                f"{len(labels)} classes {some}"
            )
    return np.array([numbers[picture.text] for picture in pictures], np.int32)


def judged_images(program: Program, config: ImageClassificationConfig, rows: ClassRows) -> Judged:
    """A function from parameters to logits [N, C] and losses [N] of images; see `judge`."""
    return judge(program, config, rows, _parts_of)


def _parts_of(model: Any) -> PartsOf:
    def parts(params: Any, batch: Batch, rng: jax.Array | None):
        del rng
        logits: Any = model.apply({"params": params}, batch["images"])
        return logits, {"loss": cross_entropy(logits, batch["classes"])}

    return parts


def _figures(judged: Judged, params: Any, rows: ClassRows, num_classes: int) -> dict[str, float]:
    logits, losses = judged(params)
    targets = rows.classes[: len(logits)].astype(np.int64)
    loss = float(np.mean(losses["loss"], dtype=np.float64))
    return {"loss": loss} | metrics_of(logits.argmax(-1), targets, num_classes, _SEED)


def _images(config: ImageClassificationConfig, rows: int, dtype: Any) -> jax.ShapeDtypeStruct:
    model = config.model
    return array(rows, model.image_size, model.image_size, model.num_channels, dtype=dtype)


KIND = ImageClassification()
