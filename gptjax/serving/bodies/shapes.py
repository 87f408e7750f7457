"""Parts of answers in OpenAI's shapes."""

from typing import Any

from gptjax.chat.drafts import Draft
from gptjax.inference.text import GrowingText
from gptjax.serving.generation import top_of
from gptjax.serving.served import Served


def usage(prompt: int, completion: int) -> dict[str, Any]:
    """Tokens that were read and written."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def chat_logprobs(
    served: Served, draft: Draft, begin: int, end: int, most: int
) -> list[dict[str, Any]]:
    """The tokens of a draft from `begin` to `end`, with the `most` most probable ones beside.

    Log-probabilities are the model's, in nats, before temperature, penalties and the other filters.
    """

    def one(token: int, log_prob: float) -> dict[str, Any]:
        named = {"token": served.token_names[token], "logprob": log_prob}
        return {**named, "bytes": served.token_bytes(token), "id": token}

    return [
        {
            **one(draft.tokens[i], draft.log_probs[i]),
            "top_logprobs": [one(*each) for each in top_of(draft, i, most)],
        }
        for i in range(begin, end)
    ]


def legacy_logprobs(
    served: Served,
    tokens: list[int],
    log_probs: list[float | None],
    tops: list[list[tuple[int, float]] | None],
    start: int = 0,
) -> dict[str, Any]:
    """The log-probabilities of /v1/completions, with each token among the most probable ones.

    Args:
      served: the model.
      tokens: [n].
      log_probs: of each; None for one with nothing before it.
      tops: the most probable tokens of each place, None as above.
      start: where the first token begins in the text, in characters.
    """
    names, offsets, known = served.token_names, [], 0
    text = GrowingText(served.model.tokenizer)
    for token in tokens:
        offsets.append(start + known)
        known = len(text.add([token]))
    best: list[dict[str, float] | None] = []
    for token, log_prob, top in zip(tokens, log_probs, tops, strict=True):
        if top is None or log_prob is None:
            best.append(None)
        else:
            best.append({names[each]: value for each, value in top} | {names[token]: log_prob})
    return {
        "tokens": [names[token] for token in tokens],
        "token_logprobs": log_probs,
        "top_logprobs": best,
        "text_offset": offsets,
    }
