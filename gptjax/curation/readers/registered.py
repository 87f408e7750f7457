"""All readers, and the loop over the documents of a location.

for document in documents("jsonl", "crawl/*.jsonl.gz", ReaderOptions(source="crawl"), faults):
    ...
"""

from gptjax.curation.readers import gutenberg, rows, texts, warc  # noqa: F401, to register them
from gptjax.curation.readers.reading import READERS, ReaderOptions, documents, found

__all__ = ["READERS", "ReaderOptions", "documents", "found"]
