"""Whole conversations as rows, one a row, each to its answer's end, for a reward model to read.

rows = answered_rows(load_conversations("instructions"), template, max_tokens=64)
rows.batch(np.arange(8))["lengths"]
"""

from gptjax.data.dialogue.chat_format import ChatTemplate, Conversation
from gptjax.data.dialogue.prompts import PromptRows
from gptjax.data.dialogue.records import Records, log_dropped


def answered_rows(
    conversations: Records[Conversation], template: ChatTemplate, *, max_tokens: int
) -> PromptRows:
    """Encodes conversations; those too long, and those that end in no answer, are dropped.

    Args:
      conversations: what to encode.
      template: how they become tokens.
      max_tokens: most tokens of one, its last end of turn included.

    Returns:
      Rows as those of prompts, but that they end in an answer.

    Raises:
      ValueError: none is left.
    """

    def reason(conversation: Conversation) -> str | None:
        if conversation[-1].role != "assistant":
            return "conversations that do not end in an answer"
        if len(template.render(conversation)[0]) > max_tokens:
            return f"conversations longer than {max_tokens} tokens"
        return None

    kept = conversations.without(reason)
    log_dropped(kept, conversations.dropped)
    ids = tuple(template.render(conversation)[0] for conversation in kept)
    return PromptRows(kept, template.tokenizer.padding, ids)
