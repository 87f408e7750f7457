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
from typing import TYPE_CHECKING, Any

from absl import flags

from experiments.flags.command_line import run
from experiments.flags.paths import define_path
from gptjax.atomic_files import write_json
from gptjax.config import ExperimentConfig
from gptjax.data.batches.shards import PreparedCorpus
from gptjax.interrupted import Interrupted
from gptjax.runs.caches import enable_compilation_cache

if TYPE_CHECKING:
    from gptjax.runs.workdir import WorkDirectory

_WORKDIR = define_path("workdir", None, "Work directory of the run. It must be given.")
_ATTENTION = flags.DEFINE_string(
    "attention", None, "New attention specification. It must be given.", required=True
)
_BATCHES = flags.DEFINE_integer(
    "batches", None, "Batches of held-out text. By default as many as the run took.", lower_bound=1
)
_OUTPUT = define_path("output", None, "Directory to write to. By default --workdir.")
_STEPS = flags.DEFINE_integer(
    "continue_steps", None, "Number of steps to train on. By default none.", lower_bound=1
)
_RATE = flags.DEFINE_float(
    "learning_rate", None, "Peak learning rate of the continued run. By default the run's own."
)


def main(argv: Sequence[str]) -> None:
    """Reports, and trains on where that is asked for."""
    from gptjax.runs import inputs
    from gptjax.runs.kind import kind_of
    from gptjax.runs.life.claim import claimed
    from gptjax.runs.workdir import WorkDirectory
    from gptjax.studies import sparsification

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
    output = WorkDirectory(_OUTPUT.value or _WORKDIR.value, "--output")
    if _STEPS.value is None:
        with claimed(output.path, "--output"):
            _judge(workdir, config, step, prepared, output)
    else:
        longer = sparsification.continued(workdir, specification, _STEPS.value, _RATE.value)
        longer.training.eval_batches = config.training.eval_batches
        with output.claimed():
            output.begin(specification, longer, prepared.hashes)
            report = _judge(workdir, config, step, prepared, output)
            _train_on(longer, report, output)
    print(f"{output.path}/sparsify.json and .png are written")


def _judge(
    workdir: "WorkDirectory",
    config: ExperimentConfig,
    step: int,
    prepared: PreparedCorpus,
    output: "WorkDirectory",
) -> dict[str, Any]:
    """Reports what the new attention keeps, before any training."""
    from gptjax.studies import sparsification
    from gptjax.training.reporting.progress import Terminal

    report = sparsification.judged_run(workdir, config, step, _ATTENTION.value, prepared)
    write_json(output.path / "sparsify.json", report)
    sparsification.plot(report, output.path / "sparsify.png")
    Terminal().print(sparsification.kept_attention_table(report))
    print("\n".join(sparsification.figure_lines(report)))
    return report


def _train_on(longer: ExperimentConfig, report: dict[str, Any], output: "WorkDirectory") -> None:
    """Trains on in `output`, and adds to the report what came of it."""
    from gptjax.runs.train import train
    from gptjax.studies import sparsification

    ended = train(_ATTENTION.value, longer, output)
    if ended.interrupted_by is not None:
        raise Interrupted(ended.interrupted_by)
    after = output.result()
    report["continued"] = {name: after[name] for name in ("step", "loss", "bits_per_byte")}
    write_json(output.path / "sparsify.json", report)
    print(sparsification.continued_line(report))


if __name__ == "__main__":
    run(main)
