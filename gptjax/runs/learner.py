"""What a kind of run gives to the code that runs it: inputs, a learner, and the end of a run.

learner = kind.learner(prepared, workdir)
ended = learner.learn(learner.initial_state(), io)
"""

from collections.abc import Mapping
from typing import Any, Protocol

from gptjax.tokenization import Tokenizer
from gptjax.training.evaluation import Evaluator
from gptjax.training.loop import RunIO
from gptjax.training.state import TrainState


class Prepared(Protocol):
    """Training inputs, read and checked: `Task`, or those of a kind with a loop of its own."""

    @property
    def config(self) -> Any: ...
    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def hashes(self) -> dict[str, str]: ...


class Ended(Protocol):
    """End of a run, with the figures of this start for its result."""

    @property
    def state(self) -> TrainState: ...
    @property
    def steps(self) -> int: ...
    @property
    def interrupted_by(self) -> str | None: ...
    @property
    def figures(self) -> Mapping[str, Any]: ...


class Learner(Protocol):
    """Training loop of one run."""

    @property
    def target(self) -> TrainState:
        """The shapes of the state's arrays, and where each lives."""
        ...

    @property
    def header(self) -> Mapping[str, str]:
        """What a person is told before the first step, by label: data, a step, and the like."""
        ...

    @property
    def evaluators(self) -> Mapping[str, Evaluator]:
        """Evaluators of parameters, by split."""
        ...

    def on_start(self) -> None:
        """Called at every start, once the directory is claimed and before there is a state."""
        ...

    def initial_state(self) -> TrainState:
        """The state before the first step."""
        ...

    def learn(self, state: TrainState, io: RunIO) -> Ended:
        """Takes steps from `state.step` to the last; raises what `training.loop.fit` does."""
        ...

    def final_metrics(self, params: Any) -> dict[str, Any]:
        """Metrics of the evaluation parameters, for the result of an ended run; JSON values."""
        ...
