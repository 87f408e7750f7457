"""Whole comparison: measures, plans, trains what is not trained yet, and reports.

summary = compare("compare_smoke", compare_smoke(), workdir, variants, "flops", 3)
"""

from pathlib import Path
from typing import Any

from gptjax.atomic_files import write_json
from gptjax.attention.sight import out_of_sight
from gptjax.config import ExperimentConfig, ModelConfig
from gptjax.data.batches.shards import PreparedCorpus
from gptjax.models.transformer import attention_cycle, looks_ahead
from gptjax.runs import inputs
from gptjax.runs.kind import kind_of
from gptjax.runs.provenance import provenance
from gptjax.runs.train import train
from gptjax.runs.workdir import WorkDirectory
from gptjax.studies.equal_budget import report
from gptjax.studies.equal_budget.measure import measure_all
from gptjax.studies.equal_budget.plan import Trial, plan, trial_config
from gptjax.studies.equal_budget.summary import summarise
from gptjax.training.evaluation import language_model_evaluator
from gptjax.training.losses import language_model
from gptjax.training.partitioning import make_mesh


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
    for config in configs.values():
        kind_of(config).check(config)
    _check_common_targets([config.model for config in configs.values()])
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

    judged = {
        trial.directory: _on_common_targets(trial, trials, prepared, workdir.path)
        for trial in trials
    }
    summary = summarise(trials, budget, measurements, workdir.path, judged)
    write_json(workdir.path / "comparison.json", summary | provenance())
    (workdir.path / "comparison.md").write_text(report.markdown(summary))
    report.plot(summary, workdir.path / "comparison.png")
    return summary


def _check_common_targets(models: list[ModelConfig]) -> None:
    """Refuses variants that look ahead so far that no target is hidden from all of them."""
    patterns = tuple(pattern for model in models for pattern in attention_cycle(model))
    if not out_of_sight(patterns, models[0].context_length + 1)[1:].any():
        raise ValueError(
            f"--variants: got {'; '.join(model.attention for model in models)}, expected some "
            "target that none of them lets an earlier token see"
        )


def _on_common_targets(
    trial: Trial, trials: list[Trial], prepared: PreparedCorpus, root: Path
) -> dict[str, float]:
    """The trained model on the targets that no variant may see; {} where each counts all.

    Variants that look ahead would else be judged by late targets alone, which are easier.
    """
    others = list({each.variant: each.config.model for each in trials}.values())
    if not any(map(looks_ahead, others)):
        return {}
    run, config = WorkDirectory(str(root / trial.directory)), trial.config
    evaluate = language_model_evaluator(
        language_model(run.model(), config.training.loss_chunk, others),
        inputs.validation_batches(config, prepared.validation),
        prepared.validation.bytes_per_target,
        make_mesh(config.parallelism),
    )
    figures = evaluate(run.params())
    return {name: figures[name] for name in ("loss", "bits_per_byte")}
