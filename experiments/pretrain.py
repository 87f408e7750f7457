"""Trains a language model: any experiment of the registry, from scratch or where it stopped.

python -m experiments.pretrain --experiment=gpt2_smoke --workdir=runs/gpt2_smoke
python -m experiments.pretrain --experiment=demo --workdir=runs/wide --config.model.d_model=512
"""

import time
from collections.abc import Sequence

import jax.numpy as jnp
from absl import flags

from experiments import sources
from experiments.binary import run
from experiments.workdir import WorkDirectory, enable_compilation_cache
from gptjax.config import ExperimentConfig, batch_schedule, resolve
from gptjax.models.costs import parameter_count, training_flops_per_token
from gptjax.models.gpt import GPT
from gptjax.training import losses, metrics, optimizers, partitioning
from gptjax.training.evaluation import language_model_evaluator
from gptjax.training.loop import Outcome, fit, make_train_step
from gptjax.training.start import start
from gptjax.training.state import rng

FLAGS = flags.FLAGS
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the run lives; it resumes there.")
_RESTORE_STEP = flags.DEFINE_integer(
    "restore_step", None, "Resumes from this checkpoint and removes later ones.", lower_bound=0
)


def pretrain(
    experiment: str, config: ExperimentConfig, workdir: WorkDirectory, restore_step: int | None
) -> Outcome:
    """Runs a resolved `config` in `workdir` to its end, or until a signal."""
    began = time.monotonic()
    tokenizer = sources.load_model_tokenizer(config)
    prepared = sources.prepare_corpus(config, tokenizer)
    record = {"corpus_hash": prepared.corpus_hash, "tokenizer_hash": prepared.tokenizer_hash}
    workdir.begin(experiment, config, record)
    workdir.keep_tokenizer(tokenizer)

    training, batches = config.training, batch_schedule(config)
    mesh = partitioning.make_mesh(config.parallelism)
    partitioning.check_divides(batches, mesh)
    model = GPT(config.model)
    loss = losses.language_model(model, training.loss_chunk)
    schedule = optimizers.learning_rate(config.optimizer, batches)
    tx = optimizers.make_optimizer(config.optimizer, schedule)

    evaluate = language_model_evaluator(
        loss,
        sources.validation_batches(config, prepared.validation),
        prepared.validation.bytes_per_target,
        mesh,
    )
    peak = metrics.matmul_peak_flops(config.model.dtype) * partitioning.num_chips(mesh)

    def init():
        return model.init(rng(training.seed, "params"), jnp.zeros((1, 1), jnp.int32))["params"]

    with (
        workdir.checkpoints() as checkpoints,
        metrics.MetricsWriter(workdir.path) as writer,
        metrics.Progress(training.num_steps) as progress,
    ):
        state = start(
            init,
            tx,
            partitioning.replicated(mesh),
            checkpoints,
            restore_step=restore_step,
            init_from=config.checkpoint.init_from,
        )
        writer.truncate_after(int(state.step))
        outcome = fit(
            state,
            make_train_step(loss, tx, schedule, training.seed),
            sources.training_batches(config, prepared.train, int(state.step)),
            config,
            mesh=mesh,
            evaluators={"validation": evaluate},
            checkpoints=checkpoints,
            data_record=record,
            writer=writer,
            progress=progress,
            throughput=metrics.Throughput(training_flops_per_token(config.model), peak),
            trace_directory=workdir.path / "tensorboard",
        )
    if outcome.interrupted_by is None and (outcome.steps or not workdir.has_result()):
        rows = workdir.path / "metrics.jsonl"
        metrics.plot_loss(rows, workdir.path / "loss.png", experiment)
        workdir.write_result(
            {
                "experiment": experiment,
                "parameters": parameter_count(config.model),
                **metrics.read_metrics(rows)[-1],
                "seconds": time.monotonic() - began,
                "data_wait_fraction": outcome.data_wait_fraction,
            }
        )
    return outcome


def main(argv: Sequence[str]) -> None:
    """Trains what the flags say."""
    del argv
    enable_compilation_cache()
    workdir = WorkDirectory(_WORKDIR.value)
    outcome = pretrain(FLAGS.experiment, resolve(FLAGS.config), workdir, _RESTORE_STEP.value)
    step = int(outcome.state.step)
    if outcome.interrupted_by is not None:
        print(f"{outcome.interrupted_by}: stopped at step {step}; the same command goes on there")
    else:
        print(f"step {step}: {workdir.path}/result.json, loss.png and checkpoints are written")


if __name__ == "__main__":
    run(main, with_experiment=True)
