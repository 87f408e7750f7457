"""BERT's fine-tuning on tasks: a head on the pooler's output, trained with all parameters.

ended = train("bert_sst2", config, WorkDirectory("runs/sst2"))
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax

from gptjax.data.batches.task_inputs import bert_rows
from gptjax.models.classifier import BertClassifier
from gptjax.runs.planning.costs import Costs, Shapes, array
from gptjax.settings import Check
from gptjax.tasks.classification.config import BertClassificationConfig
from gptjax.tasks.classification.labelled import Encode, LabelledTask
from gptjax.tasks.configs.masked_lm import MaskedLMConfig
from gptjax.tasks.encoders import (
    adopt_bert,
    attention_calls_of_bert,
    checks_of_bert,
    costs_of_bert,
    wordpiece_of,
)
from gptjax.tokenization import Tokenizer


class BertClassification(LabelledTask[BertClassificationConfig]):
    r"""A task with labels: a pretrained BERT learns to classify, compare or choose.

    python -m experiments.train --experiment=bert_sst2 --workdir=runs/sst2 \
        --config.checkpoint.init_from=downloads/bert-base-uncased \
        --config.task.train=tsv:train.tsv --config.task.validation=tsv:dev.tsv \
        --config.task.text=1 --config.task.label=2

    A sequence is `[CLS] text [SEP]`, or `[CLS] text [SEP] second text [SEP]`. The head reads what
    the pooler makes of [CLS]. There is no other loss than that of the task.

    It starts from a work directory with a masked language model or a Hugging Face directory of a
    BERT. Their masked-LM and next-sentence heads are dropped; a model of model.heads=masked_lm has
    no pooler, so that the run draws one. Forms, labels, figures and files are those of the kind
    `classification`.
    """

    config = BertClassificationConfig
    identity = (*LabelledTask.identity, "model.")
    follows = MaskedLMConfig.kind
    takes = "masked language model"
    curves = (("loss", "loss (per example)"),)

    def model(self, config: BertClassificationConfig, **attributes: Any) -> BertClassifier:
        task = config.task
        chooses = task.form == "choice"
        return BertClassifier(
            config.model, task.num_outputs, task.head_dropout, chooses, **attributes
        )

    def inputs(self, config: BertClassificationConfig) -> tuple[jax.ShapeDtypeStruct, ...]:
        del config
        return array(1, 1, 1), array(1, 1), array(1, 1, 1)

    def costs(self, config: BertClassificationConfig) -> Costs:
        return costs_of_bert(self, config, config.task.num_outputs)

    def largest_batch(self, config: BertClassificationConfig) -> Shapes:
        batch = super().largest_batch(config)
        return batch | {"token_types": batch["tokens"]}

    def attention_calls(self, config: BertClassificationConfig) -> Sequence[Mapping[str, Any]]:
        return attention_calls_of_bert(self.largest_batch(config))

    def checks(self, config: BertClassificationConfig) -> Iterable[Check]:
        yield from super().checks(config)
        yield from checks_of_bert(config)

    def adopt(
        self, config: BertClassificationConfig, read: Callable[[Any], Any], target: Any
    ) -> Any:
        """BERT's parameters, with a new head."""
        return adopt_bert(self, config, read, target)

    def encoder(self, config: BertClassificationConfig) -> tuple[Tokenizer, Encode]:
        tokenizer, task = wordpiece_of(config), config.task
        options: Any = {"context_length": config.model.context_length, "width": task.width}
        return tokenizer, functools.partial(
            bert_rows, tokenizer=tokenizer, form=task.form, **options
        )


KIND = BertClassification()
