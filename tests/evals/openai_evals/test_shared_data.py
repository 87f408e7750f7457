"""The data sets that the registry takes from a hub, read from files: MMLU, HellaSwag, LAMBADA."""

import csv

import pytest

from gptjax.evals.openai_evals.functions import Functions
from gptjax.evals.openai_evals.registry import Registry
from gptjax.evals.openai_evals.run import Settings, opened

ANSWER = "python:tests.support.openai_registry:answer"
CHOICE = "evals.elsuite.multiple_choice:MultipleChoice"


@pytest.fixture
def run(shared_data, tmp_path):
    """Returns a function from a data set's URL to the eval's report."""
    datasets = {
        "hendrycks_test": str(shared_data / "mmlu"),
        "hellaswag": str(shared_data / "hellaswag_1k" / "hellaswag_val_1000.jsonl"),
        "lambada": str(shared_data / "lambada" / "lambada_test.jsonl"),
    }
    (tmp_path / "evals").mkdir()

    def report(class_name: str, args: str, **settings):
        text = f"one.val.v0:\n  class: {class_name}\n  args: {args}\n"
        (tmp_path / "evals" / "one.yaml").write_text(text)
        registry = Registry([tmp_path])
        entry, functions = registry.eval("one.val.v0"), Functions(registry, {})
        settings = Settings(datasets=datasets, **settings)
        with opened(entry, [ANSWER], functions, registry, settings, tmp_path / "log") as one:
            return one(), one._rows

    return report


def test_every_subject_of_mmlu_is_read(run, shared_data):
    subjects = sorted(path.stem.removesuffix("_val") for path in shared_data.glob("mmlu/val/*"))
    assert len(subjects) == 57
    for subject in subjects:
        args = f'{{dataset: "hf://hendrycks_test?name={subject}&split=validation"}}'
        report, questions = run(CHOICE, args, again=True)
        with open(shared_data / "mmlu" / "val" / f"{subject}_val.csv", newline="") as file:
            rows = list(csv.reader(file))
        assert [question.question for question in questions] == [row[0] for row in rows]
        assert [q.answers[q.label] for q in questions] == [r[1 + "ABCD".index(r[5])] for r in rows]
        assert 0 <= report["accuracy"] < 0.6


def test_hellaswag_is_asked_whole(run):
    report, rows = run(CHOICE, '{dataset: "hf://hellaswag?split=validation"}')
    assert len(rows) == 1000 and {len(row.answers) for row in rows} == {4}
    assert 0 < report["accuracy"] < 0.25


def test_lambada_is_asked_in_part(run):
    report, rows = run("evals.elsuite.lambada:Lambada", "{subset: en}", max_samples=500)
    assert len(rows) == 5153
    assert 0 <= report["accuracy"] < 0.2
