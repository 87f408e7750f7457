"""Cached, batched, compiled generation against plain forward passes over one text at a time."""

import dataclasses
import functools
import itertools
import logging
import re

import jax
import numpy as np
import pytest

from gptjax.config import ModelConfig
from gptjax.inference import decoding
from gptjax.inference.generate import Generator
from gptjax.inference.sampling import make_sampler
from gptjax.models.gpt import GPT
from tests.inference.models import made_of, random_prompts

VOCAB, CONTEXT = 61, 48
prompts_of = functools.partial(random_prompts, VOCAB)
GREEDY = make_sampler(temperature=0)


def make(**changes) -> tuple[GPT, dict]:
    """A model and random parameters, large enough for predictions to differ."""
    model = ModelConfig(
        vocab_size=VOCAB,
        vocab_multiple=16,
        context_length=CONTEXT,
        num_layers=3,
        num_heads=4,
        num_kv_heads=2,
        d_model=32,
        attention="dense,banded(window=7)",
        init_std=0.15,
    )
    return made_of(model, **changes)


@pytest.fixture(scope="module")
def made() -> tuple[GPT, dict]:
    return make()


@pytest.fixture(scope="module")
def generator(made) -> Generator:
    return Generator(*made)


def full_logits(model, params):
    """Text -> logits of its next token, by one forward pass without a cache."""
    forward = jax.jit(lambda tokens: model.apply({"params": params}, tokens))

    def logits(text):
        padded = np.zeros((1, CONTEXT), np.int32)  # later tokens cannot change earlier logits
        padded[0, : len(text)] = text
        return np.asarray(forward(padded)[0, len(text) - 1])

    return logits


@pytest.mark.parametrize(
    ("changes", "tolerance"),
    [
        ({}, 1e-5),
        ({"norm": "post", "attention": "banded(window=5)", "tied_embeddings": False}, 1e-5),
        ({"dtype": "bfloat16"}, 3e-2),  # 8 bits of mantissa
        ({"attention": "banded(window=5),sinks(window=3,sinks=2),dense"}, 1e-5),
        ({"attention": "heads(dense,fixed(stride=8,summary=2)),logsparse(window=2)"}, 1e-5),
    ],
)
def test_cached_logits_equal_the_full_forward_pass(changes, tolerance):
    model, params = make(**changes)
    texts = np.stack(prompts_of(CONTEXT, CONTEXT, CONTEXT)).astype(np.int32)
    full = jax.jit(lambda tokens: model.apply({"params": params}, tokens))(texts)
    lengths, ones = np.array([1, 6, 20], np.int32), np.ones(3, np.int32)
    feed = jax.jit(
        functools.partial(decoding.feed, model, decoding.decoding_params(params, "float32"))
    )
    cache = model.init_cache(3, CONTEXT, 8)
    for start in range(0, 24, 8):
        at = np.arange(start, start + 8)[None]
        positions = np.where(at < lengths[:, None] - 1, at, -1).astype(np.int32)
        cache = feed(cache, texts[:, start : start + 8], positions)
    state = decoding.begin(texts, lengths, CONTEXT * ones, -ones, 0 * ones, ones, cache)
    step = jax.jit(functools.partial(decoding.next_logits, model, params))
    for fed in range(25):
        got, cache = step(state)
        expected = full[np.arange(3), lengths + fed - 1]
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)
        longer = dataclasses.replace(state.texts, length=state.texts.length + 1)
        state = dataclasses.replace(state, texts=longer, cache=cache)


def test_each_layer_of_the_cycle_keeps_what_its_pattern_needs():
    model, _ = make(attention="dense,banded(window=5)")
    cache = jax.eval_shape(lambda: model.init_cache(1, 48, 8))
    assert [layer.k.shape[2] for layer in cache] == [48, 12, 48]


