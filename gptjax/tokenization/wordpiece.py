"""WordPiece as BERT has it: words and punctuation, each cut into the longest pieces there are.

Devlin et al. 2018 (arXiv 1810.04805, section 3) after Wu et al. 2016 (arXiv 1609.08144, section
4.1); google-research/bert, tokenization.py. Text is cleaned of control characters, split at white
space, around punctuation and around Chinese characters; an uncased vocabulary also loses case and
accents. A piece that continues a word begins with `##`. A word that the pieces cannot make, or that
is too long, is one `[UNK]`.

    WordPiece.load(Path("DIR"))                 # DIR/vocab.txt, a token a line
    WordPiece.train(texts, vocab_size=4096)

The `tokenizers` library does the work, as it does behind `transformers`' BertTokenizer. Differs
from the original code in that private and unassigned characters are dropped, not only control and
format characters, and that a capital sigma at the end of a word becomes σ, not ς.
"""

import functools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from gptjax.tokenization.protocol import Tokenizer, read_bytes, read_json, well_formed

PADDING, UNKNOWN, START, SEPARATOR, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL = (PADDING, UNKNOWN, START, SEPARATOR, MASK)
PREFIX = "##"

# The longest word that is cut into pieces, in characters.
ORIGINAL, HUGGING_FACE = 200, 100

VOCAB, SETTINGS = "vocab.txt", "wordpiece.json"


