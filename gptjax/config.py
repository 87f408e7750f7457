"""The typed configuration of a run: one dataclass a section, every default visible.

A run is a function of its configuration. Command-line overrides set fields in place, so the
dataclasses are mutable until `resolve`. `resolve` checks every field against its type hint and
range, fills in the fields that follow from other fields, and returns a copy.

    config = resolve(ExperimentConfig(model=ModelConfig(num_layers=4)))
"""

import copy
import dataclasses
from typing import Any, ClassVar, TypeVar

from gptjax.batch_schedule import BatchSchedule
from gptjax.lora_config import LoRAConfig
from gptjax.model_config import ModelConfig
from gptjax.optimizer_config import OptimizerConfig
from gptjax.settings import fields, setting, take_home, validate


@dataclasses.dataclass
class DataConfig:
    """The text of a run, and its tokenizer."""

    corpus: str | None = setting(
        None,
        "text to learn from: python_docs, jsonl:PATH#field, text:PATH, prepared:DIR, ...; files of "
        "plain text are cut into documents of at most 32 KiB; none: must be given if the run reads "
        "text",
    )
    tokenizer: str | None = setting(
        None,
        "tokenizer of the model: bytes, gpt2:DIR, gpt1:DIR, clip:DIR, sentencepiece:FILE, "
        "wordpiece:DIR, huggingface:DIR, chat:INNER, task:INNER or a folder with a saved "
        "tokenizer; none: that of checkpoint.init_from; without init_from it must be given",
    )
    validation_fraction: float = setting(
        0.05,
        "share of documents or prompts that a hash holds out for validation; at least one; of "
        "prepared:DIR that was decided when it was prepared",
        above=0.0,
        below=1.0,
    )
    invalid_utf8: str = setting(
        "error",
        "bytes that are not UTF-8 are refused (error), or become U+FFFD (replace)",
        choices=("error", "replace"),
    )
    document_masking: bool = setting(
        False, "whether documents in one row are hidden from each other"
    )


@dataclasses.dataclass
class TrainingConfig:
    """The training loop: its length, its batches, and when it evaluates."""

    num_steps: int = setting(1000, "steps of the run; of PPO, iterations", low=1)
    batch_size: int = setting(
        8,
        "rows in a batch, over all devices: sequences, or rankings or answers in some runs",
        low=1,
    )
    batch_ramp_start: int | None = setting(
        None, "rows in the first batch; none: batch_size from the start", low=1
    )
    batch_ramp_tokens: int | None = setting(
        None, "tokens until a batch has batch_size rows; none: no growth", low=1
    )
    accumulate: int = setting(
        1,
        "microbatches, one after another, that make up a batch of batch_size; the smaller ones of "
        "a ramp take fewer",
        low=1,
    )
    loss_chunk: int | None = setting(
        None, "positions of a row whose logits are in memory at the same time; none: all", low=1
    )
    seed: int = setting(
        0, "seed of parameters, data order and everything else random", low=0, high=2**31 - 1
    )
    revision: int = setting(
        2,
        "meaning of the other fields: 2, or 1 as in runs begun before this was a field, where the "
        "last step of a decay has the final rate and a shuffle of 4^k + 1 windows leaves one out",
        low=1,
        high=2,
        before=1,
    )
    skip_grad_norm: float | None = setting(
        None,
        "a step is skipped if its gradient norm is more than this many times the recent median; "
        "none: no step is skipped",
        above=1.0,
    )
    rollback_after: int | None = setting(
        None,
        "the run goes back to a checkpoint after this many steps in a row whose loss or gradient "
        "is not finite; none: the first such step ends the run",
        low=1,
    )
    skip_data: bool = setting(
        False, "whether the run leaves out the examples of those steps when it goes back"
    )
    log_every: int = setting(10, "steps between two rows of metrics", low=1)
    eval_every: int = setting(1000, "steps between evaluations; the last step has one", low=1)
    statistics_every: int | None = setting(
        None, "steps between rows with each layer's gradient and output sizes; none: never", low=1
    )
    sample_tokens: int = setting(
        64,
        "largest number of tokens of the sample that a model writes at each evaluation (PPO: "
        "ppo.max_answer_tokens limits it); 0: no sample",
        low=0,
    )
    eval_batches: int | None = setting(
        None, "batches of an evaluation; none: the whole validation split", low=1
    )


@dataclasses.dataclass
class CheckpointConfig:
    """Which checkpoints are saved and kept, and where a new run starts."""

    every_steps: int = setting(1000, "steps between checkpoints; the last step has one", low=1)
    keep: int = setting(
        2, "newest checkpoints to keep, in addition to the best by validation", low=1
    )
    keep_every: int | None = setting(
        None, "checkpoints at multiples of this step are never removed; none: no others", low=1
    )
    init_from: str | None = setting(
        None,
        "work directory, or Hugging Face model directory, that a new run starts from; the run "
        "takes its parameters, model sizes and tokenizer; none: random parameters, if the kind of "
        "run allows them",
    )


@dataclasses.dataclass
class ParallelismConfig:
    """The mesh of a run. The product of the sizes of its axes is the number of devices."""

    strategy: str = setting(
        "single",
        "one device (single), a mesh of the axes below, or a copy on each device (pmap)",
        choices=("single", "mesh", "pmap"),
    )
    data: int | None = setting(
        None, "parts of a batch; none: all devices that the other axes leave", low=1
    )
    fsdp: int = setting(1, "parts of the parameters and, in addition, of a batch", low=1)
    tensor: int = setting(1, "parts of heads, feed-forward and vocabulary", low=1)
    sequence: int = setting(1, "parts of the positions of a row", low=1)
    sequence_attention: str = setting(
        "gather",
        "how devices exchange keys and values: all at once (gather), or in a ring (ring)",
        choices=("gather", "ring"),
    )