@pytest.mark.parametrize("attention", ["prefix(length=9)", "dense,block_causal(block=4)"])
def test_prompts_that_split_what_must_arrive_whole_are_refused(attention):
    model, params = make(attention=attention)
    with pytest.raises(ValueError, match="got 7 tokens at once"):
        Generator(model, params).generate(prompts_of(8), max_new_tokens=5)


def test_a_prefix_language_model_generates_after_a_whole_prefix():
    model, params = make(attention="prefix(length=9)")
    (prompt,) = prompts_of(12)
    (text,) = Generator(model, params, piece=4).generate([prompt], max_new_tokens=6, sampler=GREEDY)
    whole = np.concatenate([prompt, text])
    logits = jax.jit(lambda tokens: model.apply({"params": params}, tokens))(whole[None])
    assert text.tolist() == logits[0, 11:-1].argmax(-1).tolist()


def test_greedy_texts_equal_a_loop_over_forward_passes(made, generator):
    """Prompts of six lengths in one batch, each as if alone."""
    model, params = made
    logits = full_logits(model, params)
    prompts = prompts_of(1, 2, 5, 16, 17, 33)
    texts = generator.generate(prompts, max_new_tokens=12, sampler=GREEDY)
    for prompt, text in zip(prompts, texts, strict=True):
        expected = prompt.tolist()
        for _ in range(12):
            expected.append(int(logits(expected).argmax()))
        assert text.dtype == np.int32
        assert text.tolist() == expected[prompt.size :]
    assert len({tuple(text) for text in texts}) > 3


def test_a_sample_does_not_see_its_neighbours(generator):
    prompts = prompts_of(3, 30, 11, 3)
    options = {"max_new_tokens": 10, "sampler": make_sampler(0.9, top_k=20), "seed": 5}
    together = generator.generate(prompts, **options)
    for index, prompt in enumerate(prompts):
        alone = generator.generate([prompt], sample_indices=[index], **options)
        assert alone[0].tolist() == together[index].tolist()


def test_a_sample_is_a_function_of_prompt_seed_and_index(generator):
    (prompt,) = prompts_of(4)

    def sample(seed, index):
        (text,) = generator.generate([prompt], max_new_tokens=20, seed=seed, sample_indices=[index])
        return tuple(text.tolist())

    seen = {sample(seed, index) for seed in (0, 1) for index in (0, 1)}
    assert len(seen) == 4
    assert sample(1, 1) in seen
    batch = generator.generate([prompt, prompt], max_new_tokens=20)
    assert [tuple(text.tolist()) for text in batch] == [sample(0, 0), sample(0, 1)]


def test_the_stop_token_ends_its_own_text_alone(generator):
    prompts = prompts_of(4, 9)
    free = [text.tolist() for text in generator.generate(prompts, max_new_tokens=25, seed=3)]
    stop = next(token for token in free[0][3:] if token not in free[1])
    texts = generator.generate(prompts, max_new_tokens=25, seed=3, stop_token=stop)
    assert texts[0].tolist() == free[0][: free[0].index(stop) + 1]
    assert texts[1].tolist() == free[1]
    again = [np.array([stop, *prompts[1]])]  # in a prompt it stops nothing
    assert generator.generate(again, max_new_tokens=2, stop_token=stop)[0].size > 0


def test_texts_end_with_the_context(generator):
    prompts = prompts_of(40, 1, CONTEXT)
    texts = generator.generate(prompts, max_new_tokens=30)
    assert [text.size for text in texts] == [8, 30, 0]
    assert [text.size for text in generator.generate(prompts)] == [8, CONTEXT - 1, 0]
    assert generator.room(prompts[0]) == 8


def test_padding_of_the_vocabulary_is_never_sampled(generator):
    """Three of 64 rows are padding: 376 draws from a flat distribution would meet them."""
    texts = generator.generate(prompts_of(*[1] * 8), sampler=make_sampler(1e6))
    assert np.concatenate(texts).max() < VOCAB
    assert len(np.unique(np.concatenate(texts))) > 50


