r"""The best learning rate by width, in standard and in maximal update parametrization (muP).

    python -m experiments.learning_rates --experiment=scaling_smoke --workdir=runs/rates \
        --changes="optimizer.name=adamw,training.num_steps=200" \
        --widths=32,64,128,256 --rates=0.002,0.004,0.008,0.016,0.032

Every width is trained at every rate, with model.parametrization=standard and mup (arXiv 2203.03466,
figure 1). Each run is a work directory below --workdir; the same command goes on where it stopped.
rates.json and rates.md are written last: held-out losses, the best rate of each width, and by what
factor it moves.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments.configs import experiment_named
from experiments.flags.command_line import run
from experiments.flags.paths import define_path
from gptjax.atomic_files import write_json, write_text
from gptjax.interrupted import Interrupted
from gptjax.runs.caches import enable_compilation_cache
from gptjax.studies.changes import Changes, parse_values
from gptjax.studies.scaling_laws.rates import markdown, rate_trials, summarise

_EXPERIMENT = flags.DEFINE_string(
    "experiment", "scaling_smoke", "Experiment of AdamW, as experiments.list names it."
)
_WORKDIR = define_path("workdir", None, "Directory of the study. It must be given.")
_CHANGES = flags.DEFINE_string(
    "changes",
    "optimizer.name=adamw",
    "Changes of the experiment: section.field=value, with commas between them.",
)
_WIDTHS = flags.DEFINE_list("widths", ["32", "64", "128", "256"], "Widths, with commas between.")
_RATES = flags.DEFINE_list(
    "rates",
    ["0.001", "0.002", "0.004", "0.008", "0.016", "0.032"],
    "Peaks of the learning rate, with commas between.",
)


def _numbers(flag: flags.FlagHolder[list[str]], kind: type) -> list:
    try:
        return [kind(text) for text in flag.value]
    except ValueError as error:
        raise ValueError(f"--{flag.name}: {error}, expected numbers with commas between") from error


def main(argv: Sequence[str]) -> None:
    """Trains what has not been trained, and prints the tables."""
    from gptjax.runs.initial.inherited import inherit
    from gptjax.runs.life.claim import claimed
    from gptjax.runs.provenance import provenance
    from gptjax.runs.train import train
    from gptjax.runs.workdir import WorkDirectory
    from gptjax.studies.scaling_laws.study import held_out_loss
    from gptjax.training.spikes import NotFiniteError

    del argv
    enable_compilation_cache()
    root = WorkDirectory(_WORKDIR.value).path
    base = experiment_named(_EXPERIMENT.value)()
    base = Changes("", parse_values(base, _CHANGES.value, "--changes")).of(base)
    inherit(base, {"data.tokenizer"})  # the size of the vocabulary
    trials = rate_trials(base, _numbers(_WIDTHS, int), _numbers(_RATES, float))
    losses = []
    with claimed(Path(root), "--workdir"):
        for number, trial in enumerate(trials, start=1):
            print(f"--- run {number} of {len(trials)}: {trial.directory}", flush=True)
            own = WorkDirectory(str(root / trial.directory))
            try:
                ended = train(_EXPERIMENT.value, trial.config, own)
            except NotFiniteError:
                losses.append(float("inf"))  # a rate under which the run diverges is an answer
                continue
            if ended.interrupted_by is not None:
                raise Interrupted(ended.interrupted_by)
            losses.append(held_out_loss(own))
        summary = summarise(trials, losses)
        write_json(root / "rates.json", {"found": summary} | provenance())
        write_text(root / "rates.md", markdown(summary))
    print(markdown(summary))


if __name__ == "__main__":
    run(main)
