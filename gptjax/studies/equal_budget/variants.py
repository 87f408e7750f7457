"""Variants of an experiment: the fields in which each differs from it.

variants = parse_variants(base, "dense; banded(window=64); one head: model.num_heads=1")
config = variants[1].of(base)
"""

import copy
import dataclasses
import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Any

from gptjax import attention
from gptjax.config import Config, ExperimentConfig, resolve
from gptjax.runs.initial.inherited import OF_PARAMETERS
from gptjax.runs.kind import kind_of
from gptjax.runs.run_identity import IDENTITY
from gptjax.runs.supervised import Supervised
from gptjax.settings import check_field, drop_replaced, expected, fields, from_text, limits_of

ATTENTION = "model.attention"
# Only before the next field does a comma divide a variant; patterns have commas of their own.
BETWEEN_FIELDS = re.compile(r",(?=\s*\w+\.\w+\s*=)")
NAMED = re.compile(r"\s*([^:;=()]*[^:;=()\s])\s*:(.*)", re.DOTALL)
# Why the fields under these paths are the same in all variants.
JUDGED = "it decides what the variants are judged on"
FIXED = {
    "training.seed": "--seeds says how many seeds each variant has",
    "training.num_steps": "the budget decides how long a variant trains",
    "training.revision": "all variants have the revision of the experiment",
    **dict.fromkeys(("data.corpus", "data.tokenizer", "data.validation_fraction"), JUDGED),
    **dict.fromkeys(("data.invalid_utf8", "model.vocab_size", "model.context_length"), JUDGED),
}


@dataclasses.dataclass(frozen=True)
class Variant:
    """An experiment with other values of some fields.

    Attributes:
      name: as people read it.
      changes: the values by the paths of their fields; none: the experiment itself.
    """

    name: str
    changes: Mapping[str, Any]

    @property
    def key(self) -> str:
        """A text that only the same changes have; of attention alone, its specification."""
        if list(self.changes) == [ATTENTION]:
            return self.changes[ATTENTION]
        return ",".join(f"{path}={self.changes[path]}" for path in sorted(self.changes)) or "base"

    def of(self, base: Config) -> Config:
        """A copy of `base`, which is not resolved yet, with the changes."""
        config = copy.deepcopy(base)
        for path, value in self.changes.items():
            section, name = path.split(".")
            setattr(getattr(config, section), name, value)
        drop_replaced(config, self.changes.keys())
        return config


def parse_variants(base: ExperimentConfig, text: str) -> list[Variant]:
    """The variants that `text` joins by semicolons.

    A variant is a list of `section.field=value` with commas between them, or an attention
    specification, which stands for `model.attention`; "base", or nothing, is the experiment itself.
    `NAME:` before it names it.

    Args:
      base: the experiment, not resolved.
      text: as the user gave it.

    Raises:
      ValueError: runs of this kind are not compared; a variant changes a field that there is not or
        that may not vary; a value does not fit; two variants are the same or have one name.
    """
    kind_of_compared(base)
    variants = [_parsed(base, part) for part in text.split(";")]
    configs = [_resolved(variant, base) for variant in variants]
    for (one, a), (other, b) in itertools.combinations(zip(variants, configs, strict=True), 2):
        if _with_patterns(a) == _with_patterns(b):
            raise ValueError(
                f"--variants: got {one.name!r} and {other.name!r}, which are the same; expected "
                "each variant once"
            )
        if one.name == other.name:
            raise ValueError(f"--variants: got the name {one.name!r} twice, expected other names")
    _check_judged_alike(configs)
    return variants


def kind_of_compared(config: ExperimentConfig) -> Supervised[Any]:
    """The kind of run of `config`; ValueError if it has no batches, loss and evaluators."""
    kind = kind_of(config)
    if not isinstance(kind, Supervised):
        raise ValueError(
            f"--experiment: got one of kind {kind.name}, expected one of a kind that learns from "
            "batches of data, such as pretrain or translation"
        )
    return kind


def loss_differs(variants: Iterable[Variant], kind: Supervised[Any]) -> bool:
    """Whether the variants' losses are different quantities, so that others must be compared."""
    return any(path.startswith(kind.loss_fields) for each in variants for path in each.changes)


def _parsed(base: ExperimentConfig, text: str) -> Variant:
    named = NAMED.fullmatch(text)
    name, text = named.groups() if named else (None, text)
    if text.strip() in ("", "base"):
        return Variant(name or "base", {})
    if not re.match(r"\s*[\w.]+\s*=", text):
        text = f"{ATTENTION}={text}"
    changes: dict[str, Any] = {}
    for part in BETWEEN_FIELDS.split(text):
        path, _, value = ("".join(side.split()) for side in part.partition("="))
        _check_may_vary(base, path)
        if path in changes:
            raise ValueError(f"--variants: got {path} twice in {text.strip()!r}, expected it once")
        hint, limits = limits_of(base, path)
        try:
            changes[path] = from_text(value, hint)
        except ValueError as error:
            allowed = expected(hint, limits)
            raise ValueError(f"--variants: {path}: got {value!r}, expected {allowed}") from error
    variant = Variant("", changes)
    return dataclasses.replace(variant, name=name or variant.key)


def _check_may_vary(base: ExperimentConfig, path: str) -> None:
    """Refuses (ValueError) what is no field, or one that all variants must have in common."""
    try:
        check_field(base, path)
    except ValueError as error:
        raise ValueError(f"--variants: {error}") from error
    kind = kind_of_compared(base)
    reason = FIXED.get(path)
    if path.endswith(".epochs"):
        reason = FIXED["training.num_steps"]
    elif path.startswith((*kind.judged_on, *(content.field for content in kind.contents))):
        reason = JUDGED
    elif not path.startswith(IDENTITY + kind.identity):
        reason = reason or "it does not change what a run learns"
    elif base.checkpoint.init_from and path.removeprefix("model.") in OF_PARAMETERS:
        reason = "the parameters of checkpoint.init_from decide it"
    if reason is not None:
        raise ValueError(f"--variants: got {path}, expected a field that may vary: {reason}")


def _resolved(variant: Variant, base: ExperimentConfig) -> ExperimentConfig:
    try:
        config = resolve(variant.of(base))
        kind_of(config).check(config)
    except ValueError as error:
        raise ValueError(f"--variants: {variant.name}: {error}") from error
    return config


def _with_patterns(config: ExperimentConfig) -> dict[str, Any]:
    """All fields; an attention specification is what it means, however it is written."""
    return fields(config) | {ATTENTION: attention.parse(config.model.attention)}


def _check_judged_alike(configs: list[ExperimentConfig]) -> None:
    sizes = {config.training.batch_size for config in configs}
    some = configs[0].training.eval_batches
    if len(sizes) > 1 and some is not None:
        raise ValueError(
            f"--variants: got training.batch_size of {' and '.join(map(str, sorted(sizes)))} with "
            f"config.training.eval_batches={some}, expected eval_batches=none: else the variants "
            "are judged on different examples"
        )
