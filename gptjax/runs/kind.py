"""Kinds of run: one object holds everything in which pretraining, fine-tuning and PPO differ.

    kind = kind_of(config)
    kind.check(config)
    model = kind.model(config)

Code that runs, resumes, plans, replays or lists a run asks its kind, and names no kind. To add one,
write a module of `tasks/` with a subclass and its one instance, `KIND`, and a line in `KINDS`.
"""

import abc
import dataclasses
import importlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from gptjax.attention import scores
from gptjax.config import Config, ExperimentConfig
from gptjax.models.gpt import GPT
from gptjax.models.parameter_shapes import parameter_shapes
from gptjax.models.transformer import attention_cycle, looks_ahead
from gptjax.registry import unknown_name
from gptjax.runs.learner import Learner, Prepared
from gptjax.runs.life.moved import Content
from gptjax.runs.planning.costs import (
    Costs,
    LargestProgram,
    Plan,
    Shapes,
    array,
    costs_of_model,
)
from gptjax.runs.planning.exchanges import Expected
from gptjax.settings import Check
from gptjax.tokenization import Tokenizer
from gptjax.training.lora import adapter_count, targeted_kernels
from gptjax.training.losses import Loss, language_model
from gptjax.training.reporting.curves import Curves

if TYPE_CHECKING:  # 0.1 s that runs of text need not wait for
    from gptjax.data.image_text.rows import ImageForm

Saving = tuple[str, Any, str]  # a field by its path, a value that takes less memory, and its price


@dataclasses.dataclass(frozen=True)
class Best:
    """Rule by which later commands choose a checkpoint.

    Attributes:
      figure: of the validation, which is compared; None: the newest checkpoint is taken.
      highest: whether the highest figure is the best; otherwise the lowest is.
    """

    figure: str | None = None
    highest: bool = False


NEWEST = Best()


