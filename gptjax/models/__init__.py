"""Linen modules, pure, one config object each: a trunk, a head, and their composition.

logits = GPT(config).apply({"params": params}, tokens)
"""

from typing import TYPE_CHECKING

from gptjax.rooms import public_names

if TYPE_CHECKING:
    from gptjax.models.costs import parameter_count, training_flops_per_token
    from gptjax.models.decoder import Decoder
    from gptjax.models.gpt import GPT
    from gptjax.models.transformer import Transformer

__all__ = ["GPT", "Decoder", "Transformer", "parameter_count", "training_flops_per_token"]
__getattr__, __dir__ = public_names(__name__)
