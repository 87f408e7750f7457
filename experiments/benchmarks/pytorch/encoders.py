"""BERT and the encoder-decoder of PyTorch's own modules, and a training step of each.

`nn.TransformerEncoder` and `nn.Transformer` normalise after each residual addition, as the papers
do. `nn.Transformer` would normalise once more after each stack; here, as in the paper, it does not.
`torch_program` starts this and talks to it:

    python -m experiments.benchmarks.pytorch.encoders '{"model": "bert", "compiled": true, ...}'
"""

import functools
import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from experiments.benchmarks.interleaved import TimedProgram
from experiments.benchmarks.pytorch.program import serve
from experiments.benchmarks.pytorch.training import DEVICE, training_step

IGNORED = -100  # a target that the loss leaves out


class Bert(nn.Module):
    """An encoder with a masked-LM head; a call is the mean cross-entropy of masked tokens, nats."""

    def __init__(
        self, vocab_size: int, context_length: int, num_layers: int, num_heads: int, d_model: int
    ):
        super().__init__()
        self.token_embedding = nn.Embedding(vocab_size, d_model)
        self.position_embedding = nn.Embedding(context_length, d_model)
        self.token_type_embedding = nn.Embedding(2, d_model)
        norm = functools.partial(nn.LayerNorm, d_model, 1e-12)
        self.embedding_norm = norm()
        self.activation = functools.partial(functional.gelu, approximate="tanh")
        layer = nn.TransformerEncoderLayer(
            d_model,
            num_heads,
            4 * d_model,
            dropout=0.0,
            activation=self.activation,
            layer_norm_eps=1e-12,
            batch_first=True,
        )
        self.encoder = nn.TransformerEncoder(layer, num_layers, enable_nested_tensor=False)
        self.dense, self.norm = nn.Linear(d_model, d_model), norm()
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        for table in (self.token_embedding, self.position_embedding, self.token_type_embedding):
            nn.init.normal_(table.weight, std=0.02)

    def forward(
        self,
        tokens: torch.Tensor,
        token_types: torch.Tensor,
        lengths: torch.Tensor,
        masked_positions: torch.Tensor,
        targets: torch.Tensor,
    ) -> torch.Tensor:
        """Tokens and types [B, T], lengths [B], masked positions and targets [B, P], int64."""
        x = self.token_embedding(tokens) + self.token_type_embedding(token_types)
        x = self.embedding_norm(x + self.position_embedding.weight[: tokens.shape[1]])
        x = self.encoder(x, src_key_padding_mask=padding(tokens, lengths))
        x = x.gather(1, masked_positions[..., None].expand(-1, -1, x.shape[-1]))
        x = self.norm(self.activation(self.dense(x)))
        logits = functional.linear(x, self.token_embedding.weight, self.bias)
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


