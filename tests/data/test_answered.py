import numpy as np
import pytest

from gptjax.data.dialogue.answered import answered_rows
from gptjax.data.dialogue.chat_format import ChatTemplate, Message
from gptjax.data.dialogue.records import Records
from gptjax.tokenization import load_tokenizer

SHORT = (Message("user", "hi"), Message("assistant", "yes"))
LONG = (Message("user", "hi"), Message("assistant", "y" * 20))
OPEN = (*SHORT, Message("user", "and?"))


def test_rows_are_whole_conversations_up_to_their_end_of_turn():
    template = ChatTemplate(load_tokenizer("chat:bytes"))
    rows = answered_rows(Records("s", (SHORT, LONG, OPEN)), template, max_tokens=12)
    assert len(rows) == 1
    assert rows.prompts.dropped == {
        "conversations longer than 12 tokens": 1,
        "conversations that do not end in an answer": 1,
    }
    batch = rows.batch(np.arange(2))
    (length, nothing) = batch["lengths"]
    assert (length, nothing) == (2 + 2 + 1 + 3 + 1, 0)
    assert batch["tokens"][0, length - 1] == template.tokenizer.end_of_turn
    assert template.tokenizer.decode(batch["tokens"][0]) == (
        "<|user|>hi<|endofturn|><|assistant|>yes<|endofturn|>"
    )
    with pytest.raises(ValueError, match=r"'s': got none of 1 \(1 conversations longer than 3"):
        answered_rows(Records("s", (SHORT,)), template, max_tokens=3)
