"""Whole comparison: measures, plans, trains what is not trained yet, and reports.

summary = compare("compare_smoke", compare_smoke(), workdir, variants, "flops", 3)
"""

from typing import Any

from gptjax.atomic_files import write_json
from gptjax.config import ExperimentConfig
from gptjax.runs import inputs
from gptjax.runs.provenance import provenance
from gptjax.runs.train import train
from gptjax.runs.workdir import WorkDirectory
from gptjax.studies.equal_budget import report
from gptjax.studies.equal_budget.measure import measure_all
from gptjax.studies.equal_budget.plan import plan, trial_config
from gptjax.studies.equal_budget.summary import summarise


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
    prepared = inputs.prepare_corpus(first, inputs.load_model_tokenizer(first))
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
