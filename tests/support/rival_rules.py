"""What datatrove, dolma and NeMo Curator say of the made documents, recorded in rival_rules.json.

    python -m tests.support.rival_rules datatrove FOLDER
    python -m tests.support.rival_rules dolma FOLDER
    python -m tests.support.rival_rules nemo FOLDER

FOLDER is one that has the package, as `pip install --no-deps --target=FOLDER dolma msgspec` fills
it, or "" where it is installed. Their requirements exclude each other's (dolma's NumPy is below 2),
so that tests read the record. datatrove needs spaCy. Only the modules with the rules are imported.
"""

import hashlib
import importlib
import json
import sys
import types
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.support.rule_documents import rule_documents

UNCHANGED = "as it is"
RECORD = Path(__file__).with_name("rival_rules.json")

_OFF: dict[str, dict[str, Any]] = {
    "gopher_quality": {
        **dict.fromkeys(("min_doc_words", "max_doc_words", "min_stop_words")),
        **dict.fromkeys(("min_avg_word_length", "max_avg_word_length", "max_symbol_word_ratio")),
        **dict.fromkeys(("max_bullet_lines_ratio", "max_ellipsis_lines_ratio")),
        "max_non_alpha_words_ratio": None,
    },
    "gopher_repetition": {
        **dict.fromkeys(("dup_line_frac", "dup_para_frac", "dup_line_char_frac")),
        **{"dup_para_char_frac": None, "top_n_grams": (), "dup_n_grams": ()},
    },
    "fineweb": {
        "line_punct_thr": -1.0,
        "short_line_thr": 2.0,
        "char_duplicates_ratio": 2.0,
        "new_line_ratio": 1e9,
    },
}
# Our rule -> datatrove's option and its value.
DATATROVE: dict[str, dict[str, tuple[str, Any]]] = {
    "gopher_quality": {
        "least_words": ("min_doc_words", 50),
        "most_words": ("max_doc_words", 100000),
        "least_word_length": ("min_avg_word_length", 3),
        "most_word_length": ("max_avg_word_length", 10),
        "most_symbols": ("max_symbol_word_ratio", 0.1),
        "most_bullet_lines": ("max_bullet_lines_ratio", 0.9),
        "most_ellipsis_lines": ("max_ellipsis_lines_ratio", 0.3),
        "least_alphabetic": ("max_non_alpha_words_ratio", 0.8),
        "least_stop_words": ("min_stop_words", 2),
    },
    "gopher_repetition": {
        "repeated_lines": ("dup_line_frac", 0.3),
        "repeated_paragraphs": ("dup_para_frac", 0.3),
        "repeated_line_characters": ("dup_line_char_frac", 0.2),
        "repeated_paragraph_characters": ("dup_para_char_frac", 0.2),
        **{f"top_{n}_gram": ("top_n_grams", ((n, 0.24 - n * 0.02),)) for n in (2, 3, 4)},
        **{f"repeated_{n}_grams": ("dup_n_grams", ((n, (20 - n) / 100),)) for n in range(5, 11)},
    },
    "fineweb": {
        "least_ended_lines": ("line_punct_thr", 0.12),
        "most_short_lines": ("short_line_thr", 0.67),
        "most_repeated_characters": ("char_duplicates_ratio", 0.01),
        "most_line_feeds": ("new_line_ratio", 0.3),
    },
}
DATATROVE["gopher_repetition"]["top_2_gram"] = ("top_n_grams", ((2, 0.2),))


def datatrove_filters() -> dict[str, Any]:
    """Names of our rule sets, and of single rules of them, with datatrove's filter for each."""
    filters = importlib.import_module("datatrove.pipeline.filters")
    kinds = {
        "gopher_quality": filters.GopherQualityFilter,
        "gopher_repetition": filters.GopherRepetitionFilter,
        "fineweb": filters.FineWebQualityFilter,
        "c4": filters.C4QualityFilter,
        "c4_paragraphs": filters.C4ParagraphFilter,
    }
    made = {name: kind() for name, kind in kinds.items()}
    for name, rules in DATATROVE.items():
        for rule, (option, value) in rules.items():
            made[f"{name}.{rule}"] = kinds[name](**(_OFF[name] | {option: value}))
    return made


