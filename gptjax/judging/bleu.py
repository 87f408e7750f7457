"""BLEU and chrF of translations, by sacrebleu, with the signatures that say how they are computed.

BLEU: Papineni et al. 2002; Post 2018 (arXiv 1804.08771) for what is comparable. The figures of
Attention Is All You Need are of tokenised text with its compounds split, which is worth 0.7 to 1.

    scores(["Hallo Welt"], ["Hallo, Welt!"])["bleu"]
"""

import importlib
from collections.abc import Sequence
from typing import Any


def check_available() -> Any:
    """Imports sacrebleu; ValueError, which names the extra, where it is not installed."""
    try:
        return importlib.import_module("sacrebleu")
    except ImportError:
        raise ValueError(
            "BLEU needs the package sacrebleu, which is not installed; expected the extra "
            "`translation` (pip install 'gptjax[translation]')"
        ) from None


def scores(
    translations: Sequence[str], references: Sequence[str], tokenizer: str = "13a"
) -> dict[str, Any]:
    """Scores of translations of plain text, one reference each.

    Args:
      translations: what is scored.
      references: as many.
      tokenizer: how BLEU divides text into words, in sacrebleu's words: 13a, zh, char, ...

    Returns:
      `bleu` and `chrf`, from 0 to 100, with `bleu_signature` and `chrf_signature`.
    """
    sacrebleu, figures = check_available(), {}
    for name, metric in (
        ("bleu", sacrebleu.BLEU(tokenize=tokenizer)),
        ("chrf", sacrebleu.CHRF()),
    ):
        figures[name] = metric.corpus_score(list(translations), [list(references)]).score
        figures[f"{name}_signature"] = str(metric.get_signature())
    return figures
