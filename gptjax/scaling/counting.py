"""What is counted as the size and the compute of a run: C = 6 N D (Kaplan 2020, section 2.1).

compute(config.model, tokens)

N without embeddings and logits is Kaplan's count, and the one with which laws of small models reach
furthest (docs/scaling.md has both on a public table): a small model is mostly vocabulary.
"""

from collections.abc import Callable

from gptjax.model_config import ModelConfig
from gptjax.models.costs import (
    executed_training_flops_per_token,
    matmul_parameters,
    parameter_count,
)
from gptjax.scaling import choices


def non_embedding_parameters(model: ModelConfig) -> int:
    """The kernels of the layers of a resolved model, about 12 layers d_model^2."""
    return matmul_parameters(model) - model.vocab_size * model.d_model


# FLOPs of training on one token, by what is counted.
_COUNTS = (
    lambda model: 6.0 * non_embedding_parameters(model),
    lambda model: 6.0 * parameter_count(model),
    executed_training_flops_per_token,
)
COUNTS: dict[str, Callable[[ModelConfig], float]]
COUNTS = dict(zip(choices.COUNTS, _COUNTS, strict=True))
