"""Tiers of a parametrised test: cases of `make test`, and further ones of `make test-all`."""

import pytest


def tiered(cases, quick):
    """Cases (tuples, one value an argument) for parametrize; those not in `quick` are slow."""
    cases, quick = list(cases), list(quick)
    assert all(case in cases for case in quick)
    marks = {False: [pytest.mark.slow], True: []}
    return [pytest.param(*case, marks=marks[case in quick]) for case in cases]
