"""The runs of a ladder: the target's configuration in smaller sizes, with less compute each.

target = Rung.of(config, "non_embedding")
rungs = ladder(config, parse_sizes("2x8,2x12,2x16,2x20,2x28,2x32"), "non_embedding")

Tokens follow the parameters, in the target's ratio. So C = 6 N D falls with the square of the size.
Batch and rate follow C by the exponents of DeepSeek LLM (`gptjax.scaling.recipes`), from the
target's own values; warm-up and decay stretch as the runs do. All else is the target's, or it is no
ladder. All runs are judged on as many rows of held-out text: the same, but for part of a batch.
"""

import copy
import dataclasses
import math
from collections.abc import Sequence

from gptjax.config import ExperimentConfig, batch_schedule, resolve
from gptjax.runs.kind import kind_of
from gptjax.scaling.counting import COUNTS, non_embedding_parameters
from gptjax.scaling.recipes import BATCH_EXPONENT, RATE_EXPONENT
from gptjax.settings import fields
from gptjax.studies.choices import LARGEST_SHARE
from gptjax.studies.equal_budget.plan import of_length

FEWEST = 4  # one more than the law has parameters
SMALLEST_SHARE, NUMBER = 1e-4, 6  # of the target's compute; runs
# The fields that size decides. Two runs of a ladder are the same in all others.
SIZE = (
    *("model.num_layers", "model.num_heads", "model.num_kv_heads", "model.d_model"),
    *("model.d_head", "model.d_value", "model.d_ff"),
    *("training.num_steps", "training.batch_size", "training.eval_batches"),
    "optimizer.learning_rate",
    *("optimizer.warmup_steps", "optimizer.warmup_tokens"),
    *("optimizer.decay_steps", "optimizer.decay_tokens"),
)
# Those that change no loss: where and how often a run reports, saves, and on what it computes.
FREE = ("training.log_every", "training.eval_every", "checkpoint.every_steps", "checkpoint.keep")
FREE += ("parallelism.", "profile.", "training.sample_tokens", "training.statistics_every")


@dataclasses.dataclass(frozen=True)
class Rung:
    """One run.

    Attributes:
      config: resolved.
      parameters: without embeddings and logits.
      tokens: of its training.
      compute: FLOPs of its training, by what is counted.
    """

    config: ExperimentConfig
    parameters: int
    tokens: int
    compute: float

    @classmethod
    def of(cls, config: ExperimentConfig, count: str) -> "Rung":
        """The run of a resolved configuration; `count` is a name in COUNTS."""
        tokens = batch_schedule(config).tokens(config.training.num_steps)
        compute = COUNTS[count](config.model) * tokens
        return cls(config, non_embedding_parameters(config.model), tokens, compute)

    @property
    def name(self) -> str:
        """LAYERSxWIDTH, which names its folder."""
        return f"{self.config.model.num_layers}x{self.config.model.d_model}"


def parse_sizes(text: str) -> list[tuple[int, int]]:
    """Layers and widths of "2x8,2x12".

    Raises:
      ValueError: another form, a size twice, or fewer than `FEWEST`.
    """
    sizes = []
    for part in text.split(","):
        layers, _, width = part.strip().partition("x")
        if not (layers.isdigit() and width.isdigit() and int(layers) and int(width)):
            raise ValueError(f"--sizes: got {part.strip()!r}, expected LAYERSxWIDTH, such as 2x16")
        sizes.append((int(layers), int(width)))
    if len({*sizes}) < max(FEWEST, len(sizes)):
        raise ValueError(
            f"--sizes: got {len({*sizes})} different ones of {len(sizes)}, expected at least "
            f"{FEWEST}, all different: a law has 3 parameters"
        )
    return sizes


def automatic_sizes(config: ExperimentConfig) -> list[tuple[int, int]]:
    """Sizes of the target's depth, evenly from 1/10,000 to 1/100 of its compute on a log scale.

    C falls with the fourth power of the width. Widths are rounded down to multiples of four.

    Raises:
      ValueError: a target so small that sizes coincide.
    """
    step = (LARGEST_SHARE / SMALLEST_SHARE) ** (1 / (NUMBER - 1))
    shares = [SMALLEST_SHARE * step**i for i in range(NUMBER)]
    widths = [int(config.model.d_model * share**0.25 / 4) * 4 for share in shares]
    if len({*widths}) < NUMBER or not widths[0]:
        raise ValueError(
            f"--sizes: got auto for a target of d_model = {config.model.d_model}, whose {NUMBER} "
            f"widths would be {widths}, expected sizes, as --sizes=1x8,1x12,1x16,1x24"
        )
    return [(config.model.num_layers, width) for width in widths]


