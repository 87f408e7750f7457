"""The adapter for lm-evaluation-harness, against sums made by hand; the package is not needed."""

import functools
import importlib
import sys
import tomllib
from pathlib import Path

import jax
import numpy as np
import pytest

from gptjax.data.dialogue.chat_format import ChatTemplate, Message
from tests.evals.lm_eval_models import CHAT, TOKENIZER, Hook, adapted, asked, lm_of
from tests.inference.models import CONTEXT, made

MARKED = "\ue000"


@pytest.fixture(scope="module")
def adapter():
    with adapted() as module:
        yield module


@pytest.fixture(scope="module")
def lm(adapter):
    return lm_of(adapter, TOKENIZER)


@pytest.fixture(scope="module")
def chat(adapter):
    return lm_of(adapter, CHAT)


@functools.cache
def forward(vocab_size):
    model, params = made(vocab_size=vocab_size)
    forward = jax.jit(lambda params, tokens: model.apply({"params": params}, tokens))
    return functools.partial(forward, params)


def log_probs(ids, tokenizer=TOKENIZER):
    """Log-probabilities [T, V] of what follows each id."""
    padded = np.zeros((1, CONTEXT), np.int32)
    padded[0, : len(ids)] = ids
    logits = np.asarray(forward(tokenizer.vocab_size)(padded), np.float64)[0, : len(ids)]
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
