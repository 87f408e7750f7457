"""Runs on prepared data: what they learn from, and what they refuse."""

import itertools

import numpy as np
import pytest

from gptjax.config import DataConfig, ExperimentConfig, ModelConfig, TrainingConfig, resolve
from gptjax.data.batches.loader import ALL
from gptjax.runs import inputs
from gptjax.runs.kind import kind_of
from gptjax.tasks.configs.fine_tuning import SFTConfig, SFTSection
from gptjax.tokenization import load_tokenizer
from tests.support.prepared import write_prepared

SHARDS = {
    "train/books-00000": [f"of a book {n} " * 20 for n in range(12)],
    "train/web-00000": [f"on a page {n} " * 9 for n in range(30)],
    "validation/web-00000": ["held out from the web " * 12],
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GPTJAX_CACHE", str(tmp_path / "cache"))


def config_of(tmp_path, packing="concatenate", kind=ExperimentConfig, name="python_docs_1024"):
    tokenizer = load_tokenizer(name)
    write_prepared(tmp_path / "data", SHARDS, tokenizer, {"books": 3.0, "web": 1.0}, packing)
    config = kind(
        model=ModelConfig(vocab_size=tokenizer.vocab_size, context_length=48),
        data=DataConfig(corpus=f"prepared:{tmp_path / 'data'}", tokenizer=name),
        training=TrainingConfig(batch_size=8, seed=3),
    )
    return resolve(config) if kind is ExperimentConfig else config


@pytest.mark.parametrize("packing", ["concatenate", "best_fit"])
def test_a_run_draws_its_rows_by_weight_as_a_function_of_seed_and_step(tmp_path, packing):
    config = config_of(tmp_path, packing)
    task = kind_of(config).prepare(config)
    batches = list(itertools.islice(task.batches(0, (), ALL), 6))
    later = next(task.batches(5, (), ALL))
    half = next(task.batches(5, (), ((1,), 2)))
    for key, values in later.items():
        np.testing.assert_array_equal(values, batches[5][key])
        np.testing.assert_array_equal(half[key], values[4:])
    assert ("segment_ids" in later) == (packing == "best_fit")
    tokenizer = load_tokenizer("python_docs_1024")
    rows = [tokenizer.decode(row) for batch in batches for row in batch["tokens"]]
    assert sum("book" in row for row in rows) == len(rows) * 3 // 4
    passages, names = task.passages(6, ())
    assert {passage.row for passage in passages} == set(range(8))
    assert all(name.startswith(("books: train/books", "web: train/web")) for name in names.values())


def test_what_is_held_out_was_decided_when_it_was_prepared(tmp_path):
    config = config_of(tmp_path)
    tokenizer = inputs.load_model_tokenizer(config)
    prepared = inputs.prepare_corpus(config, tokenizer)
    assert tokenizer.decode(prepared.validation.tokens[1:5]).startswith("held")
    whole = inputs.tokenised(config, tokenizer, 1.0).validation
    assert len(whole.document_starts) == 43
    (batch,) = itertools.islice(inputs.validation_batches(config, prepared.validation)(), 1)
    assert batch["loss_weights"].sum() == prepared.validation.num_targets


def test_another_tokenizer_of_the_same_size_is_refused(tmp_path):
    config = config_of(tmp_path)
    config.data.tokenizer = "bytes"
    config.model.vocab_size = 256
    with pytest.raises(ValueError, match="got a tokenizer of hash"):
        inputs.prepare_corpus(config, inputs.load_model_tokenizer(config))


def test_fine_tuning_mixes_the_sources_into_its_conversations(tmp_path):
    config = config_of(tmp_path, "best_fit", SFTConfig, "chat:instructions_448")
    config.sft = SFTSection(
        conversations="instructions:count=60",
        validation="instructions:split=held_out,count=20",
        random_start=True,
        pretraining_share=0.5,
    )
    task = kind_of(config).prepare(resolve(config))
    tokenizer = load_tokenizer("chat:instructions_448")
    batches = itertools.islice(task.batches(0, (), ALL), 8)
    rows = [tokenizer.decode(row) for batch in batches for row in batch["tokens"]]
    assert sum("of a book" in row for row in rows) == 24
    assert sum("on a page" in row for row in rows) == 8
