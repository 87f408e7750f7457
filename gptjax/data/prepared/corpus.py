"""Prepared data as a corpus of documents, decoded from their tokens.

load_corpus("prepared:DIR")

Runs open the tokens themselves; this serves whatever reads text, such as
`experiments.train_tokenizer`.
"""

from collections.abc import Iterator

import numpy as np

from gptjax.data.corpora.text import CORPORA, Corpus, Document
from gptjax.data.prepared.index import NAME
from gptjax.data.prepared.split import open_prepared
from gptjax.tokenization import load_tokenizer


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
            about = split.about(number)
            text = tokenizer.decode(split.tokens[start + marked : stop])
            yield Document(f"{about['source']}: {about['id']}", text)

    return Corpus(f"prepared:{location}", tuple(files), read, invalid_utf8)
