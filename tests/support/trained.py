"""One run of each kind, trained once in a session and shared by all its tests and workers.

def test_it_answers(trained):
    workdir = trained("sft")  # not to be changed: copy it with shutil.copytree
    config = trained.config("sft", sft__epochs=2)  # that of the run, but for what differs

A conftest.py has the fixture from here: `from tests.support.trained import trained`.
"""

import contextlib
import fcntl
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from gptjax.config import ExperimentConfig
from gptjax.runs.kind import kind_named
from gptjax.runs.workdir import WorkDirectory
from gptjax.tasks.configs.preference_optimisation import DPOConfig
from gptjax.training.reporting import curves
from gptjax.training.reporting.curves import plot_curves
from tests.support.alignment_runs import make_config, run
from tests.support.policy_runs import make_ppo
from tests.support.programs import no_picture


class Trained:
    """The runs in a folder; what is not there yet is trained when it is first asked for.

    sft and reward_model begin at random parameters, dpo and ppo at those of sft; ppo is rewarded
    by reward_model. All read the embedded instructions, and the corpus of instructions.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self.cache = (
            folder / "cache"
        )  # as $GPTJAX_CACHE: tokens, and compiled programs of all tests
        self.cache.mkdir(parents=True, exist_ok=True)
        compiled = os.environ["JAX_COMPILATION_CACHE_DIR"]
        os.makedirs(compiled, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            (self.cache / "xla").symlink_to(compiled)

    def __call__(self, name: str) -> WorkDirectory:
        """The run of that kind; it has ended, and is not to be changed."""
        path = self._folder / name
        with (self._folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (path / "result.json").exists():
                shutil.rmtree(path, ignore_errors=True)
                self._train(path, self.config(name))
        return WorkDirectory(str(path))

    def _train(self, path: Path, config: ExperimentConfig) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GPTJAX_CACHE", str(self.cache))
            drawn = path.name in ("pretrain", "ppo")  # one figure, and several; it takes 0.5 s
            patch.setattr(curves, "plot_curves", plot_curves if drawn else no_picture)
            run(path, config)

    def config(self, name: str, **changes: Any) -> Any:
        """The configuration of the run, with changes such as sft__epochs=2; resolved anew."""
        if name == "ppo":
            return make_ppo((self("sft"), self("reward_model")), **changes)
        config_class = kind_named(name).config
        if config_class is DPOConfig:
            changes = {"checkpoint__init_from": str(self("sft").path), **changes}
        return make_config(config_class, **changes)


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Trained:
    """Returns a function from the name of a kind to its trained run."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # which all workers have
    return Trained(folder / "trained")


@pytest.fixture(scope="module", autouse=True)
def shared_cache(trained):
    """Tokens are kept beside the trained runs, which have read the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPTJAX_CACHE", str(trained.cache))
        yield
