r"""Reports what attention patterns cost, how they look and how far implementations agree.

python -m experiments.attention_report --output=runs/attention
python -m experiments.attention_report --output=runs/attention --lengths=1024,65536 \
    --patterns="banded(window=256);strided(stride=128)|sinks(window=1,sinks=4)"

Writes report.json, report.md, patterns.png with all patterns, and a picture of each.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from experiments.flags.command_line import run
from experiments.flags.paths import define_path
from gptjax.atomic_files import write_json, write_text
from gptjax.attention import Pattern, parse
from gptjax.attention.registered_patterns import registered_patterns
from gptjax.runs.caches import enable_compilation_cache
from gptjax.studies.attention_report import pictures, tables

_OUTPUT = define_path("output", None, "Directory that the report is written to. It must be given.")
_PATTERNS = flags.DEFINE_string(
    "patterns",
    None,
    "Attention patterns, separated by semicolons. By default all registered patterns are reported.",
)
_LENGTHS = flags.DEFINE_list(
    "lengths", ["1024", "8192", "131072"], "Lengths of the text in positions, separated by commas."
)


def _lengths(texts: Sequence[str]) -> list[int]:
    for text in texts or [""]:
        if not re.fullmatch(r"[1-9]\d*", text):
            raise ValueError(f"--lengths: got {text!r}, expected whole numbers of 1 or more")
    return [int(text) for text in texts]


def _picture(number: int, pattern: Pattern) -> str:
    """A file name, short whatever the pattern."""
    words = re.sub(r"\W+", "_", str(pattern)).strip("_")
    return f"{number:02}_{words[:60]}.png"


def main(argv: Sequence[str]) -> None:
    """Makes the report, one pattern after another."""
    from gptjax.runs.life.claim import claimed

    del argv
    if _OUTPUT.value is None:
        raise ValueError("--output: got none, expected a directory for the report")
    lengths = _lengths(_LENGTHS.value)
    patterns = registered_patterns(large=64, small=4)
    if _PATTERNS.value is not None:
        patterns = [one for text in _PATTERNS.value.split(";") for one in parse(text)]
    enable_compilation_cache()
    output = Path(_OUTPUT.value)
    with claimed(output, "--output"):
        _report(patterns, lengths, output)


def _report(patterns: Sequence[Pattern], lengths: list[int], output: Path) -> None:
    """Writes the report and its pictures."""
    from gptjax.runs.provenance import provenance
    from gptjax.studies.attention_report import costs, devices, parity

    rows: list[dict[str, Any]] = []
    for number, pattern in enumerate(patterns, start=1):
        print(f"{number} of {len(patterns)}: {pattern}", flush=True)
        picture = _picture(number, pattern)
        pictures.draw_patterns([pattern], output / picture, panel=640)
        rows.append(
            {
                "pattern": str(pattern),
                "picture": picture,
                "costs": [costs.pattern_costs(pattern, length) for length in lengths],
                "devices": [devices.device_choices(pattern, length) for length in lengths],
                "parity": parity.parity(pattern),
            }
        )
    report = {
        "heads": costs.HEADS,
        "head_dim": costs.HEAD_DIM,
        "dtype": costs.DTYPE,
        "parity_lengths": parity.LENGTHS,
        "lengths": [costs.length_costs(length) for length in lengths],
        "patterns": rows,
        **provenance(),
    }
    pictures.draw_patterns(
        patterns, output / "patterns.png", panel=320, columns=min(4, len(patterns))
    )
    write_json(output / "report.json", report)
    write_text(output / "report.md", tables.markdown(report))
    print(f"{output}/report.md, report.json and {len(patterns) + 1} pictures are written")


if __name__ == "__main__":
    run(main)
