"""WordPiece against BERT's published algorithm, written out, and against `transformers`."""

import unicodedata

import numpy as np
import pytest

from gptjax.tokenization import WordPiece, load_tokenizer
from gptjax.tokenization.wordpiece import HUGGING_FACE, ORIGINAL, SPECIAL, UNKNOWN

CHINESE = [
    *((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F)),
    *((0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)),
]
ASCII_PUNCTUATION = {*range(33, 48), *range(58, 65), *range(91, 97), *range(123, 127)}
NASTY = (
    "Naïve Çafé, don't! e\u0301 ＡＢＣ ﬁ ẞ İ ΑΣΑ ǅ “quoted”—dash–dash… 北京大学2019年 東京タワー\t"
    "zero\x00width\u200bjoin\ufffd soft\xadhyphen\x07bell\x85next\u2028line\u3000wide $5+5=10^1 "
    f"a##b [MASK] [CLS]x {'x' * 100} {'y' * 101} {'a' * 200} {'b' * 201} 👍🏽 ١٢٣ हिन्दी\n"
)


def words_of(text: str, lowercase: bool) -> list[str]:
    """google-research/bert's BasicTokenizer, character by character."""
    spaced = ""
    for character in text:
        number, category = ord(character), unicodedata.category(character)
        if character in "\t\n\r" or category in ("Zs", "Zl", "Zp"):
            spaced += " "
        elif number in (0, 0xFFFD) or category.startswith("C"):  # Cc and Cf in the original
            continue
        elif any(first <= number <= last for first, last in CHINESE):
            spaced += f" {character} "
        else:
            spaced += character
    words = []
    for word in spaced.split():
        if lowercase:
            marks = unicodedata.normalize("NFD", word)
            word = "".join(c.lower() for c in marks if unicodedata.category(c) != "Mn")
        piece = ""
        for character in word:
            if ord(character) in ASCII_PUNCTUATION or unicodedata.category(character)[0] == "P":
                words += [piece, character]
                piece = ""
            else:
                piece += character
        words.append(piece)
    return [word for word in words if word]


def pieces_of(word: str, vocab: dict[str, int], longest: int) -> list[int]:
    """Its WordpieceTokenizer: the longest piece first, `[UNK]` for the word if none fits."""
    start, found = 0, []
    while start < len(word):
        ends = range(len(word), start, -1)
        named = (("##" if start else "") + word[start:end] for end in ends)
        piece = next((name for name in named if name in vocab), None)
        if piece is None or len(word) > longest:
            return [vocab[UNKNOWN]]
        found.append(vocab[piece])
        start += len(piece) - (2 if start else 0)
    return found


@pytest.mark.parametrize("longest", [ORIGINAL, HUGGING_FACE])
@pytest.mark.parametrize("lowercase", [True, False])
def test_ids_are_those_of_the_published_algorithm(code, lowercase, longest):
    trained = WordPiece.train([code, NASTY], 900, lowercase=lowercase)
    tokenizer = WordPiece(trained.tokens, lowercase, longest)
    vocab = {token: index for index, token in enumerate(tokenizer.tokens)}
    for text in (NASTY, code[:5000]):
        expected = [
            i for word in words_of(text, lowercase) for i in pieces_of(word, vocab, longest)
        ]
        assert tokenizer.encode(text).tolist() == expected
    unknown = {
        length: UNKNOWN in tokenizer.decode(tokenizer.encode("a" * length)) for length in (101, 201)
    }
    assert unknown == {101: longest == HUGGING_FACE, 201: True}


def test_the_published_vocabulary_is_uncased_and_knows_its_words(shared_data):
    tokenizer = load_tokenizer(f"wordpiece:{shared_data}/bert_vocab")
    assert tokenizer.vocab_size == 30522
    assert [tokenizer.special_tokens[name] for name in SPECIAL] == [0, 100, 101, 102, 103]
    ids = tokenizer.encode("Unaffable [MASK]", allowed_special=["[MASK]"])
    assert [tokenizer.tokens[i] for i in ids] == ["una", "##ffa", "##ble", "[MASK]"]
    assert tokenizer.decode(ids) == "unaffable [MASK]"


@pytest.mark.slow
@pytest.mark.parametrize("lowercase", [True, False])
def test_a_megabyte_has_the_ids_of_transformers(shared_data, mixed_text, tmp_path, lowercase):
    transformers = pytest.importorskip("transformers")
    tokens = (shared_data / "bert_vocab/vocab.txt").read_text().split("\n")[:-1]
    tokens[900:903] = ["Mr", "The", "É"]  # for the cased
    (tmp_path / "vocab.txt").write_text("\n".join([*tokens, ""]))
    theirs = transformers.BertTokenizer.from_pretrained(tmp_path, do_lower_case=lowercase)
    ours = WordPiece(tokens, lowercase, HUGGING_FACE)
    assert len(mixed_text.encode()) > 900_000
    text = mixed_text.replace("[", "")  # they find special tokens in any text
    np.testing.assert_array_equal(ours.encode(text), theirs.encode(text, add_special_tokens=False))


def test_case_is_dropped_if_the_vocabulary_has_none():
    plain, cased = [*SPECIAL, "[Unused]", "a"], [*SPECIAL, "a", "##B"]
    assert (WordPiece(plain).lowercase, WordPiece(cased).lowercase) == (True, False)
    assert WordPiece(cased).continues_word.nonzero()[0].tolist() == [6]


def test_training_gives_the_same_ids_at_every_call(code):
    first, second = (WordPiece.train([code], 400) for _ in range(2))
    assert first.tokens == second.tokens and len(first.tokens) == 400
    assert first.tokens[:5] == SPECIAL


@pytest.mark.parametrize(
    ("vocab", "settings", "message"),
    [
        (b"[PAD]\na\n", None, r"vocab.txt: got no token \[UNK\], expected BERT's vocabulary"),
        (b"[UNK]\na\na\n", None, "vocab.txt: token 'a': got it twice, expected each token once"),
        (b"\xff", None, "vocab.txt: .*expected tokens in UTF-8, one a line"),
        (b"[UNK]\n", '{"lowercase": 1}', "wordpiece.json: got {'lowercase': 1}, expected"),
        (b"[UNK]\n", '{"max_word_characters": 0}', "a number above 0"),
    ],
)
def test_bad_files_are_refused(tmp_path, vocab, settings, message):
    (tmp_path / "vocab.txt").write_bytes(vocab)
    if settings:
        (tmp_path / "wordpiece.json").write_text(settings)
    with pytest.raises(ValueError, match=message) as caught:
        load_tokenizer(f"wordpiece:{tmp_path}")
    assert "\n" not in str(caught.value)
    if settings is None:
        with pytest.raises(ValueError, match=rf"did you mean 'wordpiece:{tmp_path}'"):
            load_tokenizer(str(tmp_path))
