"""Supervised training: state, losses, optimizers, partitioning, checkpoints, metrics, the loop."""

from typing import TYPE_CHECKING

from gptjax.rooms import public_names

if TYPE_CHECKING:
    from gptjax.training.checkpoints.store import Checkpoints
    from gptjax.training.gradients import gradient_sums
    from gptjax.training.loop import make_train_step
    from gptjax.training.losses import cross_entropy, language_model
    from gptjax.training.optimizers import learning_rate, make_optimizer
    from gptjax.training.state import TrainState

__all__ = [
    "Checkpoints",
    "TrainState",
    "cross_entropy",
    "gradient_sums",
    "language_model",
    "learning_rate",
    "make_optimizer",
    "make_train_step",
]
__getattr__, __dir__ = public_names(__name__)
