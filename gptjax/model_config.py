"""The configuration of a model, for all kinds of run.

config = ModelConfig(num_layers=4, attention="dense,banded(window=256)").resolved()
"""

import dataclasses
from typing import Any, Self

from gptjax.settings import setting, validate

# The widths at which both parametrizations are one: of hidden states, and of a head.
MUP_WIDTH, MUP_HEAD = 128, 64


@dataclasses.dataclass
class ModelConfig:
    """A decoder. The papers' models differ in these fields only."""

    vocab_size: int = setting(50257, "tokens in the vocabulary, as the tokenizer has", low=2)
    vocab_multiple: int = setting(
        128, "the number of embedding rows is padded to a multiple of this", low=1
    )
    context_length: int = setting(
        1024, "tokens in a row, which is the longest context of the model", low=1
    )
    num_layers: int = setting(12, "number of layers", low=1)
    num_heads: int = setting(12, "query heads in a layer", low=1)
    num_kv_heads: int | None = setting(
        None, "key and value heads in a layer; none: num_heads", low=1
    )
    d_model: int = setting(768, "width of the hidden states", low=1)
    d_head: int | None = setting(
        None, "width of a query or key head; none: d_model / num_heads", low=1
    )
    d_value: int | None = setting(None, "width of a value head; none: d_head", low=1)
    d_ff: int | None = setting(None, "width of the feed-forward layers; none: 4 d_model", low=1)
    trunk: str = setting(
        "transformer",
        "what lies between embeddings and logits: layers of attention, or num_layers of LSTM, "
        "which have no heads, no positions and no norm",
        choices=("transformer", "lstm"),
    )
    positions: str = setting(
        "learned",
        "how the model encodes the position of a token",
        choices=("learned", "sinusoidal", "rotary", "none"),
    )
    rotary_base: float = setting(10000.0, "base of the rotary frequencies", above=1.0)
    rotary_scaling: str = setting(
        "none",
        "method that extends rotary positions to a longer context: positions closer together "
        "(interpolation), a larger base (ntk), or each pair by how often it turns (yarn)",
        choices=("none", "interpolation", "ntk", "yarn"),
    )
    rotary_factor: float = setting(
        1.0, "how many times longer rotary_scaling makes the context", low=1.0
    )
    rotary_original_context: int | None = setting(
        None,
        "context length in tokens before yarn extends it; none: context_length / rotary_factor "
        "under yarn",
        low=1,
    )
    attention: str = setting(
        "dense",
        "attention patterns that the layers cycle through, such as dense,banded(window=256)",
    )
    score: str = setting(
        "none",
        "changes of the attention scores, in order, such as soft_cap(cap=30),alibi; none: no "
        "change",
    )
    attention_impl: str = setting(
        "auto",
        "implementation of attention; auto: chosen among those that can compute the pattern",
        choices=("auto", "reference", "blockwise", "fused"),
    )
    norm: str = setting(
        "pre",
        "LayerNorm before each branch (pre) or after each residual addition (post)",
        choices=("pre", "post"),
    )
    layer_norm_epsilon: float = setting(
        1e-5, "number added to the variance in LayerNorm", above=0.0
    )
    activation: str = setting(
        "gelu_tanh",
        "activation function of the feed-forward layers",
        choices=("gelu_tanh", "gelu", "gelu_sigmoid", "relu"),
    )
    tied_embeddings: bool = setting(True, "whether the logits use the token embedding's weights")
    init_std: float = setting(0.02, "standard deviation of the initial weights", above=0.0)
    scaled_residual_init: bool = setting(
        True, "whether residual projections start at init_std / sqrt(2 num_layers)"
    )
    parametrization: str = setting(
        "standard",
        "how initial weights, learning rates, logits and scores depend on the width: not at all, "
        "or by maximal update parametrization (mup), under which the best learning rate stays "
        f"where it is; at d_model = {MUP_WIDTH} and d_head = {MUP_HEAD} both are the same",
        choices=("standard", "mup"),
    )
    embedding_dropout: float = setting(
        0.0, "dropout rate of the embedded inputs in training", low=0.0, below=1.0
    )
    attention_dropout: float = setting(
        0.0, "dropout rate of the attention weights in training", low=0.0, below=1.0
    )
    residual_dropout: float = setting(
        0.0, "dropout rate of each branch's output in training", low=0.0, below=1.0
    )
    dtype: str = setting(
        "float32",
        "number format of the computation; parameters are float32",
        choices=("float32", "bfloat16"),
    )
    remat: str = setting(
        "none",
        "what the backward pass computes again instead of keeping it: whole layers (block), or "
        "all but matrix products (dots)",
        choices=("none", "block", "dots"),
    )

    @property
    def tokens_per_row(self) -> int:
        """The tokens that a row of a batch counts for in schedules."""
        return self.context_length

    @property
    def width_multiplier(self) -> float:
        """How many times wider than `MUP_WIDTH` the model is, where that counts; otherwise 1."""
        return self.d_model / MUP_WIDTH if self.parametrization == "mup" else 1.0

    @property
    def hidden_std(self) -> float:
        """Standard deviation of initial kernels that read hidden states (table 8 of muP).

        Source: Tensor Programs V (arXiv 2203.03466), table 8: variances fall as 1 / fan in.
        """
        return self.init_std / self.width_multiplier**0.5

    @property
    def query_factor(self) -> float:
        """What multiplies queries, so that scores have 1/d_head in place of its square root."""
        assert self.d_head is not None, "resolve the config first"
        return (MUP_HEAD / self.d_head) ** 0.5 if self.parametrization == "mup" else 1.0

    @property
    def has_wholes(self) -> bool:
        """Whether parts of a text, such as an image's, see each other, so that none is cut."""
        return False

    @property
    def crosses(self) -> bool:
        """Whether text reads images by cross attention, outside the text."""
        return False

    def has_room_for(self, count: int) -> bool:
        """Whether a text may have so many images, if the context has places for them."""
        return count == 0

    def check_images(self, tokens: Any, count: int) -> None:
        """Refuses (ValueError) so many images that tokens [n] have no places for, or too few."""
        del tokens
        if count:
            raise ValueError(
                f"images: got {count}, expected none: the model was trained on text alone"
            )

    def resolved(self) -> Self:
        """A copy that is checked field by field, then as `resolve` does."""
        validate(self, "config.model.")
        copy = dataclasses.replace(self)
        copy.resolve()
        return copy

    def resolve(self) -> None:
        """Checks fields that depend on each other, and fills in those that follow from others.

        Raises:
          ValueError: fields that contradict each other.
        """
        if self.d_head is None:
            if self.d_model % self.num_heads:
                raise ValueError(
                    f"config.model.d_model: got {self.d_model} with {self.num_heads} heads, "
                    "expected a multiple of num_heads (or set d_head)"
                )
            self.d_head = self.d_model // self.num_heads
        self.d_value = self.d_value or self.d_head
        self.num_kv_heads = self.num_kv_heads or self.num_heads
        self.d_ff = self.d_ff or 4 * self.d_model
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"config.model.num_kv_heads: got {self.num_kv_heads}, expected a divisor of "
                f"num_heads = {self.num_heads}"
            )
        if self.trunk == "lstm":
            _check_lstm(self)
        _resolve_positions(self)


