"""Generation by `transformers`, greedy or by beams, as a program of its own.

GPT-2 with random weights and its own cache. `torch_program` starts this and talks to it:

    python -m experiments.benchmarks.pytorch.generate '{"rows": 8, "num_beams": 1, ...}'
"""

import time
from collections.abc import Callable
from typing import Any

import torch
import transformers

from experiments.benchmarks.pytorch.program import serve

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def _generating(
    rows: int, num_beams: int, prompt: int, new: int, dtype: str, shape: dict[str, int]
) -> Callable[[], float]:
    """Builds a function that continues `rows` prompts once and returns the seconds it took."""
    config = transformers.GPT2Config(
        vocab_size=shape["vocab_size"],
        n_positions=shape["context_length"],
        n_layer=shape["num_layers"],
        n_head=shape["num_heads"],
        n_embd=shape["d_model"],
    )
    model: Any = transformers.GPT2LMHeadModel(config)
    model.eval().to(DEVICE, getattr(torch, dtype))
    tokens = torch.randint(shape["vocab_size"], (rows, prompt), device=DEVICE)
    options = {"max_new_tokens": new, "min_new_tokens": new, "do_sample": False, "pad_token_id": 0}

    def run() -> float:
        began = time.perf_counter()
        with torch.inference_mode():
            model.generate(
                tokens, attention_mask=torch.ones_like(tokens), num_beams=num_beams, **options
            ).cpu()
        return time.perf_counter() - began

    return run


if __name__ == "__main__":
    versions = f"torch {torch.__version__}, transformers {transformers.__version__} on {DEVICE}"
    serve(_generating, versions)
