"""Token files and windows, against streams and windows written out by loops."""

import errno
import hashlib
import itertools
import json
import math
import os

import numpy as np
import pytest

from gptjax.data.batches import shards
from gptjax.data.batches.shards import prepare
from gptjax.data.corpora.text import load_corpus
from gptjax.locks import DirectoryLock

TEXTS = ["hello", "", "é🙂", "a", "the longest document of them all"]


def stream_by_loop(texts):
    stream = [256]
    for text in texts:
        stream += [*text.encode(), 256]
    return stream


def split_by_loop(folder, fraction):
    train, validation = [], []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        number = int(hashlib.sha256(data).hexdigest(), 16) / 2**256
        if data:
            (validation if number < fraction else train).append(data.decode())
    return train, validation


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_stream_of_each_split(text_folder, tmp_path, make_tokenizer):
    prepared = prepare(load_corpus(f"text:{text_folder}"), make_tokenizer(), tmp_path / "c", 0.3)
    for split, texts in zip(
        (prepared.train, prepared.validation), split_by_loop(text_folder, 0.3), strict=True
    ):
        stream = stream_by_loop(texts)
        assert split.tokens.tolist() == stream
        assert split.num_targets == sum(len(text.encode()) + 1 for text in texts)
        assert split.num_bytes == sum(len(text.encode()) for text in texts)
        assert split.document_bytes.tolist() == [len(text.encode()) for text in texts]
        assert split.document_starts.tolist() == [i for i, t in enumerate(stream) if t == 256][:-1]
    assert prepared.corpus_hash == load_corpus(f"text:{text_folder}").content_hash()
    assert prepared.tokenizer_hash == make_tokenizer().content_hash()


@pytest.mark.parametrize("call_size", [1, 100, 1 << 20])
def test_the_size_of_a_call_to_the_tokenizer_changes_nothing(
    text_folder, tmp_path, make_tokenizer, monkeypatch, call_size
):
    monkeypatch.setattr(shards, "_CHARACTERS_A_CALL", call_size)
    tokenizer = make_tokenizer()
    prepared = prepare(load_corpus(f"text:{text_folder}"), tokenizer, tmp_path / "c", 0.3)
    assert prepared.train.tokens.tolist() == stream_by_loop(split_by_loop(text_folder, 0.3)[0])
    assert tokenizer.texts_encoded == 39


def test_the_order_of_documents_leaves_the_split_alone(text_folder, tmp_path, make_tokenizer):
    def documents(split):
        starts = [*split.document_starts.tolist(), len(split.tokens) - 1]
        ids = split.tokens.astype(np.uint8)
        return {ids[a + 1 : b].tobytes() for a, b in itertools.pairwise(starts)}

    before = prepare(load_corpus(f"text:{text_folder}"), make_tokenizer(), tmp_path / "c", 0.3)
    for i in range(40):
        (text_folder / f"{i:02}.txt").rename(text_folder / f"x{39 - i:02}.txt")
    (text_folder / "new.txt").write_text("new")
    after = prepare(load_corpus(f"text:{text_folder}"), make_tokenizer(), tmp_path / "c", 0.3)
    assert documents(before.train) == documents(after.train) - {b"new"}
    assert documents(before.validation) == documents(after.validation) - {b"new"}
    assert before.corpus_hash != after.corpus_hash


@pytest.mark.parametrize(("vocab_size", "dtype"), [(1 << 16, "uint16"), ((1 << 16) + 1, "uint32")])
def test_token_width(text_folder, tmp_path, make_tokenizer, vocab_size, dtype):
    tokenizer = make_tokenizer(vocab_size, end_of_text=vocab_size - 1)
    prepared = prepare(load_corpus(f"text:{text_folder}"), tokenizer, tmp_path / "c", 0.3)
    assert prepared.train.tokens.dtype == dtype
    assert prepared.train.tokens[0] == prepared.train.tokens[-1] == vocab_size - 1


# The cache


def test_a_later_call_opens_the_files(text_folder, tmp_path, make_tokenizer, settled):
    cache = tmp_path / "c"
    first = prepare(load_corpus(f"text:{text_folder}"), make_tokenizer(), cache, 0.3)
    listing = files_in(cache)

    def unread():
        raise AssertionError("the corpus was read again")

    corpus, tokenizer = load_corpus(f"text:{text_folder}"), make_tokenizer()
    object.__setattr__(corpus, "read", unread)
    second = prepare(corpus, tokenizer, cache, 0.3)
    assert tokenizer.texts_encoded == 0
    assert second.directory == first.directory
    assert second.corpus_hash == first.corpus_hash
    assert second.train.tokens.tolist() == first.train.tokens.tolist()
    assert files_in(cache) == listing


