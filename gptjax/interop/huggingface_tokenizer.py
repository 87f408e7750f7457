"""Tokenizer files of `transformers` as our tokenizers, and back.

A directory has `tokenizer.json`, the format of the `tokenizers` library, or else `vocab.json` and
`merges.txt`, which are GPT-2's and GPT-1's published files under other names. Written are all three
and `tokenizer_config.json`, which tells `AutoTokenizer` the class. Added tokens, in these and other
files, are those of `huggingface_special_tokens`.

    tokenizer = read_tokenizer(directory, "gpt2")
    files = tokenizer_files(tokenizer, context_length=1024)   # name -> content
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import decoders

from gptjax.interop.huggingface_library import library_at
from gptjax.interop.huggingface_special_tokens import read_added_tokens, special_token_files
from gptjax.tokenization import GPT1BPE, ByteLevelBPE, RawBytes, Tokenizer
from gptjax.tokenization.merges import END_OF_WORD, MergesTokenizer, read_merges
from gptjax.tokenization.protocol import read_json

LIBRARY, VOCAB, MERGES, CONFIG = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
)
CLASSES: dict[type[MergesTokenizer], str] = {
    ByteLevelBPE: "GPT2Tokenizer",
    GPT1BPE: "OpenAIGPTTokenizer",
}
DECODERS = {ByteLevelBPE: decoders.ByteLevel(), GPT1BPE: decoders.BPEDecoder(suffix=END_OF_WORD)}
BY_MODEL: dict[str, type[MergesTokenizer]] = {"gpt2": ByteLevelBPE, "openai-gpt": GPT1BPE}
BY_PRE_TOKENIZER: dict[str, type[MergesTokenizer]] = {
    "ByteLevel": ByteLevelBPE,
    "BertPreTokenizer": GPT1BPE,
}
UNSUPPORTED = {"dropout": (None, 0.0), "byte_fallback": (False,), "ignore_merges": (False,)}
PROBE = "The Café's  2,048 tokens\n\tcost 1.5e3 naïve £, don't they? 漢字 🙂 x==y  "


def read_tokenizer(directory: Path, kind: str) -> Tokenizer:
    """The tokenizer of a model directory.

    Args:
      directory: of the model.
      kind: the model's `model_type`, which says whose `vocab.json` and `merges.txt` are where
        nothing else does.

    Raises:
      ValueError: there are no tokenizer files, or they are damaged, or they split text in a way
        that ours do not.
    """
    if (directory / LIBRARY).is_file():
        return _from_library(directory, directory / LIBRARY)
    absent = [name for name in (VOCAB, MERGES) if not (directory / name).is_file()]
    if absent:
        raise ValueError(
            f"{directory}: got no {LIBRARY} and no {' and no '.join(absent)}, expected the files "
            "of a tokenizer (or --tokenizer)"
        )
    described = read_json(directory / CONFIG) if (directory / CONFIG).is_file() else {}
    named = str(described.get("tokenizer_class")).removesuffix("Fast")
    by_class = {name: our for our, name in CLASSES.items()}
    made = by_class.get(named, BY_MODEL[kind])
    vocab, added = read_added_tokens(directory, read_json(directory / VOCAB))
    try:
        return made(vocab, read_merges(directory / MERGES), added)
    except ValueError as error:
        raise ValueError(f"{directory}: {VOCAB} and {MERGES} do not fit: {error}") from error


def merges_tokenizer(tokenizer: Tokenizer) -> MergesTokenizer:
    """The tokenizer as theirs has it: raw bytes become a byte-level BPE without merges.

    Raises:
      ValueError: theirs cannot be that tokenizer.
    """
    if isinstance(tokenizer, RawBytes):
        return ByteLevelBPE.of_bytes()
    if not isinstance(tokenizer, MergesTokenizer):
        raise ValueError(
            f"tokenizer: got {tokenizer.kind}, expected byte_level_bpe, gpt1_bpe or bytes: "
            "transformers' GPT-2 and GPT-1 tokenizers apply merges"
        )
    return tokenizer


def tokenizer_files(tokenizer: Tokenizer, context_length: int) -> dict[str, bytes]:
    """The files of a tokenizer, by name; `context_length` is the most tokens that the model takes.

    Raises:
      ValueError: as `merges_tokenizer`.
    """
    tokenizer = merges_tokenizer(tokenizer)
    library = tokenizer.library()
    library.decoder = DECODERS[type(tokenizer)]
    special, files = special_token_files(tokenizer)
    described = {
        "tokenizer_class": CLASSES[type(tokenizer)],
        "model_max_length": context_length,
        **special,
    }
    ours = tokenizer.files()
    return {
        VOCAB: ours[tokenizer.vocab_file],
        MERGES: ours[tokenizer.merges_file],
        LIBRARY: library.to_str().encode(),
        CONFIG: (json.dumps(described, indent=2) + "\n").encode(),
        **files,
    }


def _from_library(directory: Path, path: Path) -> Tokenizer:
    """Our tokenizer of a `tokenizer.json`, which must agree with the library's own reading."""
    content = read_json(path)
    try:
        model: dict[str, Any] = content["model"]
        vocab = dict(model["vocab"])
        merges = [_merge(entry) for entry in model["merges"]]
        listed = list(content.get("added_tokens") or ())
        splits = str((content.get("pre_tokenizer") or {}).get("type"))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: got no BPE of a vocabulary and merges, expected one") from error
    if splits not in BY_PRE_TOKENIZER:
        choices = " or ".join(BY_PRE_TOKENIZER)
        raise ValueError(f"{path}: got the pre_tokenizer {splits}, expected {choices}")
    for name, allowed in UNSUPPORTED.items():
        if model.get(name, allowed[0]) not in allowed:
            raise ValueError(f"{path}: got {name} {model[name]}, expected {allowed[0]}")
    vocab, added = read_added_tokens(directory, vocab, listed)
    try:
        tokenizer = BY_PRE_TOKENIZER[splits](vocab, merges, added)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    library = library_at(path)
    found = (token.content for token in tokenizer.added_tokens.values() if not token.special)
    probe = " x ".join([PROBE, *found, ""])
    theirs = library.encode(probe, add_special_tokens=False).ids
    if not np.array_equal(tokenizer.encode(probe), theirs):
        raise ValueError(
            f"{path}: it splits text otherwise than GPT-2's and GPT-1's tokenizers, such as with a "
            "prefix space or another normalizer; expected one of theirs"
        )
    return tokenizer


def _merge(entry: Any) -> tuple[str, str]:
    """A merge, which older files have as one string."""
    left, right = entry.split(" ") if isinstance(entry, str) else entry
    return left, right
