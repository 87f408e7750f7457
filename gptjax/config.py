"""The typed configuration of a run: one dataclass a section, every default visible.

A run is a function of its configuration. Dataclasses are mutable until `resolve`, since
command-line overrides set fields in place; `resolve` checks every field against its type hint
and range, fills what follows from other fields, and returns a copy.

    config = resolve(ExperimentConfig(model=ModelConfig(num_layers=4)))
"""

import copy
import dataclasses
from typing import Any, ClassVar, TypeVar

from gptjax.batch_schedule import BatchSchedule
from gptjax.model_config import ModelConfig
from gptjax.settings import setting, validate


@dataclasses.dataclass
class DataConfig:
    """The text of a run, and the tokenizer that makes tokens of it."""

    corpus: str | None = setting(
        None,
        "text to learn from: python_docs, text:PATH, jsonl:PATH#field, ...; none: it must be given "
        "where a run reads text",
    )
    tokenizer: str | None = setting(
        None,
        "tokenizer of the model: bytes, gpt2:DIR, gpt1:DIR, sentencepiece:FILE, chat:INNER or a "
        "folder with a saved one; none: it must be given",
    )
    validation_fraction: float = setting(
        0.05,
        "share of the documents or prompts that is held out, chosen by hash",
        above=0.0,
        below=1.0,
    )
    invalid_utf8: str = setting(
        "error",
        "what is done with bytes that are no UTF-8: refuse them, or put U+FFFD in their place",
        choices=("error", "replace"),
    )
    document_masking: bool = setting(
        False, "whether documents in one row are hidden from each other"
    )


@dataclasses.dataclass
class OptimizerConfig:
    """The optimizer and its schedule; warm-up and decay in steps or in tokens, never both."""

    name: str = setting("adamw", "method of the updates", choices=("adamw", "muon"))
    learning_rate: float = setting(6e-4, "learning rate at its peak", above=0.0)
    schedule: str = setting(
        "cosine",
        "shape of the learning rate after warm-up",
        choices=("cosine", "linear", "constant"),
    )
    warmup_steps: int | None = setting(
        None,
        "steps of linear warm-up; none: as warmup_tokens says, or no warm-up",
        low=0,
        instead_of="warmup_tokens",
    )
    warmup_tokens: int | None = setting(
        None,
        "tokens of linear warm-up; none: as warmup_steps says",
        low=0,
        instead_of="warmup_steps",
    )
    decay_steps: int | None = setting(
        None,
        "steps until the decay ends; none: as decay_tokens says, or all steps",
        low=1,
        instead_of="decay_tokens",
    )
    decay_tokens: int | None = setting(
        None,
        "tokens until the decay ends; none: as decay_steps says",
        low=1,
        instead_of="decay_steps",
    )
    final_fraction: float = setting(
        0.0, "learning rate after the decay, as a share of the peak", low=0.0, high=1.0
    )
    beta1: float = setting(0.9, "Adam's decay per step of the average gradient", low=0.0, below=1.0)
    beta2: float = setting(
        0.95, "Adam's decay per step of the average squared gradient", low=0.0, below=1.0
    )
    epsilon: float = setting(1e-8, "added to the denominator of Adam's update", above=0.0)
    weight_decay: float = setting(
        0.1, "decoupled weight decay; biases and gains have none", low=0.0
    )
    clip_norm: float | None = setting(
        1.0, "greatest norm of the whole gradient; none: it is not clipped", above=0.0
    )
    ema_decay: float | None = setting(
        None,
        "decay per update of an average of the parameters; none: no average is kept",
        above=0.0,
        below=1.0,
    )


