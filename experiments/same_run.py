"""What makes a run what it is: it goes on with the same of that, whatever else changes.

changed = changes(config, hashes, theirs, their_hashes)
"""

from collections.abc import Mapping
from typing import Any

from gptjax.config import ExperimentConfig
from gptjax.settings import differences

# Fields that are to stay, by the beginnings of their paths; each section of a task has its line.
FIXED = (
    *("model.", "data.", "optimizer."),
    *("training.batch_", "training.num_steps", "training.seed", "training.skip_grad_norm"),
    *("sft.conversations", "sft.validation", "sft.epochs", "sft.pretraining_share"),
    "sft.judge",  # judges, and how many prompts they judge
    *("reward.", "dpo.", "ppo."),
)


def changes(
    config: ExperimentConfig,
    record: Mapping[str, Any],
    theirs: ExperimentConfig,
    their_record: Mapping[str, Any],
) -> list[str]:
    """Says how a run of one kind differs from another one; nothing where they are the same.

    Args:
      config: of the one, resolved.
      record: what else is to be the same, by name: content hashes of what it reads.
      theirs: of the other.
      their_record: likewise, with whatever is not to be compared.
    """
    return differences(config, theirs, FIXED) + [
        f"{name}: {value[:12]}, not {their_record.get(name, '')[:12]}"
        for name, value in record.items()
        if value != their_record.get(name)
    ]
