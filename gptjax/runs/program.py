"""Compiled computation of a supervised run, made from its resolved configuration alone.

program = Program(config)
state, metrics = program.train_step(state, batch, config.training.seed)
"""

from typing import Any

import jax
from jax.sharding import Mesh

from gptjax.config import ExperimentConfig, batch_schedule
from gptjax.runs.kind import kind_of
from gptjax.training import optimizers, partitioning
from gptjax.training.gradients import Sums, gradient_sums, on_each_device
from gptjax.training.loop import make_train_step
from gptjax.training.lora import base_of, leaving, trained_params
from gptjax.training.losses import Batch
from gptjax.training.reporting.statistics import layer_statistics
from gptjax.training.spikes import skipping_outliers
from gptjax.training.state import TrainState, create, rng


class Program:
    """The model, the loss, the optimizer and the compiled step of a configuration.

    Attributes:
      mesh: where state and batches live.
      model: of the configuration, divided over the mesh.
      loss: of training and of evaluation.
      tx: the optimizer.
      params: the shapes of all the model's parameters, and where each lives.
      base: of these, what adapters stand beside; None without LoRA.
      target: the shapes of the state's arrays, and where each lives.
      train_step: jitted `(state, batch, seed, base) -> (state, metrics)`; it donates the state.
      statistics: jitted `(state, batch, seed, base) -> ` sizes of each layer's gradient and output.
    """

    def __init__(self, config: ExperimentConfig, mesh: Mesh | None = None):
        """`mesh`: by default what `config.parallelism` says of all devices.

        Raises:
          ValueError: batches or parameters do not divide over the mesh.
        """
        self._config, optimizer = config, config.optimizer
        self._kind = kind = kind_of(config)
        self.mesh = partitioning.make_mesh(config.parallelism) if mesh is None else mesh
        partitioning.check_divides(config, self.mesh)
        self.model: Any = kind.model(config, **partitioning.model_attributes(config, self.mesh))
        self.loss = kind.loss(config, self.model)
        schedule = optimizers.learning_rate(optimizer, batch_schedule(config))
        tx = optimizers.make_optimizer(optimizer, schedule, config.model.width_multiplier)
        self.tx = skipping_outliers(
            leaving(tx, kind.frozen(config)), config.training.skip_grad_norm
        )
        self.params = partitioning.placed(kind.shapes(config), self.mesh)
        self.base = base_of(config.lora, self.params)
        self.target = partitioning.placed(jax.eval_shape(self.fresh, 0, self.params), self.mesh)
        self.statistics = layer_statistics(self._sums, self.model, self.mesh)
        self.train_step = make_train_step(
            partitioning.traced_on(self.mesh, self._sums),
            self.tx,
            schedule,
            optimizer.ema_decay,
            jax.tree.map(lambda leaf: leaf.sharding, self.target),
        )

    def _sums(
        self, params: Any, batch: Batch, rng: jax.Array, base: Any = None
    ) -> tuple[Sums, Any]:
        """Sums of the loss over a batch and their gradient, in microbatches as the batch needs."""
        rows = self._kind.rows(batch)
        count = partitioning.microbatches(self._config, self.mesh, rows)
        sums = gradient_sums(self.loss, count)
        if self._config.parallelism.strategy == "pmap":
            sums = on_each_device(sums, self.mesh)
        return sums(params, batch, rng, base)

    def fresh(self, seed: int | jax.Array, params: Any = None) -> TrainState:
        """The state before the first step, of `params` or else of random parameters."""
        config = self._config
        if params is None:
            params = self._kind.init(config, rng(seed, "params"))
        trained = trained_params(config.lora, params, rng(seed, "lora"))
        return create(trained, self.tx, with_ema=config.optimizer.ema_decay is not None)
