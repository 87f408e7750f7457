r"""Undoing what a corpus' tokenizer did to its texts, so that they look like text again.

GPT-2 (Radford et al. 2019, section 3.1) gains 2.5 to 5 of perplexity by "invertible de-tokenizers".

    wikitext(" = Robert <unk> = \n \n a guest @-@ starring role on the television series . ")
"""

import re

_CLOSING = re.compile(r" ([.,:;?!%)\]}]|'(?:s|re|ve|ll|d|m|t)\b|n't\b)")
_OPENING = re.compile(r"([(\[{$£]) ")
_QUOTED = re.compile(r'" ([^"\n]*?) "')
_INNER = re.compile(r" @([-,.])@ ")
_HEADING = re.compile(r"^ ?((?:= ?)+) (.*?) ((?:= ?)+) ?$", re.MULTILINE)


def wikitext(text: str) -> str:
    """A text of WikiText without the spaces that its tokenizer put in; <unk> stays."""
    text = _INNER.sub(r"\1", text)
    text = _HEADING.sub(lambda m: f"{m[1].replace(' ', '')} {m[2]} {m[3].replace(' ', '')}", text)
    text = "\n".join(line.strip() for line in text.split("\n"))
    return _joined(_QUOTED.sub(r'"\1"', text))


def childrens_books(text: str) -> str:
    """A text of the Children's Book Test, whose brackets and quotes have names."""
    text = text.replace("-LRB-", "(").replace("-RRB-", ")").replace(" n't", "n't")
    return _joined(re.sub(r"`` ?", '"', re.sub(r" ?''", '"', text)))


def _joined(text: str) -> str:
    """Marks are put next to their words."""
    text = _CLOSING.sub(r"\1", text)
    return _OPENING.sub(r"\1", text)
