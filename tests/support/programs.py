"""Programs that are made once: runs of one configuration compute the same, whatever their data.

So are parameters of checkpoints of one content: files are verified each time, and read once.

A conftest.py has the fixture from here: `from tests.support.programs import programs_once`.
"""

import functools
import json

import jax
import pytest

from gptjax.runs import supervised
from gptjax.runs.kind import kind_of
from gptjax.runs.program import Program
from gptjax.settings import to_dict
from gptjax.studies.equal_budget import measure
from gptjax.tasks.policy_optimisation.networks import ActorCritic
from gptjax.training.checkpoints.manifest import content_hash
from gptjax.training.checkpoints.store import Checkpoints
from gptjax.training.reporting import curves
from gptjax.training.reporting.throughput import Peak

_from_disk = Checkpoints._read

# Sections that no program depends on, and fields of `training`.
FREE = ("data", "checkpoint", "profile", "stop")
OF_THE_LOOP = (
    *("seed", "num_steps", "rollback_after", "skip_data"),
    *("log_every", "eval_every", "eval_batches", "statistics_every", "sample_tokens"),
)
_made, _kept = {}, {}


def _once(make, config, *arguments):
    sections = {name: part for name, part in to_dict(config).items() if name not in FREE}
    for name in OF_THE_LOOP:
        del sections["training"][name]
    if config.kind != "ppo":  # whose rewards say what networks there are
        for section, _, name in (each.field.partition(".") for each in kind_of(config).contents):
            sections.get(section, {}).pop(name, None)  # data is not of the program
    key = json.dumps([config.kind, sections, *map(str, arguments)])
    return _made[key] if key in _made else _made.setdefault(key, make())


def _program(config, mesh=None):
    def make():
        program = Program(config, mesh)
        program.fresh = program.fresh  # one object, by which jit knows what it has traced
        return program

    return _once(make, config, mesh)


def _read_once(checkpoints, step, **args):
    if len(args) > 1:
        return _from_disk(checkpoints, step, **args)
    ((item, target),) = args.items()
    key = content_hash(checkpoints.directory / str(step)), item
    if key not in _kept:
        _kept[key] = jax.device_get(_from_disk(checkpoints, step, **args)[item])
    put = lambda array, wanted: jax.device_put(array.copy(), wanted.sharding)  # noqa: E731
    return {item: jax.tree.map(put, _kept[key], target.item)}


def no_picture(metrics_path, png_path, title, chosen):
    """In place of a run's picture."""
    assert metrics_path.exists() and title and chosen
    png_path.write_bytes(b"")


@pytest.fixture(scope="module", autouse=True)
def programs_once():
    """No run of a file traces what another has traced, measures the machine, or draws for 0.2 s."""
    of_networks = ActorCritic.programs

    @functools.wraps(of_networks)
    def programs(networks, with_text):
        config = networks._config
        source = config.checkpoint.init_from
        return _once(lambda: of_networks(networks, with_text), config, with_text, source)

    with pytest.MonkeyPatch.context() as patch:
        for module in (supervised, measure):
            patch.setattr(module, "Program", _program)
        patch.setattr(supervised, "peak_flops", lambda dtype: Peak(1e11, "assumed"))
        patch.setattr(ActorCritic, "programs", programs)
        patch.setattr(Checkpoints, "_read", _read_once)
        patch.setattr(curves, "plot_curves", no_picture)
        yield
