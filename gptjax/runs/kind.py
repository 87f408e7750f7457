"""Kinds of run: one object holds all in which pretraining, fine-tuning, PPO and others differ.

    kind = kind_of(config)
    kind.check(config)
    model = kind.model(config)

Whatever runs, resumes, plans, replays or lists a run asks its kind and names none. To add one,
write a module of `tasks/` with a subclass and its one instance, `KIND`, and a line in `KINDS`.
"""

import abc
import dataclasses
import importlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Generic, Protocol

import jax
import jax.numpy as jnp

from gptjax.attention import scores
from gptjax.config import Config, ExperimentConfig
from gptjax.models.gpt import GPT
from gptjax.models.parameter_shapes import parameter_shapes
from gptjax.models.transformer import attention_cycle
from gptjax.registry import unknown_name
from gptjax.runs.costs import Costs, Shapes, array, costs_of_model
from gptjax.tokenization import Tokenizer
from gptjax.training.evaluation import Evaluator
from gptjax.training.loop import RunIO
from gptjax.training.losses import Loss, language_model
from gptjax.training.state import TrainState

Check = tuple[str, bool, str]  # a field by its path, whether its value fits, and what would


@dataclasses.dataclass(frozen=True)
class Best:
    """Rule by which later commands choose a checkpoint.

    Attributes:
      figure: of the validation, that is lowest or highest of the best; None: the newest is taken.
      highest: whether more is better.
    """

    figure: str | None = None
    highest: bool = False


NEWEST = Best()


@dataclasses.dataclass(frozen=True)
class Plan:
    """Memory and FLOPs of a run on a mesh, by the names of a dry run's figures.

    Attributes:
      trees: shapes of the arrays that are held throughout, which say where they live.
      outside: the names of those that the largest compiled program does not take.
      bytes: on each device, of what is held outside that program besides.
      flops: of a step.
    """

    trees: Mapping[str, Any]
    outside: tuple[str, ...]
    bytes: Mapping[str, int]
    flops: Mapping[str, float]


class Prepared(Protocol):
    """Training inputs, read and checked: `Task`, or those of a kind with a loop of its own."""

    @property
    def config(self) -> Any: ...
    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def hashes(self) -> dict[str, str]: ...


class Ended(Protocol):
    """End of a run, with the figures of this start for its result."""

    @property
    def state(self) -> TrainState: ...
    @property
    def steps(self) -> int: ...
    @property
    def interrupted_by(self) -> str | None: ...
    @property
    def figures(self) -> Mapping[str, Any]: ...


class Learner(Protocol):
    """Training loop of one run."""

    @property
    def target(self) -> TrainState:
        """The shapes of the state's arrays, and where each lives."""
        ...

    @property
    def evaluators(self) -> Mapping[str, Evaluator]:
        """Evaluators of parameters, by split."""
        ...

    def on_start(self) -> None:
        """Called at every start, once the directory is claimed and before there is a state."""
        ...

    def initial_state(self) -> TrainState:
        """The state before the first step."""
        ...

    def learn(self, state: TrainState, io: RunIO) -> Ended:
        """Takes steps from `state.step` to the last; raises what `training.loop.fit` does."""
        ...

    def final_metrics(self, params: Any) -> dict[str, Any]:
        """Metrics of the evaluation parameters, for the result of an ended run; JSON values."""
        ...


