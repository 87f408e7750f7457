r"""Rewards by name: what scores answers, weighted and added up.

    rewards = load_rewards("reward_model:runs/reward + 0.5*python:mine:brevity", tokenizer)
    total, parts = composed(rewards, prompts, responses)

A specification is one or more terms, with " + " between them. A term is NAME or NAME:LOCATION, with
WEIGHT* before it if the weight is not 1:

    reward_model:WORKDIR     a run that made a reward model, of the policy's tokenizer
    gold                     what an answer to an embedded task is worth, see `data.instructions`
    python:MODULE:FUNCTION   (prompt, response) -> float, of texts; a `RuleBased` is one
    rubric:FILE              a rubric, and the run that classifies answers by it, see `rubrics`

Prompts are conversations; a Python function gets them as `plain_text`. A reward has the name of its
term, but a Python function keeps its own name, and a rubric has the name of its file. A second
reward of the same name is NAME_2. To add a reward, register a function `(location, context) ->
Reward`.
"""

import dataclasses
import hashlib
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
from gptjax.registry import Registry, of_path, user_function
from gptjax.runs.workdir import WorkDirectory
from gptjax.tokenization import Tokenizer
from gptjax.training.checkpoints.manifest import content_hash
from gptjax.training.processes import on_first, together


@dataclasses.dataclass(frozen=True)
class RewardContext:
    """Context that a reward is loaded in.

    Attributes:
      tokenizer: of the policy whose answers are scored.
      width: tokens that prompt and answer are padded to; None: what they need.
      mesh: what a reward model is divided over; None: it is on the first device.
    """

    tokenizer: Tokenizer
    width: int | None = None
    mesh: Mesh | None = None


HASHED = ("reward_model", "rubric")  # rewards whose parameters, or whose texts, have a hash
REWARDS: Registry[Callable[[str, RewardContext], Reward]] = Registry("reward")


def load_rewards(
    spec: str, tokenizer: Tokenizer, *, width: int | None = None, mesh: Mesh | None = None
) -> list[Reward]:
    """The rewards that a specification names, for `rewards.composed`; prompts are conversations.

    Args:
      spec: one or more rewards, as the module's docstring has them.
      tokenizer: of the policy whose answers are scored.
      width: tokens that prompt and answer are padded to; None: what they need.
      mesh: what a reward model is divided over; None: it is on the first device.

    Raises:
      ValueError: an unknown reward, a weight that is not a number, or a reward that cannot be
        loaded, such as a reward model of another tokenizer.
    """
    context, seen = RewardContext(tokenizer, width, mesh), Counter[str]()
    rewards = []
    for term in _terms(spec):
        weight, name, location = _parse(spec, term)
        form = "rubric:PATH" if name.endswith(".json") else "reward_model:PATH"
        reward = REWARDS.get(name, of_path(form, name))(location, context)
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
    """Scores answers by weighted rewards; process 0 alone computes rewards that need no model.

    A Python function could give another number on each host, or fail on one host only.

    Args:
      rewards: of `load_rewards`.
      prompts: N conversations.
      responses: N answers to them.
      by_model: (reward model) -> its scores [N]; None: it scores the texts.

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


def rewards_hash(rewards: Sequence[Reward]) -> str:
    """Hash of all parameters that score, so that a run resumes with the same reward models only."""
    return hashlib.sha256(" ".join(reward.content_hash for reward in rewards).encode()).hexdigest()


def without_places(spec: str | None) -> list[tuple[float, str, str]] | None:
    """Weight, name and location of each reward; no location where `rewards_hash` has the content.

    With that hash they say whether two specifications are of the same rewards.
    """
    if spec is None:
        return None
    terms = [_parse(spec, term) for term in _terms(spec)]
    return [(weight, name, "" if name in HASHED else place) for weight, name, place in terms]


def _terms(spec: str) -> list[str]:
    return re.split(r"\s+\+\s+", spec.strip())


def _parse(spec: str, term: str) -> tuple[float, str, str]:
    """The weight, the name and the location of a term."""
    weighted = re.fullmatch(r"([^:*]*)\*(.*)", term)
    weight, rest = weighted.groups() if weighted else ("1", term)
    try:
        number = float(weight)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"reward {spec!r}: got weight {weight!r}, expected a finite number")
    name, _, location = rest.strip().partition(":")
    return number, name, location


@REWARDS.register("reward_model")
def reward_model(location: str, context: RewardContext) -> Reward:
    """A reward model, normalised as its run says."""
    if not location:
        raise ValueError("reward 'reward_model': got no location, expected reward_model:WORKDIR")
    workdir = WorkDirectory(location, f"reward_model:{location}")
    model, params = load_reward_model(workdir, context.tokenizer, context.mesh)
    function = ModelReward(model, params, ChatTemplate(context.tokenizer), width=context.width)
    step = workdir.resolve_step(None)
    of_checkpoint = on_first(lambda: content_hash(workdir.path / "checkpoints" / str(step)))
    return BatchReward("reward_model", function, content_hash=of_checkpoint)


@REWARDS.register("gold")
def gold(location: str, context: RewardContext) -> Reward:
    """The gold reward; it refuses prompts that are not of an embedded task."""
    del context
    if location:
        raise ValueError(f"reward 'gold': got the location {location!r}, expected none")
    return Reward("gold", _of_texts(gold_reward))


@REWARDS.register("python")
def python(location: str, context: RewardContext) -> Reward:
    """A function of a module that Python finds."""
    del context
    function = together(lambda: user_function("reward", location, "(prompt, response) -> float"))
    return Reward(location.rpartition(":")[2], _of_texts(function))


@REWARDS.register("rubric")
def rubric(location: str, context: RewardContext) -> Reward:
    """A rubric, by a language model that reads texts, in a tokenizer of its own."""
    del context
    if not location:
        raise ValueError("reward 'rubric': got no location, expected rubric:FILE")
    return rubric_reward(Path(location))


def _of_texts(function: Callable[[str, str], object]) -> Callable[[Conversation, str], object]:
    return lambda prompt, response: function(plain_text(prompt), response)
