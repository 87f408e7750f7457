"""Loading of tokenizers by the name that a user writes.

load_tokenizer("python_docs_4096")
"""

from pathlib import Path

from gptjax.registry import unknown_name
from gptjax.tokenization.byte_level_bpe import ByteLevelBPE
from gptjax.tokenization.chat import INNER_KINDS, ChatTokenizer
from gptjax.tokenization.gpt1_bpe import GPT1BPE
from gptjax.tokenization.protocol import KIND_FILE, Tokenizer, read_json
from gptjax.tokenization.raw_bytes import RawBytes
from gptjax.tokenization.sentencepiece_model import SentencePiece

REPOSITORY_TOKENIZERS = Path(__file__).resolve().parents[2] / "tokenizers"

KINDS: dict[str, type[Tokenizer]] = {**INNER_KINDS, ChatTokenizer.kind: ChatTokenizer}
_FORMATS = {
    "gpt2": ByteLevelBPE.load,
    "gpt1": GPT1BPE.load,
    "sentencepiece": SentencePiece.from_file,
}


def load_tokenizer(spec: str) -> Tokenizer:
    """Loads the tokenizer that `spec` names.

    Args:
      spec: `bytes`; `gpt2:DIR` (encoder.json, vocab.bpe); `gpt1:DIR` (encoder_bpe_40000.json,
        vocab_40000.bpe); `sentencepiece:FILE`; the name of a folder in the repository's
        tokenizers/; the path of a directory written by `Tokenizer.save`; or `chat:` and any
        of these, which adds the tokens of a chat.

    Returns:
      The tokenizer.

    Raises:
      ValueError: For an unknown spec, and for files that are missing, torn or changed.
    """
    if spec == "bytes":
        return RawBytes()
    name, colon, path = spec.partition(":")
    if colon and name == ChatTokenizer.kind:
        return ChatTokenizer(load_tokenizer(path))
    if colon and name in _FORMATS:
        return _FORMATS[name](Path(path).expanduser())
    for directory in (REPOSITORY_TOKENIZERS / spec, Path(spec).expanduser()):
        if (directory / KIND_FILE).is_file():
            return _load_saved(directory)
    if Path(spec).expanduser().is_dir():
        raise ValueError(f"{spec!r} has no {KIND_FILE}; expected a saved tokenizer, or gpt2:{spec}")
    demos = sorted(path.parent.name for path in REPOSITORY_TOKENIZERS.glob(f"*/{KIND_FILE}"))
    choices = [*demos, "bytes", "gpt2:DIR", "gpt1:DIR", "sentencepiece:FILE", "DIR", "chat:INNER"]
    raise unknown_name("tokenizer", spec, choices)


def _load_saved(directory: Path) -> Tokenizer:
    description = read_json(directory / KIND_FILE)
    kind = str(description.get("kind"))
    if kind not in KINDS:
        raise unknown_name(f"kind of tokenizer in {directory / KIND_FILE}:", kind, KINDS)
    tokenizer = KINDS[kind].load(directory)
    expected, found = description.get("content_hash"), tokenizer.content_hash()
    if found != expected:
        raise ValueError(f"{directory} was changed: content hash {found}, expected {expected}")
    return tokenizer
