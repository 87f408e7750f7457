"""Rows for BERT: sentence pairs with some tokens masked, drawn anew in every epoch, never stored.

Devlin et al. 2018 (arXiv 1810.04805, section 3.1); google-research/bert,
create_pretraining_data.py. A row is `[CLS] A [SEP] B [SEP]`, where B follows A in its document or,
half of the time, comes from another document. Without next-sentence prediction a row is `[CLS] A
[SEP]`, and the rows of a document follow each other without a gap.

    rows = MaskedRows(prepared.train, tokenizer, Masking(), max_tokens=128, pairs=True, seed=0)
    rows.batch(np.arange(8))                      # the first packing, in order
    MaskedEpochs(rows).batch(np.arange(8))        # examples 0 to 7 of a run

A row is a pure function of (seed, epoch, place in the epoch): the packing of documents into rows,
the random second parts, what is cut from rows that are too long, and the masks. Every epoch has as
many places as the first packing has rows. Another epoch's packing has a few more or fewer: then a
few of its rows are left out, or a few are there twice, with other masks.

Differs from the paper: there, ten maskings are stored and seen four times each.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from gptjax.data.batches.mixture import shuffled
from gptjax.data.batches.sentence_packing import pack_pairs, pack_spans, sentence_places
from gptjax.data.batches.token_stream import HostBatch, TokenizedSplit
from gptjax.tokenization import WordPiece
from gptjax.tokenization.wordpiece import MASK, PADDING, SEPARATOR, START

_PACKING, _ORDER, _ROW = range(3)  # streams of randomness of one seed


@dataclasses.dataclass(frozen=True)
class Masking:
    """Which tokens a model is asked for, and what stands in their places.

    Attributes:
      rate: share of a row's tokens, `[CLS]` and `[SEP]` counted, that are asked for.
      most: number of tokens of a row that are asked for at most.
      masked: share of these that `[MASK]` stands for.
      random: share of these that any token of the vocabulary stands for; the others stay.
      whole_words: whether all pieces of a word are asked for together.
    """

    rate: float = 0.15
    most: int = 20
    masked: float = 0.8
    random: float = 0.1
    whole_words: bool = False


@dataclasses.dataclass(frozen=True)
class MaskedRows:
    """The rows of a split whose sentences end with `[SEP]`, see `SentenceTokenizer`.

    Attributes:
      split: where the sentences are.
      tokenizer: of its tokens.
      masking: what is masked.
      max_tokens: T, of a row, `[CLS]` and `[SEP]` counted.
      pairs: whether a row has a second part.
      seed: of all that is random.
      short: share of the documents whose rows aim at fewer tokens, any number of them, as what
        follows pretraining may be short.
    """

    split: TokenizedSplit
    tokenizer: WordPiece
    masking: Masking
    max_tokens: int
    pairs: bool
    seed: int
    short: float = 0.1

    def __len__(self) -> int:
        return len(self.packing(0))

    def batch(self, indices: np.ndarray) -> HostBatch:
        """Gathers rows of the first packing, in order; those past the last are padding."""
        held = [(0, index, index) if index < len(self) else None for index in indices.tolist()]
        return self.rows(held)

    def rows(self, held: Sequence[tuple[int, int, int] | None]) -> HostBatch:
        """Makes rows.

        Args:
          held: for each row its epoch, its index in the packing of that epoch, and its place in the
            order of that epoch; None for padding.

        Returns:
          tokens, token_types: [B, T] int32; types are 0 in the first part, 1 in the second.
          segment_ids: [B, T] int32, 0, and -1 on padding.
          masked_positions, targets: [B, P] int32, P being `masking.most`, in ascending order; 0
            where there are fewer.
          loss_weights: [B, P] float32, 1 where there is a target, else 0.
          is_random: [B] int32, whether the second part is of another document; only with `pairs`.
        """
        count, length, most = len(held), self.max_tokens, self.masking.most
        padding = self.tokenizer.special_tokens[PADDING]
        batch: HostBatch = {
            "tokens": np.full((count, length), padding, np.int32),
            "token_types": np.zeros((count, length), np.int32),
            "segment_ids": np.full((count, length), -1, np.int32),
            "masked_positions": np.zeros((count, most), np.int32),
            "targets": np.zeros((count, most), np.int32),
            "loss_weights": np.zeros((count, most), np.float32),
        }
        if self.pairs:
            batch["is_random"] = np.zeros(count, np.int32)
        for row, where in enumerate(held):
            if where is None:
                continue
            epoch, index, place = where
            rng = np.random.default_rng([self.seed, _ROW, epoch, place])
            *spans, is_random = self.packing(epoch)[index].tolist()
            first, second = self._parts(spans, rng)
            tokens = np.concatenate([first, second])
            positions, inputs = self._masked(tokens, rng)
            batch["tokens"][row, : tokens.size] = inputs
            batch["token_types"][row, first.size : tokens.size] = 1
            batch["segment_ids"][row, : tokens.size] = 0
            batch["masked_positions"][row, : positions.size] = positions
            batch["targets"][row, : positions.size] = tokens[positions]
            batch["loss_weights"][row, : positions.size] = 1
            if self.pairs:
                batch["is_random"][row] = is_random
        return batch

    def packing(self, epoch: int) -> np.ndarray:
        """The spans of the rows of an epoch, see `pack_pairs`, int64 [rows, 5]."""
        return self._packed(epoch)

    @functools.cached_property
    def _packed(self) -> Callable[[int], np.ndarray]:
        places = sentence_places(self.split, self.tokenizer.special_tokens[SEPARATOR])
        pack = pack_pairs if self.pairs else pack_spans

        # The first epoch's, which gives the length, and those of a batch between two epochs.
        @functools.lru_cache(maxsize=3)
        def packed(epoch: int) -> np.ndarray:
            return pack(places, self.room, self.short, (self.seed, _PACKING, epoch))

        return packed

    @property
    def room(self) -> int:
        """Tokens of a row besides `[CLS]` and `[SEP]`."""
        return self.max_tokens - (3 if self.pairs else 2)

    def _parts(self, spans: list[int], rng: np.random.Generator) -> list[np.ndarray]:
        """`[CLS] A [SEP]` and `B [SEP]`, cut to T tokens: the longer loses one, at either end."""
        special = self.tokenizer.special_tokens
        streams = (self.split.tokens[spans[i] : spans[i + 1]] for i in (0, 2))
        parts = [stream[stream != special[SEPARATOR]].astype(np.int64) for stream in streams]
        sizes, cut = [part.size for part in parts], [0, 0]
        for at_front in rng.random(max(0, sum(sizes) - self.room)) < 0.5:
            longer = int(sizes[0] <= sizes[1])
            sizes[longer] -= 1
            cut[longer] += bool(at_front)
        first, second = (part[c : c + n] for part, c, n in zip(parts, cut, sizes, strict=True))
        end = [special[SEPARATOR]]
        first = np.concatenate([[special[START]], first, end])
        return [first, np.concatenate([second, end]) if self.pairs else second]

    def _masked(
        self, tokens: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Positions that are asked for, ascending, and the tokens with what stands in for them."""
        masking, special = self.masking, self.tokenizer.special_tokens
        wanted = min(masking.most, max(1, round(masking.rate * tokens.size)))
        ordinary = ~np.isin(tokens, [special[START], special[SEPARATOR]])
        candidates = np.flatnonzero(ordinary)
        if masking.whole_words:
            joined = self.tokenizer.continues_word[tokens[candidates]] & ordinary[candidates - 1]
            words = np.split(candidates, np.flatnonzero(~joined)[1:])
            chosen: list[int] = []
            for i in rng.permutation(len(words)):
                if len(chosen) + words[i].size <= wanted:
                    chosen.extend(words[i].tolist())
            positions = np.sort(np.array(chosen, np.int64))
        else:
            positions = np.sort(rng.permutation(candidates)[:wanted])
        drawn = rng.random(positions.size)
        replaced = np.where(
            drawn < masking.masked,
            special[MASK],
            np.where(
                drawn < masking.masked + masking.random,
                rng.integers(self.tokenizer.vocab_size, size=positions.size),
                tokens[positions],
            ),
        )
        inputs = tokens.copy()
        inputs[positions] = replaced
        return positions, inputs


@dataclasses.dataclass(frozen=True)
class MaskedEpochs:
    """The rows of all epochs in another order in each, as a stream without end.

    Attributes:
      source: the rows.
    """

    source: MaskedRows

    def batch(self, examples: np.ndarray) -> HostBatch:
        """Makes examples, given by number, [B] integers, in any order; see `MaskedRows.rows`."""
        return self.source.rows([self._where(example) for example in examples.tolist()])

    def _where(self, example: int) -> tuple[int, int, int]:
        epoch, place = divmod(example, len(self.source))
        count = len(self.source.packing(epoch))
        return epoch, shuffled(place % count, count, _order(self.source.seed, epoch)), place


@functools.lru_cache(maxsize=16)
def _order(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, _ORDER, epoch]).generate_state(1, np.uint64)[0])
