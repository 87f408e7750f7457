"""Runs that go back after they have ended, and what they say of themselves then."""

import shutil

import pytest

from gptjax.judging.reward_models import load_reward_model
from gptjax.runs.workdir import WorkDirectory
from tests.support.alignment_runs import run, stopping


@pytest.fixture(scope="module")
def whole(trained):
    """A run of eight steps, with checkpoints of 4 and 8; it is not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPTJAX_CACHE", str(trained.cache))
        yield trained("reward_model")


@pytest.fixture
def copy(whole, tmp_path):
    return WorkDirectory(str(shutil.copytree(whole.path, tmp_path / "copy")))


@pytest.mark.slow
def test_a_run_that_goes_back_has_no_result_until_it_ends_again(whole, copy, trained):
    config = trained.config("reward_model")
    run(copy.path, config, change=stopping(5), restore_step=4)
    assert not copy.has_result()
    with pytest.raises(ValueError, match="has not ended; expected its result"):
        load_reward_model(copy, copy.tokenizer())
    run(copy.path, config)
    assert copy.result()["normalisation"] == whole.result()["normalisation"]
    load_reward_model(copy, copy.tokenizer())


def test_the_result_of_a_run_that_has_ended_is_kept(copy, trained):
    before = (copy.path / "result.json").read_bytes()
    run(copy.path, trained.config("reward_model"))
    assert (copy.path / "result.json").read_bytes() == before


def test_rewards_are_not_normalised_by_the_result_of_another_step(copy):
    shutil.rmtree(copy.path / "checkpoints/8")
    with pytest.raises(ValueError, match=r"result\.json of step 8, expected step 4, ") as e:
        load_reward_model(copy, copy.tokenizer())
    assert "\n" not in str(e.value)
