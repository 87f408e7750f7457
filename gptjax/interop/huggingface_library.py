"""A tokenizer.json as the `tokenizers` library reads it, to hold ours beside it.

library = library_at(Path("DIR/tokenizer.json"))
"""

from pathlib import Path

import tokenizers

from gptjax.tokenization.protocol import read_bytes


def library_at(path: Path) -> tokenizers.Tokenizer:
    """The tokenizer of a file; ValueError, which names the file, if the library cannot read it."""
    try:
        return tokenizers.Tokenizer.from_str(read_bytes(path).decode())
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"{path}: {error}; expected a file of the tokenizers library") from error
