"""What runs tasks: results, errors, and processes that die."""

import contextlib
import os

import pytest

from gptjax.curation.executors.local import LocalProcesses
from gptjax.curation.executors.ray_cluster import RayCluster
from gptjax.curation.executors.tasks import InProcess, Task

TASKS = "tests.support.tasks"


def tasks(function, count=5, **arguments):
    return [
        Task(f"task{number}", f"{TASKS}:{function}", {"number": number} | arguments)
        for number in range(count)
    ]


EXECUTORS = {
    "in_process": InProcess,
    "local": lambda: LocalProcesses(2, attempts=3),
    "ray": lambda: RayCluster(2, attempts=3),
}


@pytest.fixture(
    params=["in_process", "local", pytest.param("ray", marks=pytest.mark.slow)], scope="module"
)
def executor(request):
    if request.param == "ray":
        pytest.importorskip("ray", reason="needs the extra ray")
    with contextlib.closing(EXECUTORS[request.param]()) as made:
        yield made


def test_every_task_gives_its_result_once(executor):
    assert dict(executor.run(tasks("square"))) == {f"task{n}": n * n for n in range(5)}
    assert list(executor.run([])) == []


@pytest.mark.parametrize(
    ("function", "kind", "expected"),
    [
        ("refuse", ValueError, "^number: got 0, expected another$"),
        ("fill_the_disk", OSError, "No space left on device: 'shard-0'"),
    ],
)
def test_what_a_task_refuses_is_refused(executor, function, kind, expected):
    with pytest.raises(kind, match=expected):
        list(executor.run(tasks(function, 1)))
    assert len(list(executor.run(tasks("square")))) == 5  # it goes on all the same


def test_another_error_is_ours_and_says_what_it_was(executor):
    kind = KeyError if isinstance(executor, InProcess) else RuntimeError
    with pytest.raises(kind, match="0"):
        list(executor.run(tasks("break_down", 1)))


def test_a_process_that_dies_is_replaced_and_its_task_tried_again(tmp_path):
    with contextlib.closing(LocalProcesses(2, attempts=2)) as executor:
        found = dict(executor.run(tasks("die_at_first", marks=str(tmp_path), times=1)))
        assert found == {f"task{n}": n * n for n in range(5)}
        for mark in tmp_path.iterdir():
            mark.unlink()
        with pytest.raises(ValueError, match=r"task0: got a process that ended with code -9 at"):
            list(executor.run(tasks("die_at_first", 1, marks=str(tmp_path), times=2)))


def test_processes_are_others_with_one_thread_each():
    with contextlib.closing(LocalProcesses(1, attempts=1)) as executor:
        ((_, found),) = executor.run([Task("a", f"{TASKS}:environment", {})])
    assert found["threads"] == "1" and found["process"] != os.getpid()


def test_without_ray_the_extra_is_named(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr("gptjax.curation.executors.ray_cluster.importlib.import_module", missing)
    with pytest.raises(ValueError, match=r"gptjax\[ray\]"):
        RayCluster(1, 1)
