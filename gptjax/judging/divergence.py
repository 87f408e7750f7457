"""KL divergence of one language model from another, over the answers it draws itself.

found = divergence(model, params, reference, prompts, template, count=4)
print(found.kl, found.standard_error)   # nats an answer
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from gptjax import attention
from gptjax.alignment.preference_losses import answer_log_probs
from gptjax.compiled import compiled
from gptjax.data.dialogue.chat_format import ChatTemplate
from gptjax.inference.batch import fetched
from gptjax.inference.generate import Generator
from gptjax.models.decoder import Decoder


@dataclasses.dataclass(frozen=True)
class Divergence:
    """An estimate of KL(policy || reference).

    Attributes:
      kl: nats an answer, the mean over prompts.
      standard_error: of it, over prompts; 0 of a single one.
      answers: number of them.
    """

    kl: float
    standard_error: float
    answers: int


def divergence(
    model: Decoder,
    params: Any,
    reference: Any,
    prompts: Sequence[np.ndarray],
    template: ChatTemplate,
    *,
    count: int = 1,
    max_answer_tokens: int | None = None,
    seed: int = 0,
    batch_size: int = 32,
) -> Divergence:
    """Draws answers from the policy, and compares the log-probabilities of both models.

    The mean of log(policy / reference) over the policy's own answers, k1 of Schulman 2020
    ("Approximating KL divergence"). It is unbiased; the standard error shows its variance. Answers
    that do not end are cut where the context, or `max_answer_tokens`, ends.

    Args:
      model: of both.
      params: of the policy.
      reference: parameters of the other.
      prompts: N of token ids [n], with the assistant's mark at their ends.
      template: says which token ends a turn.
      count: answers to each.
      max_answer_tokens: of an answer; None: all that fit in the context.
      seed: of the draws.
      batch_size: answers scored at a time.
    """
    repeated = [prompt for prompt in prompts for _ in range(count)]
    answers = Generator(model.clone(attend=attention.attend), params).generate(
        repeated,
        max_new_tokens=max_answer_tokens,
        seed=seed,
        stop_token=template.tokenizer.end_of_turn,
    )
    texts = [np.concatenate(pair) for pair in zip(repeated, answers, strict=True)]
    size = min(batch_size, len(texts))
    tokens = np.full(
        (-(-len(texts) // size) * size, 1, max(map(len, texts))),
        template.tokenizer.padding,
        np.int32,
    )
    lengths, starts = np.zeros((len(tokens), 1), np.int32), np.zeros(len(tokens), np.int32)
    for row, (prompt, text) in enumerate(zip(repeated, texts, strict=True)):
        tokens[row, 0, : len(text)], lengths[row], starts[row] = text, len(text), len(prompt)
    score = compiled(_of_answers, model)
    gained = np.zeros(len(tokens))
    for first in range(0, len(tokens), size):
        part = slice(first, first + size)
        batch = {"tokens": tokens[part], "lengths": lengths[part], "prompt_lengths": starts[part]}
        ours, theirs = (fetched(score(each, batch))[:, 0] for each in (params, reference))
        gained[part] = ours.astype(np.float64) - theirs
    of_prompts = gained[: len(texts)].reshape(len(prompts), count).mean(1)
    error = of_prompts.std(ddof=1) / np.sqrt(len(prompts)) if len(prompts) > 1 else 0.0
    return Divergence(float(of_prompts.mean()), float(error), len(texts))


def _of_answers(model: Decoder, params: Any, batch: Any) -> jax.Array:
    return answer_log_probs(model)(params, batch)
