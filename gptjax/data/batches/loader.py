"""Batches in an order that is a pure function of (seed, example index), prefetched by a thread.

    for batch in train_batches(prepared.train, schedule, seed=0, start_step=1000):
        state, metrics = train_step(state, batch, seed)

Example e belongs to epoch e // n, where n is the number of full windows, and is the window at
place e % n of that epoch's permutation. Nothing depends on the number of processes, on the batch
sizes before, or on where the run was resumed. Examples may be left out by number (`skipping`).
"""

import functools
import sys
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from gptjax.batch_schedule import BatchSchedule, BatchShare
from gptjax.data.batches.mixture import Examples, Rows, shuffled
from gptjax.data.batches.pair_rows import BucketOrder, Buckets
from gptjax.data.batches.skipping import Ranges, nth_example
from gptjax.data.batches.token_stream import HostBatch, TokenizedSplit

ALL: BatchShare = ((0,), 1)


def train_batches(
    split: TokenizedSplit,
    schedule: BatchSchedule,
    seed: int,
    start_step: int = 0,
    *,
    share: BatchShare = ALL,
    document_masking: bool = False,
    skipped: Ranges = (),
    prefetch: int = 4,
) -> Iterator[HostBatch]:
    """Yields the batch of `start_step` and of every later step, without end.

    Args:
      split: where the windows are; only full ones are used.
      schedule: sequences a step, and their length T.
      seed: decides the permutation of every epoch.
      start_step: the step of the first batch; nothing before it is read.
      share: which rows of each batch to yield: of P parts of B rows, part p has rows p B / P to
        (p + 1) B / P - 1.
      document_masking: whether batches tell documents apart, see `TokenizedSplit.batch`.
      skipped: ranges of examples that are left out.
      prefetch: batches made ahead.

    Returns:
      Iterator over batches, [B times the share, T], as `TokenizedSplit.batch` describes them.

    Raises:
      ValueError: the split is shorter than a window, or P does not divide a batch size.
    """
    split.full_windows(schedule.context_length)
    for _, batch_size in schedule.stages:
        _rows(batch_size, share)

    def batch_at(step: int) -> HostBatch:
        rows = _rows(schedule.batch_size_at(step), share)
        windows = step_windows(split, schedule, seed, step, rows, skipped)
        return split.batch(np.array(windows), schedule.context_length, document_masking)

    return _prefetched(batch_at, start_step, sys.maxsize, prefetch)


