"""GPT-1's fine-tuning: labelled texts, a head on a language model, metrics of held-out examples.

ended = train("classification_smoke", config, WorkDirectory("runs/task"))
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from gptjax.config import ExperimentConfig
from gptjax.data.batches.task_inputs import task_rows
from gptjax.models.classifier import (
    Classifier,
    classifier_shapes,
    with_first_layers,
    with_task_head,
)
from gptjax.models.gpt import GPT
from gptjax.models.parameter_shapes import parameter_shapes
from gptjax.runs import inputs
from gptjax.runs.planning.costs import Costs, costs_of_model
from gptjax.settings import Check
from gptjax.tasks.classification.config import ClassificationConfig
from gptjax.tasks.classification.labelled import Encode, LabelledTask
from gptjax.tokenization import TaskTokenizer, Tokenizer
from gptjax.training.losses import Loss
from gptjax.training.partitioning import placed
from gptjax.training.state import rng
from gptjax.training.task_losses import with_dropped_tables


class Classification(LabelledTask[ClassificationConfig]):
    r"""A task with labels: a pretrained model learns to classify, compare or choose, as in GPT-1.

    python -m experiments.train --experiment=classification_smoke --workdir=runs/task
    python -m experiments.train --experiment=gpt1_sst2 --workdir=runs/sst2 \
        --config.checkpoint.init_from=downloads/openai-gpt \
        --config.task.train=tsv:train.tsv --config.task.validation=tsv:dev.tsv \
        --config.task.text=1 --config.task.label=2

    `task.form` says how texts become sequences. The tokens that start, divide and end them are new;
    the run adds them behind the tokenizer's and draws their embeddings. `task.labels` names the
    classes; without it labels are numbers. The loss is that of the task and `task.lm_weight` times
    that of a language model on the same sequences.

    It starts from a work directory with a language model or a Hugging Face model directory.
    Evaluations have accuracy, macro F1 and Matthews' correlation of classes, or Pearson's and
    Spearman's of numbers, each with a 95% interval (NAME_low, NAME_high). The checkpoint of the
    highest `task.metric` is taken by later commands; result.json has its figures in `chosen`, and
    predictions.jsonl has what it says of every held-out example.
    """

    config = ClassificationConfig
    identity = (
        *LabelledTask.identity,
        *("task.lm_weight", "task.table_dropout", "task.transferred_layers"),
    )
    follows = ExperimentConfig.kind
    marks = TaskTokenizer.kind
    loss_fields = ("task.lm_weight",)
    curves = (("loss", "loss of task and text (per example)"), ("task_loss", "loss of the task"))

    def model(self, config: ClassificationConfig, **attributes: Any) -> Classifier:
        task = config.task
        chooses = task.form == "choice"
        return Classifier(config.model, task.num_outputs, task.head_dropout, chooses, **attributes)

    def init(self, config: ClassificationConfig, key: jax.Array) -> Any:
        """A random language model, and a random head."""
        decoder, head = jax.random.split(key)
        params = GPT(config.model).init(decoder, np.zeros((1, 1), np.int32))["params"]
        return with_task_head(params, config.model, config.task.num_outputs, head)

    def shapes(self, config: ClassificationConfig) -> Any:
        return classifier_shapes(config.model, config.task.num_outputs)

    def costs(self, config: ClassificationConfig) -> Costs:
        """Those of a language model, without its logits where their loss has no weight."""
        adapters, task = self.adapter_parameters(config), config.task
        of_model = costs_of_model(config.model, adapters=adapters)
        computed = costs_of_model(config.model, scalar_head=not task.lm_weight, adapters=adapters)
        head = task.num_outputs * (config.model.d_model + 1)
        return dataclasses.replace(computed, parameters=of_model.parameters + head)

    def checks(self, config: ClassificationConfig) -> Iterable[Check]:
        yield from super().checks(config)
        task, dropout = config.task, config.model.embedding_dropout
        fits = not task.table_dropout or not dropout
        yield "model.embedding_dropout", fits, f"0 with task.table_dropout={task.table_dropout}"
        fits = not task.table_dropout or config.parallelism.strategy != "pmap"
        yield "task.table_dropout", fits, "0 with parallelism.strategy=pmap"
        count, started = task.transferred_layers, config.checkpoint.init_from is not None
        fits = count is None or (started and count <= config.model.num_layers)
        allowed = f"none, or at most {config.model.num_layers} with checkpoint.init_from=DIR"
        yield "task.transferred_layers", fits, allowed

    def loss(self, config: ClassificationConfig, model: Any) -> Loss:
        loss, rate = super().loss(config, model), config.task.table_dropout
        return with_dropped_tables(loss, rate) if rate else loss

    def lm_weight(self, config: ClassificationConfig) -> float:
        return config.task.lm_weight

    def fitting_tokenizers(self, ours: Tokenizer) -> list[str]:
        """The one to which it adds the tokens of a task."""
        assert isinstance(ours, TaskTokenizer)
        return [ours.inner.content_hash()]

    def adopt(self, config: ClassificationConfig, read: Callable[[Any], Any], target: Any) -> Any:
        """A language model's parameters, with a new head."""
        mesh = jax.tree.leaves(target)[0].sharding.mesh
        places = placed(parameter_shapes(GPT(config.model)), mesh)
        params, count = read(places), config.task.transferred_layers
        if count is not None and count < config.model.num_layers:
            key = rng(config.training.seed, "layers")
            mixed = functools.partial(with_first_layers, config=config.model, count=count)
            shardings = jax.tree.map(lambda leaf: leaf.sharding, places)
            params = jax.jit(mixed, out_shardings=shardings, donate_argnums=0)(params, rng=key)
        key = rng(config.training.seed, "task_head")
        return with_task_head(params, config.model, config.task.num_outputs, key)

    def encoder(self, config: ClassificationConfig) -> tuple[Tokenizer, Encode]:
        tokenizer, task = _tokenizer(config), config.task
        options: Any = {"context_length": config.model.context_length, "width": task.width}
        return tokenizer, functools.partial(
            task_rows, tokenizer=tokenizer, form=task.form, **options
        )


def _tokenizer(config: ClassificationConfig) -> TaskTokenizer:
    try:
        tokenizer = inputs.load_model_tokenizer(config)
    except ValueError as error:
        said = str(error)
        raise ValueError(said if said.startswith("config.") else f"config.data.{said}") from error
    if not isinstance(tokenizer, TaskTokenizer):
        raise ValueError(
            f"config.data.tokenizer: got {config.data.tokenizer} without the tokens of a task, "
            f"expected task:{config.data.tokenizer}"
        )
    return tokenizer


KIND = Classification()