def ladder(
    base: ExperimentConfig, sizes: Sequence[tuple[int, int]], count: str, largest: float
) -> list[Rung]:
    """The runs of these sizes, from the smallest compute to the largest.

    Args:
      base: the target, not resolved.
      sizes: layers and width of each.
      count: a name in COUNTS.
      largest: the largest share of the target's compute that a run may have.

    Raises:
      ValueError: a size that the target's heads do not divide, or of more compute; a target whose
        length is in epochs, or that is no language model.
    """
    target = Rung.of(resolve(base), count)
    _check_target(base)
    rungs = sorted(
        (Rung.of(_in_size(base, target, *size), count) for size in sizes),
        key=lambda rung: rung.compute,
    )
    for rung in rungs:
        if rung.compute > largest * target.compute:
            raise ValueError(
                f"--sizes: got {rung.name}, which has {rung.compute / target.compute:.3g} of the "
                f"target's compute, expected at most --largest_share={largest:g}"
            )
    check_alike([*rungs, target])
    return rungs


def _check_target(base: ExperimentConfig) -> None:
    if kind_of(base).name != "pretrain" or base.model.trunk != "transformer":
        raise ValueError(
            f"--experiment: got a run of kind {kind_of(base).name} with trunk={base.model.trunk}, "
            "expected pretraining of a transformer, whose loss the law is about"
        )
    if base.epochs_field is not None or base.training.batch_ramp_start is not None:
        wrong = base.epochs_field or "training.batch_ramp_start"
        raise ValueError(
            f"config.{wrong}: got a value, expected none: a ladder's lengths and batches follow "
            "its sizes"
        )


def _in_size(
    base: ExperimentConfig, target: Rung, num_layers: int, d_model: int
) -> ExperimentConfig:
    """The target in another size, resolved."""
    config, whole = copy.deepcopy(base), target.config.model
    assert whole.d_head and whole.d_ff and whole.num_kv_heads
    model = config.model
    model.num_layers, model.d_model = num_layers, d_model
    model.num_heads = max(1, round(d_model / whole.d_model * whole.num_heads))
    if d_model % model.num_heads:
        raise ValueError(
            f"--sizes: got {num_layers}x{d_model}, whose {model.num_heads} heads (as wide as the "
            f"target's, {whole.d_head}) do not divide the width, expected a multiple of it"
        )
    grouped = whole.num_heads // whole.num_kv_heads
    model.num_kv_heads = max(1, model.num_heads // grouped)
    model.d_head = model.d_value = None
    model.d_ff = round(whole.d_ff / whole.d_model * d_model)
    parameters = non_embedding_parameters(model.resolved())
    tokens = target.tokens * parameters / target.parameters
    share = (parameters / target.parameters) ** 2
    training, optimizer = config.training, config.optimizer
    rows = max(1, round(training.batch_size * share**BATCH_EXPONENT))
    steps = max(1, round(tokens / (rows * whole.context_length)))
    if training.eval_batches is not None:
        training.eval_batches = math.ceil(training.eval_batches * training.batch_size / rows)
    training.batch_size = rows
    optimizer.learning_rate *= share**RATE_EXPONENT
    return of_length(config, steps, training.seed)


def check_alike(rungs: Sequence[Rung]) -> None:
    """Refuses (ValueError, naming the fields) runs that differ in more than size."""
    first = fields(rungs[0].config)
    for rung in rungs[1:]:
        other = fields(rung.config)
        wrong = [
            f"{path} = {first.get(path)!r} and {other.get(path)!r}"
            for path in sorted(first.keys() | other.keys())
            if first.get(path) != other.get(path) and path not in SIZE and not path.startswith(FREE)
        ]
        if wrong:
            raise ValueError(
                f"ladder: got runs {rungs[0].name} and {rung.name} that differ in "
                f"{'; '.join(wrong)}, expected runs that differ in size alone"
            )
