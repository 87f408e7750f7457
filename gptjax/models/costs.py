"""What a model costs, by formula: parameters and FLOPs.

XLA's own count sees the body of a scan once, so FLOPs are counted here. Training costs three
times the forward pass (one forward, two for the gradients), hence the factors 6 and 12; see
Kaplan et al. 2020 (arXiv 2001.08361, section 2.1) and Chowdhery et al. 2022 (PaLM, arXiv
2204.02311, appendix B).

    training_flops_per_token(config) * tokens_per_second / peak   # model FLOPs utilisation
"""

import numpy as np

from gptjax import attention
from gptjax.attention.blocks import block_map
from gptjax.attention.patterns import in_order
from gptjax.config import ModelConfig


def _layer_matmul_parameters(config: ModelConfig) -> int:
    assert config.d_head and config.num_kv_heads and config.d_ff, "resolve the config first"
    projections = 2 * (config.num_heads + config.num_kv_heads) * config.d_head * config.d_model
    return projections + 2 * config.d_model * config.d_ff


def matmul_parameters(config: ModelConfig) -> int:
    """Parameters that multiply every token: all kernels, and the logits' table (V x E)."""
    logits = config.vocab_size * config.d_model
    return config.num_layers * _layer_matmul_parameters(config) + logits


def parameter_count(config: ModelConfig) -> int:
    """Parameters, with the true vocabulary: padded embedding rows do not count."""
    assert config.d_head and config.num_kv_heads and config.d_ff, "resolve the config first"
    biases = (config.num_heads + 2 * config.num_kv_heads) * config.d_head
    biases += config.d_ff + 2 * config.d_model
    norm = 2 * config.d_model
    layer = _layer_matmul_parameters(config) + biases + 2 * norm
    tables = 1 if config.tied_embeddings else 2
    embeddings = (tables * config.vocab_size + config.context_length) * config.d_model
    final_norm = norm if config.norm == "pre" else 0
    return embeddings + config.num_layers * layer + final_norm


def training_flops_per_token(config: ModelConfig) -> float:
    """Model FLOPs of training on one token, as if every layer were dense and nothing skipped.

    Source: PaLM (2204.02311, appendix B): 6 N + 12 L H D T, with N the matmul parameters, and
    H D the width of the heads together.
    """
    assert config.d_head, "resolve the config first"
    width = config.num_heads * config.d_head
    pairs = 12 * config.num_layers * width * config.context_length
    return float(6 * matmul_parameters(config) + pairs)


def executed_training_flops_per_token(config: ModelConfig) -> float:
    """As `training_flops_per_token`, with only the pairs in non-empty blocks of 128 positions."""
    assert config.d_head, "resolve the config first"
    patterns = attention.parse(config.attention)
    length, block = config.context_length, 128
    pairs = 0
    for layer in range(config.num_layers):
        pattern = in_order(patterns[layer % len(patterns)])
        rows, columns = np.nonzero(block_map(pattern, length, length, block, block))
        heights = np.minimum(block, length - rows * block)
        widths = np.minimum(block, length - columns * block)
        pairs += int((heights * widths).sum())
    width = config.num_heads * config.d_head
    return 6 * matmul_parameters(config) + 12 * width * pairs / length