class Kind(abc.ABC, Generic[Config]):
    """One kind of run; its docstring is what `experiments.list --kind=` shows.

    Attributes:
      config: the class of its configurations, which names the kind.
      identity: the beginnings of paths, in sections of its own, that make a run what it is.
      free: the beginnings of those that a run may change when it goes on.
      follows: the kind that a new run starts from; None: random parameters do.
      makes: what its model is.
      curve: the figure that is drawn against steps, and its axis.
      can_replay: whether `experiments.verify` can train it again.
    """

    config: ClassVar[type[ExperimentConfig]]
    identity: ClassVar[tuple[str, ...]] = ()
    free: ClassVar[tuple[str, ...]] = ()
    follows: ClassVar[str | None] = None
    makes: ClassVar[str] = "language model"
    curve: ClassVar[tuple[str, str]] = ("loss", "loss (nats per token)")
    can_replay: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """Name of the kind in config.json and in messages."""
        return self.config.kind

    def model(self, config: Config, **attributes: Any) -> Any:
        """The model, a Linen module, with what a mesh asks of it: `attend` and `constrain`."""
        return GPT(config.model, **attributes)

    def inputs(self, config: Config) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Shapes of the inputs that the model can be initialised with."""
        del config
        return (array(1, 1),)

    def init(self, config: Config, key: jax.Array) -> Any:
        """Random parameters."""
        inputs = [jnp.zeros(each.shape, each.dtype) for each in self.inputs(config)]
        return self.model(config).init(key, *inputs)["params"]

    def shapes(self, config: Config) -> Any:
        """The tree that `init` makes, of `ShapeDtypeStruct`."""
        return parameter_shapes(self.model(config), *self.inputs(config))

    def loss(self, config: Config, model: Any) -> Loss:
        """Loss that `model` is trained and evaluated by."""
        return language_model(model, config.training.loss_chunk)

    def costs(self, config: Config) -> Costs:
        """Parameters, and FLOPs a token."""
        return costs_of_model(config.model)

    def largest_batch(self, config: Config) -> Shapes:
        """Shapes of the arrays of the largest batch, as the loss takes them."""
        shape = config.training.batch_size, config.model.context_length
        names = ["tokens", "targets"]
        if config.data.document_masking:
            names += ["segment_ids", "positions"]
        weights = {"loss_weights": array(*shape, dtype=jnp.float32)}
        return weights | {name: array(*shape) for name in names}

    def tokens(self, batch: Mapping[str, Any]) -> int:
        """The tokens that are computed of a batch, or of its shapes; padding counts."""
        return math.prod(batch["tokens"].shape)

    def checks(self, config: Config) -> Iterable[Check]:
        """Checks of a resolved configuration of this kind."""
        model, cycle = config.model, attention_cycle(config.model)
        scores.parse(model.score)
        yield (
            "model.attention",
            len(cycle) <= model.num_layers,
            f"at most {model.num_layers} patterns, as many as layers",
        )
        yield (
            "model.attention",
            max(len(pattern.per_head()) for pattern in cycle) <= model.num_heads,
            f"at most {model.num_heads} patterns in heads(...), as many as heads",
        )

    def check(self, config: Config) -> None:
        """Refuses what a resolved `config` of this kind cannot have, before anything is read.

        Raises:
          ValueError: naming the field, what it got and what is allowed.
        """
        for field, fits, allowed in self.checks(config):
            if not fits:
                section, name = field.split(".")
                got = getattr(getattr(config, section), name)
                raise ValueError(f"config.{field}: got {got}, expected {allowed}")

    def starts_at_random(self, config: Config) -> bool:
        """Whether a new run without `checkpoint.init_from` begins at random parameters."""
        del config
        return self.follows is None

    def best(self, config: Config) -> Best:
        """Rule by which later commands choose a checkpoint."""
        del config
        return NEWEST

    def fitting_tokenizers(self, ours: Tokenizer) -> list[str]:
        """Content hashes of tokenizers, of which a run with `ours` may take a model over."""
        return [ours.content_hash()]

    def adopt(self, config: Config, read: Callable[[Any], Any], target: Any) -> Any:
        """The parameters of a run that starts from another one's.

        Args:
          config: resolved.
          read: gives parameters of what the run starts from, of their shapes and places.
          target: shapes and places of this run's parameters.
        """
        del config
        return read(target)

    @abc.abstractmethod
    def prepare(self, config: Config) -> Prepared:
        """Reads what a run of a resolved `config` learns from.

        Raises:
          ValueError: what the configuration names cannot be had, or nothing of it fits.
        """
        ...

    @abc.abstractmethod
    def learner(self, prepared: Any, workdir: Any) -> Learner:
        """Makes the training loop of the run in `workdir`; nothing is computed yet."""
        ...

    @abc.abstractmethod
    def plan(self, config: Config, mesh: Any) -> Plan:
        """Plans the memory and FLOPs of a run on `mesh`, which may be abstract.

        Raises:
          ValueError: the batch or a parameter does not divide over the mesh.
        """
        ...

    @abc.abstractmethod
    def planned_bytes(self, config: Config) -> int:
        """Bytes on each device of the largest program, as compiled here; nothing is allocated."""
        ...


KINDS: dict[str, str] = {
    "pretrain": "gptjax.tasks.language_modelling",
    "sft": "gptjax.tasks.fine_tuning",
    "reward_model": "gptjax.tasks.reward_modelling",
    "ppo": "gptjax.tasks.policy_optimisation.kind",
    "dpo": "gptjax.tasks.preference_optimisation",
}


def kind_named(name: str) -> Kind[Any]:
    """The kind of that name in `KINDS`, whose module is imported when it is first asked for.

    Raises:
      ValueError: there is none.
    """
    if name not in KINDS:
        raise unknown_name("kind of run", name, KINDS)
    return importlib.import_module(KINDS[name]).KIND


def kind_of(config: Config) -> Kind[Config]:
    """The kind of run that `config` is of."""
    return kind_named(config.kind)


def kinds() -> Iterator[Kind[Any]]:
    """All kinds, in the order of `KINDS`."""
    return map(kind_named, KINDS)
