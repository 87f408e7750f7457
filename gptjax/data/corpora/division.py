"""Rule that says what is held out, by a number that a text's hash gives.

is_held_out = held_out_rule({number: size, ...}, fraction=0.05)
is_held_out(number)
"""

import math
from collections.abc import Callable, Mapping

LARGEST = 2**64  # numbers are below it


def held_out_rule(sizes: Mapping[int, int], fraction: float) -> Callable[[int], bool]:
    """Holds out numbers below `fraction` of `LARGEST`, and leaves something on either side.

    Where there are none above, the largest number is left. Where there are none below, the smallest
    is held out, unless it stands for more than half of all sizes, else the next.

    Args:
      sizes: of what each number stands for; two or more numbers, or neither side is seen to.
      fraction: from 0 to 1.
    """
    bound, numbers = math.ceil(fraction * LARGEST), sorted(sizes)
    if len(numbers) > 1 and numbers[-1] < bound:
        bound = numbers[-1]
    elif len(numbers) > 1 and bound <= numbers[0]:
        half = sum(sizes.values()) / 2
        chosen = next(number for number in numbers if sizes[number] <= half)
        return lambda number: number == chosen
    return lambda number: number < bound
