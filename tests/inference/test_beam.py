"""Beam search against `transformers`, and against every text there is."""

import functools
import itertools
import json
import logging

import jax
import numpy as np
import pytest

from gptjax.inference.beam import BeamSearch, Hypothesis
from gptjax.inference.filters import LogitBias, MinNewTokens, RepetitionPenalty, TopK
from gptjax.inference.generate import Generator
from gptjax.inference.sampling import Sampler, make_sampler
from gptjax.interop.huggingface import model_config, params_from_huggingface
from gptjax.models.gpt import GPT
from tests.inference import models
from tests.inference.models import full_logits, log_softmax, made, random_prompts
from tests.support.tiers import tiered

VOCAB, CONTEXT = 61, 40
prompts_of = functools.partial(random_prompts, VOCAB)


def marked_slow(*values):
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


@pytest.fixture(scope="module")
def pair():
    """One model of random weights, theirs and ours."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": VOCAB, "n_positions": CONTEXT, "n_layer": 2, "n_embd": 32, "n_head": 4}
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = transformers.GPT2Config(**sizes, bos_token_id=None, eos_token_id=None)
    theirs = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    ours = model_config(json.loads(theirs.config.to_json_string()))
    state = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    return theirs, GPT(ours), params_from_huggingface(state, ours)


@pytest.fixture(scope="module")
def search(pair) -> BeamSearch:
    return BeamSearch(*pair[1:])


def their_texts(model, prompts, num_beams, stop_token=None, num_best=1, **options):
    """New tokens and scores of their n best of each prompt, padded on the left, in one batch."""
    torch = pytest.importorskip("torch")
    longest = max(map(len, prompts))
    tokens = torch.zeros((len(prompts), longest), dtype=torch.int64)
    mask = torch.zeros_like(tokens)
    for row, prompt in enumerate(prompts):
        tokens[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    made = model.generate(
        tokens,
        attention_mask=mask,
        num_beams=num_beams,
        num_return_sequences=num_best,
        do_sample=False,
        eos_token_id=stop_token,
        pad_token_id=0,
        output_scores=True,
        return_dict_in_generate=True,
        **options,
    )
    new = made.sequences[:, longest:].tolist()
    if stop_token is not None:
        new = [text[: text.index(stop_token) + 1] if stop_token in text else text for text in new]
    scores = getattr(made, "sequences_scores", None)
    return new, None if scores is None else scores.numpy()


def check(ours: list[list[Hypothesis]], theirs) -> None:
    texts, scores = theirs
    flat = list(itertools.chain(*ours))
    assert [hypothesis.tokens.tolist() for hypothesis in flat] == texts
    if scores is not None:
        got = [hypothesis.score for hypothesis in flat]
        np.testing.assert_allclose(got, scores, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def stop(search) -> int:
    """A token that ends some beams of the first test's prompts, at different times."""
    best = search(prompts_of(5, 2, 9), num_beams=4, num_best=4, max_new_tokens=12)
    tokens = np.concatenate([hypothesis.tokens for row in best for hypothesis in row])
    return int(np.bincount(tokens).argsort()[-2])


CASES = [  # every penalty, and every rule for stopping at two penalties
    (4, 0.0, False),
    (4, 0.6, True),
    (4, 1.0, "never"),
    (4, 1.0, False),
    (4, 2.0, True),
    (4, 2.0, "never"),
    (1, 1.0, False),
]
PRODUCT = itertools.product([1, 4, 8], [0.0, 0.6, 1.0, 2.0], [True, False, "never"])
OTHERS = [pytest.param(*case, marks=pytest.mark.slow) for case in PRODUCT if case not in CASES]


@pytest.mark.parametrize(("num_beams", "penalty", "early_stopping"), CASES + OTHERS)
def test_texts_and_scores_equal_theirs(pair, search, stop, num_beams, penalty, early_stopping):
    prompts = prompts_of(5, 2, 9)
    options = {"max_new_tokens": 12, "num_best": num_beams}
    stopping = {"length_penalty": penalty, "early_stopping": early_stopping}
    ours = search(prompts, num_beams=num_beams, stop_token=stop, **options, **stopping)
    if num_beams == 1:
        stopping = {}
    check(ours, their_texts(pair[0], prompts, num_beams, stop, **options, **stopping))
    if num_beams == 4 and penalty < 2:
        assert len({hypothesis.tokens.size for row in ours for hypothesis in row}) > 1


@pytest.mark.slow
def test_a_search_that_never_stops_early_equals_theirs_where_that_matters(pair, search):
    prompts = prompts_of(5, 2, 9)
    options = {"max_new_tokens": 12, "num_best": 4, "length_penalty": 2.0}

    def found(stop, early_stopping):
        best = search(prompts, stop_token=stop, early_stopping=early_stopping, **options)
        return best, [hypothesis.tokens.tolist() for row in best for hypothesis in row]

    stop = next(stop for stop in range(VOCAB) if found(stop, False)[1] != found(stop, "never")[1])
    for early_stopping in (False, "never"):
        options_of_theirs = options | {"early_stopping": early_stopping}
        theirs = their_texts(pair[0], prompts, 4, stop, **options_of_theirs)
        check(found(stop, early_stopping)[0], theirs)


