"""Costs of a model, by formula: parameters and FLOPs.

XLA's own count sees the body of a scan once, so FLOPs are counted here. Training costs three
times the forward pass (one forward, two for the gradients), hence the factors 6 and 12; see
Kaplan et al. 2020 (arXiv 2001.08361, section 2.1) and Chowdhery et al. 2022 (PaLM, arXiv
2204.02311, appendix B).

    training_flops_per_token(config) * tokens_per_second / peak   # model FLOPs utilisation
"""

import dataclasses
import math

from gptjax.attention import scores
from gptjax.attention.costs import executed_pairs
from gptjax.config import ModelConfig
from gptjax.model_config import BertConfig, EncoderDecoderConfig
from gptjax.models.bert import TOKEN_TYPES
from gptjax.models.lstm import GATES
from gptjax.models.transformer import attention_cycle


def _head_widths(config: ModelConfig) -> tuple[int, int, int, int]:
    """Numbers a position has, over all heads: queries, keys, values, and their weighted sums."""
    assert config.d_head and config.d_value and config.num_kv_heads, "resolve the config first"
    heads, kv_heads = config.num_heads, config.num_kv_heads
    return (
        heads * config.d_head,
        kv_heads * config.d_head,
        kv_heads * config.d_value,
        heads * config.d_value,
    )


def _layer_matmul_parameters(config: ModelConfig) -> int:
    assert config.d_ff, "resolve the config first"
    if config.trunk == "lstm":
        return 2 * GATES * config.d_model**2
    return (sum(_head_widths(config)) + 2 * config.d_ff) * config.d_model


def matmul_parameters(config: ModelConfig, *, scalar_head: bool = False) -> int:
    """Parameters that multiply every token: all kernels, and the logits' table (V x E).

    With `scalar_head`, here and below, of a model with one number in place of the logits.
    """
    outputs = 1 if scalar_head else config.vocab_size
    return config.num_layers * _layer_matmul_parameters(config) + outputs * config.d_model


def parameter_count(config: ModelConfig, *, scalar_head: bool = False) -> int:
    """Parameters, with the true vocabulary: padded embedding rows do not count."""
    assert config.d_ff, "resolve the config first"
    biases = sum(_head_widths(config)[:3]) + config.d_ff + 2 * config.d_model
    norm = 2 * config.d_model
    if config.trunk == "lstm":
        biases, norm = GATES * config.d_model, 0
    layer = _layer_matmul_parameters(config) + biases + 2 * norm
    tables = 1 if config.tied_embeddings or scalar_head else 2
    scalar = config.d_model + 1 if scalar_head else 0
    positions = config.context_length if config.positions == "learned" else 0
    embeddings = (tables * config.vocab_size + positions) * config.d_model
    learned = scores.learned_shapes(scores.parse(config.score), config.num_heads)
    shared = sum(math.prod(shape) for shape in learned.values())
    final_norm = norm if config.norm == "pre" else 0
    return embeddings + config.num_layers * layer + shared + final_norm + scalar


def training_flops_per_token(config: ModelConfig, *, scalar_head: bool = False) -> float:
    """Model FLOPs of training on one token, as if every layer were dense and nothing skipped.

    Source: PaLM (2204.02311, appendix B): 6 N + 12 L H D T, with N the matmul parameters, and
    H D the width of the heads together; half of it for the scores, half for the values.
    """
    pairs = config.num_layers * config.context_length
    matmuls = matmul_parameters(config, scalar_head=scalar_head)
    return float(6 * (matmuls + _pair_width(config) * pairs))


def _pair_width(config: ModelConfig) -> int:
    """Multiplications for a pair of positions over all heads: D for the score, D for the value.

    None in an LSTM, which reads a position once.
    """
    if config.trunk == "lstm":
        return 0
    queries, _, _, outputs = _head_widths(config)
    return queries + outputs


def executed_training_flops_per_token(
    config: ModelConfig, *, scalar_head: bool = False, causal: bool = True
) -> float:
    """Training FLOPs a token, with only the pairs that blockwise attention computes.

    `causal`: whether positions see those before them alone; an encoder's see all.
    """
    cycle = attention_cycle(config)
    length, heads = config.context_length, config.num_heads
    whole = config.score != "none" or config.attention_dropout > 0
    pairs = 0.0  # over all layers and heads
    for layer in range(config.num_layers):
        per_head = cycle[layer % len(cycle)].per_head()
        for head, pattern in enumerate(per_head):
            computed = executed_pairs(pattern, length, causal=causal, factorized=not whole)
            pairs += len(range(head, heads, len(per_head))) * computed
    attention = _pair_width(config) * pairs / (heads * length)
    return 6 * (matmul_parameters(config, scalar_head=scalar_head) + attention)


