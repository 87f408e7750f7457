"""Prepared data as a corpus of documents, decoded from their tokens.

load_corpus("prepared:DIR")

Runs open the tokens themselves; this serves whatever reads text, such as
`experiments.train_tokenizer`.
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from gptjax.data.corpora.text import CORPORA, Corpus, Document
from gptjax.data.prepared.index import NAME
from gptjax.data.prepared.split import OpenedData, PreparedSplit, open_prepared
from gptjax.tokenization import load_tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreparedCorpus(Corpus):
    """Documents of which it was decided when they were prepared which are held out.

    Attributes:
      opened: the data.
    """

    opened: OpenedData

    def held_out(self, fraction: float) -> Callable[[Document], bool]:
        """Those of the validation split, whatever `fraction` is."""
        del fraction
        split = self.opened.validation
        names = {_name(split, number) for number in range(len(split.document_starts))}
        return lambda document: document.name in names


def _name(split: PreparedSplit, number: int) -> str:
    about = split.about(number)
    return f"{about['source']}: {about['id']}"


@CORPORA.register("prepared")
def prepared(location: str, invalid_utf8: str) -> Corpus:
    """What `python -m experiments.prepare_data --output=LOCATION` wrote, both splits of it."""
    if not location:
        raise ValueError("corpus 'prepared:': got no folder, expected prepared:DIR")
    opened = open_prepared(location)
    files = [opened.directory / NAME]
    files += [opened.directory / f"{entry.name}.tokens" for entry in opened.index.shards]

    def read() -> Iterator[Document]:
        tokenizer = load_tokenizer(str(opened.directory / "tokenizer"))
        split = opened.everything
        starts = np.asarray(split.document_starts)
        marked = int(opened.index.end_of_text is not None)
        stops = [*starts[1:].tolist(), len(split.tokens) - marked]
        for number, (start, stop) in enumerate(zip(starts.tolist(), stops, strict=True)):
            text = tokenizer.decode(split.tokens[start + marked : stop])
            yield Document(_name(split, number), text)

    return PreparedCorpus(f"prepared:{location}", tuple(files), read, invalid_utf8, opened=opened)