@pytest.mark.parametrize("num_beams", [4, *marked_slow(1, 8)])
def test_texts_without_end_of_text_equal_theirs(pair, search, num_beams):
    prompts = prompts_of(3, 11, 7, seed=1)
    options = {"max_new_tokens": 10, "num_best": num_beams}
    check(
        search(prompts, num_beams=num_beams, **options),
        their_texts(pair[0], prompts, num_beams, **options),
    )


@pytest.mark.slow
def test_greedy_texts_equal_theirs(pair):
    generator, prompts = Generator(*pair[1:]), prompts_of(5, 1, 17, 9)
    texts = generator.generate(prompts, max_new_tokens=15, sampler=make_sampler(temperature=0))
    theirs, _ = their_texts(pair[0], prompts, 1, max_new_tokens=15)
    assert [text.tolist() for text in texts] == theirs


SLOW_FILTERS = [
    ((RepetitionPenalty(1.7),), {"repetition_penalty": 1.7}),
    ((LogitBias.of({}, [57, 34], VOCAB),), {"bad_words_ids": [[57], [34]]}),
    ((MinNewTokens(5, 23),), {"min_new_tokens": 5}),
]


@pytest.mark.parametrize(
    ("filters", "options"),
    [
        ((RepetitionPenalty(0.6), TopK(3)), {"repetition_penalty": 0.6, "top": 3}),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW_FILTERS),
    ],
)
def test_filters_act_on_log_probabilities_as_theirs(pair, search, filters, options):
    transformers = pytest.importorskip("transformers")
    prompts = prompts_of(6, 6, 11)
    shared = {"num_beams": 4, "num_best": 3, "max_new_tokens": 10, "stop_token": 23}
    ours = search(prompts, sampler=Sampler(filters, greedy=True), **shared)
    assert [row[0].tokens.tolist() for row in ours] != [
        row[0].tokens.tolist() for row in search(prompts, **shared)
    ]
    options = dict(options)
    if top := options.pop("top", None):
        options["logits_processor"] = transformers.LogitsProcessorList(
            [transformers.TopKLogitsWarper(top)]
        )
    check(ours, their_texts(pair[0], prompts, **shared, **options))


SMALL = {  # five tokens, so that every text can be tried
    "vocab_size": 5,
    "vocab_multiple": 1,
    "num_layers": 1,
    "attention": "banded(window=4)",
    "init_std": 0.4,
}


@pytest.fixture(scope="module")
def small_search() -> BeamSearch:
    return BeamSearch(*made(**SMALL), piece=4)


@pytest.mark.parametrize(
    ("normalization", "penalty"),
    tiered([("length", 0.8), ("gnmt", 0.8), ("gnmt", -3.0)], [("length", 0.8), ("gnmt", -3.0)]),
)
def test_wide_beams_find_the_best_of_all_texts(small_search, normalization, penalty):
    stop, prompts = 2, [np.array([0, 3, 1, 4, 1, 0, 3, 3, 1, 4]), np.array([1, 4])]
    texts = [
        text
        for length in (1, 2, 3)
        for text in itertools.product(range(5), repeat=length)
        if stop not in text[:-1] and (length == 3 or text[-1] == stop)
    ]
    best = small_search(
        prompts,
        num_beams=25,
        num_best=25,
        max_new_tokens=3,
        stop_token=stop,
        length_penalty=penalty,
        normalization=normalization,
    )
    for prompt, found in zip(prompts, best, strict=True):
        scores = {}
        for text in texts:
            whole = [*prompt, *text]
            log_probs = log_softmax(full_logits(made(**SMALL), whole))
            at = range(prompt.size - 1, len(whole) - 1)
            total = log_probs[list(at), list(text)].sum()
            n = len(text)
            scores[text] = total / (n if normalization == "length" else (5 + n) / 6) ** penalty
        expected = sorted(scores, key=lambda text: -scores[text])[:25]
        assert [tuple(hypothesis.tokens.tolist()) for hypothesis in found] == expected
        np.testing.assert_allclose(
            [hypothesis.score for hypothesis in found],
            [scores[text] for text in expected],
            rtol=1e-5,
            atol=1e-5,
        )


class Letters:
    """Stands in for a tokenizer of five tokens."""

    def decode(self, ids):
        return "".join("abcde"[index] for index in ids)


