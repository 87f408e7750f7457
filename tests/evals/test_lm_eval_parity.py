"""The adapter for lm-evaluation-harness and the harness itself: it needs the extra `lm_eval`."""

import json
import types

import pytest

import gptjax.evals.tasks  # noqa: F401, to register them
from gptjax.evals.answer_store import AnswerStore
from gptjax.evals.evaluation import evaluate
from gptjax.evals.registry import load_tasks
from tests.evals.lm_eval_models import TOKENIZER, adapted, asked, lm_of

pytest.importorskip("lm_eval", reason="needs the extra lm_eval")


@pytest.fixture(scope="module")
def adapter():
    with adapted() as module:
        yield module


@pytest.fixture(scope="module")
def lm(adapter):
    return lm_of(adapter, TOKENIZER)


TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
output_type: {kind}
test_split: test
doc_to_text: "{text}"
doc_to_target: "{target}"
{rest}
"""
OF_CHOICES = 'doc_to_choice: "{{%s}}"\nmetric_list: [{metric: acc}, {metric: acc_norm}]'
TASKS = {
    "lambada": (
        "loglikelihood",
        "{{text.split(' ')[:-1]|join(' ')}}",
        "{{' ' + text.split(' ')[-1]}}",
        "metric_list: [{metric: perplexity, aggregation: perplexity}, {metric: acc}]",
    ),
    "piqa": ("multiple_choice", "{{goal}}", "label", OF_CHOICES % "[sol1.strip(), sol2.strip()]"),
    "arc_easy": ("multiple_choice", "{{query}}\\nAnswer:", "gold", OF_CHOICES % "choices"),
}


def written_tasks(shared_data, folder, count):
    """The first examples of each set, for both harnesses; lm-eval has the labels in the rows."""
    sources = {"lambada": "lambada_test", "piqa": "valid", "arc_easy": "arc_easy"}
    for name, (kind, text, target, rest) in TASKS.items():
        place = shared_data / name.split("_")[0] / f"{sources[name]}.jsonl"
        rows = [json.loads(line) for line in place.read_text().splitlines()[:count]]
        if name == "piqa":
            labels = (place.parent / "valid-labels.lst").read_text().split()[:count]
            (folder / "piqa-labels.lst").write_text("\n".join(labels))
            rows = [row | {"label": int(each)} for row, each in zip(rows, labels, strict=True)]
        file = folder / f"{name}.jsonl"
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        values = {"name": f"local_{name}", "file": file, "kind": kind}
        (folder / f"local_{name}.yaml").write_text(
            TASK.format(**values, text=text, target=target, rest=rest)
        )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_lm_eval_and_we_have_the_same_figures(lm, shared_data, tmp_path, monkeypatch):
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    written_tasks(shared_data, tmp_path, 20)
    names = [f"local_{name}" for name in TASKS]
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    theirs = simple_evaluate(lm, tasks=names, task_manager=manager, bootstrap_iters=0)["results"]
    for name in TASKS:
        plain = "" if name == "lambada" else ",normalisation=plain"
        (task,) = load_tasks(f"{name}(path={tmp_path / name}.jsonl{plain})", None)
        with AnswerStore(None) as store:
            ours = evaluate(lm.model, task, store).figures
        pairs = {"acc": "accuracy", "acc_norm": "accuracy_character", "perplexity": "perplexity"}
        for their_name, our_name in pairs.items():
            if (value := theirs[f"local_{name}"].get(f"{their_name},none")) is not None:
                assert ours[our_name].value == pytest.approx(value, rel=1e-6, abs=1e-6)


def test_texts_are_divided_as_lm_eval_divides_them(lm):
    from lm_eval.api.model import TemplateLM

    class Theirs(TemplateLM):
        eot_token_id = lm.model.start

        def tok_encode(self, string, add_special_tokens=None, **_):
            return lm.model.tokenizer.encode(string).tolist()

        def _loglikelihood_tokens(self, requests, **_):
            return [(context, continuation) for _, context, continuation in requests]

        loglikelihood_rolling = generate_until = None

    rows = [("", "a b"), ("a ", "b"), ("a\n\n", " b"), ("a", "\nb"), ("a b", "c")]
    theirs = Theirs().loglikelihood(asked(*rows), disable_tqdm=True)
    requests = [
        (i, types.SimpleNamespace(context=c, continuation=e)) for i, (c, e) in enumerate(rows)
    ]
    ours = [(c.tolist(), e.tolist()) for _, c, e in lm.model._divided(requests)]
    assert ours == theirs


def test_the_command_of_lm_eval_knows_the_name(adapter, monkeypatch):
    import lm_eval.__main__
    from lm_eval.api.registry import get_model

    monkeypatch.setattr(lm_eval.__main__, "cli_evaluate", lambda: None)
    monkeypatch.setattr(adapter, "enable_compilation_cache", lambda: None)
    adapter.main()
    assert get_model("gptjax").__name__ == "GptjaxLM"
