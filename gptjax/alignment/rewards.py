"""Rewards of answers: reward models, Python functions and rubrics, weighted and added up.

The rule-based rewards are those of GPT-4 (arXiv 2303.08774, section 6): a classifier reads the
prompt (or not), the answer and a rubric, and its class is worth a score.

    refusal = RuleBased("Is this a refusal? (A) yes (B) no", classify, {"A": 1.0, "B": -0.5})
    rewards = [
        BatchReward("model", score_texts),
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
      function: (prompt, response) -> float, a `RuleBased` among them.
      weight: its factor in the total; with 0 it is only logged.
      content_hash: of the parameters that it is made of; empty where it has none.
    """

    name: str
    function: Callable[[Any, Any], Any]
    weight: float = 1.0
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

        rows = self._given(prompts, responses, row)
        return np.array([self._number(row, i, x) for i, x in enumerate(rows)], np.float32)

    def _given(
        self, prompts: Sequence[Prompt], responses: Sequence[str], row: RowName
    ) -> Sequence[Any]:
        """Results of the function, one a row."""
        texts = zip(prompts, responses, strict=True)
        return [self._one(row, i, *each) for i, each in enumerate(texts)]

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
class BatchReward(Reward):
    """One part of a reward, whose function takes all texts at once, as a reward model does.

    Its `function` is (prompts, responses) -> [N] numbers; other attributes are those of `Reward`.
    """

    def _given(
        self, prompts: Sequence[Prompt], responses: Sequence[str], row: RowName
    ) -> Sequence[Any]:
        del row
        try:
            given = np.asarray(self.function(prompts, responses))
        except Exception as error:  # whatever a user's function raises is named
            raise self._wrong(f"of {len(prompts)} rows", error) from error
        if given.shape != (len(prompts),):
            raise ValueError(
                f"reward {self.name!r}: got shape {list(given.shape)}, expected "
                f"[{len(prompts)}], a number a row"
            )
        return given.tolist()


@dataclasses.dataclass(frozen=True)
class RuleBased:
    """A reward by rubric: a function (prompt, response) -> float for `Reward`.

    Attributes:
      rubric: what the classifier is told to judge by, its classes among it.
      classify: (rubric, prompt, response) -> the name of a class; prompt is None where the rubric
        is about the response alone. Usually it asks a language model.
      scores: what each class is worth.
      reads_prompt: whether the classifier sees the prompt.

    Source: arXiv 2303.08774, section 6, "Model-Assisted Safety Pipeline".
    """

    rubric: str
    classify: Callable[[str, Any, Any], Any]
    scores: Mapping[str, float]
    reads_prompt: bool = True

    def __call__(self, prompt: Any, response: Any) -> Any:
        """The score of the response's class; an unknown class raises ValueError."""
        return self._worth(self._classes(prompt, response))

    def _classes(self, prompt: Any, response: Any) -> Any:
        return self.classify(self.rubric, prompt if self.reads_prompt else None, response)

    def _worth(self, found: str) -> float:
        if found not in self.scores:
            raise ValueError(f"class {found!r}, not one of: {', '.join(self.scores)}")
        return float(self.scores[found])


@dataclasses.dataclass(frozen=True)
class BatchRuleBased(RuleBased):
    """A reward by rubric, whose classifier takes all texts at once: a function for `BatchReward`.

    Its `classify` is (rubric, prompts, responses) -> the names of N classes; prompts are None where
    the rubric is about responses alone. Other attributes are those of `RuleBased`.
    """

    def __call__(self, prompt: Any, response: Any) -> Any:
        """The score of each response's class; an unknown class raises ValueError."""
        return [self._worth(name) for name in self._classes(prompt, response)]


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
      Totals [N] float32; and by name each reward, unweighted, [N] float32.

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
