"""CLIP's tokenizer files of `transformers` as our `ClipBPE`, and back.

A directory has `tokenizer.json`, the format of the `tokenizers` library, or `vocab.json` and
`merges.txt`. Written are all three, and `tokenizer_config.json`.

    tokenizer = read_clip_tokenizer(directory)
    files = clip_tokenizer_files(tokenizer, context_length=77)   # name -> content
"""

import json
from pathlib import Path

import numpy as np
from tokenizers import decoders, processors

from gptjax.interop.huggingface_library import library_at
from gptjax.tokenization import Tokenizer
from gptjax.tokenization.clip_bpe import START_OF_TEXT, ClipBPE
from gptjax.tokenization.protocol import END_OF_TEXT, read_json

LIBRARY, CONFIG = "tokenizer.json", "tokenizer_config.json"
PROBE = "The Café's  2,048 tokens\n\tcost 1.5e3 naïve £, don't they? 漢字 🙂 x==y  "


def read_clip_tokenizer(directory: Path) -> ClipBPE:
    """The tokenizer of a model directory.

    Raises:
      ValueError: there are no tokenizer files, or they are damaged, or split text otherwise.
    """
    path = directory / LIBRARY
    if not path.is_file():
        if not (directory / ClipBPE.vocab_file).is_file():
            raise ValueError(
                f"{directory}: got no {LIBRARY} and no {ClipBPE.vocab_file}, expected the files of "
                "a tokenizer (or --tokenizer)"
            )
        return ClipBPE.load(directory)
    content = read_json(path)
    try:
        vocab = dict(content["model"]["vocab"])
        merges = [
            tuple(entry.split(" ") if isinstance(entry, str) else entry)
            for entry in content["model"]["merges"]
        ]
        vocab |= {token["content"]: token["id"] for token in content.get("added_tokens") or ()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: got no BPE of a vocabulary and merges, expected one") from error
    try:
        tokenizer = ClipBPE(vocab, [(left, right) for left, right in merges])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    theirs = library_at(path).encode(PROBE, add_special_tokens=False).ids
    if not np.array_equal(tokenizer.encode(PROBE), theirs):
        raise ValueError(f"{path}: it splits text otherwise than CLIP's tokenizer, expected that")
    return tokenizer


def clip_tokenizer_files(tokenizer: Tokenizer, context_length: int) -> dict[str, bytes]:
    """The files of a tokenizer, by name; `context_length` is the most tokens that the model takes.

    Raises:
      ValueError: another kind of tokenizer, or one whose last tokens are not those that begin and
        end a text.
    """
    if not isinstance(tokenizer, ClipBPE):
        raise ValueError(
            f"tokenizer: got {tokenizer.kind}, expected clip_bpe: transformers' CLIP has no other"
        )
    start, end, last = tokenizer.start_of_text, tokenizer.end_of_text, tokenizer.vocab_size - 1
    if (start, end) != (last - 1, last):
        raise ValueError(
            f"tokenizer: got {START_OF_TEXT} and {END_OF_TEXT} as {start} and {end}, expected "
            f"{last - 1} and {last}, the last two"
        )
    library = tokenizer.library()
    library.decoder = decoders.ByteLevel()
    library.post_processor = processors.RobertaProcessing(
        (END_OF_TEXT, last), (START_OF_TEXT, last - 1), trim_offsets=False, add_prefix_space=False
    )
    described = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": context_length,
        "bos_token": START_OF_TEXT,
        **dict.fromkeys(("eos_token", "unk_token", "pad_token"), END_OF_TEXT),
    }
    return {
        **tokenizer.files(),
        LIBRARY: library.to_str().encode(),
        CONFIG: (json.dumps(described, indent=2) + "\n").encode(),
    }
