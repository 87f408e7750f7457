"""Task tokenizer: another tokenizer, then the three tokens of GPT-1's fine-tuning.

Radford et al. 2018, section 3.3: a start, a delimiter between two texts, and an end at which the
features of a sequence are read, here called extract as in figure 1.

    task = load_tokenizer("task:gpt1:DIR")
    [task.start, *task.encode("A premise."), task.delimiter, *task.encode("No."), task.extract]
"""

from gptjax.tokenization.marked import MarkedTokenizer
from gptjax.tokenization.protocol import Tokenizer


class TaskTokenizer(MarkedTokenizer):
    """`inner`'s ids as they are, then start, delimiter and extract."""

    kind = "task"
    marks = ("<|start|>", "<|delimiter|>", "<|extract|>")

    def __init__(self, inner: Tokenizer):
        super().__init__(inner)
        self.start, self.delimiter, self.extract = (
            self.special_tokens[mark] for mark in self.marks
        )
