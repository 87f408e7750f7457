"""Configuration of what is cut out of training text (GPT-3, 2005.14165, appendix C)."""

import dataclasses

from gptjax.settings import setting


@dataclasses.dataclass
class RemovalConfig:
    """The paper's numbers."""

    words: int = setting(13, "words of a run that collides", low=1)
    window: int = setting(200, "characters cut off on each side of a collision", low=0)
    shortest: int = setting(200, "characters of a piece that stays", low=1)
    most_pieces: int = setting(10, "pieces into which a document that stays may be split", low=1)
    most_documents: int = setting(
        10, "documents that have a run which is removed; one in more of them is ignored", low=1
    )
