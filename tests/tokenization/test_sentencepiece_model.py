"""SentencePiece against its own library, and what training promises."""

import pytest
import sentencepiece

from gptjax.tokenization import END_OF_TEXT, SentencePiece, load_tokenizer


def test_ids_are_those_of_the_library(shared_data, mixed_text):
    path = shared_data / "tok_sentencepiece/test_model.model"
    library = sentencepiece.SentencePieceProcessor(model_file=str(path))
    ours = load_tokenizer(f"sentencepiece:{path}")
    assert ours.vocab_size == library.get_piece_size() == 1000
    assert ours.special_tokens == {"<s>": 1, "</s>": 2}
    assert ours.end_of_text == library.eos_id() == 2
    texts = mixed_text[:200_000].split("\n")
    for text, ids in zip(texts, ours.encode_batch(texts), strict=True):
        assert ids.tolist() == library.encode(text)
        assert ours.decode(ids) == library.decode(ids.tolist())


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_trained_models_lose_only_the_sign_for_a_space(model_type, code, hard_texts):
    ours = SentencePiece.train([code[:50_000]], 400, model_type)
    assert ours.vocab_size == 400
    assert ours.special_tokens == {END_OF_TEXT: 1}
    assert ours.end_of_text == 1
    for text in [*hard_texts, code]:
        ids = ours.encode(text)
        assert not set(ids.tolist()) & {0, 1}
        assert ours.decode(ids) == text.replace("\u2581", " ")
    assert len(ours.encode(code)) < 0.7 * len(code)


def test_special_tokens_between_texts(code):
    ours = SentencePiece.train([code[:50_000]], 400, "unigram")
    text = f" a{END_OF_TEXT} b c{END_OF_TEXT}"
    ids = ours.encode(text, allowed_special=[END_OF_TEXT]).tolist()
    assert ids == [*ours.encode(" a"), 1, *ours.encode(" b c"), 1]
    assert ours.decode(ids) == text


@pytest.mark.parametrize(
    ("texts", "size", "message"),
    [
        (["some text"], 100, "smaller than required_chars. 100 vs 26"),
        (["some text"], 9999, "too high"),
        (["\n"], 300, "got none"),
    ],
)
def test_refuses_what_it_cannot_train(texts, size, message):
    with pytest.raises(ValueError, match=message):
        SentencePiece.train(texts, size, "unigram")
