"""Sets of pairs, their buckets, and the order of batches."""

import collections
import itertools
import json

import numpy as np
import pytest

from gptjax.batch_schedule import BatchSchedule
from gptjax.data import load_corpus
from gptjax.data.batches.loader import ALL, bucket_batches, evaluation_buckets
from gptjax.data.batches.pair_rows import BucketOrder, bucket_lengths, bucketed, tokenized
from gptjax.data.corpora.pairs import Pair, english, german, load_pairs
from gptjax.tokenization import load_tokenizer
from tests.support.alignment_runs import refusal

CONTEXT = 24


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("instructions_448")


@pytest.fixture(scope="module")
def pairs(tokenizer):
    return tokenized(load_pairs("reversed:count=90"), tokenizer, CONTEXT)


@pytest.fixture
def aligned(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n\nfour\n")
    (tmp_path / "b.txt").write_text("eins\nzwei\ndrei\nvier\n")
    (tmp_path / "c.tsv").write_text("x\teins\tone\ny\tzwei\ttwo\n")
    row = {"translation": {"en": "one", "de": "eins"}}
    (tmp_path / "d.jsonl").write_text(f"{json.dumps(row)}\n")
    return tmp_path


def test_pairs_are_read_in_every_form(aligned):
    found = load_pairs(f"files:{aligned}/a.txt,{aligned}/b.txt")
    assert list(found) == [Pair("one", "eins"), Pair("two", "zwei"), Pair("four", "vier")]
    assert dict(found.dropped) == {"pairs with an empty side": 1}
    assert load_pairs(f"tsv:{aligned}/c.tsv#2,1")[1] == Pair("two", "zwei")
    rows = load_pairs(f"jsonl:{aligned}/d.jsonl#translation.en,translation.de")
    assert list(rows) == [Pair("one", "eins")]
    corpus = load_corpus(f"pairs:tsv:{aligned}/c.tsv#2,1")
    assert [document.text for document in corpus] == ["one", "eins", "two", "zwei"]
    assert corpus.files == (aligned / "c.tsv",)


def test_what_cannot_be_read_is_one_line(aligned):
    (aligned / "b.txt").write_text("eins\n")
    line = refusal(load_pairs, f"files:{aligned}/a.txt,{aligned}/b.txt")
    assert f"got 4 lines in {aligned}/a.txt and 1 in {aligned}/b.txt, expected as many" in line
    line = refusal(load_pairs, f"tsv:{aligned}/a.txt")
    assert line.startswith(f"{aligned}/a.txt:1: got 1 columns, expected at least 2")
    assert "got 1 paths, expected files:SOURCE,TARGET" in refusal(load_pairs, "files:a.txt")
    assert "did you mean 'tsv:x.tsv'?" in refusal(load_pairs, "x.tsv")


def test_numbers_are_spelled_in_both_languages():
    assert (english(1021), german(1021)) == ("one thousand twenty one", "eintausendeinundzwanzig")
    assert (english(316), german(316)) == ("three hundred sixteen", "dreihundertsechzehn")


def test_pairs_past_the_context_are_dropped_or_cut(tokenizer):
    records = load_pairs("numbers:count=50")
    whole = tokenized(records, tokenizer, 100)
    dropped, cut = (tokenized(records, tokenizer, CONTEXT, cut=cut) for cut in (False, True))
    past = int((whole.lengths > CONTEXT).sum())
    assert 0 < past == dropped.past_context == cut.past_context
    assert len(dropped) == 50 - past and len(cut) == 50
    longest = int(whole.lengths.argmax())
    row = cut.targets.rows(np.array([longest]), CONTEXT)[0]
    assert row[-1] == tokenizer.end_of_text
    np.testing.assert_array_equal(
        row[:-1], whole.targets.rows(np.array([longest]), CONTEXT)[0][:-1]
    )
    assert "all with a side of more tokens" in refusal(tokenized, records, tokenizer, 3)
    assert "no end-of-text" in refusal(tokenized, records, load_tokenizer("bytes"), CONTEXT)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_lengths_pad_least(count):
    lengths = np.random.default_rng(count).integers(1, 40, 300)
    tried = sorted({48 // r for r in range(1, 49)})

    def tokens(chosen):
        least = [min((size for size in chosen if size >= n), default=10**6) for n in lengths]
        return sum(least)

    best = min(
        tokens(chosen) for k in range(1, count + 1) for chosen in itertools.combinations(tried, k)
    )
    assert tokens(bucket_lengths(lengths, 48, count)) == best


def buckets_of(pairs):
    return bucketed(pairs, bucket_lengths(pairs.lengths, CONTEXT, 3), CONTEXT)


def sources_in(batches):
    rows = itertools.chain.from_iterable(
        zip(batch["sources"].tolist(), batch["lengths"], strict=True) for batch in batches
    )
    return collections.Counter(tuple(row[:length]) for row, length in rows if length)


def test_an_epoch_has_every_pair_once_in_an_order_of_the_seed(pairs):
    buckets = buckets_of(pairs)
    order = BucketOrder(buckets, 2, seed=0)
    everything = sources_in(evaluation_buckets(buckets, 2))
    assert len(buckets) == 3 and everything.total() == len(pairs) == 90

    def epoch(first, order=order):
        batches = bucket_batches(order, BatchSchedule(2, CONTEXT), first)
        return list(itertools.islice(batches, len(order)))

    first, second = epoch(0), epoch(len(order))
    assert sources_in(first) == sources_in(second) == everything
    again = epoch(3)[:2]
    for got, expected in zip(again, first[3:5], strict=True):
        assert all((got[name] == expected[name]).all() for name in expected)
    assert [b["sources"].shape for b in first] != [b["sources"].shape for b in second]
    real = sum(int(b["lengths"].sum() + b["loss_weights"].sum()) for b in first)
    computed = sum(b["sources"].size + b["tokens"].size for b in first)
    assert order.padding == pytest.approx(1 - real / computed)


def test_a_batch_is_shifted_and_weighed(pairs, tokenizer):
    bucket = buckets_of(pairs)[-1]
    batch = bucket.batch(np.array([0, len(bucket)]))  # the second is past the last
    (target, _), end = batch["targets"], tokenizer.end_of_text
    count = int(batch["loss_weights"][0].sum())
    assert target[count - 1] == end and batch["tokens"][0, 0] == end
    np.testing.assert_array_equal(batch["tokens"][0, 1:count], target[: count - 1])
    assert batch["words"][0] == len(tokenizer.decode(target[: count - 1]).split())
    assert not batch["loss_weights"][1].any() and not batch["lengths"][1] + batch["words"][1]


def test_processes_and_skipped_steps_take_their_part_of_the_same_order(pairs):
    order, schedule = BucketOrder(buckets_of(pairs), 2, seed=0), BatchSchedule(2, CONTEXT)

    def third(share=ALL, skipped=()):
        return next(bucket_batches(order, schedule, 3, share=share, skipped=skipped))

    halves = [third(((part,), 2))["tokens"] for part in (0, 1)]
    np.testing.assert_array_equal(np.concatenate(halves), third()["tokens"])
    later = next(bucket_batches(order, schedule, 4))["tokens"]
    np.testing.assert_array_equal(third(skipped=((2, 4),))["tokens"], later)


def test_fewer_batches_of_an_evaluation_are_of_all_buckets(pairs):
    buckets = buckets_of(pairs)
    some = list(evaluation_buckets(buckets, 2, limit=4))
    assert len(some) == 4 and len({batch["tokens"].shape for batch in some}) > 1