class Kind(abc.ABC, Generic[Config]):
    """One kind of run; its docstring is what `experiments.list --kind=` shows.

    Attributes:
      config: the class of its configurations, which names the kind.
      identity: beginnings of paths of fields in its own sections; a run resumes only if these
        fields are the same.
      free: beginnings of paths of fields that may change when a run resumes.
      contents: the fields that name data whose content is recorded as a hash.
      follows: kind of the run that a new run starts from; None: it may start at random.
      marks: the kind of tokenizer that adds marks to another, such as chat; None: it needs none.
      makes: its model, in words for messages.
      takes: the model that its runs may start from, in the same words.
      curves: the figures that are drawn against steps, and their axes; the first names the picture.
      chunks_loss: whether `training.loss_chunk` acts on its loss; if not, it is refused.
      can_replay: whether `experiments.verify` can train it again.
      shows_examples: whether its tasks have `examples`.
    """

    config: ClassVar[type[ExperimentConfig]]
    identity: ClassVar[tuple[str, ...]] = ()
    free: ClassVar[tuple[str, ...]] = ()
    contents: ClassVar[tuple[Content, ...]] = (Content("data.corpus", "corpus_hash"),)
    follows: ClassVar[str | None] = None
    marks: ClassVar[str | None] = None
    makes: ClassVar[str] = "language model"
    takes: ClassVar[str] = "language model"
    curves: ClassVar[Curves] = (("loss", "loss (nats per token)"),)
    chunks_loss: ClassVar[bool] = True
    can_replay: ClassVar[bool] = False
    shows_examples: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """Name of the kind in config.json and in messages."""
        return self.config.kind

    @property
    def picture(self) -> str:
        """Name of the file with its curves."""
        return f"{self.curves[0][0]}.png"

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

    def images(self, config: Config) -> "ImageForm | None":
        """What images of a prompt are for the model; None: it reads none among its text."""
        del config
        return None

    def shapes(self, config: Config) -> Any:
        """The tree that `init` makes, of `ShapeDtypeStruct`."""
        return parameter_shapes(self.model(config), *self.inputs(config))

    def loss(self, config: Config, model: Any) -> Loss:
        """Loss that `model` is trained and evaluated by."""
        return language_model(model, config.training.loss_chunk)

    def costs(self, config: Config) -> Costs:
        """Parameters, and FLOPs a token."""
        return costs_of_model(config.model, adapters=self.adapter_parameters(config))

    def adapter_parameters(self, config: Config) -> int | None:
        """Number of parameters of a run's adapters; None without LoRA."""
        if config.lora.rank is None:
            return None
        return adapter_count(config.lora, self.shapes(config))

    def largest_batch(self, config: Config) -> Shapes:
        """Shapes of the arrays of the largest batch, as the loss takes them."""
        shape = config.training.batch_size, config.model.context_length
        names = ["tokens", "targets"]
        if config.data.document_masking:
            names += ["segment_ids", "positions"]
        weights = {"loss_weights": array(*shape, dtype=jnp.float32)}
        return weights | {name: array(*shape) for name in names}

    def attention_calls(self, config: Config) -> Sequence[Mapping[str, Any]]:
        """What a training step gives its attention calls: fields of `Call`, but for the model's."""
        if config.model.trunk == "lstm":
            return ()
        batch = self.largest_batch(config)
        length = batch["tokens"].shape[-1]
        padded = "lengths" in batch and looks_ahead(config.model)  # see `padding_segments`
        segments = "segment_ids" in batch or padded
        return [{"num_queries": length, "num_keys": length, "segments": segments}]

    def tokens(self, batch: Mapping[str, Any]) -> int:
        """Number of tokens that are computed in a batch, or in its shapes; padding counts."""
        return math.prod(batch["tokens"].shape)

    def rows(self, batch: Mapping[str, Any]) -> int:
        """Rows of `training.batch_size` that a batch amounts to, of which microbatches are made."""
        return len(next(iter(batch.values())))

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
        fits = self.chunks_loss or config.training.loss_chunk is None
        yield "training.loss_chunk", fits, f"none for the kind of run {self.name}"
        if model.trunk == "lstm":
            yield "lora.rank", config.lora.rank is None, "none with model.trunk=lstm"
            one = config.parallelism.sequence == 1
            yield "parallelism.sequence", one, "1 with model.trunk=lstm, which reads in order"
        if config.lora.rank is not None:
            targeted_kernels(config.lora, self.shapes(config))
            allowed = f"at most {model.d_model}, d_model, or none"
            yield "lora.rank", config.lora.rank <= model.d_model, allowed

    def check(self, config: Config) -> None:
        """Refuses fields that this kind of run cannot have, before anything is read.

        Raises:
          ValueError: naming the field, what it got and what is allowed.
        """
        for field, fits, allowed in self.checks(config):
            if not fits:
                section, name = field.split(".")
                got = getattr(getattr(config, section), name)
                raise ValueError(f"config.{field}: got {got}, expected {allowed}")

    def savings(self, config: Config) -> Iterable[Saving]:
        """Changes by which a run takes less memory, besides microbatches and a mesh; best first."""
        if config.model.remat != "block" and config.model.trunk != "lstm":
            yield "model.remat", "block", "slower: layers are computed again in the backward pass"
        if config.model.dtype == "float32":
            yield "model.dtype", "bfloat16", "losses differ from those in float32"
        chunk = math.gcd(config.model.context_length, 256)
        held = config.training.loss_chunk or config.model.context_length
        if self.chunks_loss and held > chunk:
            yield "training.loss_chunk", chunk, "the same results"

    def starts_at_random(self, config: Config) -> bool:
        """Whether a new run without `checkpoint.init_from` begins at random parameters."""
        del config
        return self.follows is None

    def best(self, config: Config) -> Best:
        """Rule by which later commands choose a checkpoint."""
        del config
        return NEWEST

    def averaged(self, config: Config) -> int:
        """Number of the last checkpoints whose parameters later commands average."""
        del config
        return 1

    def fitting_tokenizers(self, ours: Tokenizer) -> list[str]:
        """Content hashes of the tokenizers whose models a run with `ours` may start from."""
        return [ours.content_hash()]

    def source(self, config: Config, given: str) -> Any:
        """The `initial.sources.Source` at a path, where a run takes only a part of what is there.

        None, the default: a model of `takes`, of which it takes all.
        """
        del config, given
        return None

    def frozen(self, config: Config) -> tuple[str, ...]:
        """Beginnings of the paths of parameters that training leaves as they are."""
        del config
        return ()

    def adopt(self, config: Config, read: Callable[[Any], Any], target: Any) -> Any:
        """The parameters of a run that starts from another one's.

        Args:
          config: resolved.
          read: reads the source's parameters, given their shapes and places.
          target: shapes and places of this run's parameters.
        """
        del config
        return read(target)

    @abc.abstractmethod
    def prepare(self, config: Config) -> Prepared:
        """Reads what a run of a resolved `config` learns from.

        Raises:
          ValueError: data that the configuration names cannot be read, or nothing of it fits.
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
    def largest_program(self, config: Config, mesh: Mesh | None = None) -> LargestProgram:
        """Compiles the largest program for the devices of `mesh`; nothing is allocated.

        Args:
          config: resolved.
          mesh: by default what `config.parallelism` says of all devices; its devices may be those
            of a topology that is not at hand.
        """
        ...

    def expected_exchanges(
        self, config: Config, plan: Plan, mesh: Any, itemsize: int
    ) -> list[Expected] | None:
        """What the devices of `mesh` are to exchange in a step; None where no formula is known.

        `itemsize` is the bytes of a number that is computed with.
        """
        del config, plan, mesh, itemsize
        return None


KINDS: dict[str, str] = {
    "pretrain": "gptjax.tasks.language_modelling",
    "sft": "gptjax.tasks.fine_tuning",
    "reward_model": "gptjax.tasks.reward_modelling",
    "ppo": "gptjax.tasks.policy_optimisation.kind",
    "dpo": "gptjax.tasks.preference_optimisation",
    "masked_lm": "gptjax.tasks.masked_lm",
    "classification": "gptjax.tasks.classification.kind",
    "bert_classification": "gptjax.tasks.classification.bert",
    "question_answering": "gptjax.tasks.question_answering.kind",
    "translation": "gptjax.tasks.translation",
    "moderation": "gptjax.tasks.moderation.kind",
    "image_text": "gptjax.tasks.image_text.kind",
    "contrastive": "gptjax.tasks.vision.contrastive",
    "image_classification": "gptjax.tasks.vision.image_classification",
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
