"""BERT's fine-tuning: its outputs against a loop, its start, and what is refused."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from gptjax.model_config import BertConfig
from gptjax.models.bert import Bert
from gptjax.models.classifier import LOWEST, BertClassifier
from gptjax.tasks.classification.bert import KIND
from gptjax.tasks.classification.config import BertClassificationConfig
from gptjax.training.partitioning import make_mesh, placed
from tests.support.alignment_runs import make_config, prepared, refusal, rows, run
from tests.support.binaries import call
from tests.support.params import random_params
from tests.support.tiers import tiered

MODEL = BertConfig(
    vocab_size=11, context_length=6, num_layers=1, num_heads=1, d_model=8, norm="post"
)
TOKENS = np.array([[[2, 5, 3, 7, 8, 3], [2, 5, 3, 9, 3, 0]], [[2, 6, 3, 4, 3, 0], [0] * 6]])
TYPES = np.array([[[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 0]], [[0, 0, 0, 1, 1, 0], [0] * 6]])
LENGTHS = np.array([[6, 5], [5, 0]])


@functools.cache
def encoder_params(heads):
    model = Bert(dataclasses.replace(MODEL, heads=heads))
    return random_params(model)


def test_the_head_reads_what_the_pooler_makes_of_the_first_token():
    """Against BERT itself on each sequence alone, without padding; candidates may be missing."""
    encoder, params = Bert(dataclasses.replace(MODEL, heads="encoder")), encoder_params("encoder")
    rng = np.random.default_rng(0)
    head = {"kernel": rng.normal(size=(8, 1)), "bias": np.array([0.5])}
    model = BertClassifier(MODEL, 1, chooses=True)
    params_with_head = params | {"task_head": jax.tree.map(np.float32, head)}
    given = {"params": params_with_head}
    outputs, _ = jax.device_get(jax.jit(model.apply)(given, TOKENS, LENGTHS, TYPES))
    alone = jax.jit(encoder.apply)
    for row, place in ((0, 0), (0, 1), (1, 0)):
        real = slice(LENGTHS[row, place])
        ids, types = (x[row, place, real][None] for x in (TOKENS, TYPES))
        pooled = alone({"params": params}, ids, token_types=types).pooled  # pyright: ignore
        expected = np.asarray(pooled, np.float64)[0] @ head["kernel"] + head["bias"]
        np.testing.assert_allclose(outputs[row, place], expected[0], rtol=1e-5)
    assert outputs[1, 1] == LOWEST


@pytest.mark.parametrize("heads", tiered([("pretraining",), ("masked_lm",)], [("masked_lm",)]))
def test_a_start_keeps_the_encoder_and_draws_what_is_not_there(heads):
    config = make_config(BertClassificationConfig)
    config.model = dataclasses.replace(MODEL.resolved(), heads=heads)
    source = encoder_params(heads)
    target = placed(KIND.shapes(config), make_mesh(config.parallelism))
    params = KIND.adopt(config, lambda _: source, target)
    assert params.keys() == target.keys() and not {*params} & {"masked_lm_head"}
    kept = params.keys() - {"task_head"} - ({"pooler"} if heads == "masked_lm" else set())
    for name in kept:
        jax.tree.map(np.testing.assert_array_equal, params[name], source[name])
    kernel = np.asarray(params["task_head"]["kernel"])
    assert (
        0 < np.abs(kernel).max() <= 2 * config.model.init_std
    )  # a normal distribution that is cut
    assert np.any(params["pooler"]["kernel"])


def test_it_is_refused_what_bert_has_not(trained, tmp_path):
    common = ("train", "--experiment=bert_sst2", f"--workdir={tmp_path}/run")
    assert (
        "unknown config field 'task.lm_weight'"
        in call(*common, "--config.task.lm_weight=0.5").refusal
    )
    gpt = f"--config.checkpoint.init_from={trained('pretrain').path}"
    expected = "which holds a language model, expected a run of a masked language model"
    assert call(*common, gpt).refusal.endswith(expected)
    assert not (tmp_path / "run").exists()
    config = make_config(
        BertClassificationConfig, data__tokenizer="instructions_448", model__vocab_size=448
    )
    assert "got 'instructions_448' without [MASK] and [CLS]" in refusal(prepared, config)
    config = make_config(BertClassificationConfig, model__heads="masked_lm", lora__rank=2)
    assert "config.lora.rank: got 2, expected none with model.heads=masked_lm" in refusal(
        KIND.check, config
    )


@pytest.mark.slow
def test_it_learns_from_a_run_of_masked_language_modelling(trained, tmp_path):
    """With adapters beside the encoder; the head is trained in full."""
    source = trained("masked_lm")
    config = make_config(
        BertClassificationConfig,
        checkpoint__init_from=str(source.path),
        model__heads="pretraining",
        model__context_length=48,
        lora__rank=2,
        task__random_start=False,
    )
    ended = run(tmp_path / "run", config)
    assert rows(ended)[-1]["loss"] < rows(ended)[0]["loss"] and ended.result()["held_out"] == 20
    start, params = source.restored(), ended.restored()
    np.testing.assert_array_equal(params["token_embedding"], start["token_embedding"])
    changed = jax.tree.map(lambda x, y: bool((x != y).any()), params["trunk"], start["trunk"])
    assert any(jax.tree.leaves(changed)) and not all(jax.tree.leaves(changed))
