"""HumanEval: its own solutions, broken ones, and pass@k against its definition."""

import dataclasses
import itertools

import numpy as np
import pytest

import gptjax.evals.tasks  # noqa: F401, to register them
from gptjax.evals.answer_store import AnswerStore
from gptjax.evals.evaluation import evaluate
from gptjax.evals.forms.program import ProgramItem, Programs, pass_at
from gptjax.evals.registry import load_tasks
from gptjax.evals.requests import Generation, GenerationAnswer
from tests.evals.stand_ins import Counting
from tests.support.binaries import call

ONE = ProgramItem("one", "def one():\n", "assert one() == 1", "    return 1")
RIGHT, WRONG, LOOP = "    return 1", "    return 2", "    return one()"


class Canned(Counting):
    """A model whose answers are known: those of a prompt, draw by draw."""

    def __init__(self, texts: dict[str, list[str]]):
        super().__init__("canned")
        self._texts = texts

    def answers(self, requests):
        for number, request in enumerate(requests):
            assert isinstance(request, Generation)
            yield number, GenerationAnswer(self._texts[request.prompt][request.draw])


def evaluated(task, texts):
    with AnswerStore(None) as store:
        return evaluate(Canned(texts), task, store)


@pytest.fixture(scope="module")
def human_eval(shared_data):
    (task,) = load_tasks("humaneval", str(shared_data), allow_code=True)
    return task


def some(task, count):
    return dataclasses.replace(task, items=task.items[:: len(task.items) // count][:count])


def check_solutions(task):
    right = evaluated(task, {item.prompt: [item.solution] for item in task.items})
    assert right.figures["pass@1"].value == 1, [
        one.given for one in right.judged if not one.columns["pass@1"]
    ]
    broken = evaluated(task, {item.prompt: ["    return None\n"] for item in task.items})
    assert broken.figures["pass@1"].value == 0
    assert broken.figures["refused"].value == broken.figures["timed_out"].value == 0


def test_solutions_pass_and_broken_ones_fail(human_eval):
    assert len(human_eval.items) == 164
    check_solutions(some(human_eval, 5))


@pytest.mark.slow
def test_all_solutions_pass_and_broken_ones_fail(human_eval):
    check_solutions(human_eval)


def test_a_problem_is_put_as_it_is_published(human_eval):
    (asked,) = human_eval.requests(human_eval.items[0], "")
    assert asked.prompt.startswith("from typing import List") and asked.temperature == 0
    assert asked.stop == ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
    assert human_eval.items[0].test.endswith("\ncheck(has_close_elements)")


def test_pass_at_k_is_the_share_of_choices_of_k_with_one_that_passes():
    for samples in range(1, 7):
        for passed, k in itertools.product(range(samples + 1), range(1, samples + 1)):
            drawn = itertools.combinations([True] * passed + [False] * (samples - passed), k)
            assert np.isclose(pass_at(k, samples, passed), np.mean([any(x) for x in drawn]))


def test_samples_are_drawn_counted_and_run_each():
    task = Programs("sums", [ONE], samples=4, k=2, temperature=0.8, stop=("\n\n",))
    requests = task.requests(ONE, "")
    assert {request.draw for request in requests} == {0, 1, 2, 3}
    assert {request.temperature for request in requests} == {0.8}
    result = evaluated(task, {ONE.prompt: [WRONG, RIGHT, LOOP, "    import os; os.fork()"]})
    figures = {name: figure.value for name, figure in result.figures.items()}
    assert figures == {"pass@2": 0.5, "pass@1": 0.25, "timed_out": 0.0, "refused": 0.25}
    assert result.judged[0].given == f"{RIGHT}\n# passed"
    assert "4 answers" in result.protocol and "0.8" in result.protocol


def test_what_went_wrong_is_shown():
    (judged,) = evaluated(Programs("sums", [ONE]), {ONE.prompt: [WRONG]}).judged
    assert judged.given == f"{WRONG}\n# failed: AssertionError, at line 3: assert one() == 1"
    assert judged.expected == RIGHT and judged.margin < 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("samples=2,k=3", "k: got 3, expected 1 to 2"),
        ("samples=2,temperature=0", "temperature: got 0 with 2 samples"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, expected, shared_data):
    with pytest.raises(ValueError, match=expected):
        list(load_tasks(f"humaneval({options})", str(shared_data), allow_code=True))


def test_nothing_is_run_unless_the_user_says_so(shared_data, tmp_path):
    given = ("evals", f"--workdir={tmp_path}", f"--data={shared_data}", "--tasks=humaneval")
    assert "expected --allow_code" in call(*given).refusal
    assert "config.json" in call(*given, "--allow_code").refusal  # of the run, which is none
