"""What is cut out of a document that stays: paragraphs that stand elsewhere, evaluation text.

Cutter(index).pieces(document)
"""

import dataclasses

from gptjax.curation.document import Document, Dropped


@dataclasses.dataclass(frozen=True)
class Cutter:
    """Cuts documents into what may be trained on."""

    def pieces(self, document: Document) -> list[str] | Dropped:
        """The texts that are left of a document, one at least, or why none is."""
        return [document.text]


def look_for(work, config, runs, priority, before):
    """Stand-in."""
    return Cutter(), {}


def measured(made):
    """Stand-in."""
    return {}
