"""CLIP's pretraining: an encoder of images and one of texts learn which text an image has.

ended = train("clip_smoke", config, WorkDirectory("runs/clip"))
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.config import batch_schedule
from gptjax.data.batches.loader import batches_of
from gptjax.data.batches.mixture import Mixture
from gptjax.judging.retrieval import recall_intervals, recalls, retrieval_ranks
from gptjax.models.vision.clip import CLIP
from gptjax.models.vision.costs import clip_parameter_count, clip_training_flops_per_pair
from gptjax.runs import inputs
from gptjax.runs.kind import Best
from gptjax.runs.life.moved import Content
from gptjax.runs.planning.costs import Costs, Shapes, array
from gptjax.runs.program import Program
from gptjax.runs.supervised import Supervised
from gptjax.runs.task import Task, with_epochs
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import Check
from gptjax.tasks.classification.report import judge
from gptjax.tasks.shared_checks import saves_what_is_judged, whole_rows
from gptjax.tasks.vision.config import ContrastiveConfig, checks_of_images
from gptjax.tasks.vision.losses import contrastive, pair_nats
from gptjax.tasks.vision.rows import PairRows, captions, pixel_rows
from gptjax.tasks.vision.sets import learned_and_held_out
from gptjax.training.evaluation import Evaluator
from gptjax.training.losses import Batch, Loss
from gptjax.training.processes import together
from gptjax.training.task_losses import PartsOf

BEST = "recall_1"  # the figure that chooses a checkpoint
_SEED = 0  # of the bootstrap

# Parameters -> images [N, P], texts [N, P], and what the loss says of the pairs of each batch.
Judged = Callable[[Any], tuple[Any, Mapping[str, np.ndarray]]]


class Contrastive(Supervised[ContrastiveConfig]):
    r"""An encoder of images and one of texts, which learn which caption an image has (CLIP).

    python -m experiments.train --experiment=clip_smoke --workdir=runs/clip
    python -m experiments.train --experiment=clip_smoke --workdir=runs/emoji \
        --config.contrastive.train=emoji:downloads/emoji,style=google \
        --config.contrastive.validation=emoji:downloads/emoji,style=twitter

    Each image of a batch is to find its caption among those of the batch, and each caption its
    image (arXiv 2103.00020), so that a batch cannot be made of microbatches, and a loss belongs to
    a batch size. model.vision has the encoder of images. Captions are cut off at
    model.context_length tokens.

    Evaluations have the recall among all held-out pairs at 1 and at 10: text_recall_1 is the share
    of images whose best caption is theirs, image_recall_1 that of captions whose best image is one
    of theirs; captions that are equal count as one. The highest recall_1, their mean, decides which
    checkpoint later commands take. result.json has 95% intervals in `chosen`.
    """

    config = ContrastiveConfig
    identity = ("model.", "contrastive.")
    contents = (
        *Supervised.contents,
        Content("contrastive.train", "train_hash"),
        Content("contrastive.validation", "validation_hash"),
    )
    makes = takes = "pair of encoders of images and texts"
    loss_fields = ("training.batch_size",)
    chunks_loss = False
    curves = (("loss", "loss (nats per pair)"), (BEST, "recall at 1 (mean of both ways)"))

    def model(self, config: ContrastiveConfig, **attributes: Any) -> CLIP:
        return CLIP(config.model, **attributes)

    def inputs(self, config: ContrastiveConfig) -> tuple[jax.ShapeDtypeStruct, ...]:
        return array(1, 1), array(1), _images(config, 1, jnp.float32)

    def loss(self, config: ContrastiveConfig, model: Any) -> Loss:
        return contrastive(model, config.contrastive.augmentation)

    def costs(self, config: ContrastiveConfig) -> Costs:
        """FLOPs a pair, but for those of comparing all with all."""
        return Costs(
            clip_parameter_count(config.model), *clip_training_flops_per_pair(config.model)
        )

    def largest_batch(self, config: ContrastiveConfig) -> Shapes:
        rows = config.training.batch_size
        return {
            "tokens": array(rows, config.model.context_length),
            "lengths": array(rows),
            "images": _images(config, rows, jnp.uint8),
            "loss_weights": array(rows, dtype="float32"),
        }

    def tokens(self, batch: Mapping[str, Any]) -> int:
        """Pairs: each counts as one token, so that figures a token are those a pair."""
        return batch["tokens"].shape[0]

    def checks(self, config: ContrastiveConfig) -> Iterable[Check]:
        yield from super().checks(config)
        yield from whole_rows(config)
        yield from checks_of_images(config)
        yield saves_what_is_judged(config)
        fits = config.model.context_length >= 3
        yield "model.context_length", fits, "at least 3: a token, and what begins and ends a text"
        fits = config.training.accumulate == 1
        yield "training.accumulate", fits, "1: all pairs of a batch are compared with each other"
        fits = config.training.batch_ramp_start is None
        yield "training.batch_ramp_start", fits, "none for the kind of run contrastive"
        fits = config.parallelism.strategy != "pmap"
        yield "parallelism.strategy", fits, "single or mesh, which compare all pairs of a batch"

    def best(self, config: ContrastiveConfig) -> Best:
        del config
        return Best(BEST, highest=True)

    def prepare(self, config: ContrastiveConfig) -> Task:
        """Reads both sets of pictures; see `Kind.prepare`."""
        tokenizer, section = inputs.load_model_tokenizer(config), config.contrastive
        learned, held_out = together(lambda: learned_and_held_out(config, self.name, section))
        vision, length = config.model.vision, config.model.context_length
        pixels, seen = together(
            lambda: [pixel_rows(each, vision, section.fit) for each in (learned, held_out)]
        )
        said, asked = (
            captions([picture.text for picture in each], tokenizer, length)
            for each in (learned, held_out)
        )
        rows, validation = PairRows(pixels, said, length), PairRows(seen, asked, length)
        hashes = inputs.content_hashes(
            tokenizer_hash=tokenizer, train_hash=learned, validation_hash=held_out
        )
        config = with_epochs(config, section.epochs, section.warmup_fraction, len(rows))
        mixture = Mixture({"pairs": rows}, {"pairs": 1.0}, config.training.seed)
        texts = [picture.text for picture in held_out]

        def evaluators(program: Program) -> dict[str, Evaluator]:
            judged = judged_pairs(program, config, validation)
            return {"validation": lambda params: _figures(judged, params, texts)}

        def final_metrics(program: Program, params: Any, workdir: WorkDirectory) -> dict[str, Any]:
            step, params = workdir.chosen(params, config.training.num_steps, program.mesh)
            (images, encoded), _ = judged_pairs(program, config, validation)(params)
            ranks = retrieval_ranks(images, encoded, texts[: len(images)])
            return {
                "chosen_step": step,
                "chosen": recall_intervals(ranks, list(held_out)[: len(images)], _SEED),
                "pairs": len(learned),
                "held_out": len(held_out),
                "distinct_held_out_texts": len(set(texts)),
                "truncated": said.truncated,
                "dropped": dict(learned.dropped),
            }

        return Task(
            config=config,
            data=f"{len(learned):,} pictures with texts; held out: {len(held_out):,}",
            tokenizer=tokenizer,
            hashes=hashes,
            batches=batches_of(mixture, batch_schedule(config)),
            evaluators=evaluators,
            final_metrics=final_metrics,
        )


def judged_pairs(program: Program, config: ContrastiveConfig, rows: PairRows) -> Judged:
    """A function from parameters to the places of pairs in the shared space, and their losses.

    Args:
      program: its model and mesh are used.
      config: its `training` says how many batches, and of what size.
      rows: the pairs.
    """
    return judge(program, config, rows, _parts_of)


def _parts_of(model: Any) -> PartsOf:
    def parts(params: Any, batch: Batch, rng: jax.Array | None) -> Any:
        del rng
        names = ("tokens", "lengths", "images")
        given = (batch[name] for name in names)
        applied: Any = model.apply({"params": params}, *given)
        images, texts, scale = applied
        nats, found = pair_nats(images, texts, scale, batch["loss_weights"])
        return (images, texts), {"loss": nats, "accuracy": found.astype(jnp.float32)}

    return parts


def _figures(judged: Judged, params: Any, texts: list[str]) -> dict[str, float]:
    (images, encoded), losses = judged(params)
    means = {name: float(np.mean(x, dtype=np.float64)) for name, x in losses.items()}
    return means | recalls(retrieval_ranks(images, encoded, texts[: len(images)]))


def _images(config: ContrastiveConfig, rows: int, dtype: Any) -> jax.ShapeDtypeStruct:
    vision = config.model.vision
    return array(rows, vision.image_size, vision.image_size, vision.num_channels, dtype=dtype)


KIND = Contrastive()
