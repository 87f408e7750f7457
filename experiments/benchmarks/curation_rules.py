"""Rules of the data engine beside datatrove's, on the same documents, with the same verdicts.

figures = measure_rules(rounds=3)
figures["over_datatrove"]         # how many times as long datatrove takes
"""

import importlib
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from experiments.benchmarks.interleaved import interleaved, medians, ratio
from gptjax.curation.heuristics import RULES, apply_rules
from gptjax.curation.normalise import normalise
from gptjax.data.corpora.text import load_corpus

RULE_SETS = {
    "gopher_quality": "GopherQualityFilter",
    "gopher_repetition": "GopherRepetitionFilter",
    "fineweb": "FineWebQualityFilter",
}
_CHARACTERS = 1_000_000  # of all documents, in documents of at most `_PAGE`
_PAGE = 4_000


def measure_rules(rounds: int) -> dict[str, Any]:
    """Seconds of Gopher's and FineWeb's rules over a megabyte of docstrings, on one core.

    Ours run with words of their own and with spaCy's, which datatrove has: there the verdicts are
    the same. Without datatrove and spaCy (extra `datatrove`) only ours are timed.

    Args:
      rounds: of each.
    """
    pages = _pages()
    size = sum(len(page.encode()) for page in pages)
    programs = {"ours": _ours("english"), "repair": _repair}
    figures: dict[str, Any] = {"documents": len(pages), "bytes": size}
    try:
        theirs, same_words = _theirs(), _ours("spacy")
    except (ImportError, ValueError):
        figures["datatrove"] = "not installed: extra `datatrove`"
    else:
        programs |= {"ours_spacy": same_words, "datatrove": theirs}
        figures["verdicts_that_differ"] = sum(
            mine != other for mine, other in zip(same_words(pages), theirs(pages), strict=True)
        )
    seconds = interleaved(
        {name: _timed(program, pages) for name, program in programs.items()}, rounds
    )
    figures |= medians(seconds)
    for name in programs:
        rate = size / 1e6 / statistics.median(seconds[name])
        figures[f"{name}_megabytes_per_second"] = rate
    if "datatrove" in programs:
        figures["over_datatrove"] = ratio(seconds, "datatrove", "ours")
        figures["over_datatrove_same_words"] = ratio(seconds, "datatrove", "ours_spacy")
    return figures


Program = Callable[[Sequence[str]], list[bool]]


def _pages() -> list[str]:
    pages, characters = [], 0
    for document in load_corpus("python_docs"):
        for start in range(0, len(document.text), _PAGE):
            pages.append(document.text[start : start + _PAGE])
            characters += len(pages[-1])
        if characters > _CHARACTERS:
            break
    return pages


def _ours(words: str) -> Program:
    rule_sets: list[Any] = [RULES.get(name)(words=words) for name in RULE_SETS]  # pyright: ignore
    apply_rules("Words are divided for the first time.", rule_sets)
    return lambda pages: [apply_rules(page, rule_sets).dropped is None for page in pages]


def _repair(pages: Sequence[str]) -> list[bool]:
    return [normalise(page) == page for page in pages]


def _theirs() -> Program:
    filters = importlib.import_module("datatrove.pipeline.filters")
    document = importlib.import_module("datatrove.data").Document
    chain = [getattr(filters, name)() for name in RULE_SETS.values()]

    def keeps(page: str) -> bool:
        made = document(text=page, id="0")
        return all(rules.filter(made) is True for rules in chain)

    return lambda pages: [keeps(page) for page in pages]


def _timed(program: Program, pages: Sequence[str]) -> Callable[[], float]:
    def seconds() -> float:
        began = time.process_time()
        program(pages)
        return time.process_time() - began

    return seconds
