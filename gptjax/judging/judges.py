r"""Judges by name: scorers of answers, as rewards that are weighted and added up.

    rewards = load_judge("reward_model:runs/reward + 0.5*python:mine:brevity", tokenizer)
    total, parts = composed(rewards, prompts, responses)

A specification is terms with " + " between them, each NAME or NAME:LOCATION, and before it WEIGHT*
where the weight is not 1:

    reward_model:WORKDIR     a run that made a reward model, of the policy's tokenizer
    gold                     what an answer to an embedded task is worth, see `data.instructions`
    python:MODULE:FUNCTION   (prompt, response) -> float, of texts; a `RuleBased` is one
    rubric:FILE              a rubric, and the run that classifies answers by it, see `rubrics`

Prompts are conversations; a Python function has them as `plain_text`. Each reward is called as its
term is, a Python function by its own name, a rubric as its file, and a second one of a name NAME_2.
To add a judge, register a function `(location, context) -> Reward`.
"""

import dataclasses
import hashlib
import importlib
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jax.sharding import Mesh

from gptjax.alignment.model_reward import ModelReward
from gptjax.alignment.rewards import BatchReward, Reward, composed
from gptjax.data.dialogue.chat_format import ChatTemplate, Conversation, plain_text
from gptjax.data.dialogue.instructions import gold_reward
from gptjax.judging.reward_models import load_reward_model
from gptjax.judging.rubrics import rubric_reward
from gptjax.registry import Registry
from gptjax.runs.workdir import WorkDirectory
from gptjax.tokenization import Tokenizer
from gptjax.training.checkpoints.manifest import content_hash
from gptjax.training.processes import on_first, together


@dataclasses.dataclass(frozen=True)
class JudgeContext:
    """Context that a judge is loaded in.

    Attributes:
      tokenizer: of the policy whose answers are judged.
      width: tokens that prompt and answer are padded to; None: what they need.
      mesh: what a reward model is divided over; None: it is on the first device.
    """

    tokenizer: Tokenizer
    width: int | None = None
    mesh: Mesh | None = None


JUDGES: Registry[Callable[[str, JudgeContext], Reward]] = Registry("judge")


def load_judge(
    spec: str, tokenizer: Tokenizer, *, width: int | None = None, mesh: Mesh | None = None
) -> list[Reward]:
    """The rewards that a specification names, for `rewards.composed`; prompts are conversations.

    Args:
      spec: one or more judges, as the module's docstring has them.
      tokenizer: of the policy whose answers are judged.
      width: tokens that prompt and answer are padded to; None: what they need.
      mesh: what a reward model is divided over; None: it is on the first device.

    Raises:
      ValueError: no such judge, a weight that is no number, or what it needs cannot be had, such as
        a reward model of this tokenizer.
    """
    context, seen = JudgeContext(tokenizer, width, mesh), Counter[str]()
    rewards = []
    for term in re.split(r"\s+\+\s+", spec.strip()):
        weight, name, location = _parse(spec, term)
        reward = JUDGES.get(name)(location, context)
        seen[reward.name] += 1
        count = seen[reward.name]
        name = reward.name if count == 1 else f"{reward.name}_{count}"
        rewards.append(dataclasses.replace(reward, name=name, weight=weight))
    return rewards


def scored(
    rewards: Sequence[Reward],
    prompts: Sequence[Conversation],
    responses: Sequence[str],
    by_model: Callable[[ModelReward], np.ndarray] | None = None,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Scores answers by weighted rewards; rewards that no model gives are asked for by one process.

    A Python function may say something else each time, or fail on one host alone.

    Args:
      rewards: of `load_judge`.
      prompts: N conversations.
      responses: N answers to them.
      by_model: scores [N] by a reward model of what was said; None: of its text.

    Returns:
      Their weighted sum, [N] float32, and each reward unweighted by name.
    """

    def given(reward: Reward) -> Reward:
        if isinstance(reward.function, ModelReward):
            model = reward.function
            scores = model(prompts, responses) if by_model is None else by_model(model)
        else:
            scores = on_first(lambda: reward.scores(prompts, responses).tolist())
        return BatchReward(reward.name, lambda *_: scores, reward.weight, reward.content_hash)

    return composed([given(reward) for reward in rewards], prompts, responses)


def judges_hash(rewards: Sequence[Reward]) -> str:
    """Hash of all parameters that judge, so that a run resumes with the same reward models only."""
    return hashlib.sha256(" ".join(reward.content_hash for reward in rewards).encode()).hexdigest()


def _parse(spec: str, term: str) -> tuple[float, str, str]:
    """The weight, the name and the location of a term."""
    weighted = re.fullmatch(r"([^:*]*)\*(.*)", term)
    weight, rest = weighted.groups() if weighted else ("1", term)
    try:
        number = float(weight)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"judge {spec!r}: got weight {weight!r}, expected a finite number")
    name, _, location = rest.strip().partition(":")
    return number, name, location


@JUDGES.register("reward_model")
def reward_model(location: str, context: JudgeContext) -> Reward:
    """A reward model, normalised as its run says."""
    if not location:
        raise ValueError("judge 'reward_model': got no location, expected reward_model:WORKDIR")
    workdir = WorkDirectory(location)
    model, params = load_reward_model(workdir, context.tokenizer, context.mesh)
    function = ModelReward(model, params, ChatTemplate(context.tokenizer), width=context.width)
    step = workdir.resolve_step(None)
    of_checkpoint = on_first(lambda: content_hash(workdir.path / "checkpoints" / str(step)))
    return BatchReward("reward_model", function, content_hash=of_checkpoint)


@JUDGES.register("gold")
def gold(location: str, context: JudgeContext) -> Reward:
    """The gold reward; it refuses prompts of no task."""
    del context
    if location:
        raise ValueError(f"judge 'gold': got the location {location!r}, expected none")
    return Reward("gold", _of_texts(gold_reward))


@JUDGES.register("python")
def python(location: str, context: JudgeContext) -> Reward:
    """A function of a module that Python finds."""
    del context
    function = together(lambda: _function(location))
    return Reward(location.rpartition(":")[2], _of_texts(function))


@JUDGES.register("rubric")
def rubric(location: str, context: JudgeContext) -> Reward:
    """A rubric, by a language model that reads texts, in a tokenizer of its own."""
    del context
    if not location:
        raise ValueError("judge 'rubric': got no location, expected rubric:FILE")
    return rubric_reward(Path(location))


def _function(location: str) -> Callable[[str, str], object]:
    spec = f"judge 'python:{location}'"
    module_name, _, name = location.partition(":")
    if not module_name or not name:
        raise ValueError(f"{spec}: got {location!r}, expected python:MODULE:FUNCTION")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever a user's module raises is named
        said = " ".join(str(error).split())
        raise ValueError(
            f"{spec}: got {type(error).__name__}: {said}, expected a module that can be imported"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise ValueError(
            f"{spec}: got {name!r}, which is no function of {module_name}, expected one of "
            "(prompt, response) -> float"
        )
    return function


def _of_texts(function: Callable[[str, str], object]) -> Callable[[Conversation, str], object]:
    return lambda prompt, response: function(plain_text(prompt), response)
