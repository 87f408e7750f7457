import pytest

from tests.attention.oracle import EXAMPLES


@pytest.fixture(params=EXAMPLES, ids=str)
def pattern(request):
    """Each registered pattern, see `oracle.examples`."""
    return request.param
