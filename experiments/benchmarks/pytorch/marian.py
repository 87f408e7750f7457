"""Translation by beams with Marian of `transformers`, as a program of its own.

The model has random weights and its own caches, and no token ends a target: all have as many.
`torch_program` starts this and talks to it:

    python -m experiments.benchmarks.pytorch.marian '{"rows": 8, "num_beams": 4, ...}'
"""

import time
from typing import Any

import torch
import transformers

from experiments.benchmarks.interleaved import TimedProgram
from experiments.benchmarks.pytorch.program import serve
from experiments.benchmarks.pytorch.training import DEVICE


def model_of(shape: dict[str, int]) -> transformers.MarianMTModel:
    """A Marian with random weights, which normalises after each branch as the paper does."""
    layers, heads = shape["num_layers"], shape["num_heads"]
    config = transformers.MarianConfig(
        vocab_size=shape["vocab_size"],
        max_position_embeddings=shape["context_length"],
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        d_model=shape["d_model"],
        encoder_ffn_dim=shape["d_ff"],
        decoder_ffn_dim=shape["d_ff"],
        activation_function="relu",
        scale_embedding=True,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=None,
        forced_eos_token_id=None,
    )
    return transformers.MarianMTModel(config).eval()


def _translating(
    rows: int, num_beams: int, source: int, new: int, shape: dict[str, int]
) -> TimedProgram:
    """Builds a function that translates `rows` sentences once and returns the seconds it took."""
    model: Any = model_of(shape)
    model.to(DEVICE)
    tokens = torch.randint(1, shape["vocab_size"], (rows, source), device=DEVICE)
    options = {"num_beams": num_beams, "length_penalty": 0.6, "max_new_tokens": new}

    def run() -> float:
        began = time.perf_counter()
        with torch.inference_mode():
            mask = torch.ones_like(tokens)
            made = model.generate(tokens, attention_mask=mask, do_sample=False, **options).cpu()
        seconds = time.perf_counter() - began
        assert made.shape == (rows, 1 + new), "a target that ends early takes less time"
        return seconds

    return run


if __name__ == "__main__":
    versions = f"torch {torch.__version__}, transformers {transformers.__version__} on {DEVICE}"
    serve(_translating, versions)
