r"""Sparsifies a trained model: judges it under another attention, and trains on from there.

    python -m experiments.sparsify --workdir=runs/demo --attention="banded(window=64)"
    python -m experiments.sparsify --workdir=runs/demo --attention="banded(window=64)" \
        --continue_steps=100 --output=runs/demo_banded

Before any training: for each layer and head the share of attention that the new pattern keeps of
the run's own, on held-out text; the change of the held-out loss; and the KL divergence of the
predictions. A table, and sparsify.json and sparsify.png in `--output`, by default the run itself.
Parameters do not depend on the attention specification, so that they load as they are.

With `--continue_steps`, `--output` is a new work directory, where training goes on from these
parameters under the new attention: a fresh optimizer, the run's learning-rate schedule over the new
number of steps, and another order of the data.
"""

import copy
from collections.abc import Sequence

from absl import flags
from rich.console import Console

from experiments.flags.command_line import run
from gptjax.atomic_files import write_json
from gptjax.config import ExperimentConfig, ParallelismConfig, resolve
from gptjax.runs import inputs
from gptjax.runs.caches import enable_compilation_cache
from gptjax.runs.kind import kind_of
from gptjax.runs.train import train
from gptjax.runs.workdir import WorkDirectory
from gptjax.studies.equal_budget.plan import trial_config
from gptjax.studies.sparsification import kept_attention_table, plot, sparsify
from gptjax.training.partitioning import make_mesh

_WORKDIR = flags.DEFINE_string("workdir", None, "The run whose chosen checkpoint is judged.")
_ATTENTION = flags.DEFINE_string("attention", None, "The new specification.", required=True)
_BATCHES = flags.DEFINE_integer(
    "batches", None, "Of held-out text; by default as many as the run's evaluations.", lower_bound=1
)
_OUTPUT = flags.DEFINE_string("output", None, "Where the report goes, or the continued run.")
_STEPS = flags.DEFINE_integer("continue_steps", None, "Trains on for so many.", lower_bound=1)
_LEARNING_RATE = flags.DEFINE_float(
    "learning_rate", None, "Of the continued run, at the peak; by default the run's own."
)


def continued(
    workdir: WorkDirectory, specification: str, num_steps: int, learning_rate: float | None
) -> ExperimentConfig:
    """The configuration that trains on from the run in `workdir` under another attention."""
    own = workdir.config()
    config = trial_config(own, specification, num_steps, own.training.seed + 1)
    config.checkpoint.init_from = str(workdir.path)
    config.data.tokenizer = str(workdir.path / "tokenizer")
    config.training.batch_ramp_start = config.training.batch_ramp_tokens = None
    if learning_rate is not None:
        config.optimizer.learning_rate = learning_rate
    return resolve(config)


def main(argv: Sequence[str]) -> None:
    """Reports, and trains on where that is asked for."""
    del argv
    if _STEPS.value is not None and _OUTPUT.value is None:
        raise ValueError("--output: got none, expected a new work directory for --continue_steps")
    enable_compilation_cache()
    workdir, specification = WorkDirectory(_WORKDIR.value), _ATTENTION.value
    config, step = workdir.config(), workdir.resolve_step(None)
    judged = copy.deepcopy(config)
    judged.model.attention = specification
    kind_of(config).check(judged)
    config.training.eval_batches = _BATCHES.value or config.training.eval_batches
    prepared = inputs.prepare_corpus(config, workdir.tokenizer())
    output, longer = WorkDirectory(_OUTPUT.value or _WORKDIR.value), None
    if _STEPS.value is not None:
        longer = continued(workdir, specification, _STEPS.value, _LEARNING_RATE.value)
        longer.training.eval_batches = config.training.eval_batches
        output.begin(specification, longer, prepared.hashes)

    report = sparsify(
        config,
        workdir.params(step),
        specification,
        inputs.validation_batches(config, prepared.validation),
        prepared.validation.bytes_per_target,
        make_mesh(ParallelismConfig()),
    )
    report |= {"workdir": str(workdir.path), "step": step}
    output.path.mkdir(parents=True, exist_ok=True)
    write_json(output.path / "sparsify.json", report)
    plot(report, output.path / "sparsify.png")
    Console().print(kept_attention_table(report))
    for name in ("loss", "bits_per_byte"):
        own, new = report[name]["own"], report[name]["new"]
        print(f"{name}: {own:.4f}, under the new attention {new:.4f} ({new - own:+.4f})")
    print(f"KL(own || new): {report['kl']:.4f} nats a token")

    if longer is not None:
        if train(specification, longer, output).interrupted_by is not None:
            print("stopped; the same command goes on there")
            return
        after = output.result()
        report["continued"] = {name: after[name] for name in ("step", "loss", "bits_per_byte")}
        write_json(output.path / "sparsify.json", report)
        loss = report["loss"]
        print(
            f"loss after {after['step']} steps: {after['loss']:.4f}, from {loss['new']:.4f}; "
            f"{loss['own']:.4f} before the change"
        )
    print(f"{output.path}/sparsify.json and .png are written")


if __name__ == "__main__":
    run(main)
