"""Compiled computation of a supervised run, made from its resolved configuration alone.

program = Program(config)
state, metrics = program.train_step(state, batch)
"""

from typing import Any

import jax
from jax.sharding import Mesh

from gptjax.config import ExperimentConfig, batch_schedule
from gptjax.runs.kind import kind_of
from gptjax.training import optimizers, partitioning
from gptjax.training.gradients import gradient_sums, on_each_device
from gptjax.training.loop import make_train_step
from gptjax.training.reporting.statistics import layer_statistics
from gptjax.training.spikes import skipping_outliers
from gptjax.training.state import TrainState, create, rng


class Program:
    """The model, the loss, the optimizer and the compiled step of a configuration.

    Attributes:
      mesh: where state and batches live.
      model: of the configuration, with what the mesh asks of it.
      loss: of training and of evaluation.
      tx: the optimizer.
      target: the shapes of the state's arrays, and where each lives.
      train_step: jitted `(state, batch) -> (state, metrics)`; it donates the state.
      statistics: jitted `(state, batch) -> ` sizes of each layer's gradient and output.
    """

    def __init__(self, config: ExperimentConfig, mesh: Mesh | None = None):
        """`mesh`: by default what `config.parallelism` says of all devices.

        Raises:
          ValueError: batches or parameters do not divide over the mesh.
        """
        self._config, training, optimizer = config, config.training, config.optimizer
        self._kind = kind = kind_of(config)
        self.mesh = partitioning.make_mesh(config.parallelism) if mesh is None else mesh
        partitioning.check_divides(config, self.mesh)
        self.model: Any = kind.model(config, **partitioning.model_attributes(config, self.mesh))
        self.loss = kind.loss(config, self.model)
        schedule = optimizers.learning_rate(optimizer, batch_schedule(config))
        self.tx = skipping_outliers(
            optimizers.make_optimizer(optimizer, schedule), training.skip_grad_norm
        )
        self.target = partitioning.placed(
            jax.eval_shape(self.fresh, kind.shapes(config)), self.mesh
        )
        sums = gradient_sums(self.loss, training.accumulate)
        if config.parallelism.strategy == "pmap":
            sums = on_each_device(sums, self.mesh)
        self.statistics = layer_statistics(sums, self.model, training.seed, self.mesh)
        self.train_step = make_train_step(
            sums,
            self.tx,
            schedule,
            training.seed,
            optimizer.ema_decay,
            jax.tree.map(lambda leaf: leaf.sharding, self.target),
        )

    def fresh(self, params: Any = None) -> TrainState:
        """The state before the first step, of `params` or else of random parameters."""
        if params is None:
            params = self._kind.init(self._config, rng(self._config.training.seed, "params"))
        return create(params, self.tx, with_ema=self._config.optimizer.ema_decay is not None)
