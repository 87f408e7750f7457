"""BERT's tokenizer files of `transformers` as our `WordPiece`, and back.

A directory has `tokenizer.json`, the format of the `tokenizers` library, or else `vocab.txt`, whose
case `tokenizer_config.json` may say. Written are all three.

    tokenizer = read_wordpiece(directory)
    files = wordpiece_files(tokenizer, context_length=512)   # name -> content
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import processors

from gptjax.interop.huggingface_library import library_at
from gptjax.tokenization import Tokenizer, WordPiece
from gptjax.tokenization.protocol import read_json
from gptjax.tokenization.wordpiece import (
    HUGGING_FACE,
    MASK,
    PADDING,
    PREFIX,
    SEPARATOR,
    START,
    UNKNOWN,
    VOCAB,
)

LIBRARY, CONFIG = "tokenizer.json", "tokenizer_config.json"
PROBE = "The Café's  2,048 tokens\n\tcost 1.5e3 naïve £, don't they? 漢字 🙂 x==y  "


def read_wordpiece(directory: Path) -> WordPiece:
    """The tokenizer of a model directory.

    Raises:
      ValueError: there are no tokenizer files, or they are damaged or of another kind.
    """
    if (directory / LIBRARY).is_file():
        return _from_library(directory / LIBRARY)
    if not (directory / VOCAB).is_file():
        raise ValueError(
            f"{directory}: got no {LIBRARY} and no {VOCAB}, expected the files of a tokenizer (or "
            "--tokenizer)"
        )
    described = read_json(directory / CONFIG) if (directory / CONFIG).is_file() else {}
    lowercase = described.get("do_lower_case")
    tokens = WordPiece.load(directory).tokens
    return WordPiece(tokens, lowercase if type(lowercase) is bool else None, HUGGING_FACE)


def wordpiece_files(tokenizer: Tokenizer, context_length: int) -> dict[str, bytes]:
    """The files of a tokenizer, by name.

    Args:
      tokenizer: of the kind WordPiece.
      context_length: the most tokens that the model takes.

    Raises:
      ValueError: it is of another kind, or has no [CLS] or no [SEP].
    """
    if not isinstance(tokenizer, WordPiece):
        raise ValueError(f"tokenizer: got {tokenizer.kind}, expected wordpiece, as BERT's is")
    library, special = tokenizer.library(), tokenizer.special_tokens
    library.post_processor = processors.BertProcessing(
        (SEPARATOR, special[SEPARATOR]), (START, special[START])
    )
    described = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": tokenizer.lowercase,
        "model_max_length": context_length,
        "unk_token": UNKNOWN,
        "sep_token": SEPARATOR,
        "pad_token": PADDING,
        "cls_token": START,
        "mask_token": MASK,
    }
    return {
        VOCAB: tokenizer.files()[VOCAB],
        LIBRARY: library.to_str().encode(),
        CONFIG: (json.dumps(described, indent=2) + "\n").encode(),
    }


def _from_library(path: Path) -> WordPiece:
    """Our tokenizer of a `tokenizer.json`, which must agree with the library's own reading."""
    content = read_json(path)
    try:
        model: dict[str, Any] = content["model"]
        vocab = {str(token): int(index) for token, index in model["vocab"].items()}
        vocab |= {token["content"]: token["id"] for token in content.get("added_tokens") or ()}
        lowercase = bool((content.get("normalizer") or {}).get("lowercase"))
        longest = int(model.get("max_input_chars_per_word", HUGGING_FACE))
        prefix = model["continuing_subword_prefix"]
        tokens = sorted(vocab, key=vocab.__getitem__)
        whole = [vocab[token] for token in tokens] == list(range(len(tokens)))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: got no WordPiece vocabulary, expected BERT's") from error
    if not whole or prefix != PREFIX:
        raise ValueError(
            f"{path}: got ids with gaps or the prefix {prefix!r}, expected BERT's WordPiece"
        )
    try:
        tokenizer = WordPiece(tokens, lowercase, longest)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    library = library_at(path)
    theirs = library.encode(PROBE, add_special_tokens=False).ids
    if not np.array_equal(tokenizer.encode(PROBE), theirs):
        raise ValueError(f"{path}: it splits text otherwise than BERT's tokenizer, expected that")
    return tokenizer
