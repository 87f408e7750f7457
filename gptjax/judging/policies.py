"""Policies: models of runs that answer prompts.

policy = Policy(WorkDirectory("runs/sft"))
answers = policy.answers(prompts, 16, temperature=1.0, seed=0)
answers[0][3].text, answers[0][3].finished   # the fourth answer to the first prompt
"""

import dataclasses
from collections.abc import Sequence

from gptjax.data.dialogue.chat_format import Conversation
from gptjax.data.dialogue.prompts import prompt_rows
from gptjax.data.dialogue.records import Records
from gptjax.inference.generate import Generator
from gptjax.inference.sampling import make_sampler
from gptjax.judging.choices import MOST_ANSWERS
from gptjax.runs.workdir import WorkDirectory


@dataclasses.dataclass(frozen=True)
class Answer:
    """Answer of a policy: its text, whether its turn was ended, and its drawn tokens."""

    text: str
    finished: bool
    tokens: tuple[int, ...] = ()


class Policy:
    """A language model of a chat; it holds parameters and compiled programs, so keep it.

    Attributes:
      template: of conversations, by the run's own tokenizer.
      context_length: tokens of prompt and answer at most.
    """

    def __init__(self, workdir: WorkDirectory, step: int | None = None, *, slots: int = 32):
        """Loads a run.

        Args:
          workdir: of a language model whose tokenizer is one of a chat.
          step: the checkpoint; None: the one that the run chooses.
          slots: answers that are written at the same time.

        Raises:
          ValueError: there is no such run or checkpoint, or it is one of another kind.
        """
        model, self.template = workdir.model(), workdir.chat_template()
        self.context_length = model.config.context_length
        params = workdir.params(workdir.resolve_step(step))
        self._generator = Generator(model, params, slots=slots)

    def fitting(
        self, prompts: Records[Conversation], max_new_tokens: int | None = None
    ) -> Records[Conversation]:
        """The prompts that leave room for `max_new_tokens`, or one token; drops and counts others.

        Raises:
          ValueError: none is left.
        """
        room = self.context_length - (max_new_tokens or 1)
        return prompt_rows(prompts, self.template, max_prompt_tokens=room).prompts

    def answers(
        self,
        prompts: Sequence[Conversation],
        count: int,
        *,
        temperature: float = 1.0,
        seed: int = 0,
        max_new_tokens: int | None = None,
        first: int = 0,
    ) -> list[list[Answer]]:
        """Draws answers.

        Args:
          prompts: N that fit.
          count: n answers to each, 1 to MOST_ANSWERS.
          temperature: 0 for the most probable tokens.
          seed: of the draws. A draw also depends on the numbers of its prompt and its answer, and
            on nothing else: more answers or prompts at the end do not change the first ones.
          max_new_tokens: of an answer; None: all that fit in the context.
          first: number of the first prompt, if the prompts come in parts.

        Returns:
          N lists of n.
        """
        marks = self.template.tokenizer
        numbers = [first + i for i in range(len(prompts)) for _ in range(count)]
        requests = self._generator.complete(
            [self.template.prompt(prompt) for prompt in prompts for _ in range(count)],
            sample_indices=[number * MOST_ANSWERS + i % count for i, number in enumerate(numbers)],
            sampler=make_sampler(
                temperature, banned_tokens=marks.outside_answers, vocab_size=marks.vocab_size
            ),
            seed=seed,
            max_new_tokens=max_new_tokens,
            stop_token=marks.end_of_turn,
        )
        answers = [
            Answer(*self.template.response(request.result()), tuple(request.tokens))
            for request in requests
        ]
        return [answers[i : i + count] for i in range(0, len(answers), count)]


def as_field(prompt: Conversation) -> str | list[dict[str, str]]:
    """A prompt as the JSON field that the readers of conversations and prompts take."""
    if len(prompt) == 1 and prompt[0].role == "user":
        return prompt[0].content
    return [dataclasses.asdict(message) for message in prompt]