def test_other_contents_have_other_files(text_folder, tmp_path, make_tokenizer, settled):
    cache, spec = tmp_path / "c", f"text:{text_folder}"
    first = prepare(load_corpus(spec), make_tokenizer(), cache, 0.3)
    fraction = prepare(load_corpus(spec), make_tokenizer(), cache, 0.4)
    tokenizer = prepare(load_corpus(spec), make_tokenizer(300), cache, 0.3)
    (text_folder / "00.txt").write_text("another")
    corpus = prepare(load_corpus(spec), make_tokenizer(), cache, 0.3)
    assert len({p.directory for p in (first, fraction, tokenizer, corpus)}) == 4
    assert len({p.corpus_hash for p in (first, fraction, tokenizer, corpus)}) == 2


def test_equal_contents_elsewhere_share_files(text_folder, tmp_path, make_tokenizer):
    first = prepare(load_corpus(f"text:{text_folder}"), make_tokenizer(), tmp_path / "c", 0.3)
    moved = text_folder.rename(tmp_path / "moved")
    second = prepare(load_corpus(f"text:{moved}"), make_tokenizer(), tmp_path / "c", 0.3)
    assert first.directory == second.directory


@pytest.mark.parametrize("failure", [RuntimeError("stop"), KeyboardInterrupt()])
def test_an_interrupted_call_leaves_nothing(
    text_folder, tmp_path, make_tokenizer, monkeypatch, failure
):
    monkeypatch.setattr(shards, "_CHARACTERS_A_CALL", 1)
    tokenizer, cache = make_tokenizer(), tmp_path / "c"
    encode_batch = tokenizer.encode_batch

    def failing(texts):
        if tokenizer.texts_encoded == 20:
            raise failure
        return encode_batch(texts)

    tokenizer.encode_batch = failing
    with pytest.raises(type(failure)):
        prepare(load_corpus(f"text:{text_folder}"), tokenizer, cache, 0.3)
    assert list(cache.iterdir()) == []
    again = prepare(load_corpus(f"text:{text_folder}"), make_tokenizer(), cache, 0.3)
    assert again.train.tokens.tolist() == stream_by_loop(split_by_loop(text_folder, 0.3)[0])


def test_what_killed_calls_left_is_removed_and_what_others_fill_is_not(
    text_folder, tmp_path, make_tokenizer
):
    cache = tmp_path / "c"
    names = ("filled", "left", "of_an_older_version")
    filled, left, older = (cache / f"unfinished-{name}" for name in names)
    lock = DirectoryLock(filled)
    lock.take()
    for directory in (left, older):
        (directory / "splits").mkdir(parents=True)
    (left / "lock").write_text("")
    prepared = prepare(load_corpus(f"text:{text_folder}"), make_tokenizer(), cache, 0.3)
    assert set(cache.iterdir()) == {filled, prepared.directory}


def test_two_processes_may_prepare_the_same_corpus(text_folder, tmp_path, make_tokenizer):
    """The other process finishes first: its files are opened, and ours dropped."""
    cache, tokenizer = tmp_path / "c", make_tokenizer()
    encode_batch = tokenizer.encode_batch

    def overtaken(texts):
        prepare(load_corpus(f"text:{text_folder}"), make_tokenizer(), cache, 0.3)
        return encode_batch(texts)

    tokenizer.encode_batch = overtaken
    prepared = prepare(load_corpus(f"text:{text_folder}"), tokenizer, cache, 0.3)
    assert list(cache.iterdir()) == [prepared.directory]


# Bad input


def test_a_full_disk_is_one_line(text_folder, tmp_path, make_tokenizer):
    tokenizer = make_tokenizer()

    def full(texts):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    tokenizer.encode_batch = full
    with pytest.raises(ValueError, match=r"in .*/c: No space left on device; expected") as caught:
        prepare(load_corpus(f"text:{text_folder}"), tokenizer, tmp_path / "c", 0.3)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "c").iterdir()) == []


def test_an_unwritable_cache_is_one_line(text_folder, tmp_path, make_tokenizer):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"in .*/file/c.*: Not a directory; expected a writable"):
        prepare(load_corpus(f"text:{text_folder}"), make_tokenizer(), tmp_path / "file" / "c", 0.3)


def test_damaged_files_are_noticed(text_folder, tmp_path, make_tokenizer):
    corpus = load_corpus(f"text:{text_folder}")
    prepared = prepare(corpus, make_tokenizer(), tmp_path / "c", 0.3)
    with (prepared.directory / "train.tokens").open("r+b") as file:
        file.truncate(100)
    with pytest.raises(ValueError, match=r"damaged token files in .*'tokens': 50.*delete the dir"):
        prepare(corpus, make_tokenizer(), tmp_path / "c", 0.3)


