"""What those kinds of run share that the supervised loop trains.

class FineTuning(Supervised[SFTConfig]): ...
"""

import abc
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import jax
from jax.sharding import Mesh

from gptjax.config import Config, batch_schedule
from gptjax.inference.samples import SamplePrompt, TextSamples, check_sampled
from gptjax.models.adapters import Base, joined
from gptjax.models.layers import identity
from gptjax.runs.initial.params import initial_params
from gptjax.runs.kind import Kind, Plan
from gptjax.runs.planning.costs import LargestProgram
from gptjax.runs.planning.exchanges import Expected, expected
from gptjax.runs.program import Program
from gptjax.runs.task import Task
from gptjax.runs.workdir import WorkDirectory
from gptjax.training.checkpoints.start import initial_state
from gptjax.training.evaluation import Evaluator
from gptjax.training.loop import Outcome, RunIO, fit
from gptjax.training.lora import base_of
from gptjax.training.losses import Batch
from gptjax.training.partitioning import (
    batch_sharding,
    batch_share,
    model_attributes,
    num_chips,
    traced_on,
)
from gptjax.training.reporting.progress import Progress
from gptjax.training.reporting.throughput import Peak, Throughput, flops_a_second, peak_flops
from gptjax.training.state import TrainState


class Supervised(Kind[Config]):
    """A kind whose runs are batches, a loss and evaluators: `prepare` gives a `Task`.

    Attributes:
      judged_on: beginnings of paths of fields that decide what its runs are judged on, besides
        those of `contents`.
      loss_fields: beginnings of paths of fields that change what `loss` measures. Runs that differ
        in them are compared by the other figures of their evaluations, first by the second of
        `curves`.
      predicts_next: whether the loss is that of the next token, which attention may look ahead to.
    """

    judged_on: ClassVar[tuple[str, ...]] = ()
    loss_fields: ClassVar[tuple[str, ...]] = ()
    predicts_next: ClassVar[bool] = False
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
        program = Program(config, mesh)
        state, base = program.target, program.base
        tokens, costs = self.tokens(self.largest_batch(config)), self.costs(config)
        return Plan(
            trees={
                "parameter_bytes": state.params,
                **({} if base is None else {"base_bytes": base}),
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

    def largest_program(self, config: Config, mesh: Mesh | None = None) -> LargestProgram:
        """One training step of the largest batch; see `Kind.largest_program`."""
        program = Program(config, mesh)
        batch = {
            name: jax.ShapeDtypeStruct(
                array.shape, array.dtype, sharding=batch_sharding(program.mesh, len(array.shape))
            )
            for name, array in self.largest_batch(config).items()
        }
        step = program.train_step.lower(program.target, batch, config.training.seed, program.base)
        return LargestProgram(step.compile())

    def expected_exchanges(
        self, config: Config, plan: Plan, mesh: Any, itemsize: int
    ) -> list[Expected] | None:
        """Those of a decoder's step; see `Kind.expected_exchanges`."""
        if not self.predicts_next or config.model.trunk == "lstm":
            return None
        tokens = self.tokens(self.largest_batch(config))
        return expected(config, plan.trees, mesh.shape, tokens, itemsize)


class SupervisedLearner:
    """The steps of one supervised run.

    Attributes:
      task: what it learns from.
      program: what it computes.
      target: the shapes of the state's arrays, and where each lives.
      evaluators: what judges the parameters of a model, by split.
    """

    def __init__(self, kind: Kind[Any], task: Task, workdir: WorkDirectory):
        """Computes nothing yet."""
        self._kind, self._workdir = kind, workdir
        self.task, self.program = task, Program(task.config)
        self._seed = task.config.training.seed
        self.target = self.program.target
        self.evaluators = {
            split: traced_on(self.program.mesh, evaluator)
            for split, evaluator in task.evaluators(self.program).items()
        }

    def on_start(self) -> None:
        """Tells the task of the program and the directory."""
        self.task.on_start(self.program, self._workdir)

    def initial_state(self) -> TrainState:
        """The state before the first step, of what the run started from."""
        params = self._initial_params() if self.base is None else self.base.params
        return initial_state(self.program.fresh, self.target, self._seed, params)

    @functools.cached_property
    def base(self) -> Base | None:
        """What adapters stand beside: what the run started from; None without LoRA."""
        lora = self.task.config.lora
        return None if lora.rank is None else base_of(lora, self._initial_params())

    def _initial_params(self) -> Any:
        read = initial_params(self.task.config, self._workdir.initial_checkpoint())
        return None if read is None else read(self.program.params)

    def train_step(self, state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Any]]:
        """The state after the step of `batch`, and its metrics; it donates the state."""
        return self.program.train_step(state, batch, self._seed, self.base)

    def evaluators_of_state(self) -> dict[str, Evaluator]:
        """The evaluators as functions of `TrainState.eval_params`."""
        return {
            split: lambda params, evaluate=evaluate: evaluate(joined(params, self.base))
            for split, evaluate in self.evaluators.items()
        }

    @property
    def header(self) -> dict[str, str]:
        """Data, a step, what MFU is a share of, and the samples of a language model."""
        config, peak = self.task.config, self._peak
        known = peak.of_devices(num_chips(self.program.mesh))
        stages = batch_schedule(config).stages
        rows = " to ".join(f"{size:,}" for size in dict.fromkeys((stages[0][1], stages[-1][1])))
        row, last = self.task.tokens_a_row or config.model.tokens_per_row, stages[-1][1]
        lines = {
            "data": self.task.data,
            "a step": f"{rows} rows of {row:,} tokens, {last * row:,} together",
            "peak": peak.source if known is None else f"{flops_a_second(known)}, {peak.source}",
        }
        if self.task.prompts:
            count, sampled = config.training.sample_tokens, self._sampled
            some = f"{count} tokens at each evaluation"
            lines["samples"] = sampled if isinstance(sampled, str) else some
        return lines

    @functools.cached_property
    def _peak(self) -> Peak:
        return peak_flops(self.task.config.model.dtype)

    @functools.cached_property
    def _throughput(self) -> Throughput:
        config = self.task.config
        costs, row = self._kind.costs(config), config.model.tokens_per_row
        return Throughput(
            costs.flops_per_token,
            costs.executed_flops_per_token,
            self._peak.of_devices(num_chips(self.program.mesh)),
            scale=(self.task.tokens_a_row or row) / row,
        )

    @functools.cached_property
    def _sampled(self) -> SamplePrompt | str:
        """The prompt that is continued at evaluations, or why there is none."""
        config, refusals = self.task.config, []
        for prompt in self.task.prompts if config.training.sample_tokens else ():
            try:
                check_sampled(config, prompt)
            except ValueError as error:
                refusals.append(f"none: {error}")
            else:
                return prompt
        return next(iter(refusals), "none")

    def _samples(self, step: int, progress: Progress) -> Callable[[int, Any], None]:
        """Writes a text at each evaluation, of a run that goes on from `step`."""
        prompt, config = self._sampled, self.task.config
        if isinstance(prompt, str):
            return lambda step, params: None
        constrain = model_attributes(config, self.program.mesh).get("constrain", identity)
        samples = TextSamples(
            self._kind.model(config, constrain=constrain),
            prompt,
            self.task.tokenizer,
            config,
            self._workdir.path / "samples.jsonl",
            progress.sample,
        )
        samples.truncate_after(step)
        return lambda step, params: samples(step, joined(params, self.base))

    def learn(self, state: TrainState, io: RunIO) -> Outcome:
        """Takes steps from `state.step` to the last; see `fit`."""
        program, share = self.program, batch_share(self.program.mesh)
        skipped = io.data_record["skipped_examples"]
        return fit(
            state,
            self.train_step,
            self.task.batches(int(state.step), skipped, share),
            self.task.config,
            io,
            mesh=program.mesh,
            evaluators=self.evaluators_of_state(),
            throughput=self._throughput,
            statistics=functools.partial(program.statistics, seed=self._seed, base=self.base),
            show=self._samples(int(state.step), io.progress),
        )

    def final_metrics(self, params: Any) -> dict[str, Any]:
        """Figures of the result besides the last row."""
        return self.task.final_metrics(self.program, joined(params, self.base), self._workdir)
