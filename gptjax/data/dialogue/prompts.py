"""Prompts for an assistant to answer: of rollouts, of evaluation, of side-by-side samples.

    prompts = load_prompts("jsonl:prompts.jsonl")
    rows = prompt_rows(prompts, template, max_prompt_tokens=64)

Any set of conversations or of rankings is a set of prompts, without what is answered to them; of
`jsonl:PATH` rows need no answer, and `jsonl:PATH#a.b` may name a text; `votes:STORE` has what was
ranked, voted on, or kept. A prompt that comes twice is taken once.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping

import numpy as np

from gptjax.data.batches.token_stream import HostBatch
from gptjax.data.dialogue.chat_format import ChatTemplate, Conversation, before_answer, prompt_of
from gptjax.data.dialogue.conversations import CONVERSATIONS
from gptjax.data.dialogue.preferences import RANKINGS
from gptjax.data.dialogue.records import Records, log_dropped, read_records, sift
from gptjax.data.feedback.readers import feedback_prompts
from gptjax.registry import of_path, unknown_name


def load_prompts(spec: str) -> Records[Conversation]:
    """Reads a set of prompts; what it drops is counted and logged.

    Raises:
      ValueError: no such set, no files there, a row that is not as it should be (named), or
        nothing left.
    """
    name, _, location = spec.partition(":")
    if name == "jsonl":
        prompts = read_records(spec, location, lambda row: [prompt_of(row)])
        dropped = prompts.dropped
    elif name == "votes":
        prompts = feedback_prompts(spec, location)
        dropped = prompts.dropped
    elif name in CONVERSATIONS:
        conversations = CONVERSATIONS.get(name)(spec, location)
        prompts, dropped = map(before_answer, conversations), conversations.dropped
    elif name in RANKINGS:
        rankings = RANKINGS.get(name)(spec, location)
        prompts, dropped = (ranking.prompt for ranking in rankings), rankings.dropped
    else:
        choices = dict.fromkeys([*CONVERSATIONS, *RANKINGS])
        raise unknown_name("set of prompts", name, choices, of_path("jsonl:PATH", spec))
    return _each_once(spec, prompts, dropped)


def prompts_of(conversations: Records[Conversation]) -> Records[Conversation]:
    """Prompts of conversations: all before the last answer; dropped rows are counted and logged."""
    return _each_once(conversations.name, map(before_answer, conversations), {})


def _each_once(
    name: str, prompts: Iterable[Conversation], dropped: Mapping[str, int]
) -> Records[Conversation]:
    seen: set[Conversation] = set()

    def reason(prompt: Conversation) -> str | None:
        if prompt in seen:
            return "prompts that came before"
        seen.add(prompt)
        return None

    records = sift(name, ((prompt, reason(prompt)) for prompt in prompts), dropped)
    log_dropped(records)
    return records


@dataclasses.dataclass(frozen=True)
class PromptRows:
    """Prompts that fit, encoded.

    Attributes:
      prompts: those that were kept; `dropped` counts the others.
      padding: the token that fills rows up.
      ids: tokens of each, with the assistant's mark at the end.
    """

    prompts: Records[Conversation]
    padding: int
    ids: tuple[np.ndarray, ...]

    @property
    def name(self) -> str:
        """The specification of the set."""
        return self.prompts.name

    def __len__(self) -> int:
        return len(self.ids)

    @functools.cached_property
    def _longest(self) -> int:
        return max(map(len, self.ids))

    def batch(self, indices: np.ndarray) -> HostBatch:
        """Gathers prompts, given by number, in any order.

        Args:
          indices: which prompts, [B] int64; those past the last are padding.

        Returns:
          tokens: [B, T] int32, padding on the right; T is the length of the longest of all.
          lengths: [B] int32, tokens that are not padding.
          indices: [B] int32, as given.
        """
        tokens = np.full((len(indices), self._longest), self.padding, np.int32)
        lengths = np.zeros(len(indices), np.int32)
        for row, index in enumerate(indices.tolist()):
            if index < len(self):
                lengths[row] = len(self.ids[index])
                tokens[row, : lengths[row]] = self.ids[index]
        return {"tokens": tokens, "lengths": lengths, "indices": indices.astype(np.int32)}


def prompt_rows(
    prompts: Records[Conversation], template: ChatTemplate, *, max_prompt_tokens: int
) -> PromptRows:
    """Encodes prompts; those of more than `max_prompt_tokens` are dropped and counted.

    Raises:
      ValueError: none is left.
    """
    too_long = f"prompts longer than {max_prompt_tokens} tokens"
    kept = prompts.without(
        lambda prompt: None if len(template.prompt(prompt)) <= max_prompt_tokens else too_long
    )
    log_dropped(kept, prompts.dropped)
    return PromptRows(kept, template.tokenizer.padding, tuple(map(template.prompt, kept)))
