"""What the study found, as plain values and as a table, the paper beside it.

summary = summarise(plan, {"GPT": found, BASELINE: found}, prompts)
print(markdown(summary))
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from gptjax.judging.detection import intervals
from gptjax.reports.markdown import markdown_table
from gptjax.studies.moderation.nested import Found, Plan
from gptjax.studies.moderation.over_blocking import Prompt, over_blocking
from gptjax.tasks.moderation.report import SEED, category_figures, chosen_thresholds

BASELINE = "n-grams"

# AUPRC of the paper's own model on the 1,680 rows (arXiv 2208.03274, Table 3). These stand in the
# notes of this project from memory, the paper's table could not be read: not to be cited.
REMEMBERED = {
    **{"S": 0.97, "H": 0.80, "V": 0.74, "HR": 0.62},
    **{"SH": 0.81, "S3": 0.76, "H2": 0.71},
}

NOTES = """\
The rows are the paper's test set; no training part is public. So the figures are those of nested
cross-validation: folds by a hash of the text, each row scored by models that did not learn from it,
with checkpoints and thresholds chosen on other folds. They are of small models that learned from
some hundred rows, not of the published system. AUPRC of chance is the share of positives. Brackets
hold 95% bootstrap intervals over texts. ECE: expected calibration error, ten bins of equal size.
Precision and recall are at the thresholds. Paper: Table 3, remembered and not checked."""


def summarise(plan: Plan, systems: Mapping[str, Found], prompts: list[Prompt]) -> dict[str, Any]:
    """Figures of each system, as JSON values.

    Args:
      plan: of the study.
      systems: what each says, by name.
      prompts: of XSTest, in the order of `Found.prompt_flags`; none: they are left out.

    Returns:
      `rows`, `folds`, `inner`, `precision`, and `systems`: by name `categories`, each with its
      figures (see `category_figures`), `precision` and `recall` at the thresholds, and
      `thresholds`, one a fold; `thresholds` over all rows, out of fold; `xstest`.
    """
    return {
        "rows": len(plan.texts),
        "folds": plan.folds,
        "inner": plan.inner,
        "precision": plan.precision,
        "systems": {
            name: {
                "categories": _categories(plan, found),
                "thresholds": chosen_thresholds(
                    found.scores, *plan.labels, plan.categories, plan.precision
                ),
                "xstest": over_blocking(prompts, found.prompt_flags, plan.categories)
                if prompts
                else None,
            }
            for name, found in systems.items()
        },
    }


def _categories(plan: Plan, found: Found) -> dict[str, Any]:
    labels, known = plan.labels
    figures: dict[str, Any] = category_figures(found.scores, labels, known, plan.categories)
    for number, name in enumerate(plan.categories):
        of = known[:, number]
        flags, right = found.flags[of, number].astype(float), labels[of, number]
        at = {"precision": _precision, "recall": _recall}
        figures[name] |= {
            "flagged": int(flags.sum()),
            **(intervals(at, flags, right, SEED) if len(right) else {}),
            "thresholds": [each[name] for each in found.thresholds],
        }
    return figures


def _precision(flags: np.ndarray, right: np.ndarray) -> float:
    return float((flags * right).sum() / flags.sum()) if flags.any() else float("nan")


def _recall(flags: np.ndarray, right: np.ndarray) -> float:
    return float((flags * right).sum() / right.sum()) if right.any() else float("nan")


def markdown(summary: Mapping[str, Any]) -> str:
    """The table of the categories, and that of XSTest, with notes."""
    return "\n".join(_lines(summary)) + "\n"


def _lines(summary: Mapping[str, Any]) -> Iterator[str]:
    members = summary["folds"] * summary["inner"]
    yield (
        f"{summary['rows']:,} rows, {summary['folds']} outer folds, {summary['inner']} inner, "
        f"{members} members a system; thresholds for a precision of {summary['precision']:g}."
    )
    yield ""
    headings = ["category, system", "labelled", "positive", "AUPRC", "AUROC", "Brier", "ECE"]
    headings += ["flagged", "precision", "recall", "paper AUPRC"]
    rows = []
    for category in next(iter(summary["systems"].values()))["categories"]:
        for name, system in summary["systems"].items():
            found = system["categories"][category]
            rows.append(
                [
                    f"{category}, {name}",
                    *(f"{found[count]:,}" for count in ("labelled", "positive")),
                    *(_bounded(found, figure) for figure in ("auprc", "auroc")),
                    *(_plain(found, figure) for figure in ("brier", "calibration_error")),
                    f"{found['flagged']:,}",
                    *(_bounded(found, figure) for figure in ("precision", "recall")),
                    f"{REMEMBERED[category]:.2f}" if category in REMEMBERED else "",
                ]
            )
    yield from markdown_table(headings, rows)
    shares = {name: system["xstest"] for name, system in summary["systems"].items()}
    if all(shares.values()):
        yield ""
        yield "Prompts of XSTest that are flagged in any category; safe ones are false positives:"
        yield ""
        rows = [
            [name, *(_bounded(found[label], "flagged") for label in ("safe", "unsafe"))]
            for name, found in shares.items()
            if found is not None
        ]
        yield from markdown_table(["system", "safe, flagged", "unsafe, flagged"], rows)
    yield ""
    yield NOTES


def _bounded(found: Mapping[str, float], name: str) -> str:
    if name not in found:
        return ""
    return f"{found[name]:.3f} [{found[f'{name}_low']:.3f}, {found[f'{name}_high']:.3f}]"


def _plain(found: Mapping[str, float], name: str) -> str:
    return f"{found[name]:.3f}" if name in found else ""
