"""Checks of a configuration as a whole, before anything is read.

config = resolve(PREPARATIONS.get("prepare_smoke")())
"""

import dataclasses
import re
from collections.abc import Iterable

from gptjax.curation.decontamination.evaluation_sets import load_evaluation_sets
from gptjax.curation.deduplication.scheme import SCHEMES, MinHash
from gptjax.curation.phases.sieve import rule_sets
from gptjax.curation.pipeline.configuration import PrepareConfig
from gptjax.curation.pipeline.sources import check_source
from gptjax.curation.pipeline.yaml_file import checked
from gptjax.registry import unknown_name, with_home
from gptjax.settings import validate
from gptjax.tokenization import load_tokenizer

NAME = re.compile(r"[a-z0-9][a-z0-9_]*")


def resolve(config: PrepareConfig, origin: str = "configuration") -> PrepareConfig:
    """A checked copy of a configuration.

    Args:
      config: of a file or an experiment.
      origin: begins messages about single fields.

    Raises:
      ValueError: a field of the wrong type or out of range; a name of a source, reader, rule,
        threshold, scheme or tokenizer that there is not; fields that contradict each other.
    """
    config = checked(PrepareConfig, dataclasses.asdict(config), origin)
    if not config.sources:
        raise ValueError("sources: got none, expected one at least, with reader and location")
    for name, source in config.sources.items():
        if not NAME.fullmatch(name):
            raise ValueError(
                f"sources: got the name {name!r}, expected small letters, digits and underscores"
            )
        source.location = with_home(source.location)
        check_source(name, source)
    config.tokenizer = with_home(config.tokenizer)
    load_tokenizer(config.tokenizer)
    rule_sets(config)
    near_scheme(config)
    load_evaluation_sets(config.decontamination.sets)
    _check_quality(config)
    _check_weights(config)
    return config


def near_scheme(config: PrepareConfig) -> MinHash | None:
    """The MinHash scheme of fuzzy deduplication; None: there is none.

    Raises:
      ValueError: no scheme of this name, or an option that it does not have.
    """
    section = config.deduplication
    if section.scheme is None:
        if section.options:
            raise ValueError(
                f"deduplication.options: got {', '.join(section.options)} without a scheme, "
                "expected none"
            )
        return None
    scheme = SCHEMES.get(section.scheme)()
    at = "deduplication.options."
    names = [field.name for field in dataclasses.fields(scheme)]
    for option in section.options:
        if option not in names:
            raise unknown_name("option", at + option, [at + name for name in names])
    scheme = dataclasses.replace(scheme, **section.options)
    validate(scheme, at)
    return scheme


def _check_quality(config: PrepareConfig) -> None:
    section = config.quality
    _check_sources(config, "quality.positives", section.positives)
    _check_sources(config, "quality.negatives", section.negatives)
    if bool(section.positives) != bool(section.negatives):
        raise ValueError("quality: got one of positives and negatives, expected both or none")
    sifted = [name for name, source in config.sources.items() if source.quality]
    if sifted and not section.positives:
        raise ValueError(
            f"sources.{sifted[0]}.quality: got true without quality.positives, expected sources "
            "that the classifier learns from"
        )
    if section.positives and not sifted:
        raise ValueError(
            "quality.positives: got sources, and none with quality: true, expected one at least "
            "that the classifier sifts"
        )


def _check_sources(config: PrepareConfig, path: str, names: Iterable[str]) -> None:
    for name in names:
        if name not in config.sources:
            raise unknown_name(f"source in {path}:", name, config.sources)


def _check_weights(config: PrepareConfig) -> None:
    trained = {name: of for name, of in config.sources.items() if of.held_out != 1.0}
    given = [name for name, source in trained.items() if source.weight is not None]
    missing = [name for name in trained if name not in given]
    if given and missing:
        raise ValueError(
            f"sources.{missing[0]}.weight: got none, and sources.{given[0]} has one, expected a "
            "weight of every source that is trained on, or of none"
        )
    if given and not any(trained[name].weight for name in given):
        raise ValueError("sources: got no weight above 0, expected one at least")
