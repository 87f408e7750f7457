"""Text to token ids and back: one protocol, seven kinds of tokenizer.

    tokenizer = load_tokenizer("gpt2:DIR")          # or bytes, gpt1:DIR, wordpiece:DIR, a name
    ids = tokenizer.encode("Hello", allowed_special=("<|endoftext|>",))   # int32 [tokens]
    tokenizer.decode(ids)

The kinds are raw bytes (`raw_bytes`), GPT-2's byte-level BPE (`byte_level_bpe`), GPT-1's BPE
(`gpt1_bpe`), CLIP's (`clip_bpe`), SentencePiece (`sentencepiece_model`), any of these but CLIP's
with the tokens of a chat (`chat`), of a task (`task`) or of images (`images`), and BERT's WordPiece
(`wordpiece`).
"""

from gptjax.tokenization.byte_level_bpe import ByteLevelBPE
from gptjax.tokenization.chat import ChatTokenizer
from gptjax.tokenization.gpt1_bpe import GPT1BPE
from gptjax.tokenization.images import ImageTokenizer
from gptjax.tokenization.loading import load_tokenizer
from gptjax.tokenization.protocol import END_OF_TEXT, Tokenizer
from gptjax.tokenization.raw_bytes import RawBytes
from gptjax.tokenization.sentencepiece_model import SentencePiece
from gptjax.tokenization.task import TaskTokenizer
from gptjax.tokenization.wordpiece import WordPiece

__all__ = [
    "END_OF_TEXT",
    "GPT1BPE",
    "ByteLevelBPE",
    "ChatTokenizer",
    "ImageTokenizer",
    "RawBytes",
    "SentencePiece",
    "TaskTokenizer",
    "Tokenizer",
    "WordPiece",
    "load_tokenizer",
]
