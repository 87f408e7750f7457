"""Rankings as batches: K answers a prompt, padded to one shape, and who prefers which.

    rows = ranking_rows(rankings, template, max_prompt_tokens=64, max_answer_tokens=32)
    batch = rows.batch(np.arange(8))

Ouyang et al. 2022 (InstructGPT, arXiv 2203.02155), section 3.5: all C(K, 2) pairs of a prompt are
one batch element, so that no answer is encoded, or learned from, more than once. A tie prefers
neither answer.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from gptjax.data.batches.token_stream import HostBatch
from gptjax.data.dialogue.chat_format import ChatTemplate
from gptjax.data.dialogue.rankings import Ranking
from gptjax.data.dialogue.records import Records, log_dropped


@dataclasses.dataclass(frozen=True)
class RankingRows:
    """Rankings that fit, encoded; all batches have the same shapes.

    Attributes:
      rankings: those that were kept; `dropped` counts the others.
      padding: the token that fills rows up.
      prompts: tokens of each prompt, with the assistant's mark at the end.
      answers: of each ranking, the tokens of its answers, with the end of the turn.
      share_prompts: whether batches hold a prompt once, apart from its answers.
    """

    rankings: Records[Ranking]
    padding: int
    prompts: tuple[np.ndarray, ...]
    answers: tuple[tuple[np.ndarray, ...], ...]
    share_prompts: bool

    @property
    def name(self) -> str:
        """The specification of the set."""
        return self.rankings.name

    def __len__(self) -> int:
        return len(self.rankings)

    def batch(self, indices: np.ndarray) -> HostBatch:
        """Gathers rankings, given by number, in any order.

        Args:
          indices: which rankings, [B] int64; those past the last are padding.

        Returns:
          tokens: [B, K, T] int32, prompt, answer, end of turn, padding on the right. K is the
            most answers of any ranking, T the tokens of the longest prompt and answer.
          lengths: [B, K] int32, tokens that are not padding, the end of turn the last of them; 0
            where there is no answer.
          prompts, prompt_lengths, answers, answer_lengths: in place of those, where prompts are
            shared: [B, P], [B], [B, K, L] and [B, K] int32.
          num_answers: [B] int32, how many of the K there are.
          preferred: [B, K, K] float32, the share of annotators that say that i is better than j.
        """
        held = [index if index < len(self) else None for index in indices.tolist()]
        most = self._most_answers
        num_answers = np.zeros(len(held), np.int32)
        preferred = np.zeros((len(held), most, most), np.float32)
        for row, index in enumerate(held):
            if index is not None:
                ranking = self.rankings[index]
                num_answers[row] = count = len(ranking.responses)
                preferred[row, :count, :count] = ranking.preferred()
        return self._texts(held) | {"num_answers": num_answers, "preferred": preferred}

    @functools.cached_property
    def _most_answers(self) -> int:
        return max(map(len, self.answers))

    @functools.cached_property
    def _longest(self) -> tuple[int, int]:
        """Tokens of the longest prompt, and of the longest answer."""
        answers = (len(answer) for several in self.answers for answer in several)
        return max(map(len, self.prompts)), max(answers)

    def _texts(self, held: list[int | None]) -> HostBatch:
        most, (longest_prompt, longest_answer) = self._most_answers, self._longest
        prompts = [[] if i is None else [self.prompts[i]] for i in held]
        answers = [() if i is None else self.answers[i] for i in held]
        if self.share_prompts:
            first, prompt_lengths = self._padded(prompts, 1, longest_prompt)
            rest, answer_lengths = self._padded(answers, most, longest_answer)
            return {
                "prompts": first[:, 0],
                "prompt_lengths": prompt_lengths[:, 0],
                "answers": rest,
                "answer_lengths": answer_lengths,
            }
        pairs = zip(prompts, answers, strict=True)
        whole = [[np.concatenate([*prompt, one]) for one in several] for prompt, several in pairs]
        tokens, lengths = self._padded(whole, most, longest_prompt + longest_answer)
        return {"tokens": tokens, "lengths": lengths}

    def _padded(
        self, rows: Sequence[Sequence[np.ndarray]], count: int, length: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Texts [B, count, length] int32, and how long each is, [B, count] int32."""
        tokens = np.full((len(rows), count, length), self.padding, np.int32)
        lengths = np.zeros((len(rows), count), np.int32)
        for row, texts in enumerate(rows):
            for place, text in enumerate(texts):
                tokens[row, place, : len(text)] = text
                lengths[row, place] = len(text)
        return tokens, lengths


def ranking_rows(
    rankings: Records[Ranking],
    template: ChatTemplate,
    *,
    max_prompt_tokens: int,
    max_answer_tokens: int,
    max_answers: int | None = None,
    share_prompts: bool = False,
) -> RankingRows:
    """Encodes rankings and drops, with a count, those that teach nothing or are too long.

    Args:
      rankings: what to encode.
      template: how they become tokens.
      max_prompt_tokens: most tokens of a prompt, the assistant's mark included.
      max_answer_tokens: most tokens of an answer, the end of turn included.
      max_answers: most answers of a prompt; None: as many as there are.
      share_prompts: whether batches hold a prompt once, apart from its answers.

    Raises:
      ValueError: none is left.
    """
    prompts, answers = [], []

    def reason(ranking: Ranking) -> str | None:
        prompt = template.prompt(ranking.prompt)
        turns = tuple(template.answer(response) for response in ranking.responses)
        if len(prompt) > max_prompt_tokens:
            return f"prompts longer than {max_prompt_tokens} tokens"
        if max(map(len, turns)) > max_answer_tokens:
            return f"answers longer than {max_answer_tokens} tokens"
        if max_answers is not None and len(turns) > max_answers:
            return f"rankings of more than {max_answers} answers"
        if not ranking.judgements().any():
            return "rankings with nothing but ties"
        prompts.append(prompt)
        answers.append(turns)
        return None

    kept = rankings.without(reason)
    log_dropped(kept, rankings.dropped)
    padding = template.tokenizer.padding
    return RankingRows(kept, padding, tuple(prompts), tuple(answers), share_prompts)
