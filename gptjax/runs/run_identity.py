"""Identity of a run: the fields of its configuration that must not change when it resumes.

changed = changes(config, hashes, theirs, their_hashes)
"""

from collections.abc import Mapping
from typing import Any

from gptjax.config import ExperimentConfig
from gptjax.runs.kind import kind_of
from gptjax.settings import differences

# The beginnings of their paths, in the sections that all kinds have; a kind adds its `identity`.
IDENTITY = (
    *("model.", "data.", "optimizer."),
    *("training.batch_", "training.num_steps", "training.seed", "training.skip_grad_norm"),
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
    return differences(config, theirs, IDENTITY + kind_of(config).identity) + [
        f"{name}: {value[:12]}, not {their_record.get(name, '')[:12]}"
        for name, value in record.items()
        if value != their_record.get(name)
    ]
