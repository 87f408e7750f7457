"""BERT: Pre-training of Deep Bidirectional Transformers (Devlin et al. 2018, arXiv 1810.04805).

python -m experiments.train --experiment=bert_smoke --workdir=runs/bert_smoke
"""

import dataclasses

from experiments.configs.registry import EXPERIMENTS
from gptjax.config import CheckpointConfig, DataConfig, OptimizerConfig, TrainingConfig
from gptjax.model_config import BertConfig
from gptjax.tasks.configs.masked_lm import MaskedLMConfig, MaskedLMSection


@EXPERIMENTS.register("bert_base")
def bert_base() -> MaskedLMConfig:
    r"""BERT base, 110M parameters (section 3, appendix A.2).

    Two runs: 900,000 steps of rows of 128 tokens, then 100,000 steps of 512 tokens, which start
    from the first run's parameters and go on along the same line of learning rates:

        python -m experiments.train --experiment=bert_base --workdir=runs/bert_base_128 \
            --config.data.corpus=jsonl:corpus/*.jsonl#text \
            --config.data.tokenizer=wordpiece:downloads/bert-base-uncased \
            --config.model.dtype=bfloat16 --config.parallelism.strategy=mesh
        python -m experiments.train --experiment=bert_base --workdir=runs/bert_base \
            --config.checkpoint.init_from=runs/bert_base_128 \
            --config.data.corpus=jsonl:corpus/*.jsonl#text --config.masked_lm.max_tokens=512 \
            --config.training.num_steps=100000 --config.optimizer.learning_rate=1e-5 \
            --config.optimizer.warmup_steps=0 --config.optimizer.decay_steps=100000 \
            --config.model.dtype=bfloat16 --config.parallelism.strategy=mesh

    Expected: a masked-LM perplexity of 3.99 on held-out Wikipedia and BooksCorpus (Table 6).
    Four days on 16 TPU chips in the paper.

    Differs from the paper: Adam corrects its bias, the second run starts with new moments, the
    warm-up multiplies the decay, and initial weights are normal without a cut.

    About seven hours on 8 A100 of 80 GB at 40% utilisation:

        python -m experiments.train --experiment=bert_base --workdir=runs/bert_base_128 \
            --config.model.dtype=bfloat16 --config.parallelism.strategy=mesh
    """
    model = BertConfig(
        vocab_size=30522,
        context_length=512,
        num_layers=12,
        num_heads=12,
        d_model=768,
        norm="post",
        layer_norm_epsilon=1e-12,
        activation="gelu_tanh",
        scaled_residual_init=False,
        embedding_dropout=0.1,
        attention_dropout=0.1,
        residual_dropout=0.1,
    )
    optimizer = OptimizerConfig(
        learning_rate=1e-4,
        schedule="linear",
        warmup_steps=10_000,
        decay_steps=1_000_000,
        beta2=0.999,
        epsilon=1e-6,
        weight_decay=0.01,
    )
    training = TrainingConfig(
        num_steps=900_000, batch_size=256, log_every=100, eval_every=10_000, eval_batches=100
    )
    return MaskedLMConfig(
        model=model,
        masked_lm=MaskedLMSection(max_tokens=128),
        optimizer=optimizer,
        training=training,
        checkpoint=CheckpointConfig(every_steps=10_000),
    )


@EXPERIMENTS.register("bert_large")
def bert_large() -> MaskedLMConfig:
    r"""BERT large, 340M parameters (section 3): `bert_base` with 24 layers of width 1024.

    Its commands are those of `bert_base`. Expected: a masked-LM perplexity of 3.23 (Table 6). Four
    days on 64 TPU chips in the paper; about a day on 8 A100 of 80 GB at 40% utilisation:

        python -m experiments.train --experiment=bert_large --workdir=runs/bert_large_128 \
            --config.model.dtype=bfloat16 --config.parallelism.strategy=mesh
    """
    paper = bert_base()
    model = dataclasses.replace(paper.model, num_layers=24, num_heads=16, d_model=1024)
    return dataclasses.replace(paper, model=model)


@EXPERIMENTS.register("bert_smoke")
def bert_smoke() -> MaskedLMConfig:
    """BERT's architecture and pretraining, small enough for a minute on two CPU cores.

    Muon, wider initial weights and no dropout teach a small model more in that minute than the
    paper's recipe does. Expected: about 15% of the masked tokens of held-out `python_docs` are
    right, of which the most frequent token is 5%.
    """
    paper = bert_base()
    model = dataclasses.replace(
        paper.model,
        vocab_size=2048,
        context_length=64,
        num_layers=2,
        num_heads=2,
        d_model=64,
        init_std=0.06,
        embedding_dropout=0.0,
        attention_dropout=0.0,
        residual_dropout=0.0,
    )
    optimizer = dataclasses.replace(
        paper.optimizer,
        name="muon",
        learning_rate=0.008,
        warmup_steps=30,
        decay_steps=None,
        beta2=0.98,
    )
    return MaskedLMConfig(
        model=model,
        data=DataConfig(corpus="python_docs", tokenizer="python_docs_wordpiece_2048"),
        optimizer=optimizer,
        training=TrainingConfig(
            num_steps=600, batch_size=32, log_every=20, eval_every=300, eval_batches=20
        ),
        checkpoint=CheckpointConfig(every_steps=300),
    )
