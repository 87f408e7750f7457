"""Work directory of a run: its configuration, its results, and all that later binaries need.

workdir = WorkDirectory("runs/demo")
config, params = workdir.config(), workdir.params()
"""

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
from absl import logging
from jax.sharding import Mesh

from gptjax import locks
from gptjax.atomic_files import write_json
from gptjax.config import ExperimentConfig, ParallelismConfig
from gptjax.data.batches.skipping import Ranges
from gptjax.data.dialogue.chat_format import ChatTemplate
from gptjax.runs.initial.stored import mean_params, stored_params
from gptjax.runs.kind import kind_of
from gptjax.runs.life.claim import claimed
from gptjax.runs.provenance import provenance
from gptjax.runs.run_file import (
    CONFIG,
    STARTED_FROM,
    InitialCheckpoint,
    config_of,
    initial_checkpoint_of,
    read_run,
)
from gptjax.runs.run_identity import changes, moved_data
from gptjax.settings import to_dict
from gptjax.tokenization import Tokenizer, load_tokenizer
from gptjax.training.checkpoints.retention import StepDirectories
from gptjax.training.checkpoints.store import Checkpoints
from gptjax.training.partitioning import make_mesh, placed
from gptjax.training.processes import on_first
from gptjax.training.reporting.metrics import read_metrics

MADE = ("metrics.jsonl", "checkpoints/[0-9]*", "measured.json")  # show that a run has begun


