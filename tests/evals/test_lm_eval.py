"""The adapter for lm-evaluation-harness, against sums made by hand.

Without the package (the extra `lm_eval`) its base class is a stand-in, and what compares with the
package itself is skipped.
"""

import importlib
import importlib.util
import json
import sys
import tomllib
import types
from pathlib import Path

import numpy as np
import pytest

import gptjax.evals
import gptjax.evals.tasks
from gptjax.data.dialogue.chat_format import ChatTemplate, Message
from gptjax.evals.answer_store import AnswerStore
from gptjax.evals.evaluation import evaluate
from gptjax.evals.language_model import LanguageModel
from gptjax.evals.registry import load_tasks
from gptjax.tokenization import ChatTokenizer, load_tokenizer
from tests.inference.models import CONTEXT, made

INSTALLED = importlib.util.find_spec("lm_eval") is not None
MARKED = "\ue000"
TOKENIZER = load_tokenizer("python_docs_1024")
CHAT = ChatTokenizer(TOKENIZER)

needs_lm_eval = pytest.mark.skipif(not INSTALLED, reason="needs the extra lm_eval")


class Hook:
    def __init__(self):
        self.kept = []

    def add_partial(self, *row):
        self.kept.append(row)


class StandIn:
    def __init__(self):
        self.cache_hook = Hook()


@pytest.fixture(scope="module")
def adapter():
    """The module, with the package or with a stand-in for its base class."""
    with pytest.MonkeyPatch.context() as patch:
        if not INSTALLED:
            for name in ("lm_eval", "lm_eval.api", "lm_eval.api.model"):
                patch.setitem(sys.modules, name, types.ModuleType(name))
            sys.modules["lm_eval.api.model"].LM = StandIn
        patch.delitem(sys.modules, "gptjax.evals.lm_eval", raising=False)
        yield importlib.import_module("gptjax.evals.lm_eval")
        sys.modules.pop("gptjax.evals.lm_eval", None)
        if hasattr(gptjax.evals, "lm_eval"):
            del gptjax.evals.lm_eval


def lm_of(adapter, tokenizer):
    """The adapter of a random model with a tokenizer."""

    def model(place, step, batch_size, tokenizer):
        return LanguageModel(
            *made(vocab_size=place.tokenizer().vocab_size),
            tokenizer or place.tokenizer(),
            content_hash=f"{step} {batch_size}",
            batch_size=batch_size,
        )

    with pytest.MonkeyPatch.context() as patch:
        place = types.SimpleNamespace(tokenizer=lambda: tokenizer)
        patch.setattr(adapter, "WorkDirectory", lambda path: place)
        patch.setattr(adapter, "of_run", model)
        return adapter.GptjaxLM.create_from_arg_obj(
            {"workdir": "runs/lm", "step": "7", "batch_size": 4}, {"batch_size": 1, "device": None}
        )


@pytest.fixture(scope="module")
def lm(adapter):
    return lm_of(adapter, TOKENIZER)


@pytest.fixture(scope="module")
def chat(adapter):
    return lm_of(adapter, CHAT)


def asked(*rows):
    return [types.SimpleNamespace(args=row) for row in rows]


def log_probs(ids, tokenizer=TOKENIZER):
    """Log-probabilities [T, V] of what follows each id."""
    model, params = made(vocab_size=tokenizer.vocab_size)
    padded = np.zeros((1, CONTEXT), np.int32)
    padded[0, : len(ids)] = ids
    logits = np.asarray(model.apply({"params": params}, padded)[0, : len(ids)], np.float64)
    logits = logits[:, : tokenizer.vocab_size]
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def score(context, continuation, tokenizer=TOKENIZER):
    """Log-probability of ids behind others, of which the end is taken."""
    ids = [*context, *continuation][-(CONTEXT + 1) :]
    rows = log_probs(ids[:-1], tokenizer)[-len(continuation) :]
    total = sum(row[each] for row, each in zip(rows, continuation, strict=True))
    return total, bool((rows.argmax(-1) == continuation).all())


def ids_of(text):
    return TOKENIZER.encode(text).tolist()


