r"""Classifiers of undesired content, on the public rows of OpenAI's moderation (arXiv 2208.03274).

    python -m experiments.moderation
    python -m experiments.moderation --workdir=runs/moderation_demo --init_from=runs/demo \
        --tune="optimizer.learning_rate=5e-4,moderation.epochs=5"

The 1,680 rows are a test set. So figures come from nested cross-validation by a hash of the text:
each outer fold is scored by models that learned from the others, of which inner folds choose the
checkpoint and the thresholds. A logistic regression on hashed n-grams has the same folds; it takes
the extra `curation`. Each member is a work directory below `--workdir`; the same command goes on
where it stopped. moderation.json and .md are written last: AUPRC, AUROC and calibration of each
category with intervals, precision and recall at the thresholds, and the safe prompts of XSTest that
are flagged. No text of the data is written. docs/moderation.md says more.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from absl import flags

from experiments.configs import experiment_named
from experiments.flags.command_line import run
from experiments.flags.paths import define_path
from gptjax.atomic_files import write_json, write_text
from gptjax.data.labelled.multilabel import load_multilabel
from gptjax.runs.caches import enable_compilation_cache
from gptjax.studies.changes import Changes, parse_values
from gptjax.tasks.moderation.config import ModerationConfig

_EXPERIMENT = flags.DEFINE_string(
    "experiment", "moderation_smoke", "Experiment of the kind moderation that members train."
)
_WORKDIR = define_path("workdir", "runs/moderation_study", "Work directory of the study.")
_DATA = define_path(
    "data",
    "jsonl:../shared/data/moderation/samples-1680.jsonl.gz",
    "Labelled texts, as of --config.moderation.train.",
)
_XSTEST = define_path(
    "xstest",
    "../shared/data/xstest/xstest_prompts.csv",
    "XSTest's file of prompts; empty: safe prompts are not scored.",
)
_INIT_FROM = define_path("init_from", None, "What members start from. By default from nothing.")
_TUNE = flags.DEFINE_string(
    "tune", None, "Changes of the members: section.field=value, with commas between them."
)
_FOLDS = flags.DEFINE_integer("folds", 5, "Outer folds.", lower_bound=3)
_INNER = flags.DEFINE_integer(
    "inner", 1, "Inner folds of each outer one, and so its members.", lower_bound=1
)
_LIMIT = flags.DEFINE_integer("limit", None, "Takes the first rows only.", lower_bound=1)
_PRECISION = flags.DEFINE_float(
    "precision",
    0.8,
    "Precision for which thresholds are chosen.",
    lower_bound=0.01,
    upper_bound=1.0,
)
_BASELINE = flags.DEFINE_bool("baseline", True, "Whether to fit n-grams with regression too.")


def main(argv: Sequence[str]) -> None:
    """Trains what has not been trained yet, judges all rows, and reports."""
    from gptjax.runs.kind import kind_named
    from gptjax.runs.life.claim import claimed
    from gptjax.runs.provenance import provenance
    from gptjax.studies.moderation.baseline import fit_baseline
    from gptjax.studies.moderation.nested import Plan, nested
    from gptjax.studies.moderation.over_blocking import read_xstest
    from gptjax.studies.moderation.report import BASELINE, markdown, summarise
    from gptjax.studies.moderation.runs import Members

    del argv
    enable_compilation_cache()
    config = experiment_named(_EXPERIMENT.value)()
    if config.kind != "moderation":
        raise ValueError(
            f"--experiment: got {_EXPERIMENT.value}, a run of kind {config.kind}, expected one of "
            "kind moderation"
        )
    values = {} if _TUNE.value is None else parse_values(config, _TUNE.value, "--tune")
    config = cast(ModerationConfig, Changes("", values).of(config))
    section, limit = config.moderation, _LIMIT.value
    data = _DATA.value + ("" if limit is None else f",limit={limit}")
    texts = load_multilabel(data, section.text, section.names)
    plan = Plan(texts, section.names, _FOLDS.value, _INNER.value, _PRECISION.value)
    prompts = read_xstest(Path(_XSTEST.value)) if _XSTEST.value else []
    asked = [prompt.text for prompt in prompts]
    root = Path(_WORKDIR.value)
    members = Members(plan, root, _EXPERIMENT.value, config, data, _INIT_FROM.value, values)
    members.configured(0, 1)  # says what is wrong before anything is trained
    systems = {}
    with claimed(root, "--workdir"):
        if _BASELINE.value:
            fold_of = plan.fold_of.tolist()

            def fitted(outer: int, inner: int):
                learned = plan.learned(outer, inner)
                rows = list(zip(texts, fold_of, strict=True))
                return fit_baseline(
                    [text for text, fold in rows if fold in learned],
                    [text for text, fold in rows if fold == inner],
                )

            systems[BASELINE] = nested(plan, fitted, asked)
        systems = {kind_named(config.kind).name: nested(plan, members, asked)} | systems
        summary = summarise(plan, systems, prompts)
        write_json(root / "moderation.json", summary | provenance())
        write_text(root / "moderation.md", markdown(summary))
    print(markdown(summary))
    print(f"{root}: moderation.json and .md are written")


if __name__ == "__main__":
    run(main)
