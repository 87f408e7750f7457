"""Whole comparison: measures, plans, trains what is not trained yet, and reports.

variants = parse_variants(base, "dense;banded(window=64)")
summary = compare("compare_smoke", base, workdir, variants, "flops", 3)
"""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gptjax.atomic_files import write_json, write_text
from gptjax.attention.sight import out_of_sight
from gptjax.config import Config, ExperimentConfig, ModelConfig
from gptjax.interrupted import Interrupted
from gptjax.models.transformer import attention_cycle, looks_ahead
from gptjax.runs.initial.params import find_initial_checkpoint
from gptjax.runs.program import Program
from gptjax.runs.provenance import provenance
from gptjax.runs.replay import changes_since
from gptjax.runs.supervised import Supervised
from gptjax.runs.train import train
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import differences
from gptjax.studies.equal_budget import report
from gptjax.studies.equal_budget.measure import measure_all
from gptjax.studies.equal_budget.plan import Trial, plan, trial_config
from gptjax.studies.equal_budget.summary import summarise
from gptjax.studies.equal_budget.variants import Variant, kind_of_compared
from gptjax.training.losses import language_model

# A run that has ended is one of this comparison if these fields say so; the others follow from the
# first variant, which is compared whole.
SAME = ("model.", "lora.", "training.num_steps", "training.batch_", "training.seed")

Judge = Callable[[WorkDirectory], Mapping[str, float]]


def compare(
    experiment: str,
    base: ExperimentConfig,
    workdir: WorkDirectory,
    variants: Sequence[Variant],
    budget: str,
    num_seeds: int,
    judge: Judge = lambda run: {},
) -> dict[str, Any]:
    """Trains what is not trained yet and writes the comparison.

    Args:
      experiment: the name `base` was made from.
      base: a configuration, not resolved, of which `plan` makes all others.
      workdir: new, or of this comparison.
      variants: from `parse_variants`.
      budget: a name in BUDGETS.
      num_seeds: runs of each variant.
      judge: gives further figures of a run that has ended, such as those of evals.

    Returns:
      The summary, see `summarise`.

    Raises:
      ValueError: `workdir` holds another comparison or is in use, or what a run says.
      Interrupted: a signal ended a run.
    """
    kind, training = kind_of_compared(base), base.training
    first = trial_config(base, variants[0], training.num_steps, training.seed)
    with workdir.claimed():
        prepared = kind.prepare(first)
        base = _of_length(base, prepared.config.training.num_steps)
        configs = {
            each.key: trial_config(base, each, base.training.num_steps, training.seed)
            for each in variants
        }
        models = [config.model for config in configs.values()]
        looking = kind.predicts_next and any(map(looks_ahead, models))
        if looking:
            _check_common_targets(models)
        for variant in variants:
            trial = Trial(variant, training.seed, configs[variant.key])
            if not WorkDirectory(str(workdir.path / trial.directory)).has_begun():
                find_initial_checkpoint(trial.config)  # refuses what cannot start
        corpora = _corpus_hashes(kind, configs.values())
        alike = {name: str(getattr(training, name)) for name in ("eval_every", "eval_batches")}
        first = configs[variants[0].key]
        workdir.begin(experiment, first, prepared.hashes | alike | {"budget": budget})
        measurements = measure_all(configs, workdir.path / "measured.json")
        trials = plan(base, variants, budget, num_seeds, measurements)
        for number, trial in enumerate(trials, start=1):
            label = f"run {number} of {len(trials)}: {trial.variant.name}, seed {trial.seed}"
            _train(experiment, trial, workdir.path, label, corpora[trial.config.data.corpus])

        judged: dict[str, dict[str, Any]] = {}
        for trial in trials:
            run = WorkDirectory(str(workdir.path / trial.directory))
            common = _on_common_targets(trial, models, workdir.path) if looking else {}
            judged[trial.directory] = {**common, **judge(run)}
        summary = summarise(trials, budget, measurements, workdir.path, judged)
        write_json(workdir.path / "comparison.json", summary | provenance())
        write_text(workdir.path / "comparison.md", report.markdown(summary))
        report.plot(summary, workdir.path / "comparison.png")
    return summary


def _corpus_hashes(
    kind: Supervised[Any], configs: Iterable[Config]
) -> dict[str | None, dict[str, str]]:
    """What runs record of each corpus, where they vary; ValueError for one that cannot be read."""
    by_name = {config.data.corpus: config for config in configs}
    if len(by_name) == 1:  # the comparison has recorded it
        return {name: {} for name in by_name}
    return {
        name: {"corpus_hash": kind.prepare(config).hashes["corpus_hash"]}
        for name, config in by_name.items()
    }


def _of_length(base: Config, num_steps: int) -> Config:
    """A copy of `base` that takes `num_steps`, whatever its epochs say."""
    base = copy.deepcopy(base)
    if base.epochs_field is not None:
        section, _, name = base.epochs_field.partition(".")
        setattr(getattr(base, section), name, None)
    base.training.num_steps = num_steps
    return base


def _train(
    experiment: str, trial: Trial, root: Path, label: str, corpus: Mapping[str, str]
) -> None:
    """Trains a trial to its end, unless that is done; `corpus`: see `_corpus_hashes`."""
    own = WorkDirectory(str(root / trial.directory))
    with own.claimed():
        if own.has_result():
            changed = differences(trial.config, own.config(), SAME) + changes_since(own, corpus)
            if changed:
                raise ValueError(f"{own.path} holds another run; this one has {'; '.join(changed)}")
            return
        print(f"--- {label}", flush=True)
        ended = train(experiment, trial.config, own)
    if ended.interrupted_by is not None:
        raise Interrupted(ended.interrupted_by)


def _check_common_targets(models: Sequence[ModelConfig]) -> None:
    """Refuses variants that look ahead so far that no target is hidden from all of them."""
    patterns = tuple(pattern for model in models for pattern in attention_cycle(model))
    if not out_of_sight(patterns, models[0].context_length + 1)[1:].any():
        raise ValueError(
            f"--variants: got {'; '.join(model.attention for model in models)}, expected some "
            "target that none of them lets an earlier token see"
        )


def _on_common_targets(trial: Trial, models: Sequence[ModelConfig], root: Path) -> dict[str, Any]:
    """Figures of the trained model on the targets that none of `models` may see.

    Variants that look ahead would else be judged by late targets alone, which are easier.
    """
    own, config = WorkDirectory(str(root / trial.directory)), trial.config
    task, program = kind_of_compared(config).prepare(config), Program(config)
    program.loss = language_model(program.model, config.training.loss_chunk, models)
    return task.evaluators(program)["validation"](own.params())
