"""Trains a tokenizer on the training documents of a corpus, and measures it on the held-out ones.

    python -m experiments.train_tokenizer --corpus=python_docs --vocab_size=2048 --output=DIR

The directory it writes is what --config.data.tokenizer=DIR takes; its recipe.json says how it came
about.
"""

import importlib.metadata
import platform
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from absl import flags, logging

from experiments.flags.command_line import run
from experiments.flags.paths import define_path
from gptjax import locks
from gptjax.atomic_files import write_json
from gptjax.data.corpora.text import load_corpus
from gptjax.tokenization import ByteLevelBPE, SentencePiece, Tokenizer, WordPiece

TRAINERS: dict[str, Callable[[Iterable[str], int], Tokenizer]] = {
    "bpe": ByteLevelBPE.train,
    "sentencepiece_unigram": lambda texts, size: SentencePiece.train(texts, size, "unigram"),
    "sentencepiece_bpe": lambda texts, size: SentencePiece.train(texts, size, "bpe"),
    "wordpiece": WordPiece.train,
    "wordpiece_cased": lambda texts, size: WordPiece.train(texts, size, lowercase=False),
}

_KIND = flags.DEFINE_enum(
    "kind",
    "bpe",
    list(TRAINERS),
    "Kind of tokenizer that is trained. bpe is byte-level BPE; wordpiece is BERT's, without case.",
)
_CORPUS = define_path(
    "corpus",
    None,
    "Corpus to train on, written like --config.data.corpus. It must be given.",
    required=True,
)
_INVALID_UTF8 = flags.DEFINE_enum(
    "invalid_utf8",
    "error",
    ["error", "replace"],
    "What is done with invalid UTF-8, as in --config.data.invalid_utf8.",
)
_VOCAB_SIZE = flags.DEFINE_integer(
    "vocab_size",
    None,
    "Number of tokens in the vocabulary, special tokens included. It must be given.",
    required=True,
    lower_bound=1,
)
_VALIDATION_FRACTION = flags.DEFINE_float(
    "validation_fraction",
    0.05,
    "Share of the documents that is held out, as in --config.data.validation_fraction.",
    lower_bound=0.0,
    upper_bound=1.0,
)
_OUTPUT = define_path(
    "output",
    None,
    "New or empty directory that the tokenizer is written to. It must be given.",
    required=True,
)


def main(argv: Sequence[str]) -> None:
    """Trains, saves, measures."""
    from gptjax.runs.life.claim import claimed

    del argv
    with claimed(output := Path(_OUTPUT.value), "--output"):
        if locks.holds_files(output):
            raise ValueError(
                f"--output: {output} has files in it, expected a new or empty directory"
            )
        _train(output)


def _train(output: Path) -> None:
    """Writes the tokenizer and its recipe, and says what held-out text takes."""
    corpus = load_corpus(_CORPUS.value, invalid_utf8=_INVALID_UTF8.value)
    is_held_out = corpus.held_out(_VALIDATION_FRACTION.value)
    training = (document.text for document in corpus if not is_held_out(document))
    tokenizer = TRAINERS[_KIND.value](training, _VOCAB_SIZE.value)
    tokenizer.save(output)

    held_out = [document.text for document in corpus if is_held_out(document)]
    num_bytes = sum(len(text.encode()) for text in held_out)
    num_tokens = sum(map(len, tokenizer.encode_batch(held_out)))
    bytes_per_token = round(num_bytes / num_tokens, 4) if num_tokens else None
    recipe = {
        "command": shlex.join(["python", "-m", "experiments.train_tokenizer", *sys.argv[1:]]),
        "corpus_hash": corpus.content_hash(),
        "held_out_bytes_per_token": bytes_per_token,
        "python": platform.python_version(),
        "tokenizers": importlib.metadata.version("tokenizers"),
        "sentencepiece": importlib.metadata.version("sentencepiece"),
    }
    write_json(output / "recipe.json", recipe)

    print(f"trained: {_KIND.value} of {tokenizer.vocab_size} ids on {_CORPUS.value}, in {output}")
    print(f"content hash: {tokenizer.content_hash()}")
    if not held_out:
        logging.warning("nothing is held out of %s, so that nothing is measured", _CORPUS.value)
    print(
        f"held out: documents={len(held_out)} bytes={num_bytes} tokens={num_tokens} "
        f"bytes_per_token={bytes_per_token}"
    )


if __name__ == "__main__":
    run(main)
