"""Tokenizer of text with images in it: another tokenizer, then the marks around an image.

KOSMOS-1 (arXiv 2302.14045, section 2.1) writes `<image> embedding </image>` where an image stands.
An image takes a number of places, each of which has the id `<|soft|>`, the last of the vocabulary;
what a model reads there is not the row of that id but what it has made of the image. No text
becomes one of these ids.

    images = load_tokenizer("images:python_docs_1024")
    [images.begin, *[images.soft] * 4, images.end, *images.encode(" seven"), images.end_of_text]

`images:chat:INNER` has the marks of a chat too, below those of images, so that a conversation may
hold images.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from gptjax.tokenization.chat import ChatTokenizer
from gptjax.tokenization.marked import INNER_KINDS, MarkedTokenizer
from gptjax.tokenization.protocol import Tokenizer

PLACE = "<image>"  # in a prompt, where an image stands


class ImageTokenizer(MarkedTokenizer):
    """`inner`'s ids as they are, then one id each for begin, end and a place of an image."""

    kind = "images"
    marks = (PLACE, "</image>", "<|soft|>")
    inner_kinds: ClassVar[Mapping[str, type[Tokenizer]]] = {
        **INNER_KINDS,
        ChatTokenizer.kind: ChatTokenizer,
    }

    def __init__(self, inner: Tokenizer):
        super().__init__(inner)
        self.begin, self.end, self.soft = (self.special_tokens[mark] for mark in self.marks)

    def image(self, places: int) -> np.ndarray:
        """The ids of an image that takes so many places, between its marks; int32."""
        return np.array([self.begin, *[self.soft] * places, self.end], np.int32)

    @property
    def outside_text(self) -> tuple[int, ...]:
        """The ids that no text holds which a model writes."""
        return (self.begin, self.end, self.soft)