def test_without_end_of_text_documents_follow_each_other(text_folder, tmp_path, make_tokenizer):
    corpus = load_corpus(f"text:{text_folder}")
    prepared = prepare(corpus, make_tokenizer(256, None), tmp_path / "c", 0.3)
    for split, texts in zip(
        (prepared.train, prepared.validation), split_by_loop(text_folder, 0.3), strict=True
    ):
        assert split.tokens.tolist() == [*"".join(texts).encode()]
        assert split.num_targets == split.num_bytes - 1
        lengths = [len(text.encode()) for text in texts]
        assert split.document_starts.tolist() == [sum(lengths[:i]) for i in range(len(texts))]


def test_a_split_without_documents_is_refused(text_folder, tmp_path, make_tokenizer):
    corpus = load_corpus(f"text:{text_folder}/00.txt")
    with pytest.raises(ValueError, match=r"the validation split of .*none of its 1 document\(s\)"):
        prepare(corpus, make_tokenizer(), tmp_path / "c", 1e-9)
    with pytest.raises(ValueError, match="the train split of"):
        prepare(corpus, make_tokenizer(), tmp_path / "c", 1.0 - 1e-9)
    assert list((tmp_path / "c").iterdir()) == []


def test_of_text_for_judging_all_is_held_out(text_folder, tmp_path, make_tokenizer):
    corpus = load_corpus(f"text:{text_folder}")
    prepared = prepare(corpus, make_tokenizer(), tmp_path / "c", 1.0)
    texts = [document.text for document in corpus]
    assert prepared.validation.num_bytes == sum(len(text.encode()) for text in texts)
    assert len(prepared.validation.document_starts) == len(texts)
    assert len(prepared.train.document_starts) == 0
    assert prepared.validation.name == f"text of '{corpus.name}'"


def test_a_split_shorter_than_a_window_is_refused(make_split):
    split = make_split(["abc"])
    assert split.full_windows(4) == 1
    with pytest.raises(ValueError, match=r"train split of 'test' has 4 tokens; expected .* = 5"):
        split.full_windows(5)


def test_metadata_tells_what_the_files_hold(text_folder, tmp_path, make_tokenizer):
    prepared = prepare(load_corpus(f"text:{text_folder}"), make_tokenizer(), tmp_path / "c", 0.3)
    metadata = json.loads((prepared.directory / "metadata.json").read_text())
    assert metadata["corpus_hash"] == prepared.corpus_hash
    assert metadata["splits"]["train"] == {
        "tokens": len(prepared.train.tokens),
        "documents": len(prepared.train.document_starts),
        "bytes": prepared.train.num_bytes,
    }


# Windows


@pytest.mark.parametrize("context_length", [1, 3, 7, 16, 1000])
def test_windows_cover_each_target_once(make_split, context_length):
    split, stream = make_split(TEXTS), stream_by_loop(TEXTS)
    assert split.all_windows(context_length) == math.ceil((len(stream) - 1) / context_length)
    batch = split.batch(np.arange(split.all_windows(context_length)), context_length)
    assert {key: (value.dtype, value.ndim) for key, value in batch.items()} == {
        "tokens": (np.int32, 2),
        "targets": (np.int32, 2),
        "loss_weights": (np.float32, 2),
    }
    real = batch["loss_weights"] == 1
    assert batch["targets"][real].tolist() == stream[1:]
    assert batch["tokens"][real].tolist() == stream[:-1]
    assert set(batch["loss_weights"][~real].tolist()) <= {0}
    full = len(stream[1:]) // context_length
    assert batch["loss_weights"][:full].all()
    if full:
        assert split.full_windows(context_length) == full


def test_windows_in_any_order_and_past_the_end(make_split):
    split, stream = make_split(TEXTS), stream_by_loop(TEXTS)
    batch = split.batch(np.array([3, 0, 3, 99]), 8)
    assert batch["tokens"][:3].tolist() == [stream[24:32], stream[:8], stream[24:32]]
    assert batch["targets"][:3].tolist() == [stream[25:33], stream[1:9], stream[25:33]]
    assert not batch["loss_weights"][3].any()


@pytest.mark.parametrize("context_length", [5, 16, 64])
def test_document_masking_against_a_loop(make_split, context_length):
    split, stream = make_split(TEXTS), stream_by_loop(TEXTS)
    count = split.all_windows(context_length) + 1
    batch = split.batch(np.arange(count), context_length, document_masking=True)
    for window in range(count):
        segment, position = -1, 0
        for t in range(context_length):
            place = window * context_length + t
            if place >= len(stream) - 1:
                assert batch["segment_ids"][window, t] == -1
                continue
            if t == 0 or stream[place] == 256:
                segment, position = segment + 1, 0
            assert batch["segment_ids"][window, t] == segment
            assert batch["positions"][window, t] == position
            position += 1
    assert 0 <= batch["positions"].min() <= batch["positions"].max() < context_length
    assert batch["segment_ids"].dtype == batch["positions"].dtype == np.int32
