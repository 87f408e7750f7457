"""The stages of alignment on two processes of four devices each, against one of one device."""

import pytest

from gptjax.runs.workdir import WorkDirectory
from gptjax.tasks.configs.fine_tuning import SFTConfig
from gptjax.tasks.configs.preference_optimisation import DPOConfig
from gptjax.tasks.configs.reward_modelling import RewardModelConfig
from tests.support import alignment_runs
from tests.support.pair_runs import assert_alike, pair_seen, run_of
from tests.support.policy_runs import HERE, curve, make_ppo, make_starts, run_policy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # two processes that compile

MESH = alignment_runs.on_mesh(fsdp=4, tensor=2)


def _reward_model(**mesh):
    return alignment_runs.make_config(
        RewardModelConfig, training__batch_size=8, training__num_steps=3, **mesh
    )


def _sft(**mesh):
    """Its checkpoint is chosen by what its answers earn; by gold all would earn 0 so early."""
    return alignment_runs.make_config(
        SFTConfig,
        training__batch_size=8,
        training__num_steps=12,
        training__seed=4,
        sft__choose="reward",
        sft__rewards=f"python:{HERE}:brevity",
        sft__reward_prompts=8,
        **mesh,
    )


def _dpo(starts, **mesh):
    return alignment_runs.make_config(
        DPOConfig, training__batch_size=8, checkpoint__init_from=str(starts[0].path), **mesh
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs by name, in a folder each, and what both processes have seen."""
    folder = tmp_path_factory.mktemp("runs")
    starts = make_starts(folder / "starts")
    alignment_runs.run(folder / "rewards_alone", _reward_model())
    alignment_runs.run(folder / "sft_alone", _sft())
    alignment_runs.run(folder / "dpo_alone", _dpo(starts))
    run_policy(folder / "ppo_alone", make_ppo(starts))
    divided = {
        "rewards": _reward_model(**MESH),
        "sft": _sft(**MESH),
        "dpo": _dpo(starts, **MESH),
        "ppo": make_ppo(starts, **MESH),
    }
    plan = {name: run_of(folder / name, config) for name, config in divided.items()}
    return folder, pair_seen(folder, plan)


def _as_seen(steps):
    return {"step": steps, "steps": steps, "interrupted_by": None}


def test_two_processes_train_and_judge_a_reward_model(runs):
    """Its figures take the rewards of both. Their zero, which the loss does not see, may differ."""
    folder, (first, second) = runs
    assert first["rewards"] == second["rewards"] == _as_seen(3)
    assert_alike(folder / "rewards", folder / "rewards_alone")
    ours, alone = (
        WorkDirectory(str(folder / name)).result() for name in ("rewards", "rewards_alone")
    )
    for figure in ("rankings", "comparisons", "agreement", "dropped"):
        assert ours[figure] == alone[figure]
    assert ours["accuracy"] == pytest.approx(alone["accuracy"], abs=0.02)  # rounding decides a tie
    assert ours["demonstrations"]["count"] == alone["demonstrations"]["count"]
    deviations = [result["demonstrations"]["standard_deviation"] for result in (ours, alone)]
    assert deviations[0] == pytest.approx(deviations[1], rel=1e-3)


def test_two_processes_choose_by_what_their_answers_earn(runs):
    folder, (first, second) = runs
    assert first["sft"] == second["sft"] == _as_seen(12)
    assert_alike(folder / "sft", folder / "sft_alone")
    ours, alone = (WorkDirectory(str(folder / name)) for name in ("sft", "sft_alone"))
    judged = [row for row in alignment_runs.rows(alone) if row.get("split") == "validation"]
    rewards = {row["step"]: row["reward"] for row in judged}
    found = [row for row in alignment_runs.rows(ours) if row.get("split") == "validation"]
    assert {row["step"]: row["reward"] for row in found} == pytest.approx(rewards, rel=1e-5)
    assert len(set(rewards.values())) == len(rewards) == 3
    chosen = max(rewards, key=rewards.__getitem__)
    assert chosen != min(judged, key=lambda row: row["loss"])["step"]
    assert ours.resolve_step(None) == alone.resolve_step(None) == chosen
    assert ours.record()["rewards_hash"] == alone.record()["rewards_hash"]


def test_two_processes_prefer_what_one_prefers(runs):
    folder, (first, second) = runs
    assert first["dpo"] == second["dpo"] == _as_seen(8)
    assert_alike(folder / "dpo", folder / "dpo_alone")
    kl, alone = (WorkDirectory(str(folder / name)).result()["kl"] for name in ("dpo", "dpo_alone"))
    assert kl["answers"] == alone["answers"] > 0


def test_two_processes_optimise_a_policy(runs):
    folder, (first, second) = runs
    assert first["ppo"] == second["ppo"] == _as_seen(4)
    ours, alone = (curve(WorkDirectory(str(folder / name))) for name in ("ppo", "ppo_alone"))
    for row, expected in zip(ours, alone, strict=True):
        assert row == pytest.approx(expected, rel=1e-4, abs=1e-4)