def encoder_decoder_parameter_count(config: EncoderDecoderConfig) -> int:
    """Parameters of an encoder and a decoder that share one table, with the true vocabulary."""
    table = config.vocab_size * config.d_model
    cross = cross_parameter_count(config)
    return parameter_count(config) + cross + parameter_count(config.encoder()) - table


def cross_parameter_count(config: ModelConfig) -> int:
    """Parameters of the cross attention of all layers, with its norms."""
    biases = sum(_head_widths(config)[:3]) + config.d_model
    norm = 2 * config.d_model
    return config.num_layers * (_cross_matmul_parameters(config) + biases + norm)


def cross_flops(config: ModelConfig, queries: float, keys: float, pairs: float) -> float:
    """Training FLOPs of the cross attention of all layers.

    Args:
      config: resolved.
      queries, keys: tokens that read, and places that are read.
      pairs: of both that meet.
    """
    query, key, value, out = _head_widths(config)
    maps = config.d_model * (queries * (query + out) + keys * (key + value))
    return 6.0 * config.num_layers * (maps + pairs * (query + out))


def encoder_decoder_matmul_parameters(config: EncoderDecoderConfig) -> int:
    """Parameters that multiply a token of the source or one of the target."""
    table = config.vocab_size * config.d_model
    cross = config.num_layers * _cross_matmul_parameters(config)
    return matmul_parameters(config) + cross + matmul_parameters(config.encoder()) - table


def encoder_decoder_flops_per_token(config: EncoderDecoderConfig) -> tuple[float, float]:
    """Training FLOPs on one token: as if attention were dense, and as it is executed.

    A token is one of the source or of the target, which are equally long in a batch: half of what
    a token of each costs together, in sentences as long as the context.
    """
    stacks = ((config, True), (config.encoder(), False), (config.crossing(), False))
    dense = executed = 6.0 * encoder_decoder_matmul_parameters(config)
    for stack, causal in stacks:
        matmuls = 6 * matmul_parameters(stack)
        dense += training_flops_per_token(stack) - matmuls
        executed += executed_training_flops_per_token(stack, causal=causal) - matmuls
    return dense / 2, executed / 2


def _cross_matmul_parameters(config: ModelConfig) -> int:
    return sum(_head_widths(config)) * config.d_model


def bert_parameter_count(config: BertConfig) -> int:
    """Parameters of BERT and the heads that it has, with the true vocabulary."""
    width, norm = config.d_model, 2 * config.d_model
    dense = width * width + width
    parts = {
        "pooler": dense,
        "masked_lm": dense + norm + config.vocab_size,
        "next_sentence": 2 * width + 2,
    }
    absent = {"encoder": ("masked_lm", "next_sentence"), "masked_lm": ("pooler", "next_sentence")}
    heads = sum(size for name, size in parts.items() if name not in absent.get(config.heads, ()))
    embedded = TOKEN_TYPES * width + norm
    tied = dataclasses.replace(config, tied_embeddings=True)
    return parameter_count(tied) + embedded + heads


def bert_training_flops_per_token(config: BertConfig, length: int, masked: int) -> float:
    """FLOPs of training BERT on one token of a row, as if every layer were dense.

    Args:
      config: resolved.
      length: tokens of a row, padding included.
      masked: positions of a row that the masked-LM head computes.
    """
    row = dataclasses.replace(config, context_length=length)
    encoder = training_flops_per_token(row, scalar_head=True)
    return encoder + _of_bert_heads(config, length, masked)


def bert_executed_training_flops_per_token(config: BertConfig, length: int, masked: int) -> float:
    """The same, with only the pairs that blockwise attention computes."""
    row = dataclasses.replace(config, context_length=length)
    encoder = executed_training_flops_per_token(row, scalar_head=True, causal=False)
    return encoder + _of_bert_heads(config, length, masked)


def _of_bert_heads(config: BertConfig, length: int, masked: int) -> float:
    """FLOPs of the heads a token of a row, less those of the scalar head that stood for them."""
    width = config.d_model
    row = 0 if config.heads == "encoder" else masked * (width + config.vocab_size) * width
    row += 0 if config.heads == "masked_lm" else width * width
    row += 2 * width if config.heads == "pretraining" else 0
    return 6 * (row / length - width)
