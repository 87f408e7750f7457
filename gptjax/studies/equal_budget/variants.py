"""Variants of an experiment: the fields in which each differs from it.

variants = parse_variants(base, "dense; banded(window=64); one head: model.num_heads=1")
config = variants[1].of(base)
"""

import dataclasses
import functools
import itertools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gptjax import attention
from gptjax.config import ExperimentConfig, resolve
from gptjax.data.prepared.index import held_out_hash
from gptjax.runs.initial.inherited import OF_PARAMETERS
from gptjax.runs.inputs import PREPARED
from gptjax.runs.kind import kind_of
from gptjax.runs.run_identity import IDENTITY
from gptjax.runs.supervised import Supervised
from gptjax.settings import fields
from gptjax.studies.changes import Changes, named, parse_values

ATTENTION = "model.attention"
CORPUS = "data.corpus"  # may vary among prepared data whose held-out shards are the same
# Why the fields under these paths are the same in all variants.
JUDGED = "it decides what the variants are judged on"
FIXED = {
    "training.seed": "--seeds says how many seeds each variant has",
    "training.num_steps": "the budget decides how long a variant trains",
    "training.revision": "all variants have the revision of the experiment",
    **dict.fromkeys(("data.tokenizer", "data.validation_fraction", "data.invalid_utf8"), JUDGED),
    **dict.fromkeys(("model.vocab_size", "model.context_length"), JUDGED),
}


@dataclasses.dataclass(frozen=True)
class Variant(Changes):
    """An experiment with other values of some fields."""

    @property
    def key(self) -> str:
        """A text that only the same changes have; of attention alone, its specification."""
        if list(self.values) == [ATTENTION]:
            return self.values[ATTENTION]
        return super().key


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
    _check_judged_alike(base, configs)
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
    return any(path.startswith(kind.loss_fields) for each in variants for path in each.values)


def _parsed(base: ExperimentConfig, text: str) -> Variant:
    name, text = named(text)
    if text.strip() in ("", "base"):
        return Variant(name or "base", {})
    if not re.match(r"\s*[\w.]+\s*=", text):
        text = f"{ATTENTION}={text}"
    values = parse_values(base, text, "--variants", functools.partial(_check_may_vary, base))
    if ATTENTION in values:
        values[ATTENTION] = "".join(values[ATTENTION].split())
    variant = Variant("", values)
    return dataclasses.replace(variant, name=name or variant.key)


def _check_may_vary(base: ExperimentConfig, path: str) -> None:
    """Refuses (ValueError) a field that all variants must have in common."""
    kind = kind_of_compared(base)
    reason = FIXED.get(path)
    if path.endswith(".epochs"):
        reason = FIXED["training.num_steps"]
    elif path != CORPUS and path.startswith(
        (*kind.judged_on, *(content.field for content in kind.contents))
    ):
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


def _check_judged_alike(base: ExperimentConfig, configs: list[ExperimentConfig]) -> None:
    sizes = {config.training.batch_size for config in configs}
    some = configs[0].training.eval_batches
    if len(sizes) > 1 and some is not None:
        raise ValueError(
            f"--variants: got training.batch_size of {' and '.join(map(str, sorted(sizes)))} with "
            f"config.training.eval_batches={some}, expected eval_batches=none: else the variants "
            "are judged on different examples"
        )
    corpora = list(dict.fromkeys(each.data.corpus or "none" for each in [base, *configs]))
    if len(corpora) > 1 and len({_held_out(corpus) for corpus in corpora}) > 1:
        raise ValueError(
            f"--variants: got {CORPUS} of {' and '.join(corpora)}, expected one, or prepared data "
            f"whose held-out shards are the same: {JUDGED}"
        )


def _held_out(corpus: str) -> str:
    """What a corpus holds out: of prepared data a hash of it, of others their name."""
    if corpus.startswith(PREPARED):
        return held_out_hash(Path(corpus.removeprefix(PREPARED)))
    return corpus
