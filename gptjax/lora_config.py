"""The configuration of adapters, for all kinds of run.

config = LoRAConfig(rank=8, targets="attention,feed_forward")
"""

import dataclasses

from gptjax.settings import setting


@dataclasses.dataclass
class LoRAConfig:
    """Low-rank adapters (arXiv 2106.09685), which are trained instead of all parameters."""

    rank: int | None = setting(
        None, "rank of the adapters; none: no adapters, all parameters are trained", low=1
    )
    alpha: float | None = setting(
        None, "an adapter's product is scaled by alpha / rank; none: no scaling", above=0.0
    )
    targets: str = setting(
        "attention",
        "kernels that get adapters: attention, feed_forward, or single ones like attention/query",
    )

    @property
    def scale(self) -> float:
        """Factor of an adapter's product."""
        assert self.rank is not None
        return 1.0 if self.alpha is None else self.alpha / self.rank
