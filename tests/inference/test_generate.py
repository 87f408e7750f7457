"""Cached, batched, compiled generation against plain forward passes over one text at a time."""

import dataclasses
import functools
import itertools
import logging
import re

import jax
import numpy as np
import pytest

from gptjax.inference import decoding
from gptjax.inference.generate import Generator
from gptjax.inference.sampling import make_sampler
from gptjax.tokenization import RawBytes
from tests.inference.models import (
    CONTEXT,
    DRAWN,
    GREEDY,
    VOCAB,
    alone,
    full_logits,
    generator_of,
    made,
    model_of,
    prompts_of,
)


@pytest.fixture(scope="module")
def generator() -> Generator:
    return generator_of()


OTHERS = {
    "norm": "post",
    "attention": "heads(dense,fixed(stride=8,summary=2)),logsparse(window=2)",
    "tied_embeddings": False,
}


@pytest.mark.parametrize(
    ("changes", "tolerance"),
    [
        (OTHERS, 1e-5),
        pytest.param({}, 1e-5, marks=pytest.mark.slow),
        pytest.param(  # 8 bits of mantissa
            {"dtype": "bfloat16", "init_std": 0.15}, 3e-2, marks=pytest.mark.slow
        ),
        pytest.param(
            {"attention": "banded(window=5),sinks(window=3,sinks=2),dense", "num_layers": 3},
            1e-5,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_cached_logits_equal_the_full_forward_pass(changes, tolerance):
    model, params = made(**changes)
    lengths, ones = np.array([1, 6, 20, 3], np.int32), np.ones(4, np.int32)
    texts = np.stack(prompts_of(*[CONTEXT] * 4)).astype(np.int32)
    full = np.stack([full_logits((model, params), text) for text in texts])
    feed = jax.jit(functools.partial(decoding.feed, model))
    cache = model.init_cache(4, CONTEXT, 8)
    ready = decoding.decoding_params(model, params)
    for start in range(0, 24, 8):
        at = np.arange(start, start + 8)[None]
        positions = np.where(at < lengths[:, None] - 1, at, -1).astype(np.int32)
        cache = feed(ready, cache, texts[:, start : start + 8], positions)
    begin = jax.jit(decoding.begin)
    state = begin(texts, lengths, CONTEXT * ones, -ones, 0 * ones, ones, cache)
    step = jax.jit(functools.partial(decoding.next_logits, model))
    for fed in range(25):
        got, cache = step(ready, state)
        expected = full[np.arange(4), lengths + fed - 1]
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)
        longer = dataclasses.replace(state.texts, length=lengths + fed + 1)
        state = dataclasses.replace(state, texts=longer, cache=cache)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_parameters_that_are_ready_are_shared_not_copied(dtype):
    ready = decoding.decoding_params(*made(dtype=dtype))
    again = decoding.decoding_params(model_of(dtype=dtype), ready)
    pairs = zip(jax.tree.leaves(ready), jax.tree.leaves(again), strict=True)
    assert all(one is other for one, other in pairs)


@pytest.mark.slow
def test_parameters_on_a_mesh_of_one_device_have_no_step_of_their_own():
    model, params = made(num_layers=1)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
    on_mesh = jax.device_put(params, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
    (prompt,) = prompts_of(6)
    texts = []
    for each in (jax.device_put(params, jax.devices()[0]), on_mesh):
        generator = generator_of((model, each))
        texts.append(list(generator.submit(prompt, max_new_tokens=20)))  # in pieces of 8
        assert generator._batch._advance._cache_size() == 1
    assert texts[0] == texts[1] and len(texts[0]) == 20


def test_each_layer_of_the_cycle_keeps_what_its_pattern_needs():
    model = model_of(attention="dense,banded(window=5)", num_layers=3)
    cache = jax.eval_shape(lambda: model.init_cache(1, 48, 8))
    assert [layer.k.shape[2] for layer in cache] == [48, 12, 48]


@pytest.mark.parametrize("attention", ["prefix(length=9)", "dense,block_causal(block=4)"])
def test_prompts_that_split_what_must_arrive_whole_are_refused(attention):
    generator = generator_of(made(attention=attention))
    with pytest.raises(ValueError, match="got 7 tokens at once"):
        generator.generate(prompts_of(8), max_new_tokens=5)


def test_a_prefix_language_model_generates_after_a_whole_prefix():
    prefix = made(attention="prefix(length=9)", num_layers=1)
    (prompt,) = prompts_of(12)
    (text,) = generator_of(prefix, piece=4).generate([prompt], max_new_tokens=6, sampler=GREEDY)
    whole = np.concatenate([prompt, text])
    assert text.tolist() == full_logits(prefix, whole)[11:-1, :VOCAB].argmax(-1).tolist()


def test_greedy_texts_equal_a_loop_over_forward_passes(generator):
    """Prompts of four lengths in one batch, each as if alone."""
    prompts = prompts_of(1, 2, 9, 20)
    texts = generator.generate(prompts, max_new_tokens=12, sampler=GREEDY)
    for prompt, text in zip(prompts, texts, strict=True):
        expected = prompt.tolist()
        for _ in range(12):
            expected.append(int(full_logits(made(), expected)[-1, :VOCAB].argmax()))
        assert text.dtype == np.int32
        assert text.tolist() == expected[prompt.size :]
    assert len({tuple(text) for text in texts}) > 2


def test_a_sample_does_not_see_its_neighbours(generator):
    prompts = prompts_of(3, 20, 11, 3)
    options = {"max_new_tokens": 10, "sampler": DRAWN, "seed": 5}
    together = generator.generate(prompts, **options)
    for index, prompt in enumerate(prompts):
        assert together[index].tolist() == alone(prompt, sample_index=index, **options)


def test_a_sample_is_a_function_of_prompt_seed_and_index(generator):
    (prompt,) = prompts_of(4)
    options = {"max_new_tokens": 20, "sampler": DRAWN}

    def sample(seed, index):
        return tuple(alone(prompt, seed=seed, sample_index=index, **options))

    seen = {sample(seed, index) for seed in (0, 1) for index in (0, 1)}
    assert len(seen) == 4
    assert sample(1, 1) in seen
    batch = generator.generate([prompt] * 4, **options)
    assert [tuple(text.tolist()) for text in batch[:2]] == [sample(0, 0), sample(0, 1)]
    at_will = generator.generate([prompt] * 4, sample_indices=[1, 0, 3, 2], **options)
    assert [text.tolist() for text in at_will] == [batch[i].tolist() for i in (1, 0, 3, 2)]


def test_the_stop_token_ends_its_own_text_alone(generator):
    prompts, options = prompts_of(4, 9, 2, 1), {"max_new_tokens": 23, "seed": 3, "sampler": DRAWN}
    free = [text.tolist() for text in generator.generate(prompts, **options)]
    stop = next(token for token in free[0][3:] if token not in free[1])
    texts = generator.generate(prompts, stop_token=stop, **options)
    assert texts[0].tolist() == free[0][: free[0].index(stop) + 1]
    assert texts[1].tolist() == free[1]
    again = np.array([stop, *prompts[1]])  # in a prompt it stops nothing
    assert len(alone(again, max_new_tokens=20, stop_token=stop, sampler=DRAWN)) > 0


def test_texts_end_with_the_context(generator):
    prompts = prompts_of(64, 1, CONTEXT, 3)
    texts = generator.generate(prompts, max_new_tokens=50, sampler=DRAWN)
    assert [text.size for text in texts] == [8, 50, 0, 50]
    full = [text.size for text in generator.generate(prompts, sampler=DRAWN)]
    assert full == [8, CONTEXT - 1, 0, CONTEXT - 3]
    assert generator.room(prompts[0]) == 8


def test_padding_of_the_vocabulary_is_never_sampled(generator):
    """Eight of 128 rows are padding: 284 draws from a flat distribution would meet them."""
    texts = generator.generate(prompts_of(*[1] * 4), sampler=make_sampler(1e6, top_k=VOCAB))
    assert np.concatenate(texts).max() < VOCAB
    assert len(np.unique(np.concatenate(texts))) > 90


def test_tokens_stream_in_chunks(generator):
    prompts, options = prompts_of(2, 64, 1), {"max_new_tokens": 20, "seed": 2, "sampler": DRAWN}
    chunks = list(generator.stream(prompts, **options))
    assert [[new.size for new in chunk] for chunk in chunks] == [[8, 8, 8], [8, 0, 8], [4, 0, 4]]
    whole = generator.generate(prompts, **options)
    for row, text in enumerate(whole):
        assert np.concatenate([chunk[row] for chunk in chunks]).tolist() == text.tolist()


class Lines(RawBytes):
    """Bytes, one of which ends a document."""

    end_of_text = None


def test_texts_in_give_texts_out_up_to_end_of_text(monkeypatch):
    model, params = made()
    generator = Generator(model, {"params": params}, Lines(), slots=4, piece=8)
    texts, options = ["A list", "In"], {"max_new_tokens": 12, "sampler": DRAWN, "seed": 1}
    tokens = [np.frombuffer(text.encode(), np.uint8) for text in texts]
    whole = [bytes(new.tolist()).decode() for new in generator.generate(tokens, **options)]
    assert generator.generate(texts, **options) == whole
    assert generator.room("A list") == CONTEXT - 6
    monkeypatch.setattr(Lines, "end_of_text", ord(whole[0][5]))
    generator = generator_of(None, Lines())
    ended = [text.partition(whole[0][5])[0] for text in whole]
    assert generator.generate(texts, **options) == ended != whole
    assert [len(new) for new in generator.generate(tokens, **options)] == [12, 12]
    assert generator.generate(["", "In"], **options)[1] == ended[1]  # one begins a document


def programs(caplog):
    """Names of what was compiled to feed prompts and to draw tokens."""
    compilations = (re.match(r"Compiling (?:jit\()?(\w+)", text) for text in caplog.messages)
    names = (match[1] for match in compilations if match)
    return sorted(name for name in names if name in ("advance", "feed"))


def test_few_programs_serve_all_lengths(own_programs, caplog):
    """One for each bucket of prompts, of rooms for a text, and of kinds of samplers."""
    generator = Generator(*made(num_layers=1))
    caplog.set_level(logging.WARNING, logger="jax")

    def compiled(**options):
        caplog.clear()
        with jax.log_compiles():
            for length, new in itertools.product(*options.pop("lengths")):
                sizes = generator.generate(prompts_of(length), max_new_tokens=new, **options)
                assert sizes[0].size == new
        return programs(caplog)

    assert compiled(lengths=([1, 2, 9, 14], [1, 2])) == ["advance", "feed"]
    assert compiled(lengths=([3, 7], [3, 5]), seed=3, stop_token=119) == []
    assert compiled(lengths=([5, 17], [15])) == ["advance", "feed"]
    assert compiled(lengths=([18, 19, 27], [1, 5])) == ["feed"]
    assert compiled(lengths=([4], [4]), sampler=make_sampler(0.5, top_p=0.5)) == ["advance"]
    assert compiled(lengths=([4], [4]), sampler=make_sampler(0.7, top_p=0.9), seed=1) == []


@pytest.mark.slow
def test_one_program_serves_what_is_no_longer_than_was_said(generator, own_programs, caplog):
    """Texts are those of a generator that was told nothing; some end early, by their stop token."""
    told = Generator(*made(), slots=4, longest=(17, 14))
    caplog.set_level(logging.WARNING, logger="jax")
    batches = [prompts_of(*lengths) for lengths in ([1, 2, 9, 17], [17, 16, 3, 5], [16] * 4)]
    options, news = {"seed": 3, "sampler": DRAWN}, (14, 12, 2)
    free = generator.generate(batches[0], max_new_tokens=14, **options)
    options["stop_token"] = int(free[0][5])

    def texts_of(generator):
        return [
            generator.generate(prompts, max_new_tokens=new, **options)
            for prompts, new in zip(batches, news, strict=True)
        ]

    with jax.log_compiles():
        got = texts_of(told)
    assert programs(caplog) == ["advance", "feed"]
    jax.tree.map(np.testing.assert_array_equal, got, texts_of(generator))
    assert len({text.size for text in got[0]}) > 1


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        ([np.arange(73)], {}, "prompt: got 73 tokens, expected at most 72, the context length"),
        ([np.array([], int)], {}, "at least one token"),
        ([np.array([1.0])], {}, "prompt: got float64.1., expected integers"),
        ([np.array([3, 120])], {}, "prompt: got token 120, expected 0 to 119"),
        ([np.array([-1])], {}, "prompt: got token -1, expected 0 to 119"),
        (["In"], {}, "prompt: got 'In' without a tokenizer, expected tokens, or a generator with"),
        ("In", {}, "prompts: got the text 'In', expected a list of texts"),
        ([], {}, "prompts: got 0 with 0 sample indices, expected one or more"),
        ([np.array([1])], {"sample_indices": [1, 2]}, "got 1 with 2 sample indices"),
        ([np.array([1])], {"max_new_tokens": 0}, "max_new_tokens: got 0, expected 1 or more"),
        ([np.array([1])], {"seed": -1}, "seed: got -1, expected 0 or more"),
    ],
)
def test_bad_input_is_refused_at_once(generator, prompts, options, message):
    with pytest.raises(ValueError, match=message):
        generator.stream(prompts, **options)
