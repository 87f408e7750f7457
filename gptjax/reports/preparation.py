"""The report on prepared data: as text, as JSON, and as a page with pictures.

text = write_report(Path("DIR"), report)      # DIR/report.txt and DIR/report.html

A report is what `gptjax.curation.pipeline.prepare.prepare` returns.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gptjax.atomic_files import write_text
from gptjax.reports.markdown import markdown_table
from gptjax.reports.page import html_page, html_table, picture

Part = tuple[str, Sequence[str], list[list[str]]]  # heading, column names, rows
_SHOWN_FAULTS = 10
_REASONS_OF_PICTURE = 14


def write_report(output: Path, report: Mapping[str, Any]) -> str:
    """Writes both forms for people; returns the text."""
    text = "\n".join(_text(report))
    write_text(output / "report.txt", text + "\n")
    page = html_page(f"Prepared data: {output.name}", _body(report))
    write_text(output / "report.html", page)
    return text


def _text(report: Mapping[str, Any]) -> Iterator[str]:
    for heading, names, rows in _parts(report):
        yield from (heading, "", *_aligned(names, rows), "")
    yield from (line for _, line in _faults(report))
    yield (
        f"{report['shards']} shards, {report['tokens']['train']:,} tokens to train on, "
        f"{report['tokens']['validation']:,} held out, content {report['content_hash'][:12]}"
    )


def _aligned(names: Sequence[str], rows: list[list[str]]) -> list[str]:
    """A table in Markdown whose columns are aligned."""
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    padded = [
        [
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in (names, *rows)
    ]
    head, rule, *lines = markdown_table(padded[0], padded[1:])
    dashes = ("-" * width for width in widths)
    del rule
    return [head, "| " + " | ".join(dashes) + " |", *lines]


def _parts(report: Mapping[str, Any]) -> Iterator[Part]:
    sources = report["sources"]
    yield (
        "Documents: read = kept + dropped",
        ("source", "read", "MB read", "kept", "dropped", "MB kept", "tokens"),
        [
            [
                name,
                f"{of['read']:,}",
                f"{of['read_bytes'] / 1e6:,.2f}",
                f"{of['kept']:,}",
                f"{sum(of['dropped'].values()):,}",
                f"{of['text_bytes'] / 1e6:,.2f}",
                f"{of['tokens']:,}",
            ]
            for name, of in sources.items()
        ],
    )
    dropped = _by_reason(sources, "dropped")
    if dropped:
        yield ("Dropped, by reason", ("reason", *sources), dropped)
    lines = _by_reason(sources, "removed_lines")
    if lines:
        yield ("Lines removed from documents that went on, by rule", ("rule", *sources), lines)
    yield (
        "Mixture (as table 2.2 of GPT-3)",
        ("source", "tokens", "asked", "achieved", "epochs"),
        [
            [
                row["source"],
                f"{row['tokens']:,}",
                f"{row['asked']:.2%}",
                f"{row['achieved']:.2%}",
                f"{row['epochs']:.2f}",
            ]
            for row in report["mixture"]
        ],
    )
    if found := report.get("near_duplicates"):
        largest = ", ".join(map(str, found["largest"][:5])) or "none"
        names = ("documents", "candidates", "pairs", "clusters")
        rows = [[name, f"{found[name]:,}"] for name in names]
        yield ("Near-duplicates", ("what", "count"), [*rows, ["largest clusters", largest]])
    if quality := report.get("quality"):
        names = {
            "AUC": quality["auc"],
            "precision": quality["precision"],
            "recall": quality["recall"],
            "F1": quality["f1"],
            "negatives kept by the draw": quality["kept_by_draw"],
            "positives kept by the draw": quality["positives_by_draw"],
        }
        rows = [[name, f"{value:.4f}"] for name, value in names.items()]
        yield (
            "Quality classifier, on documents that it did not learn from",
            ("figure", "value"),
            rows,
        )
        if "sifted" in quality:  # not of a preparation by an earlier version
            known = [["sifted", f"{quality['sifted']:,}"]]
            known.append(["of them learned as negatives", f"{quality['sifted_learned']:,}"])
            yield ("Quality classifier, what it knew", ("documents", "count"), known)
    if contamination := report.get("contamination"):
        yield (
            "Evaluation sets in what is left",
            ("set", "n-gram", "items", "looked up", "dirty", "clean"),
            [
                [
                    row["name"],
                    str(row["words"]),
                    f"{row['items']:,}",
                    f"{row['looked_up']:,}",
                    f"{row['dirty']:,}",
                    f"{row['clean_share']:.2%}",
                ]
                for row in contamination
            ],
        )


def _by_reason(sources: Mapping[str, Any], field: str) -> list[list[str]]:
    reasons = sorted({reason for of in sources.values() for reason in of[field]})
    return [
        [reason, *(f"{of[field].get(reason, 0):,}" for of in sources.values())]
        for reason in reasons
    ]


def _faults(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The first rows of each source that hold no document."""
    for name, of in report["sources"].items():
        for fault in of["faults"][:_SHOWN_FAULTS]:
            yield name, f"{name}: no document in {fault}"


