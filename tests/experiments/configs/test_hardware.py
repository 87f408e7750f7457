"""The commands for the hardware that docstrings of experiments name: whether they fit there."""

import inspect
import json
import re
import shlex
from pathlib import Path

import pytest

from experiments.configs import EXPERIMENTS
from gptjax.config import batch_schedule, resolve
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import fields
from tests.support.binaries import call

PRETRAINED = "smoke|base|large|lstm"
NEEDS_A_START = "snli_no_layers"  # refused without one; it is as large as gpt1_snli
OF_TASKS = [
    name
    for name in EXPERIMENTS
    if re.match(f"(gpt1|bert)_(?!({PRETRAINED}|{NEEDS_A_START})$)", name)
]
# Of each model: a choice has several inputs a row, which no other task has more of.
LARGEST = ("gpt1_choice", "gpt1_sst2_lstm", "bert_choice", "bert_squad")
WITHOUT = re.compile(
    "demo|.*_smoke|scaling_(brief|miniature)|kosmos_mnist|transformer_[a-e]_.*"
    "|gpt1_(?!lstm$).*|bert_(?!base|large).*"
)  # rows refer to the base
OF_PAPERS = [name for name in EXPERIMENTS if not WITHOUT.fullmatch(name)]
NAMED = re.compile(r"[Oo]n\s+([\d,]+)\s+[AV]100\s+of\s+(\d+)\s+GB[^:.]*:\n\n((?: {4}.*\n?)+)$")


def _named(name):
    """How many devices a docstring names, their GiB, and the arguments of its command."""
    found = NAMED.search(inspect.getdoc(EXPERIMENTS.get(name)) or "")
    assert found is not None, name
    devices, gib, command = found.groups()
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:4] == ["python", "-m", "experiments.train", f"--experiment={name}"]
    return int(devices.replace(",", "")), int(gib), words[3:]


@pytest.mark.parametrize("name", OF_PAPERS)
def test_the_command_for_the_hardware_changes_nothing_of_the_recipe(name):
    devices, _, arguments = _named(name)
    paths = fields(resolve(EXPERIMENTS.get(name)()))
    given = dict(argument.removeprefix("--").split("=") for argument in arguments[2:])
    changed = {path.removeprefix("config.") for path in given}
    assert changed <= paths.keys() and given["config.parallelism.strategy"] == "mesh"
    on_hardware = {"model.dtype", "model.remat", "training.accumulate", "training.loss_chunk"}
    on_hardware |= {"ppo.rewards", "ppo.rollout_slots"}
    assert all(path.startswith("parallelism.") for path in changed - on_hardware)
    axes = [given.get(f"config.parallelism.{axis}", 1) for axis in ("fsdp", "tensor", "sequence")]
    assert devices % (int(axes[0]) * int(axes[1]) * int(axes[2])) == 0


@pytest.mark.slow
@pytest.mark.timeout(600)  # it compiles a step for as many virtual devices
@pytest.mark.parametrize("name", OF_PAPERS)
def test_the_command_for_the_hardware_fits_there(name, tmp_path):
    """Into the three quarters of the memory that JAX takes of a GPU unless it is told otherwise.

    Reward models are what the command of theirs makes.
    """
    *_, reward = _named("reward_model_6b")
    config = EXPERIMENTS.get("reward_model_6b")()
    config.model.dtype, config.model.remat = "bfloat16", "block"
    assert {"--config.model.dtype=bfloat16", "--config.model.remat=block"} < set(reward)
    workdir = WorkDirectory(str(tmp_path / "reward_model_6b"))
    workdir.begin("reward_model_6b", resolve(config), {})
    devices, gib, arguments = _named(name)
    _assert_fits(devices, gib, [x.replace(":runs/", f":{tmp_path}/") for x in arguments])


@pytest.mark.parametrize("name", OF_TASKS)
def test_fine_tuning_on_a_task_takes_no_more_than_one_whose_memory_is_planned(name):
    """All say that they fit into one GPU of 80 GB; each is as large as one that does, at most."""
    said = inspect.getmodule(EXPERIMENTS.get(name)).__doc__ + EXPERIMENTS.get(name).__doc__
    assert re.search(r"one\s+A100\s+of\s+80\s+GB", said)
    config, *planned = (resolve(EXPERIMENTS.get(each)()) for each in (name, *LARGEST))
    alike = [each for each in planned if each.model == config.model]
    assert max(map(_tokens, alike)) >= _tokens(config)


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGEST)
def test_the_largest_fine_tuning_fits_into_one_gpu_of_80_gb(name):
    """As their docstrings say; they take no flags for it."""
    _assert_fits(1, 80, [f"--experiment={name}"])


def _tokens(config):
    return batch_schedule(config).tokens(1)


@pytest.mark.slow
def test_the_command_of_the_readme_fits_into_one_gpu_of_32_gb():
    text = (Path(__file__).parents[3] / "README.md").read_text()
    command = re.findall(r"--experiment=gpt2_small --workdir=(?:.*\\\n)+.*", text)[0]
    words = shlex.split(command.replace("\\\n", " "))
    files = (".data.", ".init_from=")  # which are not there
    _assert_fits(1, 32, [word for word in words if not any(file in word for file in files)])


def _assert_fits(devices, gib, arguments):
    dry = ["--dry_run", f"--devices={devices}", f"--device_memory_gib={gib * 0.75}"]
    done = call("train", *arguments, *dry)
    assert (done.code, done.errors) == (0, "")
    figures = json.loads(done.output.splitlines()[-1])
    assert figures["estimated_to_fit"] is True, figures