@dataclasses.dataclass
class BertConfig(ModelConfig):
    """An encoder, as BERT: each position sees all of its text."""

    trunk: str = setting("transformer", "layers of attention", choices=("transformer",))
    parametrization: str = setting("standard", "that of the paper", choices=("standard",))

    heads: str = setting(
        "pretraining",
        "what stands on the encoder: a pooler, a masked-LM and a next-sentence head (pretraining), "
        "a masked-LM head alone (masked_lm), or a pooler alone (encoder), which no run can train",
        choices=("pretraining", "masked_lm", "encoder"),
    )


@dataclasses.dataclass
class EncoderDecoderConfig(ModelConfig):
    """An encoder and a decoder, of the same widths. Other fields of layers are the decoder's."""

    trunk: str = setting("transformer", "layers of attention", choices=("transformer",))
    parametrization: str = setting("standard", "that of the paper", choices=("standard",))

    encoder_layers: int | None = setting(
        None, "layers of the encoder; none: num_layers, as many as the decoder has", low=1
    )
    encoder_attention: str = setting(
        "dense", "attention patterns that the encoder's layers cycle through"
    )
    cross_attention: str = setting(
        "dense",
        "attention patterns, from positions of the target to those of the source, that the "
        "decoder's layers cycle through",
    )

    def resolve(self) -> None:
        """Resolves as a decoder does, and fills in the encoder's layers."""
        super().resolve()
        self.encoder_layers = self.encoder_layers or self.num_layers
        if not self.tied_embeddings:
            raise ValueError(
                "config.model.tied_embeddings: got False, expected True: source, target and logits "
                "share one table"
            )

    def encoder(self) -> ModelConfig:
        """The encoder's stack, as the configuration of a `Transformer`."""
        return self._stack(num_layers=self.encoder_layers, attention=self.encoder_attention)

    def crossing(self) -> ModelConfig:
        """A stack whose attention is the decoder's cross attention, to count pairs by."""
        return self._stack(attention=self.cross_attention, score="none")

    def _stack(self, **changes: Any) -> ModelConfig:
        names = (field.name for field in dataclasses.fields(ModelConfig))
        return ModelConfig(**{name: getattr(self, name) for name in names} | changes)


def _check_lstm(model: ModelConfig) -> None:
    """Refuses fields that ask for what an LSTM does not have."""
    absent = {
        "positions": "none",
        "attention": "dense",
        "score": "none",
        "attention_dropout": 0.0,
        "remat": "none",
        "parametrization": "standard",
    }
    for name, allowed in absent.items():
        got = getattr(model, name)
        if got != allowed:
            raise ValueError(
                f"config.model.{name}: got {got} with trunk=lstm, expected {allowed}: it has no "
                "attention, no positions, no parametrization but its own, and keeps what its "
                "backward pass reads"
            )


def _resolve_positions(model: ModelConfig) -> None:
    """Checks the fields that depend on `positions`, and fills in those that follow from others."""
    kind, scaling = model.positions, model.rotary_scaling
    width = "d_model" if kind == "sinusoidal" else "d_head"
    in_pairs = kind in ("sinusoidal", "rotary")
    checks = (
        (width, not in_pairs or getattr(model, width) % 2 == 0, "an even number"),
        (width, scaling != "ntk" or getattr(model, width) > 2, "more than 2"),
        ("rotary_scaling", scaling == "none" or kind == "rotary", "none"),
        ("rotary_factor", scaling != "none" or model.rotary_factor == 1, "1"),
        ("rotary_factor", scaling == "none" or model.rotary_factor > 1, "more than 1"),
        ("rotary_original_context", scaling == "yarn" or not model.rotary_original_context, "none"),
    )
    for field, fits, allowed in checks:
        if not fits:
            raise ValueError(
                f"config.model.{field}: got {getattr(model, field)} with positions={kind} and "
                f"rotary_scaling={scaling}, expected {allowed}"
            )
    if scaling == "yarn" and model.rotary_original_context is None:
        model.rotary_original_context = max(1, round(model.context_length / model.rotary_factor))
