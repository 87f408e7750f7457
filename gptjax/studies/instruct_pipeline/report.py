"""The evidence of a pipeline for people: a table, the claims, over-optimisation, samples.

write_report(Path("runs/instruct"), "instruct_demo", results, verdict)
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gptjax.atomic_files import write_text
from gptjax.reports import markdown
from gptjax.reports.samples import write_samples
from gptjax.studies.instruct_pipeline.evidence import Claim, checked, means
from gptjax.studies.instruct_pipeline.judgement import Verdict
from gptjax.training.reporting.metrics import read_metrics

HEADINGS = (
    "system",
    "gold reward",
    "reward model",
    "win rate against SFT",
    "KL to SFT, nats",
    "tokens",
    "finished",
    "loss on text, nats",
)


def write_report(root: Path, name: str, results: Sequence[dict[str, Any]], last: Verdict) -> None:
    """Writes table.md, overoptimisation.png and samples.html below `root`.

    Args:
      root: of the pipeline.
      name: of the pipeline.
      results: of each seed, as `instruct.json` keeps them.
      last: of the last seed, whose samples are shown.
    """
    write_text(root / "table.md", "\n".join(report_lines(name, results)) + "\n")
    runs = {system: root / f"seed{len(results) - 1}" / system for system in ("ppo", "ppo_ptx")}
    plot_overoptimisation(
        root / "overoptimisation.png",
        {system: read_metrics(path / "metrics.jsonl") for system, path in runs.items()},
        last.best_of_n,
    )
    systems = {system: each.samples for system, each in last.systems.items()}
    write_samples(root / "samples.html", last.prompts, systems, title=f"{name}: side by side")


def report_lines(name: str, results: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Table and claims in Markdown."""
    yield f"# {name}"
    yield ""
    yield f"Means over {len(results)} seeds; win rates by gold reward, of one seed's prompts each."
    yield ""
    rows = [_row(system, figures) for system, figures in means(results).items()]
    yield from markdown.markdown_table(HEADINGS, rows)
    yield ""
    for claim in checked(results):
        yield f"- {said(claim)}"


def said(claim: Claim) -> str:
    """A claim as a line: whether it holds, and its figure for each seed."""
    figures = ", ".join(f"{figure:.3g}" for figure in claim.figures)
    return f"{'holds' if claim.holds else 'FAILS'}: {claim.text}: {figures}"


def _row(system: str, figures: dict[str, Any]) -> list[str]:
    low, high = figures["win_rate_low"], figures["win_rate_high"]
    return [
        system,
        f"{figures['gold']:.3f}",
        f"{figures['reward_model']:.2f}",
        f"{figures['win_rate']:.1%} ({low:.1%} to {high:.1%})",
        f"{figures['kl']:.2f}",
        f"{figures['length']:.1f}",
        f"{figures['finished']:.0%}",
        "as SFT" if figures["text_loss"] is None else f"{figures['text_loss']:.3f}",
    ]


def plot_overoptimisation(
    path: Path, runs: dict[str, list[dict[str, Any]]], best_of_n: Sequence[dict[str, float]]
) -> None:
    """Draws the reward model's score and gold reward against KL from SFT, in nats an answer.

    Args:
      path: picture to write, 1,600 x 720 pixels.
      runs: rows of metrics.jsonl of PPO's runs, by name.
      best_of_n: points of `judgement.Verdict`.

    Source: Gao et al. 2022 (arXiv 2210.10760), figure 1, has both against the root of KL.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), dpi=160, layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, name, title in (
        (left, "reward_model", "reward model (what is optimised)"),
        (right, "gold", "gold reward (what is meant)"),
    ):
        for system, rows in runs.items():
            points = [(row["kl"], row[f"rewards/{name}"]) for row in rows if "split" not in row]
            axes.plot(*zip(*points, strict=True), ".", alpha=0.25)
            smooth = _smooth(points)
            axes.plot(*zip(*smooth, strict=True), color=axes.lines[-1].get_color(), label=system)
        chosen = [(max(0.0, point["kl"]), point[name]) for point in best_of_n]
        axes.plot(*zip(*chosen, strict=True), "k--o", markersize=4, label="best of n")
        axes.set(xlabel="KL from SFT (nats an answer)", title=title)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    figure.savefig(path)


def _smooth(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Means of stretches of a tenth of the points."""
    size = max(1, len(points) // 10)
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    return [
        (sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts
    ]
