"""Tokenizer files of `transformers` as our tokenizers, and back.

A directory has `tokenizer.json`, the format of the `tokenizers` library, or else `vocab.json` and
`merges.txt`, which are GPT-2's and GPT-1's published files under other names. Written are all three
and `tokenizer_config.json`, which tells `AutoTokenizer` the class.

    tokenizer = read_tokenizer(directory, "gpt2")
    files = tokenizer_files(tokenizer, context_length=1024)   # name -> content
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import decoders

from gptjax.tokenization import GPT1BPE, ByteLevelBPE, RawBytes, Tokenizer
from gptjax.tokenization.merges import END_OF_WORD, MergesTokenizer
from gptjax.tokenization.protocol import read_bytes, read_json

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
        return _from_library(directory / LIBRARY)
    absent = [name for name in (VOCAB, MERGES) if not (directory / name).is_file()]
    if absent:
        raise ValueError(
            f"{directory}: got no {LIBRARY} and no {' and no '.join(absent)}, expected the files "
            "of a tokenizer (or --tokenizer)"
        )
    described = read_json(directory / CONFIG) if (directory / CONFIG).is_file() else {}
    named = str(described.get("tokenizer_class")).removesuffix("Fast")
    by_class = {name: our for our, name in CLASSES.items()}
    return by_class.get(named, BY_MODEL[kind]).load(directory, VOCAB, MERGES)


def tokenizer_files(tokenizer: Tokenizer, context_length: int) -> dict[str, bytes]:
    """The files of a tokenizer, by name.

    Args:
      tokenizer: of any kind but SentencePiece; raw bytes become a byte-level BPE without merges.
      context_length: the most tokens that the model takes.

    Raises:
      ValueError: theirs cannot be that tokenizer.
    """
    if isinstance(tokenizer, RawBytes):
        tokenizer = ByteLevelBPE.of_bytes()
    if not isinstance(tokenizer, MergesTokenizer):
        raise ValueError(
            f"tokenizer: got {tokenizer.kind}, expected byte_level_bpe, gpt1_bpe or bytes: "
            "transformers' GPT-2 and GPT-1 tokenizers apply merges"
        )
    library = tokenizer.library()
    library.decoder = DECODERS[type(tokenizer)]
    end = next(
        (
            name
            for name, index in tokenizer.special_tokens.items()
            if index == tokenizer.end_of_text
        ),
        None,
    )
    unknown = "<unk>" if isinstance(tokenizer, GPT1BPE) else end
    described = {
        "tokenizer_class": CLASSES[type(tokenizer)],
        "model_max_length": context_length,
        "bos_token": end,
        "eos_token": end,
        "unk_token": unknown,
        "pad_token": None,
    }
    ours = tokenizer.files()
    return {
        VOCAB: ours[tokenizer.vocab_file],
        MERGES: ours[tokenizer.merges_file],
        LIBRARY: library.to_str().encode(),
        CONFIG: (json.dumps(described, indent=2) + "\n").encode(),
    }


def _from_library(path: Path) -> Tokenizer:
    """Our tokenizer of a `tokenizer.json`, which must agree with the library's own reading."""
    content = read_json(path)
    try:
        model: dict[str, Any] = content["model"]
        vocab = dict(model["vocab"])
        merges = [_merge(entry) for entry in model["merges"]]
        vocab |= {token["content"]: token["id"] for token in content.get("added_tokens") or ()}
        splits = str((content.get("pre_tokenizer") or {}).get("type"))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: got no BPE of a vocabulary and merges, expected one") from error
    if splits not in BY_PRE_TOKENIZER:
        choices = " or ".join(BY_PRE_TOKENIZER)
        raise ValueError(f"{path}: got the pre_tokenizer {splits}, expected {choices}")
    for name, allowed in UNSUPPORTED.items():
        if model.get(name, allowed[0]) not in allowed:
            raise ValueError(f"{path}: got {name} {model[name]}, expected {allowed[0]}")
    try:
        tokenizer = BY_PRE_TOKENIZER[splits](vocab, merges)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    try:
        library = tokenizers.Tokenizer.from_str(read_bytes(path).decode())
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"{path}: {error}; expected a file of the tokenizers library") from error
    theirs = library.encode(PROBE, add_special_tokens=False).ids
    if not np.array_equal(tokenizer.encode(PROBE), theirs):
        raise ValueError(
            f"{path}: it splits text otherwise than GPT-2's and GPT-1's tokenizers, such as with a "
            "prefix space or another normalizer; expected one of theirs"
        )
    return tokenizer


def _merge(entry: Any) -> tuple[str, str]:
    """A merge, which older files have as one string."""
    left, right = entry.split(" ") if isinstance(entry, str) else entry
    return left, right
