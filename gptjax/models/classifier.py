"""A pretrained model with a task's head: one linear layer on the features of whole sequences.

GPT-1 (Radford et al. 2018, section 3.2): the hidden state of the last layer at a sequence's last
token, extract, goes into a new linear layer, W_y of equation 3. BERT (Devlin et al. 2018, section
4): the pooler's output of the first token, [CLS], goes there; and for a span each token's hidden
state, which gives the scores of a start and of an end there. Dropout falls on the features.

    params = with_task_head(gpt_params, config, 3, rng)
    outputs, hidden = Classifier(config, 3, 0.1).apply({"params": params}, tokens, lengths)
    start_and_end = SpanReader(bert_config).apply({"params": params}, tokens, lengths, token_types)
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from gptjax import attention
from gptjax.config import ModelConfig
from gptjax.model_config import BertConfig
from gptjax.models.bert import Bert
from gptjax.models.gpt import GPT
from gptjax.models.heads import TaskHead
from gptjax.models.layers import Configured, identity
from gptjax.models.parameter_shapes import parameter_shapes
from gptjax.models.transformer import padding_segments, segments_of_lengths

LOWEST = float(jnp.finfo(jnp.float32).min)  # score of what is not there


class TaskModel(Configured):
    """What the models of a task share.

    Attributes:
      config: of the pretrained model.
      num_outputs: C, classes; 1 for a number or for the score of a candidate.
      dropout: rate on the features.
      chooses: whether each sequence of an example is a candidate with a score of its own; if not,
        the features of its sequences are added up.
      attend: as of the pretrained model.
      constrain: likewise.
    """

    num_outputs: int = 2
    dropout: float = 0.0
    chooses: bool = False
    attend: Callable[..., jax.Array] = attention.attend
    constrain: Callable[..., jax.Array] = identity

    def _outputs(self, features: jax.Array, real: jax.Array, deterministic: bool) -> jax.Array:
        """The head's outputs of features [B, K, E], which are `real` [B, K] or missing."""
        if not self.chooses:
            features = jnp.where(real[..., None], features, 0).sum(1, keepdims=True)
        outputs = self.task_head(self.feature_dropout(features, deterministic=deterministic))
        return jnp.where(real, outputs[..., 0], LOWEST) if self.chooses else outputs[:, 0]


