"""Work directory of a run: its configuration, its results, and all that later binaries need.

workdir = WorkDirectory("runs/demo")
config, params = workdir.config(), workdir.params()
"""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from gptjax.atomic_files import write_json
from gptjax.config import ExperimentConfig, ParallelismConfig, resolve
from gptjax.data.batches.skipping import Ranges
from gptjax.registry import unknown_name
from gptjax.runs.kind import KINDS, kind_named, kind_of
from gptjax.runs.provenance import provenance
from gptjax.runs.run_identity import changes
from gptjax.settings import from_dict, to_dict
from gptjax.tokenization import Tokenizer, load_tokenizer
from gptjax.training.checkpoints.store import Checkpoints
from gptjax.training.partitioning import make_mesh, placed
from gptjax.training.processes import on_first
from gptjax.training.reporting.metrics import read_metrics

STARTED_FROM = "started_from"  # in config.json
MADE = ("metrics.jsonl", "checkpoints/[0-9]*", "measured.json")  # show that a run has begun


@dataclasses.dataclass(frozen=True)
class InitialCheckpoint:
    """Initial parameters of a run, recorded at its first start and the same at every later one.

    A run goes back to its start when no checkpoint comes before steps that were not finite, and
    `experiments.verify` replays it from there. Its source may have been trained on since, or
    replaced.

    Attributes:
      path: the work directory, or the model directory of Hugging Face's, that the parameters
        before the first step were read from; None: they were random.
      step: of the work directory's checkpoint; None of a model directory.
      sha256: of the checkpoint's manifest, or over the model directory's files; empty without.
    """

    path: str | None = None
    step: int | None = None
    sha256: str = ""


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
        find_initial_checkpoint: Callable[[], InitialCheckpoint] | None = None,
    ) -> None:
        """Makes this the directory of a run, or checks that the same run is already there.

        A run that has made none of MADE, such as one whose model could not be built, is not there
        yet.

        Args:
          experiment: the name the configuration was made from.
          config: resolved.
          record: what else is to be the same: content hashes of what the run reads.
          find_initial_checkpoint: finds what a new run starts from; an older run has recorded it.

        Raises:
          ValueError: the directory holds another run (says how they differ), or something that
            is not a run, or cannot be written; or `find_initial_checkpoint` raises it.
        """
        on_first(lambda: self._begin_here(experiment, config, record, find_initial_checkpoint))

    def _begin_here(
        self,
        experiment: str,
        config: ExperimentConfig,
        record: dict[str, Any],
        find_initial_checkpoint: Callable[[], InitialCheckpoint] | None,
    ) -> None:
        try:
            initial = None
            if self._config_file.exists():
                if any(any(self.path.glob(made)) for made in MADE):
                    self._refuse_another(config, record)
                    initial = self._run().get(STARTED_FROM)
            elif self.path.is_dir() and any(self.path.iterdir()):
                raise ValueError(
                    f"--workdir: {self.path} holds files but no config.json; expected a new or "
                    "empty directory, or one of this run"
                )
            if initial is None and find_initial_checkpoint is not None:
                initial = dataclasses.asdict(find_initial_checkpoint())
            self.path.mkdir(parents=True, exist_ok=True)
            kind = {} if config.kind == ExperimentConfig.kind else {"task": config.kind}
            run = {"experiment": experiment, **kind, "config": to_dict(config), **record}
            write_json(self._config_file, run | ({STARTED_FROM: initial} if initial else {}))
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
        if theirs.kind != config.kind:
            raise ValueError(
                f"--workdir: {self.path} holds a run of kind {theirs.kind}; expected one of kind "
                f"{config.kind}, or another directory"
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
                "expected the directory of a run of experiments.train"
            ) from error
        except ValueError as error:
            raise ValueError(f"{self._config_file} is damaged: {error}; expected JSON") from error

    def config(self) -> ExperimentConfig:
        """The run's resolved configuration."""
        run = self._run()
        if "config" not in run:
            raise ValueError(f"{self._config_file} is damaged: it has no 'config'")
        name = run.get("task", ExperimentConfig.kind)
        if name not in KINDS:
            raise unknown_name(f"kind of run in {self._config_file}:", name, KINDS)
        return resolve(from_dict(kind_named(name).config, run["config"]))

    def record(self) -> dict[str, str]:
        """Content hashes of all that the run was made with: its tokenizer, its corpus or sets."""
        return {name: x for name, x in self._run().items() if name.endswith("_hash")}

    def initial_checkpoint(self) -> InitialCheckpoint:
        """Initial parameters of the run, as `begin` recorded them."""
        run = self._run()
        if STARTED_FROM not in run:
            raise ValueError(
                f"{self._config_file}: got no {STARTED_FROM!r}, expected that of a run which has "
                "been started"
            )
        return InitialCheckpoint(**run[STARTED_FROM])

    def skipped_examples(self) -> Ranges:
        """The ranges of examples that the run has left out by now, as its rows say."""
        for row in reversed(read_metrics(self.path / "metrics.jsonl")):
            if "skipped_examples" in row:
                return tuple((first, stop) for first, stop in row["skipped_examples"])
        return ()

    def checkpoints(self) -> Checkpoints:
        """The run's checkpoints."""
        config = self.config()
        best = kind_of(config).best(config)
        return Checkpoints(
            self.path / "checkpoints",
            keep=config.checkpoint.keep,
            keep_every=config.checkpoint.keep_every,
            highest=best.figure if best.highest else None,
        )

    def chosen_step(self) -> int | None:
        """The checkpoint that later commands take unless they name one; None without any.

        It is the newest, or the best of those that were judged where the kind of run says so.
        """
        config = self.config()
        with self.checkpoints() as checkpoints:
            best = None
            if kind_of(config).best(config).figure is not None:
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

    def model(self) -> Any:
        """The run's model, which is to be one of language."""
        config = self.config()
        kind = kind_of(config)
        if kind.makes != "language model":
            raise ValueError(
                f"--workdir: got {self.path}, which holds a {kind.makes}, expected a run of a "
                "language model"
            )
        return kind.model(config)

    def params(self, step: int | None = None, mesh: Mesh | None = None) -> Any:
        """Restores the evaluation parameters of a checkpoint (`TrainState.eval_params`).

        Args:
          step: of the checkpoint, `chosen_step` by default.
          mesh: what they are divided over; by default they are on the first device.

        Raises:
          ValueError: there is no such checkpoint, or it is damaged or of another model.
        """
        self.model()  # refuses what is none
        return self.restored(step, mesh)

    def restored(self, step: int | None = None, mesh: Mesh | None = None) -> Any:
        """Restores as `params` does, for a run of any kind."""
        config = self.config()
        kind = kind_of(config)
        if mesh is None:
            mesh = make_mesh(ParallelismConfig(), jax.local_devices())
        step = self.chosen_step() if step is None else step
        with self.checkpoints() as checkpoints:
            return checkpoints.restore_eval_params(step, placed(kind.shapes(config), mesh))

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