@dataclasses.dataclass
class ProfileConfig:
    """A trace that TensorBoard's profiler opens, written to the work directory."""

    start_step: int = setting(10, "steps from each start of the run to the trace", low=0)
    num_steps: int = setting(0, "steps in the trace; 0: no trace", low=0)


@dataclasses.dataclass
class ExperimentConfig:
    """A run that trains a language model on a corpus. Other kinds of run add sections."""

    kind: ClassVar[str] = "pretrain"  # the kind of run that this class configures

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    lora: LoRAConfig = dataclasses.field(default_factory=LoRAConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    checkpoint: CheckpointConfig = dataclasses.field(default_factory=CheckpointConfig)
    parallelism: ParallelismConfig = dataclasses.field(default_factory=ParallelismConfig)
    profile: ProfileConfig = dataclasses.field(default_factory=ProfileConfig)

    @property
    def epochs_field(self) -> str | None:
        """Path of the `epochs` that decide the number of steps; None: `training.num_steps` does."""
        given = (path for path, value in fields(self).items() if value is not None)
        return next((path for path in given if path.endswith(".epochs")), None)


Config = TypeVar("Config", bound=ExperimentConfig)


def batch_schedule(config: ExperimentConfig) -> BatchSchedule:
    """The batch sizes of a run."""
    training = config.training
    return BatchSchedule(
        training.batch_size,
        config.model.tokens_per_row,
        training.batch_ramp_start,
        training.batch_ramp_tokens,
        training.revision,
    )


def _at_most_one(section: str, config: Any, *names: str) -> None:
    given = [name for name in names if getattr(config, name) is not None]
    if len(given) > 1:
        raise ValueError(f"config.{section}: got both {' and '.join(given)}, expected at most one")


def check_warmup(config: ExperimentConfig) -> None:
    """Refuses a warm-up as long as the run, whose learning rate would never reach its peak."""
    optimizer, total = config.optimizer, config.training.num_steps
    name = "warmup_steps" if optimizer.warmup_tokens is None else "warmup_tokens"
    given = getattr(optimizer, name) or 0
    steps = given if name == "warmup_steps" else batch_schedule(config).steps_for(given)
    if given and steps >= total:
        raise ValueError(
            f"config.optimizer.{name}: got {given}, as long as the run of {total} steps or longer, "
            "expected less: the learning rate would not reach its peak (a tenth of the run is "
            f"--config.optimizer.warmup_steps={total // 10})"
        )


def _check_parallelism(config: ExperimentConfig) -> None:
    """Refuses axes that a strategy does not have, and sizes that do not divide exactly."""
    model, parallelism = config.model, config.parallelism
    strategy, sequence = parallelism.strategy, parallelism.sequence
    without = {
        "single": ("data", "fsdp", "tensor", "sequence"),
        "pmap": ("fsdp", "tensor", "sequence"),
    }
    for axis in without.get(strategy, ()):
        if getattr(parallelism, axis) not in (None, 1):
            raise ValueError(
                f"config.parallelism.{axis}: got {getattr(parallelism, axis)} with strategy="
                f"{strategy}, expected 1 (or strategy=mesh)"
            )
    if model.context_length % sequence:
        raise ValueError(
            f"config.parallelism.sequence: got {sequence}, expected a divisor of context_length = "
            f"{model.context_length}"
        )
    if sequence > 1 and model.attention_dropout:
        raise ValueError(
            f"config.model.attention_dropout: got {model.attention_dropout} with "
            f"parallelism.sequence={sequence}, expected 0"
        )
    for name in ("embedding_dropout", "attention_dropout", "residual_dropout"):
        if strategy == "pmap" and getattr(model, name):
            raise ValueError(
                f"config.model.{name}: got {getattr(model, name)} with strategy=pmap, expected 0 "
                "(or strategy=mesh, whose dropout does not depend on the devices)"
            )


def resolve(config: Config) -> Config:
    """Returns a checked copy in which every field that follows from others is filled in.

    Raises:
      ValueError: a field of the wrong type or out of range, or fields that contradict each other.
    """
    validate(config)
    config = copy.deepcopy(config)
    take_home(config)
    model, optimizer, training = config.model, config.optimizer, config.training
    model.resolve()
    _at_most_one("optimizer", optimizer, "warmup_steps", "warmup_tokens")
    _at_most_one("optimizer", optimizer, "decay_steps", "decay_tokens")
    if optimizer.warmup_steps is None and optimizer.warmup_tokens is None:
        optimizer.warmup_steps = 0
    decays = optimizer.decay_steps is not None or optimizer.decay_tokens is not None
    if not decays and not config.epochs_field:
        optimizer.decay_steps = training.num_steps
    if not config.epochs_field:
        check_warmup(config)
    if training.loss_chunk is not None and model.context_length % training.loss_chunk:
        raise ValueError(
            f"config.training.loss_chunk: got {training.loss_chunk}, expected a divisor of "
            f"context_length = {model.context_length}"
        )
    ramp = (training.batch_ramp_start, training.batch_ramp_tokens)
    if (ramp[0] is None) != (ramp[1] is None):
        raise ValueError(
            "config.training: got one of batch_ramp_start and batch_ramp_tokens, expected both"
        )
    if ramp[0] is not None and ramp[0] > training.batch_size:
        raise ValueError(
            f"config.training.batch_ramp_start: got {ramp[0]}, expected at most batch_size = "
            f"{training.batch_size}"
        )
    if training.skip_data and training.rollback_after is None:
        raise ValueError(
            "config.training.skip_data: got True without rollback_after, expected it to be given"
        )
    _check_parallelism(config)
    return config
