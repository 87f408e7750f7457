import dataclasses

import pytest

from gptjax.attention import PATTERNS


@pytest.fixture(params=PATTERNS.names())
def pattern(request):
    """Each registered pattern, with 5 for every field that has no default."""
    kind = PATTERNS.get(request.param)
    needed = [f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING]
    return kind(**dict.fromkeys(needed, 5))
