"""Sentence pairs and their masks: what a row may hold, and that it depends on numbers alone."""

import itertools

import numpy as np
import pytest

from gptjax.data.batches.masked import MaskedEpochs, MaskedRows, Masking
from gptjax.data.batches.sentence_packing import pack_pairs, sentence_places
from gptjax.data.batches.shards import TokenizedSplit
from gptjax.tokenization import WordPiece
from gptjax.tokenization.wordpiece import SPECIAL

PAD, UNK, CLS, SEP, MASK = range(5)
# Ordinary tokens: 5 to 399 begin words, 400 to 599 continue them.
TOKENIZER = WordPiece(
    [*SPECIAL, *(f"w{i}" for i in range(5, 400)), *(f"##p{i}" for i in range(400, 600))]
)


def make_split(documents):
    """Documents of sentences of tokens, each sentence with its mark."""
    streams = [[t for sentence in document for t in (*sentence, SEP)] for document in documents]
    starts = np.cumsum([0, *map(len, streams)])[:-1]
    tokens = np.array([t for stream in streams for t in stream], np.uint16)
    return TokenizedSplit("test", tokens, starts, np.array([len(s) for s in streams]))


@pytest.fixture(scope="module")
def documents():
    """Each document has tokens of its own residue, so that it is known by any of them."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(40):
        own = np.arange(5 + number, 600, 40)
        sizes = rng.integers(1, 12, rng.integers(1, 30))
        made.append([rng.choice(own, size).tolist() for size in sizes])
    return [*made[:20], [], *made[20:]]  # one of no sentence


def make_rows(documents, *, masking=None, max_tokens=32, pairs=True, seed=0, short=0.1):
    masking = masking or Masking(most=5)
    return MaskedRows(make_split(documents), TOKENIZER, masking, max_tokens, pairs, seed, short)


def originals(batch):
    """The rows before they were masked."""
    tokens = batch["tokens"].copy()
    for row, column in zip(*np.nonzero(batch["loss_weights"]), strict=True):
        tokens[row, batch["masked_positions"][row, column]] = batch["targets"][row, column]
    return tokens


def parts(row, types):
    """The two parts of an unmasked row, without special tokens, which stand where they should."""
    real = row[row != PAD]
    ends = np.flatnonzero(real == SEP)
    assert real[0] == CLS and ends.size == 2 and ends[1] == real.size - 1
    np.testing.assert_array_equal(types[: real.size], np.arange(real.size) > ends[0])
    return real[1 : ends[0]].tolist(), real[ends[0] + 1 : -1].tolist()


def is_within(part, document):
    flat = [token for sentence in document for token in sentence]
    return any(flat[i : i + len(part)] == part for i in range(len(flat)))


def test_pairs_are_parts_of_their_documents(documents):
    rows = make_rows(documents)
    batch = rows.batch(np.arange(len(rows)))
    known = {token % 40: document for document in documents for s in document for token in s}
    assert {array.shape[0] for array in batch.values()} == {len(rows)}
    for row, types, is_random in zip(
        originals(batch), batch["token_types"], batch["is_random"], strict=True
    ):
        first, second = parts(row, types)
        homes = [known[part[0] % 40] for part in (first, second)]
        assert is_within(first, homes[0]) and is_within(second, homes[1])
        assert (homes[0] is not homes[1]) == is_random
    assert 0.5 < batch["is_random"].mean() < 0.75
    np.testing.assert_array_equal(batch["segment_ids"] == -1, batch["tokens"] == PAD)


def test_every_sentence_is_packed_once_and_unused_ones_are_put_back(documents):
    """First parts, and second parts that follow, are the corpus in order; random ones are extra."""
    places = sentence_places(make_split(documents), SEP)
    packed = pack_pairs(places, 29, 0.1, (0, 0))
    spans = [
        span
        for a, b, c, d, is_random in packed.tolist()
        for span in ([(a, b)] if is_random else [(a, b), (c, d)])
    ]
    for (_, end), (start, _) in itertools.pairwise(spans):
        assert start == end + 1  # a mark lies between
    assert (spans[0][0], spans[-1][1]) == (0, places.ends[-1])
    sizes = packed[:, 1] - packed[:, 0] + packed[:, 3] - packed[:, 2]
    assert np.mean(sizes >= 29) > 0.5  # most rows reach what they aim at


def test_rows_without_pairs_are_the_corpus_cut_into_pieces(documents):
    rows = make_rows(documents, pairs=False)
    batch = rows.batch(np.arange(len(rows)))
    assert "is_random" not in batch and not batch["token_types"].any()
    unmasked = originals(batch)
    found = [t for row in unmasked for t in row[row != PAD].tolist() if t not in (CLS, SEP)]
    assert found == [t for document in documents for sentence in document for t in sentence]
    assert (unmasked[:, 0] == CLS).all() and ((unmasked == SEP).sum(1) == 1).all()


@pytest.mark.parametrize("whole_words", [False, True])
def test_masks_are_15_percent_and_stand_for_80_10_10(documents, whole_words):
    masking = Masking(most=19, whole_words=whole_words)
    rows = make_rows(documents * 8, masking=masking, max_tokens=128, short=0.5)
    batch = rows.batch(np.arange(len(rows)))
    unmasked, kinds = originals(batch), {"mask": 0, "kept": 0, "other": 0}
    for row, before in enumerate(unmasked):
        count = int(batch["loss_weights"][row].sum())
        positions = batch["masked_positions"][row, :count]
        assert (np.diff(positions) > 0).all() and not batch["masked_positions"][row, count:].any()
        size = (before != PAD).sum()
        wanted = min(19, max(1, round(0.15 * size)))
        assert count == wanted if not whole_words else count <= wanted
        assert not np.isin(before[positions], [CLS, SEP, PAD]).any()
        for place in positions:
            now = batch["tokens"][row, place]
            kinds["mask" if now == MASK else "kept" if now == before[place] else "other"] += 1
        if whole_words:
            begins = (before < 400) | np.isin(np.roll(before, 1), [CLS, SEP])
            word = np.cumsum(begins)
            chosen = np.isin(np.arange(before.size), positions)
            assert all(chosen[word == w].all() for w in word[positions])
    total = sum(kinds.values())
    assert total > 1500
    assert kinds["mask"] / total == pytest.approx(0.8, abs=0.04)
    assert kinds["kept"] / total == pytest.approx(0.1, abs=0.03)
    assert kinds["other"] / total == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("pairs", [True, False])
def test_an_example_depends_on_its_number_and_the_seed_alone(documents, pairs):
    rows, again = (make_rows(documents, pairs=pairs) for _ in range(2))
    count = len(rows)
    whole = MaskedEpochs(rows).batch(np.arange(3 * count))
    some = np.array([2 * count + 3, count - 1, count, 5])
    alone = MaskedEpochs(again).batch(some)
    for name, values in whole.items():
        np.testing.assert_array_equal(values[some], alone[name])
    other = MaskedEpochs(make_rows(documents, pairs=pairs, seed=1)).batch(some)
    assert not np.array_equal(other["tokens"], alone["tokens"])


def test_every_epoch_has_other_pairs_and_other_masks(documents):
    rows = make_rows(documents)
    batch, count = MaskedEpochs(rows).batch(np.arange(2 * len(rows))), len(rows)
    first, second = (
        {tuple(row) for row in originals(batch)[part]}
        for part in (slice(count), slice(count, None))
    )
    assert len(first) > 0.9 * count and len(first & second) < 0.2 * count
    packed = [rows.packing(epoch) for epoch in range(2)]
    assert not np.array_equal(*[each[:20] for each in packed])

    rows = make_rows(documents, pairs=False, short=0.0)  # the same rows in every epoch
    batch, count = MaskedEpochs(rows).batch(np.arange(2 * len(rows))), len(rows)
    assert {tuple(r) for r in originals(batch)[:count]} == {
        tuple(r) for r in originals(batch)[count:]
    }
    seen = [
        {tuple(row) for row in batch["tokens"][at]} for at in (slice(count), slice(count, None))
    ]
    assert len(seen[0] & seen[1]) < 0.2 * count
    np.testing.assert_array_equal(rows.packing(0), rows.packing(1))
    masks = rows.rows([(epoch, 3, 3) for epoch in range(2)])["masked_positions"]
    other = make_rows(documents, pairs=False, short=0.0, seed=1).batch(np.array([3]))
    assert not np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], other["masked_positions"][0])


def test_rows_past_the_last_are_padding(documents):
    rows = make_rows(documents)
    batch = rows.batch(np.array([0, len(rows)]))
    assert (batch["tokens"][1] == PAD).all() and (batch["segment_ids"][1] == -1).all()
    assert batch["loss_weights"].sum(1).tolist()[1] == 0 < batch["loss_weights"][0].sum()


def test_a_corpus_of_one_document_and_one_sentence_has_a_row():
    rows = make_rows([[[7, 8, 9]]])
    first, second = parts(
        originals(rows.batch(np.arange(1)))[0], rows.batch(np.arange(1))["token_types"][0]
    )
    assert (first, second) == ([7, 8, 9], [7, 8, 9])
    with pytest.raises(ValueError, match="the test has no sentence; expected text with words"):
        len(make_rows([[]]))
