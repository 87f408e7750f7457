"""What a model computes must be finite: after a training that diverged it is not.

check_finite(vectors, "embeddings")
"""

import numpy as np


class NotFinite(ValueError):
    """What a model computed is not finite."""

    def __init__(self, what: str):
        """`what` was computed: "logits", say."""
        super().__init__(f"model: got {what} that are not finite, expected finite ones")


def check_finite(values: np.ndarray, what: str) -> None:
    """Raises NotFinite where one of `values`, called `what`, is infinite or NaN."""
    if not np.isfinite(values).all():
        raise NotFinite(what)