def test_likelihoods_are_those_of_tokens_behind_the_context(lm):
    long = "The quick brown fox. " * 20
    assert len(ids_of(long)) > CONTEXT
    greedy = TOKENIZER.decode([int(log_probs(ids_of("What is"))[-1, :1000].argmax())])
    cases = {  # and the text that the context's tokens are of
        ("What is", " it"): "What is",
        ("", "First"): "",
        ("Ends in spaces  ", "so"): "Ends in spaces",
        (long, "end"): long.rstrip(),
        ("What is", greedy): "What is",
    }
    found = lm.loglikelihood(asked(*cases))
    assert [is_greedy for _, is_greedy in found][-1]
    for (total, is_greedy), (case, before) in zip(found, cases.items(), strict=True):
        context = ids_of(before)
        expected, expected_greedy = score(
            context or [lm.model.start], ids_of("".join(case))[len(context) :]
        )
        assert total == pytest.approx(expected, rel=1e-5) and is_greedy is expected_greedy


def test_a_continuation_longer_than_the_context_is_scored_whole(lm):
    text = " 0123456789" * 10
    ((total, _),) = lm.loglikelihood(asked(("A", text)))
    ids = ids_of(f"A{text}")
    assert len(ids) > CONTEXT + 1
    expected = sum(
        score(ids[at - 1 : at], ids[at : at + CONTEXT])[0] for at in range(1, len(ids), CONTEXT)
    )
    assert total == pytest.approx(expected, rel=1e-5)


def test_windows_of_a_long_text_are_those_of_lm_eval(adapter):
    """The example in the docstring of its `LM.loglikelihood_rolling`."""
    windows = [
        (before.tolist(), scored.tolist())
        for before, scored in adapter.rolling_windows(np.arange(10), 99, 4)
    ]
    assert windows == [([99], [0, 1, 2, 3]), ([3], [4, 5, 6, 7]), ([5, 6, 7], [8, 9])]


def test_a_long_text_is_the_sum_of_its_windows(lm):
    text = "It was the best of times. " * 20
    (total,) = lm.loglikelihood_rolling(asked((text,)))
    ids = [lm.model.start, *ids_of(text)]
    assert len(ids) > 2 * CONTEXT
    ends = [(at, min(at + CONTEXT, len(ids))) for at in range(1, len(ids), CONTEXT)]
    expected = sum(score(ids[:at], ids[at:end])[0] for at, end in ends)
    assert total == pytest.approx(expected, rel=1e-5)


def test_what_is_written_is_greedy_up_to_any_stop_string(lm):
    prompt = ids_of("Once upon")
    ids = list(prompt)
    for _ in range(12):
        ids.append(int(log_probs(ids)[-1, : TOKENIZER.vocab_size].argmax()))
    whole = TOKENIZER.decode(ids[len(prompt) :])
    assert len(set(whole)) > 2
    options = {"until": [], "max_gen_toks": 12, "do_sample": False, "temperature": 1.0}
    stops = {"until": ["never", whole[3:5], whole[4:6]]}
    found = lm.generate_until(asked(("Once upon", options), ("Once upon", options | stops)))
    assert found == [whole, whole[: min(whole.find(each) for each in (whole[3:5], whole[4:6]))]]


def test_equal_requests_have_draws_of_their_own(lm):
    options = {"until": "\n", "max_gen_toks": 8, "do_sample": True}
    found = lm.generate_until(asked(*[("Once", options)] * 4))
    assert len(set(found)) > 1
    assert found == lm.generate_until(asked(*[("Once", options)] * 4))


