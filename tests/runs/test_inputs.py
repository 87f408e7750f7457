import numpy as np
import pytest

from gptjax.config import DataConfig, ExperimentConfig, ModelConfig, TrainingConfig, resolve
from gptjax.data.batches.mixture import WindowRows
from gptjax.data.corpora.text import load_corpus
from gptjax.runs.inputs import (
    load_model_tokenizer,
    prepare_corpus,
    row_batches,
    training_batches,
    validation_batches,
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GPTJAX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    for i in range(40):
        (folder / f"{i:02}.txt").write_text(f"Document {i}: " + "to be or not to be. " * (i % 7))
    return folder


def _config(folder, vocab_size=1024, tokenizer="python_docs_1024", context_length=16, **training):
    return resolve(
        ExperimentConfig(
            model=ModelConfig(vocab_size=vocab_size, context_length=context_length),
            data=DataConfig(corpus=f"text:{folder}", tokenizer=tokenizer, validation_fraction=0.2),
            training=TrainingConfig(batch_size=4, **training),
        )
    )


def test_a_tokenizer_must_be_given_and_the_message_says_how(folder):
    with pytest.raises(ValueError, match=r"data\.tokenizer: got none, expected .*gpt2:DIR"):
        load_model_tokenizer(_config(folder, tokenizer=None))


def test_a_tokenizer_that_is_not_there_names_the_nearest(folder):
    with pytest.raises(ValueError, match=r"python_docs_104.*python_docs_1024"):
        load_model_tokenizer(_config(folder, tokenizer="python_docs_104"))


@pytest.mark.parametrize("vocab_size", [1023, 2048])
def test_a_tokenizer_of_another_model_is_refused(folder, vocab_size):
    with pytest.raises(ValueError, match=rf"vocab_size: got {vocab_size}, expected 1024, the voc"):
        load_model_tokenizer(_config(folder, vocab_size=vocab_size))


def test_a_corpus_must_be_given_and_the_message_says_how(folder):
    config = _config(folder)
    config.data.corpus = None
    with pytest.raises(ValueError, match=r"data\.corpus: got none, expected text:PATH or jsonl:P"):
        prepare_corpus(config, load_model_tokenizer(config))


def test_a_corpus_shorter_than_a_window_is_refused(folder):
    config = _config(folder, context_length=10_000)
    with pytest.raises(ValueError, match=r"train split .* expected at least one window"):
        prepare_corpus(config, load_model_tokenizer(config))


def test_a_missing_corpus_is_named(tmp_path):
    config = _config(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="nowhere"):
        prepare_corpus(config, load_model_tokenizer(config))


def test_tokens_are_kept_in_the_cache_and_made_of_the_documents(folder, tmp_path):
    config = _config(folder)
    tokenizer = load_model_tokenizer(config)
    prepared = prepare_corpus(config, tokenizer)
    assert (tmp_path / "cache" / "tokens") in prepared.directory.parents
    texts = {document.text for document in load_corpus(config.data.corpus)}
    found = set()
    for split in (prepared.train, prepared.validation):
        found |= set(tokenizer.decode(np.array(split.tokens)).split("<|endoftext|>"))
    assert found - {""} == texts


def test_training_goes_on_at_any_step_with_the_same_batches(folder):
    config = _config(folder, seed=3)
    train = prepare_corpus(config, load_model_tokenizer(config)).train
    from_start, from_two = (training_batches(config, train, first) for first in (0, 2))
    for _ in range(2):
        next(from_start)
    for _ in range(4):
        expected, got = next(from_start), next(from_two)
        assert expected.keys() == {"tokens", "targets", "loss_weights"}
        for name, array in expected.items():
            assert array.shape == (4, 16)
            np.testing.assert_array_equal(got[name], array)


def test_validation_has_every_target_once_or_the_batches_asked_for(folder):
    config = _config(folder)
    split = prepare_corpus(config, load_model_tokenizer(config)).validation
    batches = validation_batches(config, split)
    for _ in range(2):  # made anew at each call
        targets = [b["targets"][b["loss_weights"] > 0] for b in batches()]
        np.testing.assert_array_equal(np.concatenate(targets), split.tokens[1:])
    assert len(targets) > 2
    limited = validation_batches(_config(folder, eval_batches=2), split)
    assert [b["tokens"].shape for b in limited()] == [(4, 16), (4, 16)]
    np.testing.assert_array_equal(next(limited())["tokens"], next(batches())["tokens"])


def test_of_every_batch_a_share_is_made_on_request(folder):
    config = _config(folder)
    prepared = prepare_corpus(config, load_model_tokenizer(config))
    rows = WindowRows(prepared.train, 16)
    for batches in (
        lambda *share: training_batches(config, prepared.train, 1, (), *share),
        lambda *share: validation_batches(config, prepared.validation, *share)(),
        lambda *share: row_batches(config, rows, *share)(),
    ):
        halves = [next(batches(((part,), 2))) for part in (0, 1)]
        for name, array in next(batches()).items():
            np.testing.assert_array_equal(np.concatenate([half[name] for half in halves]), array)


def test_document_masking_reaches_both_kinds_of_batches(folder):
    config = _config(folder)
    config.data.document_masking = True
    prepared = prepare_corpus(config, load_model_tokenizer(config))
    for batch in (
        next(training_batches(config, prepared.train, 0)),
        next(validation_batches(config, prepared.validation)()),
    ):
        assert {"segment_ids", "positions"} < batch.keys()