def evaluation_batches(
    split: TokenizedSplit,
    context_length: int,
    batch_size: int,
    *,
    share: BatchShare = ALL,
    document_masking: bool = False,
    prefetch: int = 4,
) -> Iterator[HostBatch]:
    """Yields every target of a split once, in order, in batches of one shape.

    The last window and the last batch are filled up with padding of weight 0, so that the sum of
    all `loss_weights` is `split.num_targets`. Arguments are those of `train_batches`.

    Raises:
      ValueError: P does not divide the batch size.
    """
    rows = np.array(_rows(batch_size, share))
    num_batches = -(-split.all_windows(context_length) // batch_size)

    def batch_at(index: int) -> HostBatch:
        return split.batch(index * batch_size + rows, context_length, document_masking)

    return _prefetched(batch_at, 0, num_batches, prefetch)


def batches_of(
    mixture: Examples, schedule: BatchSchedule
) -> Callable[[int, Ranges, BatchShare], Iterator[HostBatch]]:
    """`mixture_batches` as a function of the first step, what is skipped, and a share of rows."""
    return lambda step, skipped, share: mixture_batches(
        mixture, schedule, step, share=share, skipped=skipped
    )


def mixture_batches(
    mixture: Examples,
    schedule: BatchSchedule,
    start_step: int = 0,
    *,
    share: BatchShare = ALL,
    skipped: Ranges = (),
    prefetch: int = 4,
) -> Iterator[HostBatch]:
    """Yields the batch of `start_step` and of every later step, without end.

    Args:
      mixture: what the examples are, and the seed of their order.
      schedule: examples a step.
      start_step: the step of the first batch; nothing before it is made.
      share: which rows of each batch to yield, see `train_batches`.
      skipped: ranges of examples that are left out.
      prefetch: batches made ahead.

    Raises:
      ValueError: P does not divide a batch size.
    """
    for _, batch_size in schedule.stages:
        _rows(batch_size, share)

    def batch_at(step: int) -> HostBatch:
        first = schedule.examples(step)
        rows = _rows(schedule.batch_size_at(step), share)
        return mixture.batch(np.array([nth_example(first + row, skipped) for row in rows]))

    return _prefetched(batch_at, start_step, sys.maxsize, prefetch)


def evaluation_rows(
    rows: Rows, batch_size: int, *, share: BatchShare = ALL, prefetch: int = 4
) -> Iterator[HostBatch]:
    """Yields every row once, in order, in batches of one shape; the last is filled with padding.

    Args:
      rows: such as make padding of what lies past their last.
      batch_size: rows a batch.
      share: which rows of each batch to yield, see `train_batches`.
      prefetch: batches made ahead.

    Raises:
      ValueError: P does not divide the batch size.
    """
    held = np.array(_rows(batch_size, share))

    def batch_at(index: int) -> HostBatch:
        return rows.batch(index * batch_size + held)

    return _prefetched(batch_at, 0, -(-len(rows) // batch_size), prefetch)


def bucket_batches(
    order: BucketOrder,
    schedule: BatchSchedule,
    start_step: int = 0,
    *,
    share: BatchShare = ALL,
    skipped: Ranges = (),
    prefetch: int = 4,
) -> Iterator[HostBatch]:
    """Yields the batch of `start_step` and of every later step, each of one bucket, without end.

    Args:
      order: which bucket each step takes, and which of its pairs.
      schedule: of a constant batch; a step takes `batch_size` examples, whatever its bucket.
      start_step: the step of the first batch; nothing before it is made.
      share: which rows of each batch to yield, see `train_batches`.
      skipped: ranges of examples that are left out.
      prefetch: batches made ahead.

    Raises:
      ValueError: P does not divide the batch size.
    """
    _rows(schedule.batch_size, share)

    def batch_at(step: int) -> HostBatch:
        number = nth_example(schedule.examples(step), skipped) // schedule.batch_size
        bucket, indices = order.at(number)
        return bucket.batch(indices[_rows(len(indices), share)])

    return _prefetched(batch_at, start_step, sys.maxsize, prefetch)


def evaluation_buckets(
    buckets: Buckets,
    batch_size: int,
    limit: int | None = None,
    *,
    share: BatchShare = ALL,
    prefetch: int = 4,
) -> Iterator[HostBatch]:
    """Yields every pair once, bucket by bucket; the last batch of each is filled with padding.

    Args:
      buckets: of the pairs.
      batch_size: as of training.
      limit: the most batches, which are then taken at equal distances; None: all.
      share: which rows of each batch to yield, see `train_batches`.
      prefetch: batches made ahead.
    """
    places = [
        (bucket, first)
        for bucket in buckets
        for first in range(0, len(bucket), bucket.sentences * batch_size)
    ]
    if limit is not None and limit < len(places):
        places = [places[i * len(places) // limit] for i in range(limit)]

    def batch_at(index: int) -> HostBatch:
        bucket, first = places[index]
        return bucket.batch(first + np.array(_rows(bucket.sentences * batch_size, share)))

    return _prefetched(batch_at, 0, len(places), prefetch)


def step_windows(
    split: TokenizedSplit,
    schedule: BatchSchedule,
    seed: int,
    step: int,
    rows: Iterable[int],
    skipped: Ranges = (),
) -> list[int]:
    """Returns the windows that `rows` of the batch of `step` are; see `train_batches`."""
    num_windows = split.full_windows(schedule.context_length)
    first = schedule.examples(step)
    return [
        example_window(seed, nth_example(first + row, skipped), num_windows, schedule.revision)
        for row in rows
    ]


def example_window(seed: int, example: int, num_windows: int, revision: int = 2) -> int:
    """Returns the window that example number `example` of a run is.

    `index_shuffle` of 4^k + 1 indices, from 65,537 on, gives one index twice and one never. There
    `shuffled` takes its place.

    Args:
      seed: decides the permutation of every epoch.
      example: from 0, over all epochs.
      num_windows: of an epoch.
      revision: 1 for the order of runs begun before that was mended.
    """
    epoch, place = divmod(example, num_windows)
    epoch_seed = _epoch_seed(seed, epoch)
    last = num_windows - 1
    power_of_four = last.bit_count() == 1 and last.bit_length() % 2 == 1
    if revision > 1 and power_of_four and last >= 4**8:
        return shuffled(place, num_windows, epoch_seed)
    from grain.experimental import index_shuffle  # as in `_prefetched`

    return index_shuffle(place, max_index=last, seed=epoch_seed, rounds=4)


@functools.lru_cache(maxsize=16)
def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def _rows(batch_size: int, share: BatchShare) -> list[int]:
    held, parts = share
    if batch_size % parts:
        raise ValueError(
            f"batch size {batch_size} does not divide into {parts} parts; expected a multiple of "
            f"{parts}"
        )
    size = batch_size // parts
    return [row for part in held for row in range(part * size, (part + 1) * size)]


class _Batches:
    """A data source whose items are whole batches: one gather each, not one a row."""

    def __init__(self, batch_at: Callable[[int], HostBatch], count: int):
        self._batch_at = batch_at
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> HostBatch:
        return self._batch_at(index)


def _prefetched(
    batch_at: Callable[[int], HostBatch], start: int, stop: int, prefetch: int
) -> Iterator[HostBatch]:
    """Yields batch_at(start), ..., batch_at(stop - 1), made ahead by one thread.

    One thread fills a buffer of four faster than several threads or a process do.
    """
    import grain  # where batches are read, and not where a command only has a model of a run

    batches = grain.MapDataset.source(_Batches(batch_at, stop))[start:]
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=prefetch)
    return iter(batches.to_iter_dataset(options))
