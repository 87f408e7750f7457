"""Tokenizer of text with images in it: another tokenizer, then the marks around an image.

KOSMOS-1 (arXiv 2302.14045, section 2.1) writes `<image> embedding </image>` where an image stands.
An image takes a number of places, each of which has the id `<|soft|>`, the last of the vocabulary;
what a model reads there is not the row of that id but what it has made of the image. No text
becomes one of these ids.

    images = load_tokenizer("images:python_docs_1024")
    [images.begin, *[images.soft] * 4, images.end, *images.encode(" seven"), images.end_of_text]
"""

from gptjax.tokenization.marked import MarkedTokenizer
from gptjax.tokenization.protocol import Tokenizer

PLACE = "<image>"  # in a prompt, where an image stands


class ImageTokenizer(MarkedTokenizer):
    """`inner`'s ids as they are, then one id each for begin, end and a place of an image."""

    kind = "images"
    marks = (PLACE, "</image>", "<|soft|>")

    def __init__(self, inner: Tokenizer):
        super().__init__(inner)
        self.begin, self.end, self.soft = (self.special_tokens[mark] for mark in self.marks)

    @property
    def outside_text(self) -> tuple[int, ...]:
        """The ids that no text holds which a model writes."""
        return (self.begin, self.end, self.soft)
