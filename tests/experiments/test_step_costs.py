import jax
import numpy as np
import pytest

from experiments.alignment.fine_tuning import fine_tuning
from experiments.alignment.reward_modelling import reward_modelling
from experiments.step_costs import costs_of, largest_batch, tokens_of
from experiments.task_configs import RewardModelConfig, SFTConfig
from experiments.training_run import Program, language_modelling
from gptjax.config import ExperimentConfig
from gptjax.data.loader import ALL
from tests.experiments.alignment_runs import make_config

CASES = [
    (language_modelling, ExperimentConfig, {}),
    (language_modelling, ExperimentConfig, {"data__document_masking": False}),
    (fine_tuning, SFTConfig, {"data__document_masking": False}),
    (reward_modelling, RewardModelConfig, {}),
    (reward_modelling, RewardModelConfig, {"reward__share_prompts": True}),
]


@pytest.fixture(scope="module", autouse=True)
def _cache(cache):
    return cache


@pytest.mark.parametrize(("prepare", "kind", "changes"), CASES)
def test_the_largest_batch_has_the_arrays_of_a_real_one(prepare, kind, changes):
    config = make_config(kind, **changes)
    if isinstance(config, RewardModelConfig):
        config.reward.max_answers = 4
    task, expected = prepare(config), largest_batch(config)
    real = next(task.batches(0, (), ALL))
    assert {name: array.dtype for name, array in real.items()} == {
        name: array.dtype for name, array in expected.items()
    }
    for name, array in expected.items():
        assert len(real[name].shape) == len(array.shape)
        assert all(a <= b for a, b in zip(real[name].shape, array.shape, strict=True)), name
    assert tokens_of(real) <= tokens_of(expected)
    program = Program(config)
    jax.eval_shape(program.loss, program.target.params, expected, None)


def test_tokens_are_those_of_all_texts_that_are_computed():
    config = make_config(RewardModelConfig, reward__max_answers=4)
    whole = tokens_of(largest_batch(config))
    config.reward.share_prompts = True
    shared = tokens_of(largest_batch(config))
    assert (whole, shared) == (4 * 4 * (26 + 22), 4 * (26 + 4 * 22))
    assert tokens_of(largest_batch(make_config(SFTConfig))) == 4 * 48


def test_a_reward_model_costs_what_its_own_parameters_do():
    rewards, chats = (costs_of(make_config(kind)) for kind in (RewardModelConfig, SFTConfig))
    assert rewards.parameters - chats.parameters == 16 + 1  # the scalar head; the table is tied
    assert chats.flops_per_token - rewards.flops_per_token == 6 * (453 - 1) * 16
    executed = chats.executed_flops_per_token - rewards.executed_flops_per_token
    assert executed == pytest.approx(6 * (453 - 1) * 16)


def test_parameters_are_those_of_the_leaves_less_the_rows_that_pad_the_vocabulary():
    target = Program(make_config(RewardModelConfig)).target.params
    sizes = [np.prod(leaf.shape) for leaf in jax.tree.leaves(target)]
    padding = target["token_embedding"].shape[0] - 453
    assert costs_of(make_config(RewardModelConfig)).parameters == sum(sizes) - 16 * padding
