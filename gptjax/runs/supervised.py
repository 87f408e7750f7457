"""Kinds of run that the one supervised loop trains: what they share besides `Kind`.

class FineTuning(Supervised[SFTConfig]): ...
"""

import abc
import functools
from typing import Any

import jax

from gptjax.config import Config
from gptjax.runs.initial_params import initial_params
from gptjax.runs.kind import Kind, Plan
from gptjax.runs.program import Program
from gptjax.runs.task import Task
from gptjax.runs.workdir import WorkDirectory
from gptjax.training.checkpoints.start import initial_state
from gptjax.training.loop import Outcome, RunIO, fit
from gptjax.training.memory import planned_bytes
from gptjax.training.partitioning import batch_sharding, batch_share, num_chips
from gptjax.training.reporting.throughput import Throughput, matmul_peak_flops
from gptjax.training.state import TrainState


class Supervised(Kind[Config]):
    """A kind whose runs are batches, a loss and evaluators: `prepare` gives a `Task`."""

    can_replay = True

    @abc.abstractmethod
    def prepare(self, config: Config) -> Task:
        """Reads what a run of a resolved `config` learns from; see `Kind.prepare`."""
        ...

    def learner(self, prepared: Task, workdir: WorkDirectory) -> "SupervisedLearner":
        """Makes the training loop of the run in `workdir`."""
        return SupervisedLearner(self, prepared, workdir)

    def plan(self, config: Config, mesh: Any) -> Plan:
        """Parameters, optimizer and average, and the FLOPs of the largest batch."""
        state = Program(config, mesh).target
        tokens, costs = self.tokens(self.largest_batch(config)), self.costs(config)
        return Plan(
            trees={
                "parameter_bytes": state.params,
                "optimizer_bytes": state.opt_state,
                "average_bytes": state.ema,
            },
            outside=(),
            bytes={},
            flops={
                "flops_per_step": costs.flops_per_token * tokens,
                "executed_flops_per_step": costs.executed_flops_per_token * tokens,
            },
        )

    def planned_bytes(self, config: Config) -> int:
        """Bytes on each device of one training step of the largest batch."""
        program = Program(config)
        batch = {
            name: jax.ShapeDtypeStruct(
                array.shape, array.dtype, sharding=batch_sharding(program.mesh, len(array.shape))
            )
            for name, array in self.largest_batch(config).items()
        }
        return planned_bytes(program.train_step.lower(program.target, batch).compile())


class SupervisedLearner:
    """The steps of one supervised run.

    Attributes:
      task: what it learns from.
      program: what it computes.
      target: the shapes of the state's arrays, and where each lives.
      evaluators: what judges parameters, by split.
    """

    def __init__(self, kind: Kind[Any], task: Task, workdir: WorkDirectory):
        """Computes nothing yet."""
        self._kind, self._workdir = kind, workdir
        self.task, self.program = task, Program(task.config)
        self.target = self.program.target
        self.evaluators = task.evaluators(self.program)

    def on_start(self) -> None:
        """Tells the task of the program and the directory."""
        self.task.on_start(self.program, self._workdir)

    def initial_state(self) -> TrainState:
        """The state before the first step, of what the run started from."""
        init_from = initial_params(self.task.config, self._workdir.initial_checkpoint())
        return initial_state(self.program.fresh, self.target, init_from)

    @functools.cached_property
    def _throughput(self) -> Throughput:
        config = self.task.config
        costs, row = self._kind.costs(config), config.model.tokens_per_row
        peak = matmul_peak_flops(config.model.dtype) * num_chips(self.program.mesh)
        return Throughput(
            costs.flops_per_token,
            costs.executed_flops_per_token,
            peak,
            scale=(self.task.tokens_a_row or row) / row,
        )

    def learn(self, state: TrainState, io: RunIO) -> Outcome:
        """Takes steps from `state.step` to the last; see `fit`."""
        program, share = self.program, batch_share(self.program.mesh)
        skipped = io.data_record["skipped_examples"]
        return fit(
            state,
            program.train_step,
            self.task.batches(int(state.step), skipped, share),
            self.task.config,
            io,
            mesh=program.mesh,
            evaluators=self.evaluators,
            throughput=self._throughput,
            statistics=program.statistics,
        )

    def final_metrics(self, params: Any) -> dict[str, Any]:
        """Figures of the result besides the last row."""
        return self.task.final_metrics(self.program, params, self._workdir)
