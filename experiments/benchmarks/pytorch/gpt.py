"""Training of a plain GPT in PyTorch, as nanoGPT has it, as a program of its own.

Learned positions, layers that normalise before `scaled_dot_product_attention` and a feed-forward
of tanh-GELU, tied embeddings. `torch_program` starts this and talks to it:

    python -m experiments.benchmarks.pytorch.gpt '{"compiled": true, "num_layers": 6, ...}'
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from experiments.benchmarks.interleaved import TimedProgram
from experiments.benchmarks.pytorch.program import serve
from experiments.benchmarks.pytorch.training import DEVICE, training_step


class _Block(nn.Module):
    def __init__(self, d_model: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(d_model)
        self.query_key_value = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)
        self.feed_forward_norm = nn.LayerNorm(d_model)
        self.up = nn.Linear(d_model, 4 * d_model)
        self.down = nn.Linear(4 * d_model, d_model)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def heads(y: torch.Tensor) -> torch.Tensor:
            return y.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

        q, k, v = self.query_key_value(self.attention_norm(x)).chunk(3, dim=-1)
        attended = functional.scaled_dot_product_attention(
            heads(q), heads(k), heads(v), is_causal=True
        )
        x = x + self.out(attended.transpose(1, 2).flatten(-2))
        hidden = functional.gelu(self.up(self.feed_forward_norm(x)), approximate="tanh")
        return x + self.down(hidden)


class GPT(nn.Module):
    """The decoder; a call is the mean cross-entropy of the targets, in nats."""

    def __init__(
        self, vocab_size: int, context_length: int, num_layers: int, num_heads: int, d_model: int
    ):
        super().__init__()
        self.token_embedding = nn.Embedding(vocab_size, d_model)
        self.position_embedding = nn.Embedding(context_length, d_model)
        self.blocks = nn.Sequential(*(_Block(d_model, num_heads) for _ in range(num_layers)))
        self.final_norm = nn.LayerNorm(d_model)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                projects = name.endswith(("out.weight", "down.weight"))
                std = 0.02 / (2 * num_layers) ** 0.5 if projects else 0.02
                nn.init.normal_(parameter, std=std)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Tokens and targets [B, T] int64."""
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.token_embedding(tokens) + self.position_embedding(positions)
        x = self.final_norm(self.blocks(x))
        logits = functional.linear(x, self.token_embedding.weight)
        return functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def _training(compiled: bool, batch_size: int, dtype: str, **shape: Any) -> TimedProgram:
    """Builds a function that takes one training step and returns the seconds it took."""
    model = GPT(**shape).to(DEVICE)
    size = (batch_size, shape["context_length"] + 1)
    rows = torch.randint(shape["vocab_size"], size, device=DEVICE)
    inputs = [rows[:, :-1].contiguous(), rows[:, 1:].contiguous()]
    return training_step(model, inputs, compiled=compiled, dtype=dtype)


if __name__ == "__main__":
    serve(_training, f"torch {torch.__version__} on {DEVICE}")
