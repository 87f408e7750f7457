"""Our classes beside the original ones: the same samples, calls, events and reports.

The original's 204 dependencies are not needed for this, nor a key:

    pip install -e '.[dev,evals]' -c constraints.txt
    pip install --no-deps evals==3.0.1
"""

import dataclasses
import json
import sys
import types
from collections import defaultdict
from pathlib import Path

import pytest

from gptjax.evals.openai_evals.functions import Functions
from gptjax.evals.openai_evals.log import rows_of
from gptjax.evals.openai_evals.registry import Registry
from gptjax.evals.openai_evals.run import Settings, opened
from tests.support import openai_registry
from tests.support.openai_registry import answer

OTHERS = ("agent.dev.v0", "odd.dev.v0")  # whose classes do not run here
RUNS = [
    line.removesuffix(":")
    for line in openai_registry.EVALS.splitlines()
    if line.endswith(".v0:") and not line.startswith(OTHERS)
]
ANSWER = "python:tests.support.openai_registry:answer"
UNSEEDED = ("boostrap_std", "bootstrap_std_target")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return openai_registry.write(tmp_path_factory.mktemp("openai"))


@pytest.fixture(scope="module")
def original(root):
    """The original package, with a `datasets` that reads the files of the small registry."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "EVALS_SEQUENTIAL": "1",
            "OPENAI_API_KEY": "none",
            "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
        }.items():
            patch.setenv(name, value)
        datasets = types.ModuleType("datasets")
        datasets.load_dataset = lambda path, *_, **__: _loaded(root, path)  # pyright: ignore
        patch.setitem(sys.modules, "datasets", datasets)
        yield pytest.importorskip("evals")


def _loaded(root, path):
    files = openai_registry.datasets(root)
    if path != "hendrycks_test":
        return [json.loads(line) for line in Path(files["lambada"]).read_text().splitlines()]
    return [
        {"question": f"{i} + 1, or {i}?", "choices": [str(i + j) for j in range(4)], "answer": 1}
        for i in range(9)
    ]


def by_original(root, name, functions):
    """The report and the events by sample of the original code."""
    import evals.record
    from evals.base import RunSpec
    from evals.registry import Registry as Theirs
    from evals.solvers.solver import Solver, SolverResult

    class Result:
        def __init__(self, text):
            self.text = text

        def get_completions(self):
            return [self.text]

    class Function:
        def __call__(self, prompt, **arguments):
            text = answer(prompt, **arguments)
            evals.record.record_sampling(prompt=prompt, sampled=[text])
            return Result(text)

    class Solved(Solver):
        def _solve(self, task_state, **_):
            messages = [{"role": "system", "content": task_state.task_description}]
            messages += [
                {"role": each.role, "content": each.content} for each in task_state.messages
            ]
            return SolverResult(answer(messages))

    registry = Theirs([root])
    entry = registry.get_eval(name)
    recorder = evals.record.RecorderBase(RunSpec([], name, "", "", {}, ""))
    made = [Solved()] if name.startswith("mmlu") else [Function()] * functions
    one = registry.get_class(entry)(
        completion_fns=made,
        seed=20220722,
        name=entry.key,
        eval_registry_path=entry.registry_path,
        registry=registry,
    )
    report = one.run(recorder)
    events = defaultdict(list)
    for event in recorder._events:
        events[event.sample_id].append([event.type, event.data])
    return report, events


@pytest.mark.parametrize("name", RUNS)
def test_reports_and_events_are_the_originals(original, root, tmp_path, name):
    if name.startswith("translate"):
        pytest.importorskip("sacrebleu")
    functions = 4 if name.startswith("graded-best") else 1
    registry, path = Registry([root]), tmp_path / "one.jsonl"
    settings = Settings(datasets=openai_registry.datasets(root))
    with opened(
        registry.eval(name), [ANSWER] * functions, Functions(registry, {}), registry, settings, path
    ) as one:
        report = one()
    theirs, their_events = by_original(root, name, functions)
    assert [*report] == [*theirs]
    assert {key: value for key, value in report.items() if key not in UNSEEDED} == {
        key: value for key, value in theirs.items() if key not in UNSEEDED
    }
    for key in {*UNSEEDED} & {*report}:
        assert report[key] == pytest.approx(theirs[key], rel=0.2)
    events = defaultdict(list)
    for row in rows_of(path)[1:-1]:
        if not (name.startswith("mmlu") and row["type"] == "sampling"):  # a solver logs none
            events[row["sample_id"]].append([row["type"], row["data"]])
    assert events == json.loads(json.dumps(their_events, default=dataclasses.asdict))
    assert [*events] == [*their_events]
