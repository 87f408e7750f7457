"""A run's directory: what it was configured as, what it made, and all that later binaries need.

workdir = WorkDirectory("runs/demo")
config, params = workdir.config(), workdir.params()
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from experiments.objectives import build_model, init_params
from experiments.origin import Origin
from experiments.provenance import provenance
from experiments.same_run import changes
from experiments.task_configs import TASKS, RewardModelConfig, SFTConfig, task_of
from gptjax.alignment.reward_model import rescaled
from gptjax.config import ExperimentConfig, ParallelismConfig, resolve
from gptjax.models.gpt import GPT
from gptjax.registry import unknown_name
from gptjax.settings import from_dict, to_dict
from gptjax.tokenization import Tokenizer, load_tokenizer
from gptjax.training.checkpoints import Checkpoints
from gptjax.training.partitioning import make_mesh, placed
from gptjax.training.processes import on_first

STARTED_FROM = "started_from"  # in config.json
MADE = ("metrics.jsonl", "checkpoints/[0-9]*", "measured.json")  # show that a run has begun


def cache_directory() -> Path:
    """Where tokens and compiled programs are kept between runs: $GPTJAX_CACHE or ~/.cache."""
    return Path(os.environ.get("GPTJAX_CACHE") or Path.home() / ".cache" / "gptjax")


def enable_compilation_cache() -> None:
    """Keeps compiled programs on disk, so that a second start takes seconds."""
    jax.config.update("jax_compilation_cache_dir", str(cache_directory() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def write_json(path: Path, values: Any) -> None:
    """Writes `values` to `path`, whole or not at all."""
    unfinished = path.with_name(path.name + ".new")
    try:
        unfinished.write_text(json.dumps(values, indent=2) + "\n")
        unfinished.replace(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


class WorkDirectory:
    """config.json, metrics.jsonl, result.json, checkpoints/, tokenizer/, tensorboard/, loss.png."""

    def __init__(self, path: str | None):
        """`path` as the user gave it; None is refused."""
        if path is None:
            raise ValueError("--workdir: got none, expected a directory for what the run makes")
        self.path = Path(path)
        self._config_file = self.path / "config.json"

    def begin(
        self,
        experiment: str,
        config: ExperimentConfig,
        record: dict[str, Any],
        find_origin: Callable[[], Origin] | None = None,
    ) -> None:
        """Makes the directory that of a run, or finds that this run is already there.

        A run that has made none of MADE, such as one whose model could not be built, is not there
        yet.

        Args:
          experiment: the name the configuration was made from.
          config: resolved.
          record: what else is to be the same: content hashes of what the run reads.
          find_origin: says what the run starts from; of a run that is there it has been said.

        Raises:
          ValueError: the directory holds another run (says how they differ), or something that
            is not a run, or cannot be written; or `find_origin` raises it.
        """
        on_first(lambda: self._begin_here(experiment, config, record, find_origin))

    def _begin_here(
        self,
        experiment: str,
        config: ExperimentConfig,
        record: dict[str, Any],
        find_origin: Callable[[], Origin] | None,
    ) -> None:
        try:
            origin = None
            if self._config_file.exists():
                if any(any(self.path.glob(made)) for made in MADE):
                    self._refuse_another(config, record)
                    origin = self._run().get(STARTED_FROM)
            elif self.path.is_dir() and any(self.path.iterdir()):
                raise ValueError(
                    f"--workdir: {self.path} holds files but no config.json; expected a new or "
                    "empty directory, or one of this run"
                )
            if origin is None and find_origin is not None:
                origin = dataclasses.asdict(find_origin())
            self.path.mkdir(parents=True, exist_ok=True)
            task = {} if type(config) is ExperimentConfig else {"task": task_of(config)}
            run = {"experiment": experiment, **task, "config": to_dict(config), **record}
            write_json(self._config_file, run | ({STARTED_FROM: origin} if origin else {}))
        except OSError as error:
            raise ValueError(
                f"--workdir: cannot write {self.path}: {error.strerror}; expected a writable "
                "directory with space left"
            ) from error

    def keep_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Copies the run's tokenizer here, so that what lies there is whole whenever it is."""
        on_first(lambda: self._keep_here(tokenizer))

    def _keep_here(self, tokenizer: Tokenizer) -> None:
        kept, unfinished = self.path / "tokenizer", self.path / "tokenizer.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        tokenizer.save(unfinished)
        shutil.rmtree(kept, ignore_errors=True)
        unfinished.rename(kept)

    def _refuse_another(self, config: ExperimentConfig, record: dict[str, Any]) -> None:
        run, theirs = self._run(), self.config()
        if type(theirs) is not type(config):
            raise ValueError(
                f"--workdir: {self.path} holds a run of experiments.{task_of(theirs)}; expected "
                f"one of experiments.{task_of(config)}, or another directory"
            )
        changed = changes(config, record, theirs, run)
        if changed:
            raise ValueError(
                f"--workdir: {self.path} holds another run; expected the same configuration or "
                f"another directory; this one has {'; '.join(changed)}"
            )

    def _run(self) -> dict[str, Any]:
        try:
            return json.loads(self._config_file.read_text())
        except OSError as error:
            raise ValueError(
                f"--workdir: no run in {self.path} ({self._config_file.name}: {error.strerror}); "
                "expected the directory of a run of experiments.pretrain"
            ) from error
        except ValueError as error:
            raise ValueError(f"{self._config_file} is damaged: {error}; expected JSON") from error

    def config(self) -> ExperimentConfig:
        """The run's resolved configuration."""
        run = self._run()
        if "config" not in run:
            raise ValueError(f"{self._config_file} is damaged: it has no 'config'")
        kind = TASKS.get(run.get("task", "pretrain"))
        if kind is None:
            raise unknown_name(f"task in {self._config_file}:", run["task"], TASKS)
        return resolve(from_dict(kind, run["config"]))

    def record(self) -> dict[str, str]:
        """Content hashes of all that the run was made with: its tokenizer, its corpus or sets."""
        return {name: x for name, x in self._run().items() if name.endswith("_hash")}

    def origin(self) -> Origin:
        """What the run started from, as `begin` wrote it down."""
        run = self._run()
        if STARTED_FROM not in run:
            raise ValueError(
                f"{self._config_file}: got no {STARTED_FROM!r}, expected that of a run which has "
                "been started"
            )
        return Origin(**run[STARTED_FROM])

    def checkpoints(self) -> Checkpoints:
        """The run's checkpoints."""
        config = self.config()
        by_reward = isinstance(config, SFTConfig) and config.sft.choose == "reward"
        return Checkpoints(
            self.path / "checkpoints",
            keep=config.checkpoint.keep,
            keep_every=config.checkpoint.keep_every,
            highest="reward" if by_reward else None,
        )

    def chosen_step(self) -> int | None:
        """The checkpoint that later commands take unless they name one; None without any.

        It is the newest, but of fine-tuning the one of the lowest validation loss, or of the
        highest reward of its answers, unless its configuration says otherwise.
        """
        config = self.config()
        with self.checkpoints() as checkpoints:
            best = None
            if isinstance(config, SFTConfig) and config.sft.choose != "newest":
                best = checkpoints.best_step()
            return checkpoints.latest_step() if best is None else best

    def resolve_step(self, step: int | None) -> int:
        """The checkpoint that `step` names; None is the chosen one, and there must be one."""
        with self.checkpoints() as checkpoints:
            steps = checkpoints.steps()
        if not steps:
            raise ValueError(f"--workdir: {self.path} has no checkpoint yet")
        if step is not None and step not in steps:
            choices = ", ".join(map(str, steps))
            raise ValueError(
                f"--restore_step: got {step}, expected one of {choices} in {self.path}"
            )
        chosen = self.chosen_step() if step is None else step
        assert chosen is not None
        return chosen

    def tokenizer(self) -> Tokenizer:
        """The run's own copy of its tokenizer; ValueError where it is not the one trained with."""
        tokenizer = load_tokenizer(str(self.path / "tokenizer"))
        expected, got = self.record().get("tokenizer_hash"), tokenizer.content_hash()
        if got != expected:
            raise ValueError(
                f"{self.path}/tokenizer: got the tokenizer {got[:12]}, expected {expected}, with "
                "which the model was trained"
            )
        return tokenizer

    def model(self) -> GPT:
        """The run's model, which is to be one of language."""
        config = self.config()
        if isinstance(config, RewardModelConfig):
            raise ValueError(
                f"--workdir: got {self.path}, which holds a reward model, expected a run of a "
                "language model"
            )
        return GPT(config.model)

    def params(self, step: int | None = None, mesh: Mesh | None = None) -> Any:
        """What the run is judged by at a checkpoint: see `TrainState.judged`.

        Args:
          step: of the checkpoint, `chosen_step` by default.
          mesh: what they are divided over; by default they are on the first device.

        Raises:
          ValueError: there is no such checkpoint, or it is damaged or of another model.
        """
        self.model()  # refuses what is none
        return self._restored(step, mesh)

    def reward_model(self, tokenizer: Tokenizer, mesh: Mesh | None = None) -> tuple[Any, Any]:
        """The run's reward model, and parameters whose rewards are normalised as it says.

        Args:
          tokenizer: of what is to be judged, as a policy writes it.
          mesh: as of `params`.

        Raises:
          ValueError: it is another kind of run, or one that has not ended or has gone back since,
            or the reward model has another tokenizer.
        """
        config = self.config()
        if not isinstance(config, RewardModelConfig):
            raise ValueError(
                f"reward model: got {self.path}, a run of experiments.{task_of(config)}, expected "
                "one of experiments.reward_model"
            )
        theirs, ours = self.record().get("tokenizer_hash", ""), tokenizer.content_hash()
        if theirs != ours:
            raise ValueError(
                f"reward model: got {self.path} of the tokenizer {theirs[:12]}, expected one of "
                f"{ours[:12]}, the policy's"
            )
        if not self.has_result():
            raise ValueError(f"reward model: {self.path} has not ended; expected its result.json")
        result, step = self.result(), self.resolve_step(None)
        if result.get("step") != step:
            raise ValueError(
                f"reward model: got {self.path} with a result.json of step {result.get('step')}, "
                f"expected one of step {step}, its newest checkpoint's: run it to its end again"
            )
        return build_model(config), rescaled(self._restored(step, mesh), **result["normalisation"])

    def _restored(self, step: int | None, mesh: Mesh | None) -> Any:
        config = self.config()
        abstract = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))
        if mesh is None:
            mesh = make_mesh(ParallelismConfig(), jax.local_devices())
        step = self.chosen_step() if step is None else step
        with self.checkpoints() as checkpoints:
            return checkpoints.restore_judged(step, placed(abstract, mesh))

    def has_result(self) -> bool:
        """Whether the run has ended."""
        return (self.path / "result.json").exists()

    def result(self) -> dict[str, Any]:
        """The figures of result.json, of a run that has ended."""
        return json.loads((self.path / "result.json").read_text())

    def write_result(self, figures: dict[str, Any]) -> None:
        """Writes result.json: the run's figures, and what made them."""
        write_json(self.path / "result.json", {**figures, **provenance()})

    def drop_result_of_another_step(self, step: int) -> None:
        """Removes result.json where it is not of `step`, to which the run has gone back."""
        on_first(lambda: self._drop_here(step))

    def _drop_here(self, step: int) -> None:
        if self.has_result() and self.result().get("step") != step:
            (self.path / "result.json").unlink()
