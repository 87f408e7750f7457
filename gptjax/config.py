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
from gptjax.settings import setting, validate


@dataclasses.dataclass
class ModelConfig:
    """A decoder, with what the papers differ in as fields."""

    vocab_size: int = setting(50257, low=2)
    vocab_multiple: int = setting(128, low=1)  # embedding rows are padded to a multiple of it
    context_length: int = setting(1024, low=1)  # tokens
    num_layers: int = setting(12, low=1)
    num_heads: int = setting(12, low=1)
    num_kv_heads: int | None = setting(None, low=1)  # none: num_heads
    d_model: int = setting(768, low=1)
    d_head: int | None = setting(None, low=1)  # none: d_model / num_heads
    d_value: int | None = setting(None, low=1)  # of a value head; none: d_head
    d_ff: int | None = setting(None, low=1)  # none: 4 d_model
    positions: str = setting("learned", choices=("learned", "sinusoidal", "rotary", "none"))
    rotary_base: float = setting(10000.0, above=1.0)
    rotary_scaling: str = setting("none", choices=("none", "interpolation", "yarn"))
    rotary_factor: float = setting(1.0, low=1.0)  # by which rotary_scaling lengthens the context
    rotary_original_context: int | None = setting(None, low=1)  # none: context_length / factor
    attention: str = "dense"  # patterns, cycled over the layers
    score: str = "none"  # changes of the scores, in order
    attention_impl: str = setting("auto", choices=("auto", "reference", "blockwise", "fused"))
    norm: str = setting("pre", choices=("pre", "post"))
    layer_norm_epsilon: float = setting(1e-5, above=0.0)
    activation: str = setting("gelu_tanh", choices=("gelu_tanh", "gelu", "gelu_sigmoid", "relu"))
    tied_embeddings: bool = True
    init_std: float = setting(0.02, above=0.0)
    scaled_residual_init: bool = True  # residual projections start at init_std / sqrt(2 layers)
    embedding_dropout: float = setting(0.0, low=0.0, below=1.0)
    attention_dropout: float = setting(0.0, low=0.0, below=1.0)
    residual_dropout: float = setting(0.0, low=0.0, below=1.0)
    dtype: str = setting("float32", choices=("float32", "bfloat16"))  # of the computation
    remat: str = setting("none", choices=("none", "block", "dots"))  # computed again backward

    @property
    def tokens_per_row(self) -> int:
        """The tokens that a row of a batch counts for in schedules."""
        return self.context_length

    def resolve(self) -> None:
        """Checks the fields that speak of each other, and fills in those that follow from others.

        Raises:
          ValueError: fields that contradict each other.
        """
        if self.d_head is None:
            if self.d_model % self.num_heads:
                raise ValueError(
                    f"config.model.d_model: got {self.d_model} with {self.num_heads} heads, "
                    "expected a multiple of num_heads (or set d_head)"
                )
            self.d_head = self.d_model // self.num_heads
        self.d_value = self.d_value or self.d_head
        self.num_kv_heads = self.num_kv_heads or self.num_heads
        self.d_ff = self.d_ff or 4 * self.d_model
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"config.model.num_kv_heads: got {self.num_kv_heads}, expected a divisor of "
                f"num_heads = {self.num_heads}"
            )
        _resolve_positions(self)


@dataclasses.dataclass
class DataConfig:
    """What is read, and how it becomes tokens."""

    corpus: str | None = None  # python_docs, python_source, text:PATH, jsonl:PATH#field
    tokenizer: str | None = None  # bytes, gpt2:DIR, gpt1:DIR, sentencepiece:FILE, chat:X, a folder
    validation_fraction: float = setting(0.05, above=0.0, below=1.0)  # of documents, by hash
    invalid_utf8: str = setting("error", choices=("error", "replace"))
    document_masking: bool = False  # whether packed documents are hidden from each other


