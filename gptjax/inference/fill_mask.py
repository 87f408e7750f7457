"""The most probable tokens in the places of `[MASK]`, by a BERT.

found = fill_mask(model, params, tokenizer, "The [MASK] is returned.", top=5)
found[0][0]   # ("result", 0.31)
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.finite import check_finite
from gptjax.models.bert import Bert
from gptjax.tokenization import WordPiece
from gptjax.tokenization.wordpiece import MASK, SEPARATOR, START


def fill_mask(
    model: Bert, params: Any, tokenizer: WordPiece, text: str, top: int = 5
) -> list[list[tuple[str, float]]]:
    """Fills the masks of a text, each as if it were the only one that is asked for.

    Args:
      model: with a masked-LM head.
      params: of the model.
      tokenizer: of the model.
      text: has at least one `[MASK]`; what follows a `[SEP]` is its second part.
      top: number of tokens for each mask.

    Returns:
      For each mask in order its `top` most probable tokens, the most probable first, and their
      probabilities.

    Raises:
      ValueError: the model has no masked-LM head, or the text has no `[MASK]` or does not fit.
      NotFinite: the model's logits are not.
    """
    config = model.config
    if config.heads == "encoder":
        raise ValueError("model: got one without a masked-LM head, expected one with it")
    special = tokenizer.special_tokens
    written = tokenizer.encode(text, allowed_special=[MASK, SEPARATOR])
    tokens = np.concatenate([[special[START]], written, [special[SEPARATOR]]]).astype(np.int32)
    masks = np.flatnonzero(tokens == special[MASK])
    if not masks.size:
        raise ValueError(f"text: got {text!r}, expected at least one {MASK} in it")
    if tokens.size > config.context_length:
        raise ValueError(
            f"text: got {tokens.size} tokens with {START} and {SEPARATOR}, expected at most the "
            f"{config.context_length} of the context"
        )
    ends = np.cumsum(tokens == special[SEPARATOR])
    types = np.minimum(np.concatenate([[0], ends[:-1]]), 1).astype(np.int32)

    @jax.jit
    def probabilities(params: Any) -> jax.Array:
        variables = {"params": params}
        hidden: Any = model.apply(
            variables, tokens[None], token_types=jnp.asarray(types[None]), method="hidden"
        )
        logits: Any = model.apply(variables, hidden[:, masks], method="masked_logits")
        return jax.nn.softmax(logits[0], axis=-1)

    found = np.asarray(probabilities(params))
    check_finite(found, "logits")
    return [
        [(tokenizer.tokens[i], float(of_mask[i])) for i in np.argsort(-of_mask)[:top]]
        for of_mask in found
    ]
