"""The model and the tokenizer that a run takes from the source that it starts from.

inherit(config, given={"checkpoint.init_from"}, workdir="runs/sft")   # before `resolve`
"""

import contextlib
import functools
from collections.abc import Collection

from gptjax.config import ExperimentConfig
from gptjax.model_config import ModelConfig
from gptjax.models.grown_tables import image_encoder
from gptjax.runs.initial.sources import source_for
from gptjax.runs.inputs import tokenizer_named
from gptjax.runs.kind import kind_of
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import fields, take_home

# Fields of `ModelConfig` that parameters are made for.
OF_PARAMETERS = (
    *("vocab_size", "vocab_multiple", "context_length", "num_layers", "num_heads", "num_kv_heads"),
    *("d_model", "d_head", "d_value", "d_ff", "trunk", "positions", "rotary_base"),
    *("norm", "layer_norm_epsilon", "activation", "tied_embeddings", "parametrization"),
)
# Those that any parameters can have: an experiment of pretraining that says them keeps its own.
VARIANT = (*("attention", "score", "rotary_scaling", "rotary_factor", "rotary_original_context"),)
# Those of a run: how it computes, draws and drops.
OF_A_RUN = (
    *("attention_impl", "dtype", "remat", "init_std", "scaled_residual_init"),
    *("embedding_dropout", "attention_dropout", "residual_dropout"),
)


def inherit(config: ExperimentConfig, given: Collection[str], workdir: str | None = None) -> None:
    """Fills in, in place, the model and the tokenizer that a run takes from its source.

    The tokenizer gets the marks that the kind of run needs, such as those of a chat. Fields that
    the user gave stay as they are. If the user gave no vocabulary size, it is that of the
    tokenizer. A run that resumes takes what it took at its first start, and the revision of its
    fields.

    Args:
      config: not yet resolved.
      given: paths of the fields that the user gave, such as "model.num_layers".
      workdir: of the run; there may be none yet.

    Raises:
      ValueError: `checkpoint.init_from` has nothing that a run can start from, or its tokenizer
        cannot be read.
    """
    take_home(config)
    own = _own_run(workdir)
    if own is not None and "training.revision" not in given:
        config.training.revision = own.config().training.revision
    source = _source(config, own)
    if source is not None:
        model, tokenizer = source
        ours, theirs = fields(config.model), fields(model)
        own_fields = (
            name
            for name in ours.keys() - fields(ModelConfig()).keys()
            if name.rpartition(".")[2] not in OF_A_RUN
        )
        for name in (*OF_PARAMETERS, *VARIANT, *sorted(own_fields)):
            if f"model.{name}" not in given and not (name in VARIANT and _is_said(config, name)):
                *sections, leaf = name.split(".")
                setattr(functools.reduce(getattr, sections, config.model), leaf, theirs[name])
        _follow_image_size(config, given)
        if "data.tokenizer" not in given:
            config.data.tokenizer = _for_kind(config, tokenizer)
    elif "data.tokenizer" not in given:
        return
    if "model.vocab_size" not in given:
        # A dry run needs no files; a run refuses a tokenizer that it cannot read.
        with contextlib.suppress(ValueError):
            config.model.vocab_size = tokenizer_named(config.data.tokenizer or "").vocab_size


def _follow_image_size(config: ExperimentConfig, given: Collection[str]) -> None:
    """Frees fields that follow from the size of images, where the user gave another one."""
    model, encoder = config.model, image_encoder(config.model)
    prefix = "model." if encoder is model else "model.vision."
    if encoder is None or f"{prefix}image_size" not in given:
        return
    if f"{prefix}context_length" not in given:
        encoder.context_length = None  # pyright: ignore[reportAttributeAccessIssue]
    of_patches = getattr(model, "connector", None) == "projection"
    if of_patches and "model.image_tokens" not in given:
        setattr(model, "image_tokens", None)  # noqa: B010


def _own_run(workdir: str | None) -> WorkDirectory | None:
    """The work directory, where the run has begun."""
    own = None if workdir is None else WorkDirectory(workdir)
    with contextlib.suppress(ValueError):
        if own is not None and own.has_begun() and own.config():
            return own
    return None


def _source(config: ExperimentConfig, own: WorkDirectory | None) -> tuple[ModelConfig, str] | None:
    """The model and the tokenizer that a run starts from: its own, once it has started."""
    if own is not None and _started_from_another(own):
        return own.config().model, str(own.path / "tokenizer")
    given = config.checkpoint.init_from
    if given is None:
        return None
    source = source_for(config, given)
    return source.model, source.tokenizer


def _started_from_another(own: WorkDirectory) -> bool:
    try:
        return own.initial_checkpoint().path is not None
    except ValueError:  # a run that was begun before this was recorded
        return False


def _is_said(config: ExperimentConfig, name: str) -> bool:
    """Whether the experiment itself sets that field, so that the source does not."""
    said = getattr(config.model, name) != fields(ModelConfig())[name]
    return said and kind_of(config).follows is None


def _for_kind(config: ExperimentConfig, tokenizer: str) -> str:
    """The tokenizer, with the marks that the kind of run needs."""
    marks = kind_of(config).marks
    return tokenizer if marks in (None, tokenizer_named(tokenizer).kind) else f"{marks}:{tokenizer}"
