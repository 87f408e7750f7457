"""Loading of tokenizers by the name that a user writes.

load_tokenizer("python_docs_4096")
"""

from collections.abc import Callable
from pathlib import Path

from gptjax.registry import unknown_name, with_home
from gptjax.tokenization.byte_level_bpe import ByteLevelBPE
from gptjax.tokenization.chat import ChatTokenizer
from gptjax.tokenization.clip_bpe import ClipBPE
from gptjax.tokenization.gpt1_bpe import GPT1BPE
from gptjax.tokenization.images import ImageTokenizer
from gptjax.tokenization.marked import INNER_KINDS, MarkedTokenizer
from gptjax.tokenization.merges import MergesTokenizer
from gptjax.tokenization.protocol import KIND_FILE, Tokenizer, read_json
from gptjax.tokenization.raw_bytes import RawBytes
from gptjax.tokenization.sentencepiece_model import SentencePiece
from gptjax.tokenization.sentences import SentenceTokenizer
from gptjax.tokenization.task import TaskTokenizer
from gptjax.tokenization.wordpiece import VOCAB, WordPiece

REPOSITORY_TOKENIZERS = Path(__file__).resolve().parents[2] / "tokenizers"

MARKED: dict[str, type[MarkedTokenizer]] = {
    kind.kind: kind for kind in (ChatTokenizer, TaskTokenizer, ImageTokenizer)
}
KINDS: dict[str, type[Tokenizer]] = {
    **INNER_KINDS,
    **MARKED,
    SentenceTokenizer.kind: SentenceTokenizer,
    ClipBPE.kind: ClipBPE,
}
_HUGGING_FACE = ("vocab.json", "merges.txt")  # the same files in its model directories


def _published(kind: type[MergesTokenizer]) -> Callable[[Path], Tokenizer]:
    def load(directory: Path) -> Tokenizer:
        names = (kind.vocab_file, kind.merges_file)
        if not (directory / names[0]).is_file() and (directory / _HUGGING_FACE[0]).is_file():
            names = _HUGGING_FACE
        return kind.load(directory, *names)

    return load


_FORMATS: dict[str, Callable[[Path], Tokenizer]] = {
    "gpt2": _published(ByteLevelBPE),
    "gpt1": _published(GPT1BPE),
    "clip": _published(ClipBPE),
    "sentencepiece": SentencePiece.from_file,
    "wordpiece": WordPiece.load,
}


def load_tokenizer(spec: str) -> Tokenizer:
    """Loads the tokenizer that `spec` names.

    Args:
      spec: `bytes`; `gpt2:DIR` (encoder.json, vocab.bpe); `gpt1:DIR` (encoder_bpe_40000.json,
        vocab_40000.bpe), or of both vocab.json, merges.txt; `clip:DIR` (vocab.json,
        merges.txt); `sentencepiece:FILE`;
        `wordpiece:DIR` (vocab.txt, and wordpiece.json where there is one);
        the name of a folder in the repository's tokenizers/; the path of a directory written by
        `Tokenizer.save`; or `chat:`, `task:` or `images:` and any of these, which adds the tokens
        of a chat, of GPT-1's fine-tuning or of images.

    Returns:
      The tokenizer.

    Raises:
      ValueError: For an unknown spec, and for files that are missing, torn or changed.
    """
    spec = with_home(spec)
    if spec == "bytes":
        return RawBytes()
    name, colon, path = spec.partition(":")
    if colon and name in MARKED:
        return MARKED[name](load_tokenizer(path))
    if colon and name in _FORMATS:
        return _FORMATS[name](Path(path))
    for directory in (REPOSITORY_TOKENIZERS / spec, Path(spec)):
        if (directory / KIND_FILE).is_file():
            return _load_saved(directory)
    meant = _meant(spec)
    if meant is None and Path(spec).is_dir():
        raise ValueError(f"{spec!r} has no {KIND_FILE}; expected a saved tokenizer")
    demos = sorted(path.parent.name for path in REPOSITORY_TOKENIZERS.glob(f"*/{KIND_FILE}"))
    published = ["gpt2:DIR", "gpt1:DIR", "clip:DIR", "sentencepiece:FILE", "wordpiece:DIR"]
    choices = [*demos, "bytes", *published, "DIR", *(f"{kind}:INNER" for kind in MARKED)]
    raise unknown_name("tokenizer", spec, choices, meant)


def _meant(spec: str) -> str | None:
    """What a user may have meant who gave the path of published files alone."""
    path = Path(spec)
    if path.suffix == ".model":
        return f"sentencepiece:{spec}"
    of_gpt2 = (ByteLevelBPE.vocab_file, _HUGGING_FACE[0])
    for form, names in (("gpt2", of_gpt2), ("gpt1", (GPT1BPE.vocab_file,))):
        if any((path / name).is_file() for name in names):
            return f"{form}:{spec}"
    return f"wordpiece:{spec}" if (path / VOCAB).is_file() else None


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