@dataclasses.dataclass
class OptimizerConfig:
    """The optimizer and its schedule; warm-up and decay in steps or in tokens, never both."""

    name: str = setting("adamw", choices=("adamw", "muon"))
    learning_rate: float = setting(6e-4, above=0.0)  # at the peak
    schedule: str = setting("cosine", choices=("cosine", "linear", "constant"))
    warmup_steps: int | None = setting(None, low=0)
    warmup_tokens: int | None = setting(None, low=0)
    decay_steps: int | None = setting(None, low=1)  # none, and no decay_tokens: all steps
    decay_tokens: int | None = setting(None, low=1)
    final_fraction: float = setting(0.0, low=0.0, high=1.0)  # of the peak, once decayed
    beta1: float = setting(0.9, low=0.0, below=1.0)
    beta2: float = setting(0.95, low=0.0, below=1.0)
    epsilon: float = setting(1e-8, above=0.0)
    weight_decay: float = setting(0.1, low=0.0)  # decoupled; never on biases and gains
    clip_norm: float | None = setting(1.0, above=0.0)
    ema_decay: float | None = setting(None, above=0.0, below=1.0)  # none: no average is kept


@dataclasses.dataclass
class TrainingConfig:
    """The loop."""

    num_steps: int = setting(1000, low=1)
    batch_size: int = setting(8, low=1)  # sequences
    batch_ramp_start: int | None = setting(None, low=1)  # sequences
    batch_ramp_tokens: int | None = setting(None, low=1)
    accumulate: int = setting(1, low=1)  # microbatches, one after another, that make up a batch
    loss_chunk: int | None = setting(None, low=1)  # positions whose logits exist at once; none: all
    seed: int = setting(0, low=0, high=2**31 - 1)
    skip_grad_norm: float | None = setting(None, above=1.0)  # times the median of the last ones
    rollback_after: int | None = setting(None, low=1)  # steps in a row that are not finite
    skip_data: bool = False  # whether a rollback leaves out the examples of those steps
    log_every: int = setting(10, low=1)  # steps
    eval_every: int = setting(1000, low=1)  # steps; the last step is always evaluated
    statistics_every: int | None = setting(None, low=1)  # steps; of layers' sizes; none: never
    eval_batches: int | None = setting(None, low=1)  # none: the whole validation split


@dataclasses.dataclass
class CheckpointConfig:
    """When to save, what to keep, what to start from."""

    every_steps: int = setting(1000, low=1)  # the last step is always saved
    keep: int = setting(2, low=1)  # newest; the best by validation loss is kept besides
    keep_every: int | None = setting(None, low=1)  # steps; its multiples are kept for good
    init_from: str | None = None  # work directory, or Hugging Face's, a new run starts from


@dataclasses.dataclass
class ParallelismConfig:
    """What is divided over the devices: the sizes of a mesh's axes, whose product they are."""

    strategy: str = setting("single", choices=("single", "mesh", "pmap"))
    data: int | None = setting(None, low=1)  # shares of a batch; none: what the others leave
    fsdp: int = setting(1, low=1)  # shares of the parameters, and of a batch besides
    tensor: int = setting(1, low=1)  # shares of heads, feed-forward and vocabulary
    sequence: int = setting(1, low=1)  # shares of a row's positions
    sequence_attention: str = setting("gather", choices=("gather", "ring"))  # of keys and values


@dataclasses.dataclass
class ProfileConfig:
    """A trace that TensorBoard's profiler opens, written to the work directory."""

    start_step: int = setting(10, low=0)
    num_steps: int = setting(0, low=0)  # 0: no trace


@dataclasses.dataclass
class ExperimentConfig:
    """A whole run: of a language model on a corpus; other kinds of run add a section of theirs."""

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


def _resolve_positions(model: ModelConfig) -> None:
    """Checks the fields that the kind of positions speaks to, and fills what follows from them."""
    kind, scaling = model.positions, model.rotary_scaling
    width = "d_model" if kind == "sinusoidal" else "d_head"
    in_pairs = kind in ("sinusoidal", "rotary")
    checks = (
        (width, not in_pairs or getattr(model, width) % 2 == 0, "an even number"),
        ("rotary_scaling", scaling == "none" or kind == "rotary", "none"),
        ("rotary_factor", scaling != "none" or model.rotary_factor == 1, "1"),
        ("rotary_factor", scaling == "none" or model.rotary_factor > 1, "more than 1"),
        ("rotary_original_context", scaling == "yarn" or not model.rotary_original_context, "none"),
    )
    for field, fits, allowed in checks:
        if not fits:
            raise ValueError(
                f"config.model.{field}: got {getattr(model, field)} with positions={kind} and "
                f"rotary_scaling={scaling}, expected {allowed}"
            )
    if scaling == "yarn" and model.rotary_original_context is None:
        model.rotary_original_context = max(1, round(model.context_length / model.rotary_factor))


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