def test_a_stop_string_ends_a_beam_and_counts_in_its_score(small_search):
    """All texts of up to three letters, of which those that "cb" or "d" ends are shorter."""
    prompt, beams = np.array([1, 4, 3]), BeamSearch(*made(**SMALL), Letters())
    (found,) = beams([prompt], num_beams=25, num_best=25, max_new_tokens=3, stop=["cb", "d"])
    scores = {}
    for length in (1, 2, 3):
        for text in itertools.product(range(5), repeat=length):
            spelt = Letters().decode(text)
            earlier = "cb" in spelt[:-1] or "d" in spelt[:-1]
            if not earlier and (length == 3 or spelt.endswith(("cb", "d"))):
                log_probs = log_softmax(full_logits(made(**SMALL), [*prompt, *text]))
                at = range(prompt.size - 1, prompt.size - 1 + length)
                scores[text] = log_probs[list(at), list(text)].sum() / length
    expected = sorted(scores, key=lambda text: -scores[text])[:25]
    assert [tuple(hypothesis.tokens.tolist()) for hypothesis in found] == expected
    assert {len(text) for text in expected} == {2, 3}
    assert [each.score for each in found] == pytest.approx([scores[x] for x in expected], abs=1e-5)
    with pytest.raises(ValueError, match=r"stop: got .*without a tokenizer"):
        small_search([prompt], stop=["d"])


def test_fewer_texts_than_beams_are_all_returned(small_search):
    found, _ = small_search([np.array([1])] * 2, num_beams=25, num_best=25, max_new_tokens=1)
    assert sorted(hypothesis.tokens.tolist() for hypothesis in found) == [[i] for i in range(5)]
    forced = make_sampler(temperature=0, forced_tokens=[3, 1], vocab_size=5)
    (found,) = small_search(
        [np.array([1])], num_beams=8, num_best=8, max_new_tokens=2, sampler=forced
    )
    assert [hypothesis.tokens.tolist() for hypothesis in found] == [[3, 1]]


@pytest.mark.parametrize("stop_token", tiered([(2,), (None,)], [(2,)]))
def test_a_prompt_does_not_see_its_neighbours(small_search, stop_token):
    """Without a stop token all texts end with the context."""
    prompts = random_prompts(5, 1, models.CONTEXT, 13, 60, seed=2)
    options = {"num_beams": 4, "num_best": 2, "stop_token": stop_token}
    together = small_search(prompts, **options)
    for prompt, found in zip(prompts, together, strict=True):
        (alone,) = small_search([prompt], **options)
        for one, other in zip(found, alone, strict=True):
            assert one.tokens.tolist() == other.tokens.tolist()
            assert one.score == pytest.approx(other.score, abs=1e-5)
            length = prompt.size + one.tokens.size
            assert length == models.CONTEXT or stop_token is not None
    (nothing_more,) = together[1]
    assert (nothing_more.tokens.size, nothing_more.score) == (0, 0.0)


def test_a_prefix_language_model_is_searched_after_a_whole_prefix():
    prefix = made(attention="prefix(length=9)", num_layers=1)
    search, prompt = BeamSearch(*prefix), np.arange(12) % 5
    ((best,),) = search([prompt], num_beams=1, max_new_tokens=6)
    whole = np.concatenate([prompt, best.tokens])
    assert best.tokens.tolist() == full_logits(prefix, whole)[11:-1, :120].argmax(-1).tolist()
    with pytest.raises(ValueError, match="got 7 tokens at once"):
        search([prompt[:8]], max_new_tokens=5)


def test_few_programs_serve_all_lengths_and_options(search, caplog):
    caplog.set_level(logging.WARNING, logger="jax")
    search(prompts_of(14, 4, 1), max_new_tokens=3)
    caplog.clear()
    stops = {"early_stopping": True}, {"normalization": "gnmt", "early_stopping": "never"}
    with jax.log_compiles():
        search(prompts_of(12, 1, 9), max_new_tokens=7, num_best=4, stop_token=5)
        search(prompts_of(3, 2, 2), length_penalty=0.0, max_new_tokens=14, **stops[0])
        search(prompts_of(8, 2, 2), max_new_tokens=9, **stops[1])
    assert not [text for text in caplog.messages if text.startswith("Compiling")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": 0}, "num_beams: got 0, expected 1 or more"),
        ({"num_best": 5}, "num_best: got 5, expected 1 to 4, the beams"),
        ({"length_penalty": float("nan")}, "length_penalty: got nan, expected a finite number"),
        ({"normalization": "mean"}, "normalization: got 'mean', expected length or gnmt"),
        ({"early_stopping": "always"}, "early_stopping: got 'always', expected True, False, never"),
        ({"sampler": Sampler()}, "sampler: got one that draws, expected a greedy one"),
        ({"prompts": []}, "prompts: got none, expected one or more"),
        ({"prompts": [np.array([1]), np.array([61])]}, "prompt: got token 61, expected 0 to 60"),
        ({"prompts": [np.zeros(41, int)]}, "prompt: got 41 tokens, expected at most 40"),
        ({"max_new_tokens": 0}, "max_new_tokens: got 0, expected 1 or more"),
    ],
)
def test_bad_input_is_refused_in_one_line(search, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        search(**{"prompts": [np.array([1])], **options})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["batch_size", "piece"])
def test_a_search_of_nothing_at_a_time_is_refused(name):
    with pytest.raises(ValueError, match=f"{name}: got 0, expected 1 or more"):
        BeamSearch(*made(), **{name: 0})