class Classifier(TaskModel):
    """A decoder with a head on its features, its parameters named as those of `GPT`.

    As in the authors' code the candidates of an example share one mask of the dropout.
    """

    def setup(self) -> None:
        """Declares the parameters."""
        self.decoder = GPT(self.config, self.attend, self.constrain)
        nn.share_scope(self, self.decoder)
        self.task_head = TaskHead(self.config, self.num_outputs)
        self.feature_dropout = nn.Dropout(self.dropout, broadcast_dims=(1,))

    def __call__(
        self, tokens: jax.Array, lengths: jax.Array, *, deterministic: bool = True
    ) -> tuple[jax.Array, jax.Array]:
        """The outputs of the head, and the hidden states.

        Args:
          tokens: [B, K, T] int32, the K sequences of each example, at the front of their rows.
          lengths: [B, K] int32, real tokens of each; 0 where there is no sequence.
          deterministic: whether dropout is off; if not, the rng "dropout" is needed.

        Returns:
          outputs: [B, C] float32; if the model chooses, [B, K], as low as can be where there is no
            candidate.
          hidden: [B, K, T, E], see `logits`.
        """
        rows, count, length = tokens.shape
        flat = lengths.reshape(-1)
        hidden, _ = self.decoder.hidden(
            tokens.reshape(-1, length),
            segment_ids=padding_segments(self.config, flat, length),
            deterministic=deterministic,
        )
        last = jnp.maximum(flat - 1, 0)[:, None, None]
        features = jnp.take_along_axis(hidden, last, axis=1).reshape(rows, count, -1)
        outputs = self._outputs(features, lengths > 0, deterministic)
        return outputs, hidden.reshape(rows, count, length, -1)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Next-token logits of hidden states [N, T, E], as of `GPT`."""
        return self.decoder.logits(hidden)


class BertClassifier(TaskModel):
    """BERT and its pooler with a head, the parameters named as those of `Bert`.

    It has neither a masked-LM nor a next-sentence head, whatever `config.heads` says.
    """

    config: BertConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def setup(self) -> None:
        """Declares the parameters."""
        self.encoder = _encoder(self)
        nn.share_scope(self, self.encoder)
        initializer = nn.initializers.truncated_normal
        self.task_head = TaskHead(self.config, self.num_outputs, initializer)
        self.feature_dropout = nn.Dropout(self.dropout)

    def __call__(
        self,
        tokens: jax.Array,
        lengths: jax.Array,
        token_types: jax.Array,
        *,
        deterministic: bool = True,
    ) -> tuple[jax.Array, jax.Array]:
        """The outputs of the head, and the hidden states; others as of `Classifier`.

        Args:
          tokens: [B, K, T] int32.
          lengths: [B, K] int32.
          token_types: [B, K, T] int32, 1 in the second text of a sequence.
          deterministic: whether dropout is off.
        """
        rows, count, length = tokens.shape
        hidden = self.encoder.hidden(
            tokens.reshape(-1, length),
            token_types=token_types.reshape(-1, length),
            segment_ids=segments_of_lengths(lengths.reshape(-1), length),
            deterministic=deterministic,
        )
        features = self.encoder.pooled(hidden).reshape(rows, count, -1)
        outputs = self._outputs(features, lengths > 0, deterministic)
        return outputs, hidden.reshape(rows, count, length, -1)


class SpanReader(Configured):
    """BERT, which scores each token as the start and as the end of an answer.

    Devlin et al. 2018, section 4.2: the scores are products with two new vectors. The parameters
    are named as those of `Bert`, without a pooler; the two vectors are the kernel of `task_head`.

    Differs from google-research/bert: padding is neither a start nor an end.
    """

    config: BertConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    attend: Callable[..., jax.Array] = attention.attend
    constrain: Callable[..., jax.Array] = identity

    def setup(self) -> None:
        """Declares the parameters."""
        self.encoder = _encoder(self)
        nn.share_scope(self, self.encoder)
        self.task_head = TaskHead(self.config, 2, nn.initializers.truncated_normal)

    def __call__(
        self,
        tokens: jax.Array,
        lengths: jax.Array,
        token_types: jax.Array,
        *,
        deterministic: bool = True,
    ) -> jax.Array:
        """Scores of each token as a start and as an end.

        Args:
          tokens: [B, T] int32.
          lengths: [B] int32, real tokens of each row.
          token_types: [B, T] int32, 1 in the second text of a row.
          deterministic: whether dropout is off; if not, the rng "dropout" is needed.

        Returns:
          [B, T, 2] float32, as low as can be at padding.
        """
        segments = segments_of_lengths(lengths, tokens.shape[1])
        hidden = self.encoder.hidden(
            tokens, token_types=token_types, segment_ids=segments, deterministic=deterministic
        )
        return jnp.where((segments == 0)[..., None], self.task_head(hidden), LOWEST)


def _encoder(model: BertClassifier | SpanReader) -> Bert:
    config = dataclasses.replace(model.config, heads="encoder")
    return Bert(config, model.attend, model.constrain)


def classifier_shapes(config: ModelConfig, num_outputs: int) -> Any:
    """Shapes of a classifier's parameters: those of a `GPT`, and the head's."""
    return parameter_shapes(GPT(config)) | {
        "task_head": jax.eval_shape(lambda: _head_params(config, num_outputs, jax.random.key(0)))
    }


def with_task_head(params: Any, config: ModelConfig, num_outputs: int, rng: jax.Array) -> Any:
    """Parameters of a `GPT` of `config`, with a task's head that is drawn with `rng`."""
    return params | {"task_head": _head_params(config, num_outputs, rng)}


def with_first_layers(params: Any, config: ModelConfig, count: int, rng: jax.Array) -> Any:
    """Parameters of a `GPT` of `config` whose layers from `count` on are drawn with `rng` anew.

    So is what stands behind the last layer. Tables of tokens and positions stay. Radford et al.
    2018, figure 2 (left), transfer 0 to 12 layers.
    """
    fresh: Any = GPT(config).init(rng, jnp.zeros((1, 1), jnp.int32))["params"]["trunk"]
    layers = jax.tree.map(
        lambda old, new: jnp.concatenate([old[:count], new[count:]]),
        params["trunk"]["layers"],
        fresh["layers"],
    )
    return params | {"trunk": fresh | {"layers": layers}}


def _head_params(config: ModelConfig, num_outputs: int, rng: jax.Array) -> Any:
    features = np.zeros((1, 1, config.d_model), np.float32)
    return TaskHead(config, num_outputs).init(rng, features)["params"]
