"""Header of a run: what it is, shown once before the first step.

progress.say(*header_lines("demo", config, learner, workdir.path, step=0))
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from gptjax.attention.choices import choice_lines
from gptjax.attention.device import current
from gptjax.attention.dispatch import choose
from gptjax.attention.implementations.implementation import Call
from gptjax.attention.patterns import in_order
from gptjax.attention.restarts import asks_for_positions
from gptjax.config import ExperimentConfig, ModelConfig, ParallelismConfig
from gptjax.models.transformer import attention_cycle
from gptjax.runs.kind import kind_of
from gptjax.runs.learner import Learner


def header_lines(
    experiment: str, config: ExperimentConfig, learner: Learner, directory: Path, step: int
) -> Iterator[str]:
    """Lines for people, a label and its text each.

    Args:
      experiment: what the run is called.
      config: resolved.
      learner: of the run; its `header` says what differs between kinds.
      directory: of the run.
      step: that it goes on from.
    """
    kind = kind_of(config)
    total = config.training.num_steps
    mesh = jax.tree.leaves(learner.target)[0].sharding.mesh
    axes = ", ".join(f"{name}={size}" for name, size in mesh.shape.items() if size > 1)
    devices = f"{mesh.size} of {jax.device_count()}, {jax.devices()[0].device_kind}"
    if jax.process_count() > 1:
        devices += f", {jax.process_count()} processes"
    lines = {
        "run": f"{experiment}, {kind.name}, step {step} to {total}",
        "parameters": f"{kind.costs(config).parameters:,}, {config.model.dtype}",
        **learner.header,
        "devices": devices + (f" ({axes})" if axes else ""),
        "attention": _attention(config),
        "writes to": str(directory),
    }
    width = max(map(len, lines))
    return (f"{label:{width}}  {text}" for label, text in lines.items())


def _attention(config: ExperimentConfig) -> str:
    return "; ".join(attention_choices(config)) or "none: an LSTM"


def attention_by(config: ExperimentConfig) -> str:
    """What computes attention in training: one implementation, or several by layer and head."""
    fixed = _fixed(config)
    return fixed or ", ".join(dict.fromkeys(map(choose, attention_calls(config))))


def attention_choices(config: ExperimentConfig) -> list[str]:
    """A line for each pattern of a training step: what computes it, and why not the others."""
    if config.model.trunk == "lstm":
        return []
    fixed = _fixed(config)
    if fixed is not None:
        return [f"{config.model.attention}: {fixed}, as the configuration says"]
    return list(choice_lines(attention_calls(config)))


def _fixed(config: ExperimentConfig) -> str | None:
    """The implementation where it is not chosen call by call."""
    parallelism, model = config.parallelism, config.model
    if parallelism.sequence > 1:
        name = "blockwise" if model.attention_impl == "auto" else model.attention_impl
        return f"{name}, {parallelism.sequence_attention} over {parallelism.sequence} devices"
    return None if model.attention_impl == "auto" else model.attention_impl


def attention_calls(config: ExperimentConfig) -> list[Call]:
    """The attention calls of a training step of a resolved `config`."""
    given = kind_of(config).attention_calls(config)
    return [call for each in given for call in _calls(config.model, config.parallelism, each)]


def _calls(
    model: ModelConfig, parallelism: ParallelismConfig, given: Mapping[str, Any]
) -> Iterator[Call]:
    """The calls that are `given` the same, as `attend` describes them, one a pattern."""
    assert model.d_head and model.d_value, "resolve the config first"
    score, device = None if model.score == "none" else model.score, current()
    for whole in map(in_order, attention_cycle(model)):
        for pattern in whole.per_head():
            yield Call(
                pattern=pattern,
                platform=device.platform,
                capability=device.capability,
                devices=device.count if parallelism.strategy == "single" else 1,
                head_dim=model.d_head,
                value_dim=model.d_value,
                dtype=model.dtype,
                restarts=given.get("segments", False) and asks_for_positions(whole, score),
                score=score is not None,
                dropout=model.attention_dropout > 0.0,
                **given,
            )
