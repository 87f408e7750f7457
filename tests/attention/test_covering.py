import itertools

from tests.attention.covering import covering


def test_every_pair_of_values_is_covered_by_few_cases():
    dimensions = [list(range(16)), "abc", [True, False], "xyz", [1, 2], [3, 4, 5]]
    cases = covering(dimensions)
    for a, b in itertools.combinations(range(len(dimensions)), 2):
        pairs = {(case[a], case[b]) for case in cases}
        assert pairs == set(itertools.product(dimensions[a], dimensions[b]))
    assert 48 <= len(cases) <= 60