def test_tokens_stream_in_chunks(generator):
    prompts = prompts_of(2, 45)
    chunks = list(generator.stream(prompts, max_new_tokens=20, seed=2))
    assert [[new.size for new in chunk] for chunk in chunks] == [[8, 3], [8, 0], [4, 0]]
    whole = generator.generate(prompts, max_new_tokens=20, seed=2)
    for row, text in enumerate(whole):
        assert np.concatenate([chunk[row] for chunk in chunks]).tolist() == text.tolist()


def programs(caplog):
    """Names of what was compiled to feed prompts and to draw tokens."""
    compilations = (re.match(r"Compiling (?:jit\()?(\w+)", text) for text in caplog.messages)
    names = (match[1] for match in compilations if match)
    return sorted(name for name in names if name in ("advance", "feed"))


def test_few_programs_serve_all_lengths(made, caplog):
    """One for each bucket of prompts, of rooms for a text, and of kinds of samplers."""
    model, params = made
    generator = Generator(model, params)
    caplog.set_level(logging.WARNING, logger="jax")

    def compiled(**options):
        caplog.clear()
        with jax.log_compiles():
            for length, new in itertools.product(*options.pop("lengths")):
                sizes = generator.generate(prompts_of(length), max_new_tokens=new, **options)
                assert sizes[0].size == new
        return programs(caplog)

    assert compiled(lengths=([1, 2, 9, 14], [1, 2])) == ["advance", "feed"]
    assert compiled(lengths=([3, 7], [3, 5]), seed=3, stop_token=60) == []
    assert compiled(lengths=([5, 17], [15])) == ["advance", "feed"]
    assert compiled(lengths=([18, 19, 27], [1, 5])) == ["feed"]
    assert compiled(lengths=([4], [4]), sampler=make_sampler(0.5, top_p=0.5)) == ["advance"]
    assert compiled(lengths=([4], [4]), sampler=make_sampler(0.7, top_p=0.9), seed=1) == []


def test_one_program_serves_what_is_no_longer_than_was_said(made, generator, caplog):
    """Texts are those of a generator that was told nothing; some end early, by their stop token."""
    model, params = made
    told = Generator(model, params, slots=4, longest=(30, 18))
    caplog.set_level(logging.WARNING, logger="jax")
    batches = [prompts_of(*lengths) for lengths in ([1, 2, 9, 14], [30, 17, 3, 5], [16] * 4)]
    options = {"seed": 3, "stop_token": 60}
    with jax.log_compiles():
        got = [
            told.generate(prompts, max_new_tokens=new, **options)
            for prompts, new in zip(batches, (18, 12, 2), strict=True)
        ]
    assert programs(caplog) == ["advance", "feed"]
    expected = [
        generator.generate(prompts, max_new_tokens=new, **options)
        for prompts, new in zip(batches, (18, 12, 2), strict=True)
    ]
    jax.tree.map(np.testing.assert_array_equal, got, expected)
    assert len({text.size for text in got[0]}) > 1


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        ([np.arange(49)], {}, "prompt: got 49 tokens, expected at most 48, the context length"),
        ([np.array([], int)], {}, "at least one token"),
        ([np.array([1.0])], {}, "prompt: got float64.1., expected integers"),
        ([np.array([3, 61])], {}, "prompt: got token 61, expected 0 to 60"),
        ([np.array([-1])], {}, "prompt: got token -1, expected 0 to 60"),
        ([], {}, "prompts: got 0 with 0 sample indices, expected one or more"),
        ([np.array([1])], {"sample_indices": [1, 2]}, "got 1 with 2 sample indices"),
        ([np.array([1])], {"max_new_tokens": 0}, "max_new_tokens: got 0, expected 1 or more"),
        ([np.array([1])], {"seed": -1}, "seed: got -1, expected 0 or more"),
    ],
)
def test_bad_input_is_refused_at_once(generator, prompts, options, message):
    with pytest.raises(ValueError, match=message):
        generator.stream(prompts, **options)
