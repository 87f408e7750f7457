"""Rewards of answers: reward models, Python functions and rubrics, weighted and added up.

The rule-based rewards are those of GPT-4 (arXiv 2303.08774, section 6): a classifier reads the
prompt (or not), the answer and a rubric, and its class is worth a score.

    refusal = RuleBased("Is this a refusal? (A) yes (B) no", classify, {"A": 1.0, "B": -0.5})
    rewards = [
        Reward("model", score_texts, batched=True),
        Reward("refusal", refusal, weight=0.5),
    ]
    total, parts = composed(rewards, prompts, responses)
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gptjax.data.dialogue.chat_format import Conversation, plain_text

Prompt = str | Conversation
RowName = Callable[[int], str]


def _by_number(row: int) -> str:
    return f"row {row}"


@dataclasses.dataclass(frozen=True)
class Reward:
    """One part of a reward.

    Attributes:
      name: under which it is logged.
      function: (prompt, response) -> float, a `RuleBased` among them; or, `batched`, (prompts,
        responses) -> [N] numbers, as a reward model gives them.
      weight: its share of the total; 0 logs it alone.
      batched: whether the function takes all texts at once.
      content_hash: of the parameters that it is made of; empty where it has none.
    """

    name: str
    function: Callable[[Any, Any], Any]
    weight: float = 1.0
    batched: bool = False
    content_hash: str = ""

    def scores(
        self,
        prompts: Sequence[Prompt],
        responses: Sequence[str],
        row_name: RowName = _by_number,
    ) -> np.ndarray:
        """Reward of each response, unweighted, [N] float32.

        Args:
          prompts: N.
          responses: N.
          row_name: what a message calls a row.

        Raises:
          ValueError: naming the reward, and the row of the first response, for which its function
            raises, or gives anything but a finite number.
        """

        def row(i: int) -> str:
            prompt = prompts[i]
            text = repr(prompt if isinstance(prompt, str) else plain_text(prompt))
            return f"{row_name(i)} (prompt {text if len(text) <= 40 else text[:37] + '...'})"

        if self.batched:
            try:
                given = np.asarray(self.function(prompts, responses))
            except Exception as error:  # whatever a user's function raises is named
                raise self._wrong(f"of {len(prompts)} rows", error) from error
            if given.shape != (len(prompts),):
                raise ValueError(
                    f"reward {self.name!r}: got shape {list(given.shape)}, expected "
                    f"[{len(prompts)}], a number a row"
                )
            rows = given.tolist()
        else:
            rows = [
                self._one(row, i, *texts)
                for i, texts in enumerate(zip(prompts, responses, strict=True))
            ]
        return np.array([self._number(row, i, x) for i, x in enumerate(rows)], np.float32)

    def _one(self, row: RowName, i: int, prompt: Prompt, response: str) -> Any:
        try:
            return self.function(prompt, response)
        except Exception as error:  # whatever a user's function raises is named
            raise self._wrong(row(i), error) from error

    def _number(self, row: RowName, i: int, given: Any) -> float:
        try:
            number = float(given)
        except (TypeError, ValueError):
            number = np.nan
        if isinstance(given, str) or not abs(number) <= float(np.finfo(np.float32).max):
            raise ValueError(
                f"reward {self.name!r}, {row(i)}: got {given!r}, expected a finite number"
            )
        return number

    def _wrong(self, where: str, error: Exception) -> ValueError:
        said = " ".join(str(error).split())
        return ValueError(
            f"reward {self.name!r}, {where}: got {type(error).__name__}: {said}, expected a number"
        )


@dataclasses.dataclass(frozen=True)
class RuleBased:
    """A reward by rubric: a function (prompt, response) -> float for `Reward`.

    Attributes:
      rubric: what the classifier is told to judge by, its classes among it.
      classify: (rubric, prompt, response) -> the name of a class; prompt is None where the rubric
        is about the response alone. Usually it asks a language model. Or, `batched`, (rubric,
        prompts, responses) -> the names of N classes; prompts likewise.
      scores: what each class is worth.
      reads_prompt: whether the classifier sees the prompt.
      batched: whether it takes all texts at once; so is the `Reward` then.

    Source: arXiv 2303.08774, section 6, "Model-Assisted Safety Pipeline".
    """

    rubric: str
    classify: Callable[[str, Any, Any], Any]
    scores: Mapping[str, float]
    reads_prompt: bool = True
    batched: bool = False

    def __call__(self, prompt: Any, response: Any) -> Any:
        """The score of the response's class, or of each; an unknown class raises ValueError."""
        found = self.classify(self.rubric, prompt if self.reads_prompt else None, response)
        return [self._worth(name) for name in found] if self.batched else self._worth(found)

    def _worth(self, found: str) -> float:
        if found not in self.scores:
            raise ValueError(f"class {found!r}, not one of: {', '.join(self.scores)}")
        return float(self.scores[found])


def composed(
    rewards: Sequence[Reward],
    prompts: Sequence[Prompt],
    responses: Sequence[str],
    row_name: RowName = _by_number,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The weighted sum of rewards, and each by its name.

    Args:
      rewards: one or more, of different names.
      prompts: N texts or conversations, as the functions of all rewards take them.
      responses: N texts.
      row_name: what a message calls a row.

    Returns:
      Totals [N] float32; and of each reward what it gave, unweighted, [N] float32.

    Raises:
      ValueError: no rewards, a name twice, a weight that is not finite, more or fewer responses
        than prompts, or what `Reward.scores` raises.
    """
    names = [reward.name for reward in rewards]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"rewards: got {names}, expected one or more of different names")
    if len(prompts) != len(responses):
        raise ValueError(
            f"responses: got {len(responses)}, expected {len(prompts)}, one for each prompt"
        )
    for reward in rewards:
        if not np.isfinite(reward.weight):
            raise ValueError(
                f"reward {reward.name!r}: got weight {reward.weight}, expected a finite number"
            )
    parts = {reward.name: reward.scores(prompts, responses, row_name) for reward in rewards}
    total = np.zeros(len(prompts), np.float32)
    for reward in rewards:
        total += np.float32(reward.weight) * parts[reward.name]
    return total, parts
