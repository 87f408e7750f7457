"""Chat tokenizer: another tokenizer, then tokens for roles, end of turn and padding.

No text becomes one of them, so that a user cannot write a turn that is not theirs. A model trained
with `chat:INNER` has rows for them from the start; text never uses them.

    chat = load_tokenizer("chat:python_docs_1024")
    [chat.role("user"), *chat.encode("Hello"), chat.end_of_turn]
"""

from gptjax.registry import unknown_name
from gptjax.tokenization.marked import MarkedTokenizer
from gptjax.tokenization.protocol import Tokenizer

ROLES = ("system", "user", "assistant")
END_OF_TURN = "<|endofturn|>"
PADDING = "<|padding|>"


class ChatTokenizer(MarkedTokenizer):
    """`inner`'s ids as they are, then one id for each role, for the end of a turn, for padding."""

    kind = "chat"
    marks = (*(f"<|{role}|>" for role in ROLES), END_OF_TURN, PADDING)

    def __init__(self, inner: Tokenizer):
        super().__init__(inner)
        self._roles = {role: self.special_tokens[f"<|{role}|>"] for role in ROLES}
        self.end_of_turn = self.special_tokens[END_OF_TURN]
        self.padding = self.special_tokens[PADDING]

    def role(self, name: str) -> int:
        """The id that starts a turn of `name`, one of `ROLES`; another one raises ValueError."""
        if name not in self._roles:
            raise unknown_name("role", name, ROLES)
        return self._roles[name]

    @property
    def outside_answers(self) -> tuple[int, ...]:
        """The ids that no answer holds: those that start a turn, padding, and end-of-text."""
        end = () if self.end_of_text is None else (self.end_of_text,)
        return (*self._roles.values(), self.padding, *end)
