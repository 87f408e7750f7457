import io

import pytest
from PIL import Image
from rich.console import Console

from gptjax.studies.equal_budget.report import comparison_tables, markdown, plot
from tests.support.tiers import tiered


def make_summary(seeds=2):
    def run(seed, shift):
        points = [
            {"step": s, "executed_flops": 1e9 * s, "seconds": 0.1 * s, "loss": 3 - s / 10 + shift}
            for s in (1, 2, 3)
        ]
        return {"seed": seed, "curve": points}

    def variant(name, shift, less_first):
        half_width = 0.25 if seeds > 1 else None
        return {
            "variant": name,
            "num_steps": 1234,
            "parameters": 5678,
            "tokens": 90,
            "loss": {"mean": 2.5, "half_width": half_width},
            "loss_less_first": less_first and {"mean": less_first, "half_width": half_width},
            "bits_per_byte": {"mean": 1.5, "half_width": half_width},
            "bits_per_byte_less_first": None,
            "tokens_per_second": 4321.0,
            "seconds": 12.34,
            "density": 1.0 + shift,
            "executed_flops": 1.5e12,
            "dense_equivalent_flops": 3e12,
            "memory_bytes": 3 * 2**20,
            "runs": [run(seed, shift + seed / 50) for seed in range(seeds)],
        }

    rows = [variant("dense", 0.0, None), variant("strided(stride=4)|dense", 0.1, -0.125)]
    figures = ["loss", "bits_per_byte"]
    drawn = {"figure": "loss", "axis": "loss (nats per token)"}
    return {"budget": "flops", **drawn, "figures": figures, "variants": rows}


def test_markdown_has_a_row_a_variant_in_each_table():
    lines = markdown(make_summary()).splitlines()
    assert lines[0] == "equal executed training FLOPs; 2 seeds"
    assert "| variant | loss | bits per byte |" in lines
    assert "| dense | 2.5000 ± 0.2500 | 1.5000 ± 0.2500 |" in lines
    assert r"| strided(stride=4)\|dense | -0.1250 ± 0.2500 |  |" in lines
    costs = "1,234 | 5,678 | 90 | 1.500e+12 | 3.000e+12 | 1.000 | 12.3 | 4,321 | 3.0"
    assert f"| dense | {costs} |" in lines
    assert "loss: of language models in nats a token." in "\n".join(lines)


def test_one_seed_stands_without_an_interval():
    assert "| 2.5000 |" in markdown(make_summary(seeds=1))


def test_what_says_nothing_is_left_out():
    """Shares of pairs that are all the same; a loss that is another quantity in each variant."""
    summary = make_summary() | {"figures": ["bits_per_byte"]}
    for row in summary["variants"]:
        row["density"] = None
    said = markdown(summary)
    assert "| attended |" not in said and "The loss is left out" in said


def test_the_terminal_shows_the_same_cells():
    shown = io.StringIO()
    Console(width=160, file=shown).print(comparison_tables(make_summary()))
    for text in ("strided(stride=4)|dense", "-0.1250 ± 0.2500", "1.500e+12", "attended: pairs"):
        assert text in shown.getvalue()


@pytest.mark.parametrize("seeds", tiered([(1,), (3,)], [(3,)]))
def test_the_plot_has_two_panels_and_a_line_a_variant(tmp_path, seeds):
    plot(make_summary(seeds), tmp_path / "comparison.png")
    with Image.open(tmp_path / "comparison.png") as picture:
        assert picture.size == (1920, 864)
        colors = {color for _, color in picture.convert("RGB").getcolors(1 << 20) or []}
    assert {(31, 119, 180), (255, 127, 14)} <= colors  # the first two of matplotlib's cycle
    assert (44, 160, 44) not in colors
