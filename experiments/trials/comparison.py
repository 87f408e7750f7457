"""A whole comparison: measures, plans, trains what is not trained yet, and reports.

summary = compare("compare_smoke", compare_smoke(), workdir, variants, "flops", 3)
"""

from typing import Any

from experiments import sources
from experiments.json_lines import write_json
from experiments.provenance import provenance
from experiments.training_run import train
from experiments.trials import report
from experiments.trials.measure import measure_all
from experiments.trials.plan import plan, trial_config
from experiments.trials.summary import summarise
from experiments.workdir import WorkDirectory
from gptjax.config import ExperimentConfig


def compare(
    experiment: str,
    base: ExperimentConfig,
    workdir: WorkDirectory,
    variants: list[str],
    budget: str,
    num_seeds: int,
) -> dict[str, Any] | None:
    """Trains what is not trained yet and writes the comparison; None where a signal ended it.

    Args:
      experiment: the name `base` was made from.
      base: a configuration, of which `plan` makes all others.
      workdir: new, or of this comparison.
      variants: from `parse_variants`.
      budget: a name in BUDGETS.
      num_seeds: runs of each variant.

    Returns:
      The summary, see `summarise`.

    Raises:
      ValueError: `workdir` holds another comparison, or what a run says.
    """
    training = base.training
    configs = {v: trial_config(base, v, training.num_steps, training.seed) for v in variants}
    first = configs[variants[0]]
    prepared = sources.prepare_corpus(first, sources.load_model_tokenizer(first))
    alike = {name: str(getattr(training, name)) for name in ("eval_every", "eval_batches")}
    workdir.begin(experiment, first, prepared.hashes | alike | {"budget": budget})

    measurements = measure_all(configs, prepared.train, workdir.path / "measured.json")
    trials = plan(base, variants, budget, num_seeds, measurements)
    for number, trial in enumerate(trials, start=1):
        own = WorkDirectory(str(workdir.path / trial.directory))
        own.begin(experiment, trial.config, prepared.hashes)
        if own.has_result():
            continue
        print(f"--- run {number} of {len(trials)}: {trial.variant}, seed {trial.seed}", flush=True)
        if train(experiment, trial.config, own).interrupted_by is not None:
            return None

    summary = summarise(trials, budget, measurements, workdir.path)
    write_json(workdir.path / "comparison.json", summary | provenance())
    (workdir.path / "comparison.md").write_text(report.markdown(summary))
    report.plot(summary, workdir.path / "comparison.png")
    return summary
