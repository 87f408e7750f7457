"""Sampling from trained models: prompts to texts, step by step with a key-value cache."""

from typing import TYPE_CHECKING

from gptjax.rooms import public_names

if TYPE_CHECKING:
    from gptjax.inference.beam import BeamSearch
    from gptjax.inference.generate import Generator
    from gptjax.inference.requests import Request
    from gptjax.inference.sampling import Sampler, make_sampler
    from gptjax.inference.scoring import Score, Scorer
    from gptjax.inference.speculative import SpeculativeGenerator
    from gptjax.inference.text import TextStream

__all__ = [
    "BeamSearch",
    "Generator",
    "Request",
    "Sampler",
    "Score",
    "Scorer",
    "SpeculativeGenerator",
    "TextStream",
    "make_sampler",
]
__getattr__, __dir__ = public_names(__name__)
