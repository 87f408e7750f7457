"""Training on text with images in it: documents, packed rows, a loss on text alone, answers.

ended = train("kosmos_smoke", config, WorkDirectory("runs/kosmos"))
"""

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from gptjax.config import batch_schedule
from gptjax.data.batches.loader import batches_of
from gptjax.data.batches.mixture import Mixture
from gptjax.data.dialogue.records import Records
from gptjax.data.image_text.documents import ImageText, load_image_text
from gptjax.data.image_text.rows import (
    ImageForm,
    encode_document,
    end_of_text,
    pack_image_text,
)
from gptjax.data.image_text.shots import behind_shots
from gptjax.data.pictures.picture import Picture
from gptjax.models.multimodal.costs import image_gpt_flops_per_token, image_gpt_parameter_count
from gptjax.models.multimodal.decoder import ImageGPT
from gptjax.models.vision.augmentation import jittered
from gptjax.runs import inputs
from gptjax.runs.initial.sources import Source
from gptjax.runs.life.moved import Content
from gptjax.runs.planning.costs import Costs, Shapes, array
from gptjax.runs.program import Program
from gptjax.runs.supervised import Supervised
from gptjax.runs.task import Task
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import Check
from gptjax.tasks.image_text.answers import Judge
from gptjax.tasks.image_text.config import IMAGES, TEXT, ImageTextConfig
from gptjax.tasks.image_text.encoder import ENCODER, encoder_source
from gptjax.tasks.shared_checks import leaves_targets, whole_rows
from gptjax.tokenization import ImageTokenizer
from gptjax.training.evaluation import Evaluator, language_model_evaluator
from gptjax.training.losses import Batch, Loss, language_model
from gptjax.training.partitioning import batch_share
from gptjax.training.processes import together


class ImageTextModelling(Supervised[ImageTextConfig]):
    r"""Text with images in it, as KOSMOS-1: a decoder reads both in one row, and learns the text.

    python -m experiments.train --experiment=kosmos_smoke --workdir=runs/kosmos
    python -m experiments.train --experiment=kosmos_mnist --workdir=runs/digits \
        --config.image_text.train=mnist_sums:downloads/mnist
    python -m experiments.sample --workdir=runs/digits --prompt="<image> is" --image=seven.png

    A row holds whole documents, which do not see each other. An image takes `model.image_tokens`
    places between `<image>` and `</image>`; an encoder and a connector make what is read there, and
    are trained with the rest. `checkpoint.init_from` may name a CLIP, a run or a model directory:
    then the encoder is taken from it, with its sizes, and `image_text.encoder=frozen` leaves it as
    it is. The loss counts text alone. With `image_text.shots` a document of training stands behind
    others, as a question stands behind the shots of a prompt. `image_text.shift` and
    `image_text.rotation` move the images of training anew in each step.

    Held-out documents that have an answer are judged: the model writes it by greedy decoding, and
    accuracy is the share that is exactly right, in each group of documents. result.json has it with
    95% intervals, beside the accuracy with images of other documents, and that of the most frequent
    answer. `image_text.hide` trains a baseline that is not shown the images, or the text.
    """

    config = ImageTextConfig
    identity = ("image_text.", "model.")
    contents = (
        *Supervised.contents,
        Content("image_text.train", "train_hash"),
        Content("image_text.validation", "validation_hash"),
    )
    marks = "images"
    judged_on = ("image_text.hide", "image_text.judged", "image_text.fit")
    predicts_next = True
    curves = (("loss", "loss (nats per token of text)"), ("accuracy", "share of right answers"))

    def model(self, config: ImageTextConfig, **attributes: Any) -> ImageGPT:
        return ImageGPT(config.model, **attributes)

    def images(self, config: ImageTextConfig) -> ImageForm:
        vision, section = config.model.vision, config.image_text
        return ImageForm(
            config.model.text_places,
            vision.image_size,
            vision.num_channels,
            section.fit,
            hidden=section.hide == IMAGES,
            first=section.place == "first",
        )

    def loss(self, config: ImageTextConfig, model: Any) -> Loss:
        loss, section = language_model(model, config.training.loss_chunk), config.image_text
        if self.frozen(config):
            loss = _with_encoder_fixed(loss)
        if not section.shift and not section.rotation:
            return loss

        def augmented(params: Any, batch: Batch, rng: jax.Array | None):
            if rng is None:
                return loss(params, batch, rng)
            rng, key = jax.random.split(rng)
            images = jittered(batch["images"], key, shift=section.shift, degrees=section.rotation)
            return loss(params, {**batch, "images": images}, rng)

        return augmented

    def source(self, config: ImageTextConfig, given: str) -> Source | None:
        return encoder_source(config, given)

    def frozen(self, config: ImageTextConfig) -> tuple[str, ...]:
        return (f"{ENCODER}/",) if config.image_text.encoder == "frozen" else ()

    def costs(self, config: ImageTextConfig) -> Costs:
        """Those of the decoder, and of the images that a row has room for."""
        flops = image_gpt_flops_per_token(config.model, config.row_images)
        return Costs(image_gpt_parameter_count(config.model), *flops)

    def largest_batch(self, config: ImageTextConfig) -> Shapes:
        rows, vision = config.training.batch_size, config.model.vision
        shape = rows, config.model.context_length
        pixels = vision.image_size, vision.image_size, vision.num_channels
        return super().largest_batch(config) | {
            **{name: array(*shape) for name in ("segment_ids", "positions")},
            "images": array(rows, config.row_images, *pixels, dtype="uint8"),
        }

    def checks(self, config: ImageTextConfig) -> Iterable[Check]:
        yield from super().checks(config)
        yield from whole_rows(config)
        yield leaves_targets(config)
        yield "lora.rank", config.lora.rank is None, "none for the kind of run image_text"
        fits = not self.frozen(config) or config.checkpoint.init_from is not None
        yield "image_text.encoder", fits, "trained, without checkpoint.init_from"
        fits = config.model.image_attention != "prefix" or config.image_text.place == "first"
        yield "image_text.place", fits, "first with model.image_attention=prefix"
        section, pmap = config.image_text, config.parallelism.strategy == "pmap"
        for name in ("shift", "rotation"):
            fits = not (pmap and getattr(section, name))
            yield f"image_text.{name}", fits, "0 with parallelism.strategy=pmap"

    def prepare(self, config: ImageTextConfig) -> Task:
        """Reads the documents; see `Kind.prepare`."""
        tokenizer, section = image_tokenizer(config), config.image_text
        form = self.images(config)
        learned, held_out = together(lambda: documents_of(config))
        pack = functools.partial(
            pack_image_text,
            tokenizer=tokenizer,
            form=form,
            context_length=config.model.context_length,
            max_images=config.row_images,
            seed=config.training.seed,
        )

        def fits(document: ImageText) -> bool:
            if len(document.pictures) > config.row_images:
                return False
            size = len(encode_document(document, tokenizer, form).ids)
            return size <= config.model.context_length + 1

        def behind_others() -> Records[ImageText]:
            if not section.shots:
                return learned
            made = behind_shots(learned, section.shots, config.training.seed, fits)
            return Records(learned.name, made, learned.dropped)

        rows, validation = together(lambda: (pack(behind_others()), pack(held_out)))
        hashes = inputs.content_hashes(
            tokenizer_hash=tokenizer, train_hash=learned, validation_hash=held_out
        )
        mixture = Mixture({"documents": rows}, {"documents": 1.0}, config.training.seed)

        def judge(most: int | None) -> Judge:
            answered = [document for document in held_out if document.answer is not None]
            order = np.random.default_rng(config.training.seed).permutation(len(answered))
            chosen = [answered[i] for i in sorted(order[:most].tolist())]
            return Judge(self.model(config), tokenizer, form, chosen, section.max_answer_tokens)

        def evaluators(program: Program) -> dict[str, Evaluator]:
            held = inputs.row_batches(config, validation, batch_share(program.mesh))
            loss = language_model_evaluator(program.loss, held, None, program.mesh)
            answers = judge(section.judged)
            return {"validation": lambda params: loss(params) | answers.accuracies(params)}

        def final_metrics(_: Program, params: Any, __: WorkDirectory) -> dict[str, Any]:
            return {
                **judge(section.judged_at_end).report(params, config.training.seed),
                "documents": len(learned),
                "held_out": len(held_out),
                "rows": len(rows),
                "fill": rows.fill,
                "dropped": dict(rows.documents.dropped),
            }

        return Task(
            config=config,
            data=(
                f"{len(learned):,} documents in {len(rows):,} rows of at most {config.row_images} "
                f"images, {rows.num_targets:,} tokens to learn; held out: {len(held_out):,}"
            ),
            tokenizer=tokenizer,
            hashes=hashes,
            batches=batches_of(mixture, batch_schedule(config)),
            evaluators=evaluators,
            final_metrics=final_metrics,
        )


