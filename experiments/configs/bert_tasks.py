r"""BERT's fine-tuning on tasks (Devlin et al. 2018, sections 4 and 5.1, tables 1 and 5).

`downloads/bert-base-uncased` is a directory that `huggingface_hub` has downloaded. A run may also
start from a work directory of `bert_base`, or of any other masked language model. A pass of 110M
parameters over 70,000 short sentences takes some six minutes on one A100 of 80 GB at 40%
utilisation.

    python -m experiments.train --experiment=bert_sst2 --workdir=runs/sst2 ...
"""

import dataclasses

from experiments.configs.bert import bert_base
from experiments.configs.registry import EXPERIMENTS
from gptjax.config import CheckpointConfig, TrainingConfig
from gptjax.tasks.classification.config import BertClassificationConfig, TaskSection
from gptjax.tasks.question_answering.config import QuestionAnsweringConfig, SquadSection


def _fine_tuning(task: TaskSection) -> BertClassificationConfig:
    """The recipe of section 4.1 and of appendix A.3; the rate is one of 2, 3, 4 and 5e-5."""
    paper = bert_base()
    return BertClassificationConfig(
        model=paper.model,
        optimizer=dataclasses.replace(
            paper.optimizer, learning_rate=2e-5, warmup_steps=0, decay_steps=None
        ),
        training=TrainingConfig(batch_size=32, eval_every=100, sample_tokens=0),
        checkpoint=CheckpointConfig(every_steps=100),
        task=dataclasses.replace(task, warmup_fraction=0.1),
    )


@EXPERIMENTS.register("bert_sst2")
def bert_sst2() -> BertClassificationConfig:
    r"""BERT base on SST-2, the sentiment of film reviews (tables 1 and 5).

    Expected: an accuracy of 92.7 on the held-out set (table 5), 93.5 on GLUE's test set (table 1).
    From a model without next-sentence prediction 92.6 ("No NSP" of table 5); such a run draws the
    pooler. The command is for files without a header, a sentence and 0 or 1 in a line. A quarter of
    an hour on one A100 of 80 GB for GLUE's 67,000 phrases:

        python -m experiments.train --experiment=bert_sst2 --workdir=runs/sst2 \
            --config.checkpoint.init_from=downloads/bert-base-uncased --config.task.text=1 \
            --config.task.label=2 --config.task.train=tsv:SST-2/train.tsv \
            --config.task.validation=tsv:SST-2/dev.tsv
    """
    return _fine_tuning(TaskSection(text="sentence", labels="0,1"))


@EXPERIMENTS.register("bert_cola")
def bert_cola() -> BertClassificationConfig:
    r"""BERT base on CoLA, whether a sentence is grammatical (table 1).

    Expected: a Matthews correlation of 52.1 on GLUE's test set. Two minutes on one A100 of 80 GB:

        python -m experiments.train --experiment=bert_cola --workdir=runs/cola \
            --config.checkpoint.init_from=downloads/bert-base-uncased \
            --config.task.train=tsv:CoLA/in_domain_train.tsv \
            --config.task.validation=tsv:CoLA/in_domain_dev.tsv
    """
    return _fine_tuning(TaskSection(text="4", label="2", labels="0,1", metric="matthews"))


@EXPERIMENTS.register("bert_stsb")
def bert_stsb() -> BertClassificationConfig:
    r"""BERT base on STS-B, how similar two sentences are, from 0 to 5 (table 1).

    Expected: a Spearman correlation of 85.8 on GLUE's test set. The two sentences are one sequence,
    in one order. Two minutes on one A100 of 80 GB:

        python -m experiments.train --experiment=bert_stsb --workdir=runs/stsb \
            --config.checkpoint.init_from=downloads/bert-base-uncased \
            --config.task.train=tsv:STS-B/sts-train.csv \
            --config.task.validation=tsv:STS-B/sts-dev.csv
    """
    task = TaskSection(form="similarity", text="6", text_b="7", label="5", metric="spearman")
    return _fine_tuning(task)


@EXPERIMENTS.register("bert_snli")
def bert_snli() -> BertClassificationConfig:
    r"""BERT base on SNLI, whether a premise entails a hypothesis, with the recipe of section 4.1.

    Expected: no figure of the paper, which has MNLI at 84.4 on the held-out set (table 5). The
    columns are called premise, hypothesis and label; 0 is entailment, 1 neutral, 2 contradiction.
    Two hours on one A100 of 80 GB for the 550,000 pairs:

        python -m experiments.train --experiment=bert_snli --workdir=runs/snli \
            --config.checkpoint.init_from=downloads/bert-base-uncased \
            --config.task.train=tsv:SNLI/train.tsv --config.task.validation=tsv:SNLI/test.tsv
    """
    return _fine_tuning(
        TaskSection(form="entailment", text="premise", text_b="hypothesis", labels="0,1,2")
    )


@EXPERIMENTS.register("bert_choice")
def bert_choice() -> BertClassificationConfig:
    r"""BERT base chooses between candidates, on PIQA, as section 4.4 does on SWAG.

    Expected: no figure of the paper, which has SWAG at 81.6 on the held-out set (table 4). Batches
    of 16 and the rate 2e-5 are those of section 4.4. Ten minutes on one A100 of 80 GB:

        python -m experiments.train --experiment=bert_choice --workdir=runs/piqa \
            --config.checkpoint.init_from=downloads/bert-base-uncased \
            --config.task.train=jsonl:piqa/train.jsonl,labels=piqa/train-labels.lst \
            --config.task.validation=jsonl:piqa/valid.jsonl,labels=piqa/valid-labels.lst
    """
    config = _fine_tuning(
        TaskSection(form="choice", text="goal", choices="sol1,sol2", labels="0,1")
    )
    config.training.batch_size = 16
    return config


@EXPERIMENTS.register("bert_squad")
def bert_squad() -> QuestionAnsweringConfig:
    r"""BERT base on SQuAD v1.1, the answer to a question in a passage (table 2, section 4.2).

    Expected: on the held-out set an F1 of 88.5 and 80.8 exact answers (`f1` and `exact_match`, as
    shares); 87.9 without next-sentence prediction (table 5). Three epochs, batches of 32 and the
    rate 5e-5 are those of section 4.2; rows of 384 tokens and windows 128 tokens apart are those of
    the authors' code. About forty minutes on one A100 of 80 GB at 40% utilisation:

        python -m experiments.train --experiment=bert_squad --workdir=runs/squad \
            --config.checkpoint.init_from=downloads/bert-base-uncased \
            --config.squad.train=train-v1.1.json --config.squad.validation=dev-v1.1.json
    """
    recipe = bert_sst2()
    return QuestionAnsweringConfig(
        model=recipe.model,
        optimizer=dataclasses.replace(recipe.optimizer, learning_rate=5e-5),
        training=dataclasses.replace(recipe.training, eval_every=1000),
        checkpoint=CheckpointConfig(every_steps=1000),
        squad=SquadSection(max_tokens=384),
    )
