"""The figures of the suite `accelerator` for people: Markdown made of the values of its JSON file.

text = markdown(json.load(open("accelerator.json")))
"""

from collections.abc import Iterator, Mapping
from typing import Any

from gptjax.reports.markdown import markdown_table

COLUMNS = {
    "training": ("tokens_per_second", "mfu", "executed_mfu", "compile_seconds", "bytes"),
    "decoding": ("token_seconds", "tokens_per_second", "share_of_bandwidth"),
    "attention": ("seconds", "useful_flops_per_second", "share_of_peak", "bytes"),
    "torch.training": ("tokens_per_second", "torch_tokens_per_second", "over_torch"),
    "torch.attention": ("seconds", "useful_flops_per_second", "share_of_peak"),
}


def markdown(figures: Mapping[str, Any]) -> str:
    """All tables, what computes attention, what failed and what was left out."""
    device, parts = figures["device"], figures["parts"]
    lines = [f"# {device['kind']}", ""]
    lines.append(
        f"{figures['seconds']:,.0f} of {figures['budget_seconds']:,.0f} s, {figures['dtype']}, "
        f"jax {figures['versions'].get('jax')}; commit {figures.get('commit')}"
    )
    lines.append("")
    peaks = parts.get("peaks", {})
    lines += [*markdown_table(("peak", "value"), _cells(peaks)), ""]
    for group, columns in COLUMNS.items():
        rows = [
            [name.removeprefix(f"{group}."), *(_number(found.get(column)) for column in columns)]
            for name, found in parts.items()
            if name.startswith(f"{group}.")
        ]
        if rows:
            lines += [f"## {group}", "", *markdown_table(("part", *columns), rows), ""]
    lines += ["## What computes attention", ""]
    lines += [f"- `{name}`: {text}" for name, text in figures["attention"].items()]
    for title in ("failed", "left_out"):
        if figures[title]:
            lines += ["", f"## {title.replace('_', ' ').capitalize()}", ""]
            lines += [f"- {name}: {text}" for name, text in figures[title].items()]
    return "\n".join(lines) + "\n"


def _cells(values: Mapping[str, Any]) -> Iterator[list[str]]:
    for name, value in values.items():
        yield [name, _number(value)]


def _number(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:,.4g}"
