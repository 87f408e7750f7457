import dataclasses
import json
import math
import shlex

import pytest

from experiments.configs import EXPERIMENTS
from gptjax.config import resolve
from gptjax.runs.planning import dry_run as module
from gptjax.runs.planning.choices import MOST_DEVICES
from gptjax.runs.planning.dry_run import GIB, Planned, dry_run
from gptjax.runs.planning.fitting import fitting
from tests.support.binaries import call


def _planned(config, devices):
    """Stands in for the compiler: 32 bytes a kernel's entry, 2 GiB a row, less as fields say."""
    model, parallelism = config.model, config.parallelism
    shards = devices // parallelism.tensor // parallelism.sequence
    a_row = 2 * GIB / parallelism.tensor
    a_row /= (4 if model.remat == "block" else 1) * (2 if model.dtype == "bfloat16" else 1)
    a_row /= 8 if config.training.loss_chunk else 1
    rows = config.training.batch_size / config.training.accumulate / shards
    state = 12 * model.num_layers * model.d_model**2 * 32 / parallelism.fsdp / parallelism.tensor
    return int(state + rows * a_row)


@pytest.fixture
def planned(monkeypatch):
    """The configurations for which the stand-in was asked."""
    asked = []

    def plan(config, devices, target):
        asked.append(config)
        return Planned(_planned(config, devices))

    monkeypatch.setattr(module, "_planned_in_a_child", plan)
    return asked


def _config(name, **sections):
    config = EXPERIMENTS.get(name)()
    for section, changes in sections.items():
        setattr(config, section, dataclasses.replace(getattr(config, section), **changes))
    return resolve(config)


def _fitting(config, gib, devices):
    figures = dry_run(config, gib)
    assert figures["estimated_to_fit"] is False
    return fitting(config, figures, devices)


@pytest.mark.parametrize("gib", [80, 30, 8])
def test_microbatches_come_first_and_are_as_few_as_fit(gib, planned):
    config = _config("gpt2_small")
    found = _fitting(config, gib, devices=1)
    for count in (2**i for i in range(10)):  # all divisors of 512, one by one
        config.training.accumulate = count
        if _planned(config, 1) <= gib * GIB:
            break
    assert (found.devices, found.changes) == (1, {"training.accumulate": count})
    assert found.estimated_total_bytes == _planned(config, 1)
    assert len(planned) <= 4  # each takes seconds


def test_what_computes_other_numbers_comes_after_what_does_not(planned):
    config = _config("gpt2_small")
    a_row = _planned(_config("gpt2_small", training={"accumulate": 512}), 1) / GIB
    saved = {"model.remat": "block"}
    for less, saving in (
        (1.4, {}),
        (1.7, {"model.dtype": "bfloat16"}),
        (1.9, {"training.loss_chunk": 256}),
    ):
        saved |= saving
        changes = dict(_fitting(config, a_row - less, devices=1).changes)
        count = changes.pop("training.accumulate")
        assert changes == saved
        config_at = _config("gpt2_small", training={"accumulate": count}, model={"remat": "block"})
        assert less > 1.4 or _planned(config_at, 1) <= (a_row - less) * GIB


def test_several_devices_divide_parameters_and_rows(planned):
    found = _fitting(_config("gpt2_small"), 80, devices=8)
    mesh = {"parallelism.strategy": "mesh", "parallelism.fsdp": 8}
    assert found.changes == mesh | {"training.accumulate": 2}
    # What is on a mesh stays as it is where that fits, or has its parameters divided.
    given = _config("gpt2_small", parallelism={"strategy": "mesh", "data": 8})
    assert _fitting(given, 80, devices=8).changes == {"training.accumulate": 2}
    changes = dict(_fitting(given, 2.4, devices=8).changes)
    assert changes.pop("training.accumulate") > 1
    assert changes == {"parallelism.data": 1, "parallelism.fsdp": 8}


def test_where_nothing_fits_there_are_twice_as_many_devices(planned):
    found = _fitting(_config("gpt2_small"), 0.4, devices=2)
    assert found.devices == 8  # the stand-in's 32 bytes for 85 million entries are 2.5 GiB
    assert found.changes["parallelism.fsdp"] == 8 and found.estimated_total_bytes < 0.4 * GIB
    # A ramp that starts with 16 rows has no more shares of them: heads are divided besides.
    found = _fitting(_config("gpt3_small"), 8, devices=32)
    assert (found.changes["parallelism.fsdp"], found.changes["parallelism.tensor"]) == (16, 2)
    assert _fitting(_config("gpt2_small"), 0.0001, devices=MOST_DEVICES) is None


def test_the_command_is_the_one_that_was_given_with_what_changes(planned):
    given = ["--experiment=gpt2_small", "--workdir=my runs/small", "--config.model.num_layers=6"]
    dry = [
        "--dry_run",
        "--device_memory_gib",
        "80",
        "--devices=2",
        "--config.training.accumulate=2",
    ]
    done = call("train", *dry, *given)
    assert (done.code, done.errors) == (0, "")
    *_, line, row = done.output.splitlines()
    proposal = json.loads(row)["proposal"]
    command = shlex.split(line)
    assert proposal["command"] == line.strip()
    assert command[:3] == ["python", "-m", "experiments.train"] and command[3:6] == given
    changes = ["parallelism.strategy=mesh", "parallelism.fsdp=2", "training.accumulate=8"]
    assert command[6:] == [f"--config.{change}" for change in changes]
    again = call("train", *command[3:], "--dry_run", "--device_memory_gib=80", "--devices=2")
    figures = json.loads(again.output.splitlines()[-1])
    assert figures["estimated_to_fit"] is True and "proposal" not in figures
    assert figures["estimated_total_bytes"] == proposal["estimated_total_bytes"]
    assert math.prod(figures["mesh"].values()) == proposal["devices"] == 2
    none = call(
        "train", *given, "--dry_run", "--device_memory_gib=0.0001", f"--devices={MOST_DEVICES}"
    )
    assert json.loads(none.output.splitlines()[-1])["proposal"] is None
    assert "nothing that was tried fits" in none.output


def test_a_policy_has_fewer_answers_written_at_once(planned):
    """Of all kinds of run: here rollouts, outside the compiled program, are what does not fit."""
    given = {"remat": "block", "dtype": "bfloat16"}
    config = _config("ppo_ptx_1.3b", model=given, training={"loss_chunk": 256, "accumulate": 512})
    figures = dry_run(config, 1000)
    rollouts = figures["rollout_bytes"]
    weights = figures["parameter_bytes"] // 2  # bfloat16
    found = _fitting(config, (figures["estimated_total_bytes"] - rollouts / 2) / GIB, devices=1)
    assert found.changes == {"ppo.rollout_slots": 64}
    less = figures["estimated_total_bytes"] - found.estimated_total_bytes
    assert less == pytest.approx((rollouts - weights) * 7 / 8, rel=1e-3)