def _with_encoder_fixed(loss: Loss) -> Loss:
    """The loss, without gradients of the encoder, whose backward pass is then left out."""

    def fixed(params: Any, batch: Batch, rng: jax.Array | None):
        return loss({**params, ENCODER: jax.lax.stop_gradient(params[ENCODER])}, batch, rng)

    return fixed


def image_tokenizer(config: ImageTextConfig) -> ImageTokenizer:
    """The tokenizer of a run, with the marks of images.

    Raises:
      ValueError: it cannot be read, has no such marks or no end-of-text, or is not the model's.
    """
    tokenizer = inputs.load_model_tokenizer(config)
    if not isinstance(tokenizer, ImageTokenizer):
        raise ValueError(
            f"config.data.tokenizer: got {config.data.tokenizer!r}, expected images:INNER, whose "
            "marks stand around images"
        )
    end_of_text(tokenizer)
    return tokenizer


def documents_of(config: ImageTextConfig) -> tuple[Records[ImageText], Records[ImageText]]:
    """Documents to learn from, and held-out ones."""
    section = config.image_text
    if section.train is None:
        raise ValueError(
            "config.image_text.train: got none, expected jsonl:PATH with rows of text and images, "
            "or shapes to try it out"
        )
    learned, held_out = load_image_text(
        section.train, config.data.validation_fraction, section.validation
    )
    if section.hide != TEXT:
        return learned, held_out

    def shown(records: Records[ImageText]) -> Records[ImageText]:
        made = tuple(_without_text(document) for document in records)
        return Records(records.name, made, records.dropped)

    return shown(learned), shown(held_out)


def _without_text(document: ImageText) -> ImageText:
    """A document with an answer, without the text before it."""
    pictures = tuple(part for part in document.parts if isinstance(part, Picture))
    if document.answer is None or not pictures:
        return document
    return dataclasses.replace(document, parts=pictures)


KIND = ImageTextModelling()
