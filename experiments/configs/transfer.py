"""Transfer studies in miniature: GPT beside BERT on one corpus, and GPT-1's ablations.

python -m experiments.transfer --experiment=gpt_beside_bert --workdir=runs/beside
"""

import dataclasses

from experiments.configs.bert import bert_smoke
from experiments.configs.bert_tasks import bert_sst2
from experiments.configs.gpt1 import gpt1_lstm
from experiments.configs.gpt1_tasks import classification_smoke
from gptjax.config import ExperimentConfig, ModelConfig, OptimizerConfig
from gptjax.settings import fields
from gptjax.studies.changes import Changes
from gptjax.studies.transfer.config import TRANSFERS, System, Transfer
from gptjax.tasks.classification.config import BertClassificationConfig, ClassificationConfig
from gptjax.tasks.configs.masked_lm import MaskedLMConfig

EMBEDDED = Changes(
    "animals or things",
    {
        "task.train": "embedded:count=4000",
        "task.validation": "embedded:split=held_out,count=1000",
        "task.labels": "animals,things",
    },
)
RATE = OptimizerConfig(learning_rate=5e-4, schedule="linear", beta2=0.999, weight_decay=0.01)


@TRANSFERS.register("gpt_beside_bert")
def gpt_beside_bert() -> Transfer:
    """GPT beside BERT on one corpus: the same text, tokens, width, depth and recipe.

    BERT's table 5 (Devlin et al. 2018, section 5.1) in miniature: its model, the same without
    next-sentence prediction, and a left-to-right model without it. GPT and the left-to-right BERT
    are one pretrained model; GPT is fine-tuned with GPT-1's auxiliary loss, the other without it.
    The text, its word pieces and the task are embedded, so that nothing is downloaded; --pretrain
    and --tasks take others. Half an hour on two CPU cores with three seeds.
    """
    bert = _bert()
    model = dataclasses.replace(bert.model, heads="masked_lm")
    tuned, gpt = _bert_tuning(), _gpt_tuning()
    plain = _with(gpt, lm_weight=0.0)
    return Transfer(
        {
            "BERT": bert,
            "BERT without NSP": dataclasses.replace(bert, model=model),
            "GPT": _left_to_right(bert),
        },
        {
            "BERT": System("BERT", tuned),
            "BERT without NSP": System("BERT without NSP", tuned),
            "left-to-right BERT without NSP": System("GPT", plain),
            "GPT": System("GPT", gpt),
            "BERT without pretraining": System("BERT", _with(tuned, random_start=True)),
            "GPT without pretraining": System("GPT", _with(gpt, random_start=True)),
        },
        (EMBEDDED,),
    )


@TRANSFERS.register("gpt1_ablations")
def gpt1_ablations() -> Transfer:
    """GPT-1's ablations (Radford et al. 2018, table 5, and figure 2, left) in miniature.

    Without pretraining, without the auxiliary loss, an LSTM, and fewer transferred layers. The
    LSTM's 86 units make it as large as the Transformer with 2,048 word pieces. The text, its word
    pieces and the task are embedded, so that nothing is downloaded; --pretrain and --tasks take
    others. Half an hour on two CPU cores with three seeds.
    """
    gpt, tuning = _left_to_right(_bert()), _gpt_tuning()
    shape = fields(gpt1_lstm().model).keys() & {"trunk", "num_layers", "num_heads", "positions"}
    lstm = {name: getattr(gpt1_lstm().model, name) for name in shape}
    model = dataclasses.replace(gpt.model, **lstm, d_model=86, d_head=None, d_ff=None)
    return Transfer(
        {"Transformer": gpt, "LSTM": dataclasses.replace(gpt, model=model)},
        {
            "with auxiliary loss": System("Transformer", tuning),
            "without pretraining": System("Transformer", _with(tuning, random_start=True)),
            "without auxiliary loss": System("Transformer", _with(tuning, lm_weight=0.0)),
            "LSTM with auxiliary loss": System("LSTM", tuning),
            "1 of 2 layers transferred": System("Transformer", _with(tuning, transferred_layers=1)),
            "tables alone transferred": System("Transformer", _with(tuning, transferred_layers=0)),
        },
        (EMBEDDED,),
    )


def _bert() -> MaskedLMConfig:
    """`bert_smoke`, trained for longer."""
    small = bert_smoke()
    training = dataclasses.replace(small.training, sample_tokens=0, num_steps=1500, eval_every=750)
    checkpoint = dataclasses.replace(small.checkpoint, every_steps=750)
    return dataclasses.replace(small, training=training, checkpoint=checkpoint)


def _left_to_right(bert: MaskedLMConfig) -> ExperimentConfig:
    """A language model of the same shape, on the same text, with the same recipe."""
    shape = {name: getattr(bert.model, name) for name in fields(ModelConfig())}
    return ExperimentConfig(
        model=ModelConfig(**shape),
        data=dataclasses.replace(bert.data),
        optimizer=bert.optimizer,
        training=bert.training,
        checkpoint=bert.checkpoint,
    )


def _bert_tuning() -> BertClassificationConfig:
    """BERT's recipe at the rate of a small model, without dropout."""
    paper = bert_sst2()
    return dataclasses.replace(
        paper,
        model=_bert().model,
        optimizer=RATE,
        training=dataclasses.replace(paper.training, log_every=50, eval_every=1000),
        checkpoint=dataclasses.replace(paper.checkpoint, every_steps=1000),
    )


def _gpt_tuning() -> ClassificationConfig:
    """GPT-1's recipe likewise, with BERT's warm-up."""
    small, bert = classification_smoke(), _bert_tuning()
    tuning = dataclasses.replace(
        small,
        model=_left_to_right(_bert()).model,
        optimizer=RATE,
        training=bert.training,
        checkpoint=bert.checkpoint,
    )
    return _with(tuning, random_start=False, warmup_fraction=bert.task.warmup_fraction)


def _with(tuning, **changes):
    return dataclasses.replace(tuning, task=dataclasses.replace(tuning.task, **changes))
