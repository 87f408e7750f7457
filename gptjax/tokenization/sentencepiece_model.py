"""SentencePiece: unigram (Kudo, arXiv 1804.10959) or BPE pieces of whole sentences.

The library is that of Kudo and Richardson (arXiv 1808.06226). Models trained here keep white space
as it is and fall back to bytes, so that only U+2581, the library's own sign for a space, is lost
(it becomes a space). Any other model behaves as its own settings say; what it declares as
user-defined symbols is found in any text.

    SentencePiece(Path("FILE.model").read_bytes())
    SentencePiece.train(texts, vocab_size=2048, model_type="unigram")
"""

import io
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Self

import numpy.typing as npt
import sentencepiece

from gptjax.tokenization.protocol import END_OF_TEXT, Tokenizer, read_bytes, well_formed

_MODEL_FILE = "sentencepiece.model"
_LONGEST_LINE = 1 << 30  # bytes; the library's limit, at its default it drops lines above 4192


class SentencePiece(Tokenizer):
    """A SentencePiece model; its special tokens are its control symbols."""

    kind = "sentencepiece"

    def __init__(self, model: bytes):
        """`model` is a serialized ModelProto; anything else raises ValueError."""
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
        except RuntimeError as error:
            raise ValueError("got no SentencePiece model; expected a whole .model file") from error
        self._model = model
        self.special_tokens = {
            self._processor.id_to_piece(index): index
            for index in range(self.vocab_size)
            if self._processor.is_control(index)
        }
        self._special_texts = {index: name for name, index in self.special_tokens.items()}

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Reads a .model file; one that is no model raises ValueError."""
        model = read_bytes(path)
        try:
            return cls(model)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Reads the model from `directory`."""
        return cls.from_file(directory / _MODEL_FILE)

    @classmethod
    def train(
        cls, texts: Iterable[str], vocab_size: int, model_type: Literal["unigram", "bpe"]
    ) -> Self:
        """Learns the pieces of `texts`.

        Args:
          texts: Documents; each line is a sentence.
          vocab_size: `<unk>` (id 0), `<|endoftext|>` (id 1), 256 bytes, and the pieces.
          model_type: How pieces are chosen.

        Returns:
          A tokenizer of exactly `vocab_size` ids.

        Raises:
          ValueError: For a size that the library finds too small or too large for `texts`.
        """
        lines = [line for text in well_formed(texts) for line in text.split("\n") if line]
        if not lines:
            raise ValueError("texts to train on: got none, expected at least one line")
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(lines),
                model_writer=model,
                model_type=model_type,
                vocab_size=vocab_size,
                max_sentence_length=_LONGEST_LINE,
                character_coverage=1.0,
                byte_fallback=True,
                normalization_rule_name="identity",
                remove_extra_whitespaces=False,
                allow_whitespace_only_pieces=True,
                add_dummy_prefix=False,
                unk_id=0,
                bos_id=-1,
                pad_id=-1,
                eos_id=1,
                eos_piece=END_OF_TEXT,
                minloglevel=2,
            )
        except RuntimeError as error:
            reason = str(error).rpartition("] ")[2] or str(error)
            raise ValueError(f"vocab_size {vocab_size}, {model_type}: {reason}") from error
        return cls(model.getvalue())

    @property
    def vocab_size(self) -> int:
        """The pieces of the model, of every type."""
        return self._processor.vocab_size()

    @property
    def end_of_text(self) -> int | None:
        """The model's end-of-sentence, whatever its name."""
        index = self._processor.eos_id()
        return index if index >= 0 else None

    def files(self) -> dict[str, bytes]:
        """The model as it was read."""
        return {_MODEL_FILE: self._model}

    def _encode_ordinary(self, texts: Sequence[str]) -> Iterable[npt.ArrayLike]:
        return self._processor.encode(list(texts), num_threads=-1)

    def _decode(self, ids: list[int]) -> str:
        parts = []
        for special, run in itertools.groupby(ids, key=self._special_texts.get):
            parts.append(self._processor.decode(list(run)) if special is None else special)
        return "".join(parts)

    def token_bytes(self, index: int) -> bytes:
        """What a token adds to a text: a byte of its own where the piece stands for one."""
        if 0 <= index < self.vocab_size and self._processor.is_byte(index):
            return bytes([int(self._processor.id_to_piece(index)[1:-1], 16)])
        return super().token_bytes(index)
