"""A remote file system in the memory of the test's process.

A conftest.py has the fixture from here: `from tests.support.remote import memory`.
"""

import pytest


@pytest.fixture
def memory():
    """fsspec's memory://, empty before and after."""
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed: extra `remote`")
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()