def said_by(filter: Any, text: str) -> str:
    """What datatrove's filter does: "dropped", "as it is", "to" and a digest; or an error."""
    document = importlib.import_module("datatrove.data").Document(text=text, id="0")
    try:
        kept = filter.filter(document)
    except (ZeroDivisionError, IndexError) as error:
        return type(error).__name__
    if kept is not True:
        return "dropped"
    return UNCHANGED if document.text == text else f"to {digest(document.text)}"


def digest(text: str) -> str:
    """Twelve hexadecimal digits that tell texts apart."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _datatrove(texts: dict[str, str]) -> dict[str, Any]:
    filters, record = datatrove_filters(), {}
    for name, text in texts.items():
        said = {rule: said_by(filter, text) for rule, filter in filters.items()}
        record[name] = {rule: what for rule, what in said.items() if what != UNCHANGED}
    return record


def _bare_packages(top: str, *below: str) -> None:
    """Lets modules be imported without what their packages import first."""
    for name in (top, *(f"{top}.{path}" for path in below)):
        package = types.ModuleType(name)
        paths = (Path(folder, *name.split(".")) for folder in sys.path)
        package.__path__ = [str(path) for path in paths if path.is_dir()]
        sys.modules[name] = package


def _dolma(texts: dict[str, str]) -> dict[str, Any]:
    _bare_packages("dolma", "core", "taggers")
    gopher = importlib.import_module("dolma.taggers.gopher")
    c4 = importlib.import_module("dolma.taggers.c4")
    document = importlib.import_module("dolma.core.data_types").Document
    record = {}
    for name, text in texts.items():
        spans = gopher.get_attributes(text).as_spans()
        tagged = c4.FasterC4Tagger().predict(document(id="0", text=text, source="")).spans
        lines = [span for span in tagged if span.type.startswith("lines_with")]
        record[name] = {
            "gopher": {span.type: round(span.score, 12) for span in spans},
            "c4": sorted({span.type for span in tagged} - {span.type for span in lines}),
            "left": digest(_without(text, [(span.start, span.end) for span in lines])),
        }
    return record


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    gone = {place for start, end in spans for place in range(start, end)}
    return "".join(text[place] for place in range(len(text)) if place not in gone)


def _nemo(texts: dict[str, str]) -> dict[str, Any]:
    _bare_packages(
        "nemo_curator", "stages", "stages.text", "stages.text.filters", "stages.text.utils"
    )
    string = importlib.import_module("nemo_curator.stages.text.filters.heuristic.string")
    repeats = importlib.import_module(
        "nemo_curator.stages.text.filters.heuristic.repetition.repetition"
    )
    filters = {
        "words": string.WordCountFilter(),
        "word_length": string.MeanWordLengthFilter(),
        "symbols": string.SymbolsToWordsFilter(),
        "bullet_lines": string.BulletsFilter(),
        "ellipsis_lines": string.EllipsisFilter(),
        "alphabetic": string.WordsWithoutAlphabetsFilter(),
        "stop_words": string.CommonEnglishWordsFilter(stop_at_false=False),
        "repeated_lines": repeats.RepeatedLinesFilter(),
        "repeated_paragraphs": repeats.RepeatedParagraphsFilter(),
        "repeated_line_characters": repeats.RepeatedLinesByCharFilter(),
        "repeated_paragraph_characters": repeats.RepeatedParagraphsByCharFilter(),
        **{f"top_{n}_gram": repeats.RepeatingTopNGramsFilter(n) for n in (2, 3, 4)},
        **{f"repeated_{n}_grams": repeats.RepeatingDuplicateNGramsFilter(n) for n in range(5, 11)},
    }

    def score(filter: Any, text: str) -> float | str:
        try:
            return round(filter.score_document(text), 12)
        except ZeroDivisionError as error:
            return type(error).__name__

    return {
        name: {rule: score(filter, text) for rule, filter in filters.items()}
        for name, text in texts.items()
    }


def main() -> None:
    """Records what one project says."""
    project, folder = sys.argv[1:]
    if folder:
        sys.path.append(folder)
    package = {"nemo": "nemo-curator"}.get(project, project)
    say = {"datatrove": _datatrove, "dolma": _dolma, "nemo": _nemo}[project]
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    record[project] = {"version": metadata.version(package), "said": say(rule_documents())}
    RECORD.write_text(json.dumps(record, separators=(",", ":"), sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