class WordPiece(Tokenizer):
    """BERT's tokenizer, from its own vocab.txt or trained on a corpus; it has no end-of-text."""

    kind = "wordpiece"

    def __init__(
        self,
        tokens: Sequence[str],
        lowercase: bool | None = None,
        max_word_characters: int = ORIGINAL,
    ):
        """Makes the tokenizer of a vocabulary.

        Args:
          tokens: in the order of their ids.
          lowercase: whether case and accents are dropped; None: they are if no token has a capital.
          max_word_characters: a longer word is `[UNK]`; ORIGINAL, HUGGING_FACE, or another number.

        Raises:
          ValueError: a token is there twice, or there is no `[UNK]`.
        """
        vocab = {token: index for index, token in enumerate(tokens)}
        if len(vocab) < len(tokens):
            twice = next(token for index, token in enumerate(tokens) if vocab[token] != index)
            raise ValueError(f"token {twice!r}: got it twice, expected each token once")
        if UNKNOWN not in vocab:
            raise ValueError(f"got no token {UNKNOWN}, expected BERT's vocabulary")
        if lowercase is None:
            lowercase = not any(token != token.lower() for token in tokens if token[:1] != "[")
        self.tokens = tuple(tokens)
        self.lowercase, self.max_word_characters = lowercase, max_word_characters
        self.special_tokens = {name: vocab[name] for name in SPECIAL if name in vocab}
        self._library = tokenizers.Tokenizer(
            models.WordPiece(
                vocab=vocab,
                unk_token=UNKNOWN,
                max_input_chars_per_word=max_word_characters,
                continuing_subword_prefix=PREFIX,
            )
        )
        _split_words(self._library, lowercase)

    @property
    def vocab_size(self) -> int:
        """All tokens of the vocabulary, the unused ones too."""
        return len(self.tokens)

    @functools.cached_property
    def continues_word(self) -> np.ndarray:
        """Whether each token continues a word, bool [vocab_size]."""
        return np.array([token.startswith(PREFIX) for token in self.tokens])

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Reads vocab.txt, and wordpiece.json where there is one, from `directory`.

        Raises:
          ValueError: a file is missing, damaged, or of another kind.
        """
        path, settings = directory / VOCAB, {}
        try:
            lines = read_bytes(path).decode().removesuffix("\n").split("\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: {error}; expected tokens in UTF-8, one a line") from error
        if (directory / SETTINGS).is_file():
            settings = read_json(directory / SETTINGS)
        lowercase = settings.get("lowercase")
        longest = settings.get("max_word_characters", ORIGINAL)
        if type(lowercase) not in (bool, type(None)) or type(longest) is not int or longest < 1:
            raise ValueError(
                f"{directory / SETTINGS}: got {settings}, expected lowercase, true or false, and "
                "max_word_characters, a number above 0"
            )
        try:
            return cls([line.removesuffix("\r") for line in lines], lowercase, longest)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int, *, lowercase: bool = True) -> Self:
        """Learns the pieces of `texts`, the most frequent pairs first.

        Args:
          texts: documents, which are all in memory meanwhile.
          vocab_size: the special tokens, the characters and the pieces; [PAD] has id 0.
          lowercase: whether case and accents are dropped.

        Raises:
          ValueError: for a size that is too small to hold all characters, or too large for `texts`.
        """
        texts = list(well_formed(texts))
        library = tokenizers.Tokenizer(models.WordPiece(unk_token=UNKNOWN))
        _split_words(library, lowercase)
        # Given as special tokens, characters have the same ids, and equal pairs the same order, at
        # every call: the library numbers others by the order of a hash table.
        trainer = trainers.WordPieceTrainer(
            vocab_size=vocab_size,
            special_tokens=[*SPECIAL, *_alphabet(library, texts)],
            show_progress=False,
        )
        library.train_from_iterator(texts, trainer)
        vocab = library.get_vocab()
        if len(vocab) != vocab_size:
            limit = "at least" if len(vocab) > vocab_size else "at most"
            raise ValueError(
                f"vocab_size: got {vocab_size}, expected {limit} {len(vocab)}, "
                "as many as the texts have characters and pieces for"
            )
        return cls(sorted(vocab, key=vocab.__getitem__), lowercase)

    def library(self) -> tokenizers.Tokenizer:
        """A copy of the library's tokenizer; it finds special tokens in any text."""
        library = tokenizers.Tokenizer.from_str(self._library.to_str())
        names = [tokenizers.AddedToken(name, normalized=False) for name in self.special_tokens]
        library.add_special_tokens(names)
        library.decoder = decoders.WordPiece(prefix=PREFIX)
        return library

    def files(self) -> dict[str, bytes]:
        """The vocabulary, in the format it is read from, and the settings."""
        settings = {"lowercase": self.lowercase, "max_word_characters": self.max_word_characters}
        return {
            VOCAB: "\n".join([*self.tokens, ""]).encode(),
            SETTINGS: (json.dumps(settings) + "\n").encode(),
        }

    def encode_with_offsets(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Turns texts into ids, as `encode_batch`, and says where each token stands in its text.

        Returns:
          Of each text the ids, int32 [tokens], and the characters of the text that each token is
          made of, int32 [tokens, 2]: the first, and the one behind the last.

        Raises:
          ValueError: For a lone surrogate.
        """
        encodings = self._library.encode_batch(list(well_formed(texts)), add_special_tokens=False)
        return [
            (
                np.asarray(encoding.ids, np.int32),
                np.asarray(encoding.offsets, np.int32).reshape(-1, 2),
            )
            for encoding in encodings
        ]

    def _encode_ordinary(self, texts: Sequence[str]) -> Iterable[npt.ArrayLike]:
        encodings = self._library.encode_batch_fast(texts, add_special_tokens=False)
        return (encoding.ids for encoding in encodings)

    def _decode(self, ids: list[int]) -> str:
        return " ".join([self.tokens[index] for index in ids]).replace(f" {PREFIX}", "")


def _split_words(library: tokenizers.Tokenizer, lowercase: bool) -> None:
    """Makes `library` clean text and split it into words as BERT does."""
    library.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()


def _alphabet(library: tokenizers.Tokenizer, texts: Iterable[str]) -> list[str]:
    """The characters that begin words, then those that continue them, each in order."""
    assert library.normalizer and library.pre_tokenizer
    first: set[str] = set()
    others: set[str] = set()
    for text in texts:
        normal = library.normalizer.normalize_str(text)
        for word, _ in library.pre_tokenizer.pre_tokenize_str(normal):
            first.add(word[0])
            others.update(word[1:])
    return sorted(first) + [PREFIX + character for character in sorted(others)]