class WorkDirectory:
    """config.json, metrics.jsonl, result.json, checkpoints/, tokenizer/, tensorboard/, loss.png."""

    def __init__(self, path: str | None, given_as: str = "--workdir"):
        """Nothing is read or made yet.

        Args:
          path: as the user gave it; None is refused.
          given_as: the flag or the field that gave it, with which messages begin.
        """
        if path is None:
            raise ValueError(f"{given_as}: got none, expected the directory of a run")
        self.path, self.given_as = Path(path), given_as
        self._config_file = self.path / CONFIG
        self._is_claimed = False

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Gives this run alone the right to write here; within the block it may be asked again.

        Raises:
          ValueError: as `life.claim.claimed`, or the directory holds something that is not a run.
        """
        if self._is_claimed:
            yield
            return
        on_first(self._refuse_other_files)
        with claimed(self.path, self.given_as):
            self._is_claimed = True
            try:
                yield
            finally:
                self._is_claimed = False

    def _refuse_other_files(self) -> None:
        if self._config_file.exists() or not self.path.is_dir():
            return
        if locks.holds_files(self.path):
            raise ValueError(
                f"{self.given_as}: {self.path} holds files but no config.json; expected a new "
                "or empty directory, or one of this run"
            )

    def begin(
        self,
        experiment: str,
        config: ExperimentConfig,
        record: dict[str, Any],
        find_initial_checkpoint: Callable[[], InitialCheckpoint] | None = None,
        restore_step: int | None = None,
    ) -> None:
        """Makes this the directory of a run, or checks that the same run is already there.

        A run that has written none of the files in MADE does not count as a run. An example is a
        run whose model could not be built.

        Args:
          experiment: the name the configuration was made from.
          config: resolved.
          record: content hashes of the run's data, which must be the same too.
          find_initial_checkpoint: finds what a new run starts from; an older run has recorded it.
          restore_step: the checkpoint that it is to go on from; by default the newest.

        Raises:
          ValueError: as `claimed`; the directory holds another run (says how they differ), or
            cannot be written; or `find_initial_checkpoint` raises it.
        """
        with self.claimed():
            on_first(
                lambda: self._begin_here(
                    experiment, config, record, find_initial_checkpoint, restore_step
                )
            )

    def _begin_here(
        self,
        experiment: str,
        config: ExperimentConfig,
        record: dict[str, Any],
        find_initial_checkpoint: Callable[[], InitialCheckpoint] | None,
        restore_step: int | None,
    ) -> None:
        try:
            initial = None
            if self._config_file.exists() and self.has_begun():
                self._refuse_another(config, record, restore_step)
                initial = self._run().get(STARTED_FROM)
            if initial is None and find_initial_checkpoint is not None:
                initial = dataclasses.asdict(find_initial_checkpoint())
            kind = {} if config.kind == ExperimentConfig.kind else {"task": config.kind}
            run = {"experiment": experiment, **kind, "config": to_dict(config), **record}
            write_json(self._config_file, run | ({STARTED_FROM: initial} if initial else {}))
        except OSError as error:
            raise ValueError(
                f"{self.given_as}: cannot write {self.path}: {error.strerror}; expected a writable "
                "directory with space left"
            ) from error

    def has_begun(self) -> bool:
        """Whether a run has written something here besides its configuration."""
        return any(any(self.path.glob(made)) for made in MADE)

    def keep_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Copies the run's tokenizer here; the copy appears only when it is complete."""
        on_first(lambda: self._keep_here(tokenizer))

    def _keep_here(self, tokenizer: Tokenizer) -> None:
        kept, unfinished = self.path / "tokenizer", self.path / "tokenizer.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        tokenizer.save(unfinished)
        shutil.rmtree(kept, ignore_errors=True)
        unfinished.rename(kept)

    def _refuse_another(
        self, config: ExperimentConfig, record: dict[str, Any], restore_step: int | None
    ) -> None:
        run, theirs = self._run(), self.config()
        if theirs.kind != config.kind:
            raise ValueError(
                f"{self.given_as}: {self.path} holds a run of kind {theirs.kind}; expected one of "
                f"kind {config.kind}, or another directory"
            )

        directories = StepDirectories(self.path / "checkpoints")
        newest = max(directories.steps(), default=0)
        kept = newest if restore_step is None else restore_step
        changed = changes(config, record, theirs, run, kept)
        if changed:
            raise ValueError(
                f"{self.given_as}: {self.path} holds another run; expected the same configuration "
                f"or another directory; this one has {'; '.join(changed)}"
            )
        for line in moved_data(config, record, theirs, run)[1]:
            logging.warning("%s: data has moved, its content is the same: %s", self.path, line)
        if restore_step is not None and config.training.num_steps > theirs.training.num_steps:
            # The steps that the longer run would have taken otherwise go before it is written down.
            self.resolve_step(restore_step)
            directories.acquire_lock()
            try:
                directories.remove_after(restore_step)
            finally:
                directories.release()

    def _run(self) -> dict[str, Any]:
        return read_run(self.path, self.given_as)

    def config(self) -> ExperimentConfig:
        """The run's resolved configuration."""
        return config_of(self._run(), self.path)

    def record(self) -> dict[str, str]:
        """Content hashes of all that the run was made with: its tokenizer, its corpus or sets."""
        return {name: x for name, x in self._run().items() if name.endswith("_hash")}

    def initial_checkpoint(self) -> InitialCheckpoint:
        """Initial parameters of the run, as `begin` recorded them."""
        return initial_checkpoint_of(self._run(), self.path)

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

        It is the newest, or, if the kind of run says so, the best of the evaluated ones.
        """
        config = self.config()
        with self.checkpoints() as checkpoints:
            best = None
            if kind_of(config).best(config).figure is not None:
                best = checkpoints.best_step()
            return checkpoints.latest_step() if best is None else best

    def chosen(self, params: Any, last: int, mesh: Mesh) -> tuple[int | None, Any]:
        """The step that later commands take, and its parameters; `params` are those of `last`."""
        step = self.chosen_step()
        return step, params if step == last else self.restored(step, mesh)

    def resolve_step(self, step: int | None) -> int:
        """The checkpoint that `step` names; None: the chosen one. ValueError without any."""
        with self.checkpoints() as checkpoints:
            steps = checkpoints.steps()
        if not steps:
            raise ValueError(f"{self.given_as}: {self.path} has no checkpoint yet")
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
        expected, kept = self.record().get("tokenizer_hash"), self.path / "tokenizer"
        if not kept.is_dir():
            raise ValueError(f"{kept}: got no directory, expected the run's copy of its tokenizer")
        tokenizer = load_tokenizer(str(kept))
        got = tokenizer.content_hash()
        if got != expected:
            raise ValueError(
                f"{kept}: got the tokenizer {got[:12]}, expected {expected}, with "
                "which the model was trained"
            )
        return tokenizer

    def chat_template(self) -> ChatTemplate:
        """The format of conversations by the run's tokenizer; ValueError where it has no chat."""
        tokenizer = self.tokenizer()
        try:
            return ChatTemplate(tokenizer)
        except ValueError as error:
            raise ValueError(f"{self.given_as}: {self.path}: {error}") from error

    def model(self, makes: str = "language model") -> Any:
        """The run's model; ValueError if it is not what `makes` says, in the words of its kind."""
        config = self.config()
        kind = kind_of(config)
        if kind.makes != makes:
            raise ValueError(
                f"{self.given_as}: got {self.path}, which holds a {kind.makes}, expected a run of "
                f"a {makes}"
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

    def restored(
        self, step: int | None = None, mesh: Mesh | None = None, average: int | None = None
    ) -> Any:
        """Restores as `params` does, for a run of any kind; adapters are merged into their base.

        `average` is the number of the last checkpoints up to `step` whose parameters are averaged;
        None: as many as the kind of run says.
        """
        config = self.config()
        kind = kind_of(config)
        if mesh is None:
            mesh = make_mesh(ParallelismConfig(), jax.local_devices())
        target = placed(kind.shapes(config), mesh)
        step = self.chosen_step() if step is None else step
        count = kind.averaged(config) if average is None else average
        if count == 1 or step is None:
            return stored_params(self.path, step, target)
        with self.checkpoints() as checkpoints:
            steps = [each for each in checkpoints.steps() if each <= step]
        if len(steps) < count:
            raise ValueError(
                f"{self.given_as}: got {len(steps)} checkpoints up to step {step} in {self.path}, "
                f"expected the {count} whose parameters are to be averaged"
            )
        return mean_params(self.path, steps[-count:], target)

    def has_result(self) -> bool:
        """Whether the run has ended."""
        return (self.path / "result.json").exists()

    def result(self) -> dict[str, Any]:
        """The figures of result.json, of a run that has ended."""
        return json.loads((self.path / "result.json").read_text())

    def write_result(self, figures: dict[str, Any]) -> None:
        """Writes result.json: the run's figures and their provenance."""
        write_json(self.path / "result.json", {**figures, **provenance()})

    def drop_result_of_another_step(self, step: int) -> None:
        """Removes result.json if it is not of `step`, or if `step` is no longer the last step."""
        on_first(lambda: self._drop_here(step))

    def _drop_here(self, step: int) -> None:
        last = self.config().training.num_steps
        if self.has_result() and not self.result().get("step") == step == last:
            (self.path / "result.json").unlink()
