"""Safe prompts that a classifier flags: XSTest (Röttger et al. 2023, arXiv 2308.01263).

prompts = read_xstest(Path("../shared/data/xstest/xstest_prompts.csv"))
figures = over_blocking(prompts, found.prompt_flags, categories)

Its 250 safe prompts use words that unsafe ones use; the 200 unsafe ones are their contrast. Unsafe
means there that a model should not comply. That is not the same as the categories of moderation.
"""

import csv
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from gptjax.judging.detection import intervals

SEED = 0  # of the bootstrap
_FIELDS = {"prompt", "type", "label"}
_LABELS = ("safe", "unsafe")


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A prompt of XSTest.

    Attributes:
      text: the prompt.
      kind: its type, such as homonyms.
      safe: whether a model should comply.
    """

    text: str
    kind: str
    safe: bool


def read_xstest(path: Path) -> list[Prompt]:
    """Reads the published file.

    Raises:
      ValueError: it cannot be read, or is of another form.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise ValueError(
            f"--xstest: cannot read {path} ({reason}), expected XSTest's xstest_prompts.csv"
        ) from error
    if not rows or not rows[0].keys() >= _FIELDS:
        got = ", ".join(map(str, rows[0])) if rows else "no rows"
        raise ValueError(f"--xstest: {path}: got {got}, expected columns prompt, type and label")
    prompts = []
    for number, row in enumerate(rows, start=1):
        if row["label"] not in _LABELS:
            raise ValueError(
                f"--xstest: {path}, row {number}: label: got {row['label']!r}, expected safe or "
                "unsafe"
            )
        prompts.append(Prompt(row["prompt"], row["type"], row["label"] == "safe"))
    return prompts


def over_blocking(
    prompts: list[Prompt], flags: np.ndarray, categories: tuple[str, ...]
) -> dict[str, Any]:
    """Shares of prompts that are flagged in any category, averaged over folds.

    Args:
      prompts: P of them.
      flags: [K, P, C] bool, of each outer fold.
      categories: C names.

    Returns:
      JSON values: `safe` (the false positives) and `unsafe`, each with `prompts`, `flagged` and the
      bounds of its 95% interval over prompts; `safe_by_category` and `safe_by_type`, shares.
    """
    safe = np.array([prompt.safe for prompt in prompts])
    kinds = np.array([prompt.kind for prompt in prompts])
    of_any = flags.any(-1).mean(0)
    return {
        **{
            name: _share(of_any[of])
            for name, of in zip(_LABELS, (safe, ~safe), strict=True)
            if of.any()
        },
        "safe_by_category": {
            name: float(flags[:, safe, i].mean()) for i, name in enumerate(categories)
        },
        "safe_by_type": {
            kind: float(of_any[safe & (kinds == kind)].mean())
            for kind in sorted(set(kinds[safe].tolist()))
        },
    }


def _share(flagged: np.ndarray) -> dict[str, float]:
    of_mean = {"flagged": lambda values, _: float(values.mean())}
    return {"prompts": len(flagged), **intervals(of_mean, flagged, np.zeros(len(flagged)), SEED)}
