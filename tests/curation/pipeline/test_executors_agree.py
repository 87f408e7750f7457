"""Preparations by every executor: byte-identical shards."""

import contextlib

import pytest

from gptjax.curation.executors.local import LocalProcesses
from gptjax.curation.executors.ray_cluster import RayCluster
from tests.curation.pipeline.test_prepare import shards


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [lambda: LocalProcesses(3, attempts=1), lambda: RayCluster(2, attempts=1)],
    ids=["local", "ray"],
)
def test_every_executor_makes_the_same_shards(prepared, make):
    if make.__code__.co_names[0] == "RayCluster":
        pytest.importorskip("ray", reason="needs the extra ray")
    whole, report, _ = prepared("whole")
    with contextlib.closing(make()) as executor:
        folder, other, _ = prepared("other", executor=executor, part_megabytes=0.01)
    assert shards(folder) == shards(whole)
    assert report["sources"] == other["sources"]
