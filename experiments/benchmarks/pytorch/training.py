"""One training step in PyTorch, timed: AdamW with decay of matrices alone, gradients clipped to 1.

step = training_step(model, [tokens, targets], compiled=False)
seconds = step()
"""

import time
from collections.abc import Sequence

import torch
from torch import nn

from experiments.benchmarks.interleaved import TimedProgram

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def training_step(
    model: nn.Module, inputs: Sequence[torch.Tensor], *, compiled: bool, dtype: str = "float32"
) -> TimedProgram:
    """Builds a function that takes one training step and returns the seconds it took.

    Args:
      model: on `DEVICE`; called with `inputs` it returns the loss.
      inputs: of every step.
      compiled: whether by `torch.compile`.
      dtype: of the computation; parameters are float32.
    """
    torch.set_float32_matmul_precision("high")  # as nanoGPT; nothing changes on a CPU
    matrices = [parameter for parameter in model.parameters() if parameter.dim() >= 2]
    others = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": 0.1},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=6e-4, betas=(0.9, 0.95), fused=True)
    loss_of = torch.compile(model) if compiled else model

    def step() -> float:
        began = time.perf_counter()
        with torch.autocast(DEVICE, torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = loss_of(*inputs)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()  # waits for a GPU
        return time.perf_counter() - began

    return step
