"""Programs that are made once: runs of one configuration compute the same, whatever their data.

A conftest.py has the fixture from here: `from tests.support.programs import programs_once`.
"""

import json

import pytest

from gptjax.runs import supervised
from gptjax.runs.program import Program
from gptjax.settings import to_dict

FREE = ("data", "checkpoint", "profile")  # sections that no program depends on
_made: dict[str, Program] = {}


def _once(config, mesh=None):
    if mesh is not None:
        return Program(config, mesh)
    sections = {name: part for name, part in to_dict(config).items() if name not in FREE}
    key = json.dumps([config.kind, sections])
    return _made[key] if key in _made else _made.setdefault(key, Program(config))


@pytest.fixture(scope="module")
def programs_once():
    """No supervised run of a file traces what another has traced."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervised, "Program", _once)
        yield