class EncoderDecoder(nn.Module):
    """The Transformer with one table; a call is the mean smoothed cross-entropy of targets."""

    positions: torch.Tensor

    def __init__(
        self,
        vocab_size: int,
        context_length: int,
        num_layers: int,
        num_heads: int,
        d_model: int,
        d_ff: int,
        dropout: float = 0.0,
        smoothing: float = 0.1,
    ):
        super().__init__()
        self.token_embedding = nn.Embedding(vocab_size, d_model)
        nn.init.normal_(self.token_embedding.weight, std=d_model**-0.5)
        self.dropout = nn.Dropout(dropout)
        self.transformer = nn.Transformer(
            d_model, num_heads, num_layers, num_layers, d_ff, dropout, batch_first=True
        )
        self.transformer.encoder.norm = self.transformer.decoder.norm = None
        for layer in (*self.transformer.encoder.layers, *self.transformer.decoder.layers):
            _drop_residuals_alone(layer)
        at = torch.arange(context_length)[:, None] / 10000 ** (
            torch.arange(0, d_model, 2) / d_model
        )
        self.register_buffer("positions", torch.stack([at.sin(), at.cos()], -1).flatten(1))
        # PyTorch spreads the mass over all V tokens, the paper's authors over the V - 1 others.
        self.smoothing = smoothing * vocab_size / (vocab_size - 1)

    def embedded(self, tokens: torch.Tensor) -> torch.Tensor:
        """Embeddings [B, T, E] of tokens [B, T] and of their positions."""
        x = self.token_embedding(tokens) * math.sqrt(self.token_embedding.embedding_dim)
        return self.dropout(x + self.positions[: tokens.shape[1]])

    def encode(self, sources: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Hidden states [B, S, E] of sources [B, S], of `lengths` [B] tokens each."""
        hidden = padding(sources, lengths)
        return self.transformer.encoder(self.embedded(sources), src_key_padding_mask=hidden)

    def decode(
        self, tokens: torch.Tensor, memory: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        """Hidden states [B, T, E] of a target's tokens [B, T] under encoded sources."""
        later = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1], memory.device)
        return self.transformer.decoder(
            self.embedded(tokens),
            memory,
            tgt_mask=later,
            tgt_is_causal=True,
            memory_key_padding_mask=padding(memory, lengths),
        )

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden states [..., E] to logits [..., V]."""
        return functional.linear(hidden, self.token_embedding.weight)

    def forward(
        self,
        sources: torch.Tensor,
        lengths: torch.Tensor,
        tokens: torch.Tensor,
        targets: torch.Tensor,
    ) -> torch.Tensor:
        """Sources [B, S], lengths [B], tokens and targets [B, T], int64; some targets `IGNORED`."""
        hidden = self.decode(tokens, self.encode(sources, lengths), lengths)
        logits = self.logits(hidden).flatten(0, 1)
        return functional.cross_entropy(
            logits, targets.flatten(), ignore_index=IGNORED, label_smoothing=self.smoothing
        )


def padding(rows: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Whether each place of rows [B, T, ...] lies behind the first `lengths` [B]; bool [B, T]."""
    return torch.arange(rows.shape[1], device=rows.device) >= lengths[:, None]


def _drop_residuals_alone(layer: Any) -> None:
    """Takes the dropout of attention weights and of the feed-forward layer away (section 5.4)."""
    layer.dropout.p = layer.self_attn.dropout = 0.0
    if hasattr(layer, "multihead_attn"):
        layer.multihead_attn.dropout = 0.0


def _bert(batch_size: int, masked: int, **shape: Any) -> tuple[nn.Module, list[torch.Tensor]]:
    length, vocab = shape["context_length"], shape["vocab_size"]
    tokens = torch.randint(vocab, (batch_size, length))
    lengths = torch.randint(length // 2, length + 1, (batch_size,))
    positions = torch.stack([torch.randperm(length // 2)[:masked] for _ in range(batch_size)])
    targets = torch.randint(vocab, (batch_size, masked))
    token_types = (torch.arange(length) >= length // 4).long().expand(batch_size, -1)
    return Bert(**shape), [tokens, token_types, lengths, positions, targets]


def _encoder_decoder(batch_size: int, **shape: Any) -> tuple[nn.Module, list[torch.Tensor]]:
    length = shape["context_length"]
    rows = torch.randint(shape["vocab_size"], (3, batch_size, length))
    lengths = torch.randint(length // 2, length + 1, (batch_size,))
    targets = rows[2].masked_fill(padding(rows[2], lengths), IGNORED)
    return EncoderDecoder(**shape), [rows[0], lengths, rows[1], targets]


MODELS = {"bert": _bert, "encoder_decoder": _encoder_decoder}


def _training(model: str, compiled: bool, **shape: Any) -> TimedProgram:
    """Builds a function that takes one training step on random rows and returns its seconds."""
    module, inputs = MODELS[model](**shape)
    inputs = [each.contiguous().to(DEVICE) for each in inputs]
    return training_step(module.to(DEVICE), inputs, compiled=compiled)


if __name__ == "__main__":
    serve(_training, f"torch {torch.__version__} on {DEVICE}")
