"""Batch size of each step in closed form: constant, or ramped as GPT-3's was.

GPT-3 (arXiv 2005.14165, appendix B) grows the batch linearly from 32k tokens to its full size
over the first 4 to 12 billion tokens. Differs from the paper: the line is taken in doublings
(each the largest power of two times the start that is under the line), so that a compiled step
exists for a handful of batch sizes rather than hundreds.

    BatchSchedule(256, 2048, ramp_start=16, ramp_tokens=4_000_000_000).batch_size_at(1000)
"""

import bisect
import dataclasses
import functools
import math
from fractions import Fraction

BatchShare = tuple[tuple[int, ...], int]  # numbers of parts, from 0, and how many parts P there are


@dataclasses.dataclass(frozen=True)
class BatchSchedule:
    """Sequences a step, and what was consumed before it, as functions of the step alone.

    Attributes:
      batch_size: sequences a step once the ramp is over.
      context_length: tokens a sequence.
      ramp_start: sequences in the first step; None for a constant batch.
      ramp_tokens: tokens over which the batch grows; None for a constant batch.
      revision: of the learning rates and of the order of examples that go with these steps, see
        `TrainingConfig.revision`.
    """

    batch_size: int
    context_length: int
    ramp_start: int | None = None
    ramp_tokens: int | None = None
    revision: int = 2

    @functools.cached_property
    def stages(self) -> tuple[tuple[int, int], ...]:
        """(first step, sequences a step) of each stretch of equal steps, in order."""
        if self.ramp_start is None or self.ramp_tokens is None:
            return ((0, self.batch_size),)
        stages, first_step, size, tokens = [], 0, self.ramp_start, 0
        while size < self.batch_size:
            larger = min(2 * size, self.batch_size)
            growth = Fraction(larger - self.ramp_start, self.batch_size - self.ramp_start)
            left = growth * self.ramp_tokens - tokens
            steps = max(0, math.ceil(left / (size * self.context_length)))
            if steps:
                stages.append((first_step, size))
            first_step += steps
            tokens += steps * size * self.context_length
            size = larger
        return (*stages, (first_step, self.batch_size))

    def _stage(self, step: int) -> int:
        return bisect.bisect_right([first for first, _ in self.stages], step) - 1

    @functools.cached_property
    def _examples_before_stage(self) -> tuple[int, ...]:
        before = [0]
        for (first, size), (following, _) in zip(self.stages, self.stages[1:], strict=False):
            before.append(before[-1] + (following - first) * size)
        return tuple(before)

    def batch_size_at(self, step: int) -> int:
        """Sequences in the batch of `step` (counted from 0)."""
        return self.stages[self._stage(step)][1]

    def examples(self, step: int) -> int:
        """Sequences consumed before `step`: the example index at which its batch starts."""
        stage = self._stage(step)
        first, size = self.stages[stage]
        return self._examples_before_stage[stage] + (step - first) * size

    def tokens(self, step: int) -> int:
        """Tokens consumed before `step`."""
        return self.examples(step) * self.context_length

    def steps_for(self, tokens: int) -> int:
        """The number of steps that consume at least `tokens` tokens."""
        ends = [self.tokens(first) for first, _ in self.stages]
        stage = bisect.bisect_right(ends, tokens) - 1
        first, size = self.stages[stage]
        return first + -(-(tokens - ends[stage]) // (size * self.context_length))
