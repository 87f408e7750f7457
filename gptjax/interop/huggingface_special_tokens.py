"""Added tokens of a model directory of Hugging Face's, their roles and their ids, both ways.

`tokenizer.json`, `added_tokens.json` and the `added_tokens_decoder` of `tokenizer_config.json` give
tokens their ids; `special_tokens_map.json` and `tokenizer_config.json` say which one ends a text or
pads it. `config.json` and `generation_config.json` name some by their ids, not always the same.

    vocab, added = read_added_tokens(directory, vocab, library["added_tokens"])
    described, files = special_token_files(tokenizer)
    ids = model_ids(tokenizer, "config.json")   # {"eos_token_id": 50256, ...}
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gptjax.tokenization import GPT1BPE
from gptjax.tokenization.added_tokens import (
    BEGIN,
    END,
    PAD,
    ROLES,
    UNKNOWN,
    AddedToken,
    AddedTokens,
)
from gptjax.tokenization.merges import MergesTokenizer, implied
from gptjax.tokenization.protocol import read_json

MODEL, GENERATION = "config.json", "generation_config.json"
TOKENIZER, MAP, ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
EXTRA = ("additional_special_tokens", "extra_special_tokens")  # special, without a role
DEFAULTED = (BEGIN, END, UNKNOWN, PAD)  # that their classes have where a file does not say
IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def read_added_tokens(
    directory: Path, vocab: Mapping[str, int], listed: Iterable[Mapping[str, Any]] = ()
) -> tuple[dict[str, int], AddedTokens]:
    """The whole vocabulary of a model directory, and what is added to its symbols and merges.

    A special token that no file gives an id gets the next one if the model has a row for it, as
    `transformers` has it. Ids that the model names and the vocabulary does not have are left out.

    Args:
      directory: of the model.
      vocab: token to id, of `vocab.json` or of `tokenizer.json`.
      listed: the `added_tokens` of `tokenizer.json`.

    Raises:
      ValueError: a file is damaged.
    """
    described, of_map, legacy, model, generation = (
        _read(directory / name) for name in (TOKENIZER, MAP, ADDED, MODEL, GENERATION)
    )
    vocab = dict(vocab)
    try:
        found, roles = {}, {}
        decoder = described.get("added_tokens_decoder") or {}
        entries = [{"content": name, "id": index} for name, index in legacy.items()]
        entries += [*listed, *({**token, "id": int(index)} for index, token in decoder.items())]
        for token in entries:
            name, index = token["content"], token["id"]
            if vocab.setdefault(name, index) != index:
                raise ValueError(f"{name!r} has the ids {vocab[name]} and {index}")
            found[name] = _token(token)
        given = {name: value for name, value in described.items() if value is not None}
        for role, token in _special(of_map | given):
            found[token.content] = found.get(token.content, token)
            found[token.content] = dataclasses.replace(found[token.content], special=True)
            if role in ROLES:
                roles[role] = token.content
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{directory}: {error}; expected added tokens with an id each in tokenizer.json, "
            f"{TOKENIZER}, {MAP} and {ADDED}"
        ) from error
    rows = model.get("vocab_size")
    for name in [name for name in found if name not in vocab]:
        if isinstance(rows, int) and len(vocab) < rows:
            vocab[name] = len(vocab)
        else:
            del found[name]
    roles = {role: name for role, name in roles.items() if name in vocab}
    if END not in roles:
        roles |= _end_of_text((generation, model), vocab, found, roles.get(UNKNOWN))
    ids = {
        file: {key: content[key] for key in IDS if content.get(key) is not None}
        for file, content in ((MODEL, model), (GENERATION, generation))
    }
    return vocab, AddedTokens(tuple(found.values()), roles, ids)


def special_token_files(tokenizer: MergesTokenizer) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What `tokenizer_config.json` says of special and added tokens, and the file beside it."""
    extra = [name for name in tokenizer.special_tokens if name not in tokenizer.roles.values()]
    roles: dict[str, Any] = {**tokenizer.roles, **({EXTRA[0]: extra} if extra else {})}
    decoder = {index: dataclasses.asdict(token) for index, token in tokenizer.added_tokens.items()}
    described = {**dict.fromkeys(DEFAULTED), **roles, "added_tokens_decoder": decoder}
    return described, {MAP: (json.dumps(roles, indent=2) + "\n").encode()}


def model_ids(tokenizer: MergesTokenizer, file: str) -> dict[str, int | list[int] | None]:
    """The ids of IDS, for `config.json` or for `generation_config.json`."""
    return {key: tokenizer.role_id(key.removesuffix("_id")) for key in IDS} | dict(
        tokenizer.added.ids.get(file, {})
    )


def _read(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _token(described: Mapping[str, Any]) -> AddedToken:
    names = [field.name for field in dataclasses.fields(AddedToken)]
    options = {name: described[name] for name in names if name in described}
    token = AddedToken(**{"special": False, **options})
    return dataclasses.replace(token, normalized=False) if token.special else token


def _special(described: Mapping[str, Any]) -> Iterator[tuple[str, AddedToken]]:
    """The special tokens that a file names: by role in the order of ROLES, then the others."""
    named = [(role, described.get(role)) for role in ROLES]
    for name in EXTRA:
        extra = described.get(name) or ()
        named += [(name, each) for each in (extra.values() if isinstance(extra, dict) else extra)]
    for role, given in named:
        if given is not None:
            yield role, AddedToken(given) if isinstance(given, str) else _token(given)


def _end_of_text(
    contents: Iterable[Mapping[str, Any]],
    vocab: Mapping[str, int],
    found: Mapping[str, AddedToken],
    unknown: str | None,
) -> dict[str, str]:
    """The end-of-text that a model names by its id, where the tokenizer names none."""
    names = {index: name for name, index in vocab.items()}
    for content in contents:
        given = content.get("eos_token_id")
        first = given[0] if isinstance(given, list) and given else given
        name = names.get(first) if isinstance(first, int) else None
        token = None if name is None else found.get(name) or implied(name)
        if token is not None and token.special and name not in (unknown, GPT1BPE.unknown):
            return {END: token.content}
    return {}
