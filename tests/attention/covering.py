"""Pairwise covering: few cases in which every pair of values of two dimensions occurs."""

import itertools


def covering(dimensions):
    """Cases (tuples, one value a dimension) that hold each pair of values at least once.

    Greedy and deterministic: each case starts from a pair that no case holds yet, and takes for
    every other dimension the value that completes most such pairs.
    """
    missing = {
        ((a, i), (b, j))
        for a, b in itertools.combinations(range(len(dimensions)), 2)
        for i in range(len(dimensions[a]))
        for j in range(len(dimensions[b]))
    }
    cases = []
    by_size = sorted(range(len(dimensions)), key=lambda d: -len(dimensions[d]))
    while missing:
        case = dict(min(missing))
        for d in by_size:
            if d not in case:
                found = [_completed(missing, case, (d, i)) for i in range(len(dimensions[d]))]
                case[d] = found.index(max(found))
        missing.difference_update(itertools.combinations(sorted(case.items()), 2))
        cases.append(tuple(values[case[d]] for d, values in enumerate(dimensions)))
    return cases


def _completed(missing, case, value):
    """How many missing pairs `value` makes with those that the case already holds."""
    return sum(tuple(sorted([value, other])) in missing for other in case.items())
