"""The reward model: a decoder whose last token's hidden state becomes one number.

InstructGPT (arXiv 2203.02155, section 3.5): the supervised model with its unembedding removed and
a scalar head in its place. The value network of PPO is the same module, started from it.

    params = from_language_model(model, gpt_params, rng)
    rewards = RewardModel(config).apply({"params": params}, tokens, lengths)
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from gptjax import attention
from gptjax.attention.cache import KVCache
from gptjax.models.gpt import GPT
from gptjax.models.heads import ScalarHead
from gptjax.models.layers import Configured, identity
from gptjax.models.parameter_shapes import parameter_shapes
from gptjax.models.transformer import Cache, attention_cycle, init_decoding, padding_segments


class RewardModel(Configured):
    """A decoder with a scalar head, its parameters named as those of `GPT`.

    Attributes:
      config: as of `GPT`.
      attend: as of `GPT`.
      constrain: as of `GPT`.
    """

    attend: Callable[..., jax.Array] = attention.attend
    constrain: Callable[..., jax.Array] = identity

    def setup(self) -> None:
        """Declares the parameters."""
        self.decoder = GPT(self.config, self.attend, self.constrain)
        nn.share_scope(self, self.decoder)
        self.scalar_head = ScalarHead(self.config)

    def __call__(
        self, tokens: jax.Array, lengths: jax.Array, *, deterministic: bool = True
    ) -> jax.Array:
        """The reward of each text, read at its last real token.

        Args:
          tokens: [B, T] int32, texts at the front of their rows.
          lengths: [B] int32, real tokens of each, at least one.
          deterministic: whether dropout is off; if not, the rng "dropout" is needed.

        Returns:
          Rewards [B] float32. Tokens of a row past its length change nothing.
        """
        segment_ids = padding_segments(self.config, lengths, tokens.shape[1])
        values = self.values(tokens, segment_ids=segment_ids, deterministic=deterministic)
        return _at(values, lengths - 1)

    def values(
        self,
        tokens: jax.Array,
        *,
        positions: jax.Array | None = None,
        segment_ids: jax.Array | None = None,
        deterministic: bool = True,
    ) -> jax.Array:
        """The scalar of every position, [B, T] float32; arguments are those of `GPT.hidden`.

        Of texts at the end of their rows, `positions` count from their first token, and
        `segment_ids` are negative before it.
        """
        hidden, _ = self.decoder.hidden(
            tokens, positions=positions, segment_ids=segment_ids, deterministic=deterministic
        )
        return self.scalar_head(hidden)

    def score_answers(
        self,
        prompts: jax.Array,
        prompt_lengths: jax.Array,
        answers: jax.Array,
        answer_lengths: jax.Array,
    ) -> jax.Array:
        """The rewards of K answers to each prompt, which is encoded once; without dropout.

        Keys and values of the prompt are kept, and its answers continue from a copy each. It
        agrees with encoding every text whole, and so do its gradients. Layers come one after
        another, and none is computed again for the gradient, whatever `config.remat` says.

        Args:
          prompts: [B, P] int32, at the front of their rows.
          prompt_lengths: [B] int32, at least one.
          answers: [B, K, A] int32, at the front of their rows.
          answer_lengths: [B, K] int32; an answer of no tokens is read at the prompt's end.

        Returns:
          Rewards [B, K] float32; NaN for a text longer than the table of learned positions.

        Raises:
          ValueError: a prompt would have to attend to its answers.
        """
        c = self.config
        ahead = [pattern for pattern in attention_cycle(c) if pattern.looks_ahead]
        if ahead:
            raise ValueError(
                f"score_answers: got attention {ahead[0]}, by which prompts attend to their "
                "answers, expected one that looks back only (or score whole texts)"
            )
        rows, size = prompts.shape
        _, count, width = answers.shape
        cache = init_decoding(c, rows, size + width, jnp.dtype(c.dtype), max(size, width))
        at = jnp.arange(size)[None]
        hidden, cache = self.decoder.hidden(
            prompts,
            positions=jnp.where(at < prompt_lengths[:, None], at, -1),
            cache=cache,
        )
        at_end = _at(self.scalar_head(hidden), prompt_lengths - 1)
        at = jnp.arange(width)[None, None]
        positions = jnp.where(
            at < answer_lengths[:, :, None], prompt_lengths[:, None, None] + at, -1
        )
        assert cache is not None
        hidden, _ = self.decoder.hidden(
            answers.reshape(rows * count, width),
            positions=positions.reshape(rows * count, width),
            cache=_repeated(cache, count),
        )
        values = self.scalar_head(hidden)
        rewards = _at(values, answer_lengths.reshape(-1) - 1).reshape(rows, count)
        return jnp.where(answer_lengths > 0, rewards, at_end[:, None])


def _at(values: jax.Array, index: jax.Array) -> jax.Array:
    """`values` [B, T] at one index [B] a row, the first for a negative one."""
    return jnp.take_along_axis(values, jnp.maximum(index, 0)[:, None], axis=1)[:, 0]


def _repeated(cache: Cache, count: int) -> Cache:
    """A cache of B texts as one of B x `count`, copies of a text side by side."""

    def one(held: KVCache) -> KVCache:
        batch_axis = held.positions.ndim - 2
        return jax.tree.map(lambda leaf: jnp.repeat(leaf, count, axis=batch_axis), held)

    return jax.tree.map(one, cache, is_leaf=lambda node: isinstance(node, KVCache))


def from_language_model(model: RewardModel, params: Any, rng: jax.Array) -> Any:
    """Parameters of a reward model: those of a `GPT`, with a scalar head of its own.

    Args:
      model: the reward model.
      params: parameters of a `GPT` of the same configuration; an untied head is left out.
      rng: key of the scalar head's kernel.

    Raises:
      ValueError: naming the first parameter that another configuration made.
    """
    token = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    length = jax.ShapeDtypeStruct((1,), jnp.int32)
    shapes = parameter_shapes(model, token, length)
    hidden = np.zeros((1, 1, model.config.d_model), np.float32)
    made = ScalarHead(model.config).init(rng, hidden)["params"]
    params = {name: tree for name, tree in params.items() if name != "head"}
    params["scalar_head"] = made
    given, expected = _shapes(params), _shapes(shapes)
    for name in sorted(given.keys() | expected.keys()):
        if given.get(name) != expected.get(name):
            raise ValueError(
                f"reward model: got parameter {name} {given.get(name, 'missing')}, expected "
                f"{expected.get(name, 'none of that name')}, as its configuration has it"
            )
    return params


def _shapes(params: Any) -> dict[str, list[int]]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {"/".join(key.key for key in path): list(leaf.shape) for path, leaf in leaves}


def rescaled(params: Any, shift: float, gain: float) -> Any:
    """Parameters of a `RewardModel` that gives (r + `shift`) x `gain` where it gave r."""
    head = params["scalar_head"]
    changed = {"kernel": head["kernel"] * gain, "bias": (head["bias"] + shift) * gain}
    return {**params, "scalar_head": changed}


def normalisation(rewards: np.ndarray, *, unit_variance: bool = False) -> tuple[float, float]:
    """The shift and the gain by which `rescaled` makes rewards of the same texts average 0.

    InstructGPT (section 3.5) shifts rewards so that the labellers' demonstrations score 0 on
    average; Ziegler et al. 2019 (arXiv 1909.08593, section 2.1) give them mean 0 and variance 1 on
    samples of the policy.

    Args:
      rewards: [N], what demonstrations, or reference samples, are given.
      unit_variance: whether their standard deviation becomes 1 besides.

    Returns:
      Minus the mean; 1, or 1 / the standard deviation.

    Raises:
      ValueError: no rewards, one that is not finite, or no spread to bring to 1.
    """
    rewards = np.asarray(rewards, np.float64)
    if not rewards.size or not np.isfinite(rewards).all():
        raise ValueError(f"rewards: got {rewards.size}, not all finite, expected finite ones")
    gain = 1.0
    if unit_variance:
        spread = float((rewards - rewards[0]).std())  # exactly 0 of equal rewards
        if spread == 0:
            raise ValueError(f"rewards: got {rewards.size} all equal, expected a spread above 0")
        gain = 1.0 / spread
    return -float(rewards.mean()), gain