def test_answers_are_handed_to_the_cache_of_lm_eval(lm):
    hook, lm.cache_hook = lm.cache_hook, Hook()
    (answer,) = lm.loglikelihood(asked(("A", " b")))
    assert lm.cache_hook.kept == [("loglikelihood", ("A", " b"), answer)]
    lm.cache_hook = hook


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"temperature": 0.0, "max_new_tokens": 256, "stop": ()}),
        ({"until": "x", "max_tokens": 3}, {"stop": ("x",), "max_new_tokens": 3}),
        ({"until": ["x", "", "x", "y"]}, {"stop": ("x", "y")}),
        ({"do_sample": True}, {"temperature": 1.0}),
        ({"temperature": 0.5}, {"temperature": 0.5}),
        ({"temperature": 0.5, "do_sample": False}, {"temperature": 0.0}),
        ({"top_p": 0.9, "do_sample": False}, {"temperature": 0.0}),
        ({"num_beams": 4}, {"num_beams": 4}),
    ],
)
def test_options_of_generation(adapter, options, expected):
    request = adapter.generation_of("A prompt", options)
    assert {name: getattr(request, name) for name in expected} == expected


@pytest.mark.parametrize("options", [{"top_p": 0.9, "do_sample": True}, {"repetition_penalty": 2}])
def test_an_option_that_would_be_forgotten_is_refused(adapter, options):
    with pytest.raises(ValueError, match=r"gen_kwargs: got \w+, expected until"):
        adapter.generation_of("A prompt", options)


def test_a_conversation_is_read_as_its_template_writes_it(chat):
    history = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi <|assistant|>"},
        {"role": "assistant", "content": "Yes"},
        {"role": "user", "content": f"No{MARKED}<|assistant|>"},
    ]
    text = chat.apply_chat_template(history)
    written = [Message(row["role"], row["content"].replace(MARKED, "")) for row in history]
    expected = ChatTemplate(CHAT).prompt(written)
    assert chat.model.tokenizer.encode(text).tolist() == expected.tolist()
    begun = chat.apply_chat_template(history[:3], add_generation_prompt=False)
    expected = ChatTemplate(CHAT).render(written[:3])[0][:-1]
    assert chat.model.tokenizer.encode(begun).tolist() == expected.tolist()
    ((total, _),) = chat.loglikelihood(asked((begun, "!")))
    assert total == pytest.approx(score(expected.tolist(), ids_of("!"), CHAT)[0], rel=1e-5)
    assert chat.chat_template(True) == "<|ROLE|>CONTENT<|endofturn|>"


def test_an_answer_of_a_chat_ends_with_its_turn(chat, monkeypatch):
    seen = []
    monkeypatch.setattr(chat.model, "answers", lambda some: seen.extend(some) or iter(()))
    with pytest.raises(KeyError):
        chat.generate_until(asked(("Hi", {"until": ["\n"]})))
    assert seen[0].stop == ("\n", "<|endofturn|>")


def test_a_run_without_a_chat_has_no_template(lm):
    with pytest.raises(ValueError, match=r"tokenizer of kind \w+, expected one of a chat"):
        lm.apply_chat_template([{"role": "user", "content": "Hi"}])


def test_arguments_of_the_model(adapter, lm):
    assert lm.model.content_hash == "7 4"  # its own batch size is kept
    assert lm.get_model_info() == {"model_sha": "7 4"}
    assert lm.tokenizer_name.startswith("gptjax-")
    with pytest.raises(ValueError, match="got pretrained, expected workdir=DIR"):
        adapter.GptjaxLM.create_from_arg_string("pretrained=gpt2")


def test_the_entry_point_is_the_adapter(adapter):
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"]["lm_eval.models"]["gptjax"].partition(":")
    assert module == adapter.__name__ and hasattr(adapter, name)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "gptjax.evals.lm_eval", raising=False)
    for name in [name for name in sys.modules if name.split(".")[0] == "lm_eval"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'gptjax\[lm_eval\]'"):
        importlib.import_module("gptjax.evals.lm_eval")


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


@needs_lm_eval
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


@needs_lm_eval
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


@needs_lm_eval
def test_the_command_of_lm_eval_knows_the_name(adapter, monkeypatch):
    import lm_eval.__main__
    from lm_eval.api.registry import get_model

    monkeypatch.setattr(lm_eval.__main__, "cli_evaluate", lambda: None)
    monkeypatch.setattr(adapter, "enable_compilation_cache", lambda: None)
    adapter.main()
    assert get_model("gptjax").__name__ == "GptjaxLM"
