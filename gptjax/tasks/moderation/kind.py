"""Training of a classifier of undesired content: labelled texts, a head a category, figures.

ended = train("moderation_smoke", config, WorkDirectory("runs/moderation"))
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from gptjax.config import ExperimentConfig, batch_schedule
from gptjax.data.batches.loader import batches_of
from gptjax.data.batches.mixture import Mixture
from gptjax.data.dialogue.chat_format import Message
from gptjax.data.dialogue.records import Records
from gptjax.data.labelled.multilabel import LabelledText, load_multilabel
from gptjax.models.gpt import GPT
from gptjax.models.parameter_shapes import parameter_shapes
from gptjax.runs import inputs
from gptjax.runs.kind import Best
from gptjax.runs.life.moved import Content
from gptjax.runs.planning.costs import Costs, Shapes, array, costs_of_model
from gptjax.runs.program import Program
from gptjax.runs.supervised import Supervised
from gptjax.runs.task import Task, with_epochs
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import Check
from gptjax.tasks.moderation.config import ModerationConfig, checks_of_categories
from gptjax.tasks.moderation.heads import ModerationModel, known_labels, model_shapes, with_heads
from gptjax.tasks.moderation.report import (
    BEST,
    category_figures,
    chosen_thresholds,
    judged_texts,
    probabilities,
    text_evaluator,
    write_predictions,
)
from gptjax.tasks.moderation.rows import text_rows
from gptjax.tasks.shared_checks import saves_what_is_judged, whole_rows
from gptjax.training.evaluation import Evaluator
from gptjax.training.losses import Loss
from gptjax.training.partitioning import placed
from gptjax.training.processes import together
from gptjax.training.state import rng


class Moderation(Supervised[ModerationConfig]):
    r"""A classifier of undesired content: a model learns which categories a text is of.

    python -m experiments.train --experiment=moderation_smoke --workdir=runs/moderation
    python -m experiments.train --experiment=moderation_smoke --workdir=runs/moderation \
        --config.checkpoint.init_from=runs/demo \
        --config.moderation.train=jsonl:samples-1680.jsonl.gz

    Each category has a head of its own, whose sigmoid is the probability (arXiv 2208.03274). A
    label that a row does not have is unknown and has no loss. A run learns from the first
    `model.context_length` tokens of a text. It judges a whole text by the highest output of its
    windows.

    It starts from a work directory with a language model of any kind, or a Hugging Face model
    directory, and takes its tokenizer as it is. Evaluations have the area under the curve of
    precision over recall, auprc_NAME, and mean_auprc, whose highest value decides which checkpoint
    later commands take. result.json has the figures of that one with 95% intervals in `chosen`, and
    the `thresholds` of `moderation.precision` on held-out texts; predictions.jsonl has hashes of
    the texts, not the texts.
    """

    config = ModerationConfig
    identity = (
        *("moderation.train", "moderation.validation", "moderation.text", "moderation.categories"),
        *("moderation.pooling", "moderation.head_", "moderation.epochs"),
        "moderation.warmup_fraction",
    )
    free = ("moderation.precision", "moderation.random_start")
    contents = (
        *Supervised.contents,
        Content("moderation.train", "train_hash"),
        Content("moderation.validation", "validation_hash"),
    )
    follows = ExperimentConfig.kind
    makes = "classifier of undesired content"
    judged_on = ("moderation.text", "moderation.categories")
    chunks_loss = False
    curves = (("loss", "loss (nats per known label)"), (BEST, "mean AUPRC of the categories"))

    def model(self, config: ModerationConfig, **attributes: Any) -> ModerationModel:
        section = config.moderation
        return ModerationModel(
            config.model,
            len(section.names),
            section.head_width,
            section.head_dropout,
            section.pooling,
            **attributes,
        )

    def init(self, config: ModerationConfig, key: jax.Array) -> Any:
        """A random language model, and random heads."""
        decoder, heads = jax.random.split(key)
        params = GPT(config.model).init(decoder, np.zeros((1, 1), np.int32))["params"]
        return self._with_heads(params, config, heads)

    def shapes(self, config: ModerationConfig) -> Any:
        return model_shapes(
            config.model, len(config.moderation.names), config.moderation.head_width
        )

    def loss(self, config: ModerationConfig, model: Any) -> Loss:
        del config
        return known_labels(model)

    def costs(self, config: ModerationConfig) -> Costs:
        """Those of a language model without its logits; FLOPs of the heads, once a row, are not."""
        adapters, width = self.adapter_parameters(config), config.moderation.head_width
        computed = costs_of_model(config.model, scalar_head=True, adapters=adapters)
        whole = costs_of_model(config.model, adapters=adapters).parameters
        heads = len(config.moderation.names) * (width * (config.model.d_model + 2) + 1)
        return dataclasses.replace(computed, parameters=whole + heads)

    def largest_batch(self, config: ModerationConfig) -> Shapes:
        rows, count = config.training.batch_size, len(config.moderation.names)
        return {
            "tokens": array(rows, config.model.context_length),
            "lengths": array(rows),
            "labels": array(rows, count, dtype="float32"),
            "known": array(rows, count, dtype="float32"),
        }

    def checks(self, config: ModerationConfig) -> Iterable[Check]:
        yield from super().checks(config)
        yield from whole_rows(config)
        yield from checks_of_categories(config.moderation)
        yield saves_what_is_judged(config)
        fits = not config.moderation.head_dropout or config.parallelism.strategy != "pmap"
        yield "moderation.head_dropout", fits, "0 with parallelism.strategy=pmap"

    def starts_at_random(self, config: ModerationConfig) -> bool:
        return config.moderation.random_start

    def best(self, config: ModerationConfig) -> Best:
        del config
        return Best(BEST, highest=True)

    def adopt(self, config: ModerationConfig, read: Callable[[Any], Any], target: Any) -> Any:
        """A language model's parameters, with new heads."""
        mesh = jax.tree.leaves(target)[0].sharding.mesh
        params = read(placed(parameter_shapes(GPT(config.model)), mesh))
        return self._with_heads(params, config, rng(config.training.seed, "moderation_heads"))

    def _with_heads(self, params: Any, config: ModerationConfig, key: jax.Array) -> Any:
        section = config.moderation
        return with_heads(params, config.model, len(section.names), section.head_width, key)

    def prepare(self, config: ModerationConfig) -> Task:
        """Reads the labelled texts; see `Kind.prepare`."""
        tokenizer, section = inputs.load_model_tokenizer(config), config.moderation
        learned, held_out = together(lambda: labelled_texts(config))
        encode = functools.partial(
            text_rows, tokenizer=tokenizer, context_length=config.model.context_length
        )
        rows, validation = together(
            lambda: (encode(learned, whole=False), encode(held_out, whole=True))
        )
        hashes = inputs.content_hashes(
            tokenizer_hash=tokenizer, train_hash=learned, validation_hash=held_out
        )
        config = with_epochs(config, section.epochs, section.warmup_fraction, len(rows))
        mixture = Mixture({"texts": rows}, {"texts": 1.0}, config.training.seed)

        def evaluators(program: Program) -> dict[str, Evaluator]:
            judged = judged_texts(program, config, validation)
            return {"validation": text_evaluator(judged, validation, section.names)}

        def final_metrics(program: Program, params: Any, workdir: WorkDirectory) -> dict[str, Any]:
            """Figures and thresholds of the chosen checkpoint; its predictions are written."""
            step, params = workdir.chosen(params, config.training.num_steps, program.mesh)
            scores = probabilities(judged_texts(program, config, validation)(params))
            given, is_known = (each[: len(scores)] for each in validation.labels)
            write_predictions(workdir.path, held_out, scores, section.names)
            return {
                "chosen_step": step,
                "chosen": category_figures(scores, given, is_known, section.names),
                "precision": section.precision,
                "thresholds": chosen_thresholds(
                    scores, given, is_known, section.names, section.precision
                ),
                "texts": len(learned),
                "held_out": len(held_out),
                "truncated": rows.truncated,
                "dropped": dict(learned.dropped),
            }

        return Task(
            config=config,
            data=f"{len(learned):,} texts; held out: {len(held_out):,}",
            tokenizer=tokenizer,
            hashes=hashes,
            batches=batches_of(mixture, batch_schedule(config)),
            evaluators=evaluators,
            final_metrics=final_metrics,
            tokens_a_row=rows.length,
        )


def labelled_texts(
    config: ModerationConfig,
) -> tuple[Records[LabelledText], Records[LabelledText]]:
    """Loads the texts to learn from, and the held-out ones."""
    section = config.moderation
    if section.train is None:
        raise ValueError(
            "config.moderation.train: got none, expected jsonl:PATH with labelled texts, such as "
            "the samples-1680.jsonl.gz of openai/moderation-api-release, or embedded to try it out"
        )
    learned, held_out = inputs.learned_and_held_out(
        functools.partial(load_multilabel, text=section.text, categories=section.names),
        section.train,
        section.validation,
        lambda text: (Message("user", text.text),),
        config.data.validation_fraction,
    )
    for number, name in enumerate(section.names):
        if not any(text.labels[number] is not None for text in learned):
            raise ValueError(
                f"config.moderation.categories: got {name}, which no row of {learned.name} has, "
                "expected fields of the rows"
            )
    return learned, held_out


KIND = Moderation()
