"""A ranking: a prompt, its answers, and how each annotator orders them; how far they agree.

Ouyang et al. 2022 (InstructGPT, arXiv 2203.02155), section 3.5: labelers rank K = 4 to 9 answers to
a prompt, from which C(K, 2) comparisons come; section 3.4 says how often they agree.

    ranking = Ranking((Message("user", "2+2"),), ("4", "5", "four"), ((1, 3, 1), (1, 2, 3)))
    ranking.preferred()   # [3, 3]; [0, 1] is 1.0: both say that "4" is better than "5"
    agreement([ranking]).rate
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable

import numpy as np

from gptjax.data.dialogue.chat_format import Conversation


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Orders of the answers to one prompt, one order an annotator.

    Attributes:
      prompt: what is answered; ends before the answer.
      responses: K answers, two or more.
      ranks: of A annotators, K numbers each; the lower the better, equal ones are ties.

    Raises:
      ValueError: no prompt, fewer than two answers, or ranks that do not fit them, or that put an
        answer above itself.
    """

    prompt: Conversation
    responses: tuple[str, ...]
    ranks: tuple[tuple[float, ...], ...]

    def __post_init__(self):
        if not self.prompt:
            raise ValueError("ranking: got no prompt, expected at least one message")
        if len(self.responses) < 2:
            raise ValueError(f"ranking: got {len(self.responses)} answer(s), expected at least 2")
        if not self.ranks:
            raise ValueError("ranking: got no ranks, expected those of at least one annotator")
        for annotator, ranks in enumerate(self.ranks):
            if len(ranks) != len(self.responses):
                raise ValueError(
                    f"ranks of annotator {annotator}: got {len(ranks)} for {len(self.responses)} "
                    "answers, expected as many"
                )
            for rank in ranks:
                if isinstance(rank, bool) or not isinstance(rank, int | float):
                    wrong = repr(rank)
                elif not math.isfinite(rank):
                    wrong = str(rank)
                else:
                    continue
                raise ValueError(
                    f"ranks of annotator {annotator}: got {wrong}, expected finite numbers"
                )
            first: dict[str, float] = {}
            for response, rank in zip(self.responses, ranks, strict=True):
                if first.setdefault(response, rank) != rank:
                    raise ValueError(
                        f"ranks of annotator {annotator}: got {first[response]} and {rank} for the "
                        f"same answer {response[:40]!r}, expected the same rank"
                    )

    def judgements(self) -> np.ndarray:
        """Judgements of pairs by each annotator: [A, K, K] bool, true where i is better than j."""
        ranks = np.array(self.ranks, np.float64)
        return ranks[:, :, None] < ranks[:, None, :]

    def preferred(self) -> np.ndarray:
        """Share of the annotators that say i is better than j, [K, K] float32; a tie is neither."""
        return self.judgements().mean(0, dtype=np.float32)


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Counts of agreement between annotators of the same pairs of answers.

    Attributes:
      agreed: pairs of annotators that prefer the same answer, or both none.
      opposed: that prefer different answers.
      one_tied: of which one prefers an answer and the other none.
      both_tied: of `agreed`, those that both prefer none.
    """

    agreed: int
    opposed: int
    one_tied: int
    both_tied: int

    @property
    def rate(self) -> float:
        """Share of those who both prefer an answer that prefer the same; NaN if there are none."""
        same = self.agreed - self.both_tied
        return same / (same + self.opposed) if same + self.opposed else math.nan

    @property
    def rate_with_ties(self) -> float:
        """Share that say the same of better, worse and tied; NaN without two annotators."""
        total = self.agreed + self.opposed + self.one_tied
        return self.agreed / total if total else math.nan


def agreement(rankings: Iterable[Ranking]) -> Agreement:
    """Counts, over all pairs of answers and of annotators of each ranking, who agrees."""
    counts = np.zeros(4, np.int64)
    for ranking in rankings:
        better = ranking.judgements()
        sides = better.astype(int) - better.transpose(0, 2, 1)
        first, second = np.triu_indices(len(ranking.responses), 1)
        for a, b in itertools.combinations(sides[:, first, second], 2):
            tied = (a == 0).astype(int) + (b == 0)
            same = a == b
            counts += [same.sum(), (a * b < 0).sum(), (tied == 1).sum(), (tied == 2).sum()]
    return Agreement(*counts.tolist())
