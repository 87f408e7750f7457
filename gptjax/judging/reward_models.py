"""Reward models of runs, normalised as their results say.

reward_model, params = load_reward_model(WorkDirectory("runs/reward"), policy_tokenizer)
"""

from typing import Any

from jax.sharding import Mesh

from gptjax.alignment.reward_model import RewardModel, rescaled
from gptjax.runs.kind import kind_of
from gptjax.runs.workdir import WorkDirectory
from gptjax.tokenization import Tokenizer


def load_reward_model(
    workdir: WorkDirectory, tokenizer: Tokenizer, mesh: Mesh | None = None
) -> tuple[RewardModel, Any]:
    """A run's reward model, and parameters whose rewards are normalised as its result says.

    Args:
      workdir: of a run that has ended.
      tokenizer: of the policy whose answers are scored.
      mesh: what the parameters are divided over; by default they are on the first device.

    Raises:
      ValueError: the run is of another kind, has not ended, or has gone back since it ended; or the
        reward model has another tokenizer.
    """
    config, path = workdir.config(), workdir.path
    kind = kind_of(config)
    if kind.makes != "reward model":
        raise ValueError(
            f"reward model: got {path}, a run of kind {kind.name}, which makes a {kind.makes}, "
            "expected a run that makes a reward model"
        )
    theirs, ours = workdir.record().get("tokenizer_hash", ""), tokenizer.content_hash()
    if theirs != ours:
        raise ValueError(
            f"reward model: got {path} of the tokenizer {theirs[:12]}, expected "
            f"{ours[:12]}, the policy's tokenizer"
        )
    if not workdir.has_result():
        raise ValueError(f"reward model: {path} has not ended; expected its result.json")
    result, step = workdir.result(), workdir.resolve_step(None)
    if result.get("step") != step:
        raise ValueError(
            f"reward model: got {path} with a result.json of step {result.get('step')}, "
            f"expected step {step}, as its newest checkpoint has: run it to its end again"
        )
    model: Any = kind.model(config)
    return model, rescaled(workdir.restored(step, mesh), **result["normalisation"])
