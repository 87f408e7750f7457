"""The report for people: Markdown made of the values that report.json holds.

text = markdown(report)
"""

from collections.abc import Iterator, Sequence
from typing import Any

from gptjax.reports.markdown import markdown_table

NOTES = """\
Pairs: those that may attend in a decoder, over the T (T + 1) / 2 of `dense`. Computed: the pairs
in blocks that blockwise attention visits, over the same. FLOPs are those of computed pairs, of one
text and {heads} heads of {head_dim}: forward 4 D a pair and head, backward 8 D. The KV cache, in
{dtype}, is that of decoding token by token: patterns of bounded reach keep a ring.
"""


def markdown(report: dict[str, Any]) -> str:
    """All tables and pictures.

    Args:
      report: the values of report.json.
    """
    parts = [
        "# Attention patterns",
        "",
        "![all patterns](patterns.png)",
        "",
        NOTES.format(**report),
    ]
    for place, shared in enumerate(report["lengths"]):
        parts += [*_costs(report["patterns"], shared, place), ""]
    parts += [*_devices(report["patterns"], report["lengths"]), ""]
    parts += [*_parity(report["patterns"], report["parity_lengths"]), "", "## Pictures", ""]
    parts += [f"- [`{row['pattern']}`]({row['picture']})" for row in report["patterns"]]
    return "\n".join(parts) + "\n"


def _costs(
    patterns: Sequence[dict[str, Any]], shared: dict[str, float], place: int
) -> Iterator[str]:
    """The table of one length, the `place`-th."""
    yield f"## {shared['length']:,} positions"
    yield ""
    yield (
        f"As if nothing were skipped: forward {_giga(shared['forward_flops'])} GFLOP, backward "
        f"{_giga(shared['backward_flops'])} GFLOP; the scores of all pairs would take "
        f"{_mebi(shared['score_bytes'])} MiB. In training blockwise attention holds "
        f"{_mebi(shared['training_bytes'])} MiB whatever the pattern: queries, keys, values and "
        "output, their gradients, and the log-sum-exp; its tiles come on top."
    )
    yield ""
    yield from markdown_table(
        ("pattern", "pairs", "computed", "forward GFLOP", "backward GFLOP", "KV cache MiB"),
        (_cost_cells(row["pattern"], row["costs"][place]) for row in patterns),
    )


def _cost_cells(pattern: str, costs: dict[str, Any]) -> list[str]:
    if "refused" in costs:
        return [f"`{pattern}`", costs["refused"], *[""] * 4]
    return [
        f"`{pattern}`",
        f"{costs['density']:.2%}",
        f"{costs['executed_density']:.2%}",
        _giga(costs["forward_flops"]),
        _giga(costs["backward_flops"]),
        _mebi(costs["cache_bytes"]),
    ]


def _devices(
    patterns: Sequence[dict[str, Any]], lengths: Sequence[dict[str, float]]
) -> Iterator[str]:
    """What computes each pattern on devices, which need not be at hand, and why."""
    yield "## Implementations by device"
    yield ""
    yield "What `auto` takes for a text, without packing, dropout or a score change."
    for place, shared in enumerate(lengths):
        yield ""
        columns = [row["device"] for row in patterns[0]["devices"][place]]
        cells = (
            [
                f"`{row['pattern']}`",
                *(", ".join(x["implementations"]) for x in row["devices"][place]),
            ]
            for row in patterns
        )
        yield from markdown_table((f"at {shared['length']:,} positions", *columns), cells)
        reasons = (
            f"- {column['device']}: {reason}"
            for row in patterns
            for column in row["devices"][place]
            for reason in column["reasons"]
        )
        yield ""
        yield from dict.fromkeys(reasons)


def _parity(patterns: Sequence[dict[str, Any]], lengths: Sequence[int]) -> Iterator[str]:
    """The parity matrix, and why implementations refused."""
    yield "## Parity"
    yield ""
    yield (
        "Largest absolute difference from the reference in float32, output / gradients of q, k and "
        f"v, found by running each at {' and '.join(map(str, lengths))} positions."
    )
    yield ""
    columns = [f"{row['implementation']}, {row['dtype']}" for row in patterns[0]["parity"]]
    cells = ([f"`{row['pattern']}`", *map(_parity_cell, row["parity"])] for row in patterns)
    yield from markdown_table(("pattern", *columns), cells)
    yield ""
    for place, column in enumerate(columns):
        refusals = [row["parity"][place].get("refused") for row in patterns]
        some = [refusal for refusal in refusals if refusal is not None]
        if some:
            yield f"- {column}: refuses {len(some)} of {len(refusals)}; the first: {some[0]}"


def _parity_cell(row: dict[str, Any]) -> str:
    if "refused" in row:
        return "refused"
    errors = row["output_error"], row["gradient_error"]
    return " / ".join(f"{error:.1e}" if error else "0" for error in errors)


def _giga(flops: float) -> str:
    return f"{flops / 1e9:,.4g}"


def _mebi(count: float) -> str:
    return f"{count / 2**20:,.4g}"
