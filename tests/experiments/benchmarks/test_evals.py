"""The suite on a tiny model, with stand-ins for lm-evaluation-harness and for processes."""

import contextlib
import json
from pathlib import Path

import jax
import pytest

from experiments.benchmarks import evals as suite
from experiments.benchmarks.figures import figure_lines, with_targets
from experiments.benchmarks.made_items import Words, choices, tokenizer_of_size
from gptjax.config import ModelConfig
from gptjax.evals.models.of_runs import of_run
from gptjax.interop import Pretrained
from gptjax.runs.workdir import WorkDirectory

VOCABULARY = 4_500
TINY = suite.EvalSizes(
    ModelConfig(
        vocab_size=VOCABULARY, context_length=64, num_layers=1, num_heads=1, d_model=8, d_ff=8
    ),
    batch_size=4,
    questions=2,
    answers=2,
    context=(20, 30),
    answer=(3, 5),
    prompts=3,
    prompt=(4, 12),
    new=4,
    passages=7,
    passage=(20, 30),
    rounds=1,
)


@contextlib.contextmanager
def some_hf(module, *, model, asked, answers, batch_size):
    """Answers by our own model, from the files that it is given; batches of one take longer."""
    assert module == "lm_eval_hf"
    pairs = json.loads(Path(asked).read_text())
    assert len(pairs) == 4 and all(continuation[0] == " " for _, continuation in pairs)
    source = Pretrained(Path(model))
    params = jax.tree.map(lambda leaf: leaf.read(), source.params())
    ours = suite.LanguageModel(
        suite.GPT(source.model), params, source.tokenizer(), content_hash="", batch_size=4
    )
    found = ours.all_answers([suite.Likelihood(*pair) for pair in pairs])
    Path(answers).write_text(json.dumps([answer.log_prob for answer in found]))
    yield lambda: 3000.0 if batch_size == 1 else 2000.0, "lm_eval 0.0"


@contextlib.contextmanager
def no_hf(module, **arguments):
    raise ValueError("PyTorch does not run here: no lm_eval")
    yield


def some_seconds(arguments, environment):
    """Stands in for the processes of LAMBADA, whose folder has all that the command reads."""
    cache = Path(environment["GPTJAX_CACHE"])
    assert not cache.exists()
    if arguments[0] == "-c":
        return 1.0
    assert arguments[:2] == ["-m", "experiments.evals"]
    rows = (cache.parent / "lambada" / "lambada_test.jsonl").read_text().splitlines()
    assert len(rows) == 7 and all(20 <= len(json.loads(r)["text"].split()) <= 30 for r in rows)
    model = of_run(WorkDirectory(str(cache.parent / "run")))
    assert model.context_length == 64 and model.tokenizer.vocab_size == 1024
    return 61.0


def some_timed(call):
    call()
    return lambda: 2.0


@pytest.mark.slow
def test_the_suite_on_a_tiny_model(monkeypatch):
    monkeypatch.setattr(suite, "torch_program", some_hf)
    monkeypatch.setattr(suite, "_process_seconds", some_seconds)
    monkeypatch.setattr(suite, "_timed", some_timed)
    figures = with_targets(suite.measure_evals(TINY), suite.TARGETS)
    choice, generation = figures["multiple_choice"], figures["generation"]
    assert choice["requests"] == 4 and choice["hf"] == "lm_eval 0.0"
    assert choice["hf_batches_of_1_seconds"] == 3000 and choice["hf_batches_of_8_seconds"] == 2000
    assert choice["over_hf"] == {"value": 1000, "target": "at least 2", "met": True}
    assert choice["nats_from_hf"]["met"] and choice["nats_from_hf"]["value"] < 1e-4
    assert choice["apart_over_shared"] == {"value": 1, "target": "at least 2.5", "met": False}
    assert generation["task_tokens_per_second"] == generation["tokens"] / 2
    assert 0 < generation["tokens"] <= 3 * 4
    assert generation["over_generator"] == {"value": 1, "target": "at least 0.9", "met": True}
    assert figures["lambada"]["seconds"]["met"] is False
    assert len(list(figure_lines(figures))) > 15 and json.dumps(figures)


def test_lambada_is_asked_of_an_untrained_run_without_cached_programs(monkeypatch):
    monkeypatch.setattr(suite, "_process_seconds", some_seconds)
    figures = suite.measure_lambada(TINY)
    assert figures == {"items": 7, "import_seconds": 1, "seconds": 61}


def test_the_slower_batches_of_the_harness_do_not_count(monkeypatch, tmp_path):
    @contextlib.contextmanager
    def harness(module, *, batch_size, answers, **paths):
        Path(answers).write_text("[-1.0, -2.5]")
        yield lambda: 6.0 if batch_size == 1 else 4.0, "lm_eval 0.0"

    monkeypatch.setattr(suite, "torch_program", harness)
    asked = [suite.Likelihood("a", " b"), suite.Likelihood("a", " c")]
    found = suite._beside_hf(TINY, tmp_path / "model", asked, [-1.0, -2.0], lambda: 2.0)
    assert found["over_hf"] == 2 and found["nats_from_hf"] == 0.5
    assert found["hf_batches_of_1_seconds"] == 6 and found["hf_batches_of_8_seconds"] == 4


def test_without_the_harness_its_figures_are_left_out(monkeypatch, tmp_path):
    monkeypatch.setattr(suite, "torch_program", no_hf)
    asked = [suite.Likelihood("a", " b")]
    found = suite._beside_hf(TINY, tmp_path / "model", asked, [-1.0], lambda: 1.0)
    assert found == {"hf": "PyTorch does not run here: no lm_eval"}


def test_a_process_that_fails_says_why():
    with pytest.raises(ValueError, match=r"exit code 1: (?s:.*)ZeroDivisionError"):
        suite._process_seconds(["-S", "-c", "1 / 0"], {})
    assert suite._process_seconds(["-S", "-c", ""], {}) > 0


def test_questions_share_a_context_and_words_are_tokens():
    asked = choices(20, Words(), context=(20, 40), answers=4, answer=(10, 20))
    assert asked == choices(20, Words(), context=(20, 40), answers=4, answer=(10, 20))
    assert len(asked) == 80 and len({each.context for each in asked}) == 20
    assert all(asked[i].context == asked[i - i % 4].context for i in range(80))
    words = [len(each.continuation.split()) for each in asked]
    assert min(words) == 10 and max(words) == 20
    tokenizer = tokenizer_of_size(VOCABULARY)
    assert [tokenizer.encode(each.continuation).size for each in asked] == words


def test_a_tokenizer_has_the_size_that_is_asked_for():
    tokenizer = tokenizer_of_size(50_257)
    assert tokenizer.vocab_size == 50_257 and tokenizer.end_of_text == 50_256
    text = "An (old) text: 12 x 13!"
    assert tokenizer.decode(tokenizer.encode(text)) == text