@dataclasses.dataclass
class TrainingConfig:
    """The training loop: its length, its batches, and when it evaluates."""

    num_steps: int = setting(1000, "steps of the run; of PPO, iterations", low=1)
    batch_size: int = setting(
        8,
        "rows in a batch, over all devices: sequences, or the kind of run's rankings or answers",
        low=1,
    )
    batch_ramp_start: int | None = setting(
        None, "rows in the first batch; none: batch_size from the start", low=1
    )
    batch_ramp_tokens: int | None = setting(
        None, "tokens until a batch has batch_size rows; none: no growth", low=1
    )
    accumulate: int = setting(1, "microbatches, one after another, that make up a batch", low=1)
    loss_chunk: int | None = setting(
        None, "positions of a row whose logits exist at once; none: all", low=1
    )
    seed: int = setting(
        0, "seed of parameters, data order and all else that is random", low=0, high=2**31 - 1
    )
    skip_grad_norm: float | None = setting(
        None,
        "skips steps whose gradient norm is over so many times the recent median; none: skips none",
        above=1.0,
    )
    rollback_after: int | None = setting(
        None,
        "steps in a row with a loss or gradient that is not finite, after which the run goes back "
        "to a checkpoint; none: the first such step ends the run",
        low=1,
    )
    skip_data: bool = setting(False, "whether going back leaves out the examples of those steps")
    log_every: int = setting(10, "steps between two rows of metrics", low=1)
    eval_every: int = setting(1000, "steps between evaluations; the last is always made", low=1)
    statistics_every: int | None = setting(
        None, "steps between rows with each layer's gradient and output sizes; none: never", low=1
    )
    eval_batches: int | None = setting(
        None, "batches of an evaluation; none: the whole validation split", low=1
    )


@dataclasses.dataclass
class CheckpointConfig:
    """Which checkpoints are saved and kept, and where a new run starts."""

    every_steps: int = setting(1000, "steps between checkpoints; the last is always saved", low=1)
    keep: int = setting(2, "newest checkpoints that are kept, beside the best by validation", low=1)
    keep_every: int | None = setting(
        None, "checkpoints at multiples of so many steps are kept for good; none: no others", low=1
    )
    init_from: str | None = setting(
        None,
        "work directory, or Hugging Face model directory, that a new run starts from; none: random "
        "parameters, where the kind of run allows them",
    )


@dataclasses.dataclass
class ParallelismConfig:
    """The division over devices: the sizes of a mesh's axes, whose product is their number."""

    strategy: str = setting(
        "single",
        "one device (single), the mesh of the axes below, or a copy on each device (pmap)",
        choices=("single", "mesh", "pmap"),
    )
    data: int | None = setting(
        None, "shares of a batch; none: all devices that the other axes leave", low=1
    )
    fsdp: int = setting(1, "shares of the parameters, and of a batch besides", low=1)
    tensor: int = setting(1, "shares of heads, feed-forward and vocabulary", low=1)
    sequence: int = setting(1, "shares of a row's positions", low=1)
    sequence_attention: str = setting(
        "gather",
        "how devices get each other's keys and values: all at once, or in a ring",
        choices=("gather", "ring"),
    )


@dataclasses.dataclass
class ProfileConfig:
    """A trace that TensorBoard's profiler opens, written to the work directory."""

    start_step: int = setting(10, "steps before the trace, from where the run starts", low=0)
    num_steps: int = setting(0, "steps in the trace; 0: no trace", low=0)


@dataclasses.dataclass
class ExperimentConfig:
    """A run of a language model that learns from a corpus; other kinds of run add sections."""

    kind: ClassVar[str] = "pretrain"  # names the kind of run that is so configured

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    checkpoint: CheckpointConfig = dataclasses.field(default_factory=CheckpointConfig)
    parallelism: ParallelismConfig = dataclasses.field(default_factory=ParallelismConfig)
    profile: ProfileConfig = dataclasses.field(default_factory=ProfileConfig)

    @property
    def counts_epochs(self) -> bool:
        """Whether a section's `epochs` decide how many steps there are, not `num_steps`."""
        sections = (getattr(self, field.name) for field in dataclasses.fields(self))
        return any(getattr(section, "epochs", None) is not None for section in sections)


Config = TypeVar("Config", bound=ExperimentConfig)


def batch_schedule(config: ExperimentConfig) -> BatchSchedule:
    """The batch sizes of a run."""
    training = config.training
    return BatchSchedule(
        training.batch_size,
        config.model.tokens_per_row,
        training.batch_ramp_start,
        training.batch_ramp_tokens,
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
    """Refuses axes that a strategy does not have, and what cannot be divided exactly."""
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
    model, optimizer, training = config.model, config.optimizer, config.training
    model.resolve()
    _at_most_one("optimizer", optimizer, "warmup_steps", "warmup_tokens")
    _at_most_one("optimizer", optimizer, "decay_steps", "decay_tokens")
    if optimizer.warmup_steps is None and optimizer.warmup_tokens is None:
        optimizer.warmup_steps = 0
    decays = optimizer.decay_steps is not None or optimizer.decay_tokens is not None
    if not decays and not config.counts_epochs:
        optimizer.decay_steps = training.num_steps
    if not config.counts_epochs:
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