def _body(report: Mapping[str, Any]) -> Iterator[str]:
    yield picture(_funnel(report), "documents of each source, by what became of them")
    for heading, names, rows in _parts(report):
        yield f"<section><h2>{heading}</h2>{html_table(names, rows)}"
        if heading.startswith("Mixture"):
            yield picture(_mixture(report), "shares asked and achieved")
        if heading.startswith("Quality"):
            yield picture(_quality(report["quality"]), "ROC curve and histogram of scores")
            rows = [
                [one["document"], f"{one['score']:.3f}", one["text"]]
                for one in report["quality"]["border"]
            ]
            yield "<h2>Nearest to the border</h2>"
            yield html_table(("document", "score", "text"), rows, words=True)
        yield "</section>"
    faults = [list(row) for row in _faults(report)]
    if faults:
        yield "<section><h2>Rows that hold no document</h2>"
        yield html_table(("source", "fault"), faults, words=True) + "</section>"


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure((width, height), layout="constrained")


def _funnel(report: Mapping[str, Any]) -> Any:
    """Bars of all sources: what was kept, and what was dropped by the commonest reasons."""
    sources = report["sources"]
    reasons: dict[str, int] = {}
    for of in sources.values():
        for reason, count in of["dropped"].items():
            reasons[reason] = reasons.get(reason, 0) + count
    common = sorted(reasons, key=lambda reason: (-reasons[reason], reason))[:_REASONS_OF_PICTURE]
    figure = _figure(9, 1.6 + 0.5 * len(sources))
    axes = figure.subplots()
    left = dict.fromkeys(sources, 0.0)
    for reason in ("kept", *common, "other"):
        shares = {}
        for name, of in sources.items():
            known = {"kept": of["kept"], **{each: of["dropped"].get(each, 0) for each in common}}
            known["other"] = of["read"] - sum(known.values())
            shares[name] = known[reason] / max(of["read"], 1)
        if any(shares.values()):
            colour = {"kept": "#2e7d5b", "other": "#999999"}.get(reason)
            values, at = list(shares.values()), list(left.values())
            axes.barh(list(sources), values, left=at, label=reason, color=colour)
            left = {name: left[name] + shares[name] for name in sources}
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the documents read")
    axes.invert_yaxis()
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def _mixture(report: Mapping[str, Any]) -> Any:
    rows = report["mixture"]
    figure = _figure(6, 1.2 + 0.4 * len(rows))
    axes = figure.subplots()
    for place, (name, colour) in enumerate((("asked", "#b0b6bd"), ("achieved", "#2e7d5b"))):
        heights = [number + (place - 0.5) * 0.36 for number in range(len(rows))]
        values = [row[name] for row in rows]
        axes.barh(heights, values, height=0.34, label=name, color=colour)
    axes.set_yticks(range(len(rows)), [row["source"] for row in rows])
    axes.set_xlabel("share of the rows")
    axes.invert_yaxis()
    axes.legend(frameon=False)
    return figure


def _quality(quality: Mapping[str, Any]) -> Any:
    figure = _figure(9, 3)
    curve, scores = figure.subplots(1, 2)
    curve.plot(quality["false_positive_rate"], quality["true_positive_rate"], color="#2e7d5b")
    curve.set(
        xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1.02)
    )
    for name, counts in quality["histogram"].items():
        edges = [number / len(counts) for number in range(len(counts) + 1)]
        scores.stairs(counts, edges, label=name, fill=True, alpha=0.6)
    scores.set(xlabel="score", ylabel="documents")
    scores.legend(frameon=False)
    return figure
