import json

import numpy as np
import pytest
from matplotlib import colors, image

from experiments.benchmarks.attention_programs import AttentionProgram, Shape
from gptjax import attention
from gptjax.attention import parse
from gptjax.attention.blocks import EMPTY, FULL, PARTIAL
from gptjax.studies.attention_report import costs, parity, pictures
from gptjax.studies.attention_report.devices import device_choices
from tests.support.binaries import call


@pytest.fixture(scope="module")
def made(cache, tmp_path_factory):
    output = tmp_path_factory.mktemp("made") / "new" / "report"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "LENGTHS", (140,))  # a block, and a short one
        done = call(
            *("attention_report", f"--output={output}", "--lengths=64,1000"),
            "--patterns=banded(window=3)|sinks(window=1,sinks=2),dense;strided(stride=512)",
        )
    assert (done.code, done.errors) == (0, "")
    assert done.output.endswith(f"{output}/report.md, report.json and 4 pictures are written\n")
    return output


@pytest.mark.slow
def test_figures_are_those_of_loops(made):
    values = json.loads((made / "report.json").read_text())
    band, dense, strided = values["patterns"]
    assert [row["pattern"] for row in values["patterns"]] == [
        "banded(window=3)|sinks(window=1,sinks=2)",
        "dense",
        "strided(stride=512,part=both)",
    ]
    pairs = sum(i - j < 3 or j < 2 for i in range(64) for j in range(i + 1))
    assert band["costs"][0]["density"] == pytest.approx(pairs / (64 * 65 / 2))
    # Three positions of a ring and two sinks, keys and values of 8 heads of 64, and positions.
    assert [at["cache_bytes"] for at in band["costs"]] == [5 * (2 * 8 * 64 * 4 + 4)] * 2
    assert dense["costs"][1]["density"] == 1
    assert dense["costs"][1]["cache_bytes"] == 1000 * (2 * 8 * 64 * 4 + 4)
    for row in (band, dense):
        for at in row["costs"]:
            executed = at["executed_density"] * at["length"] * (at["length"] + 1) / 2
            assert at["forward_flops"] == pytest.approx(8 * 4 * 64 * executed)
            assert at["backward_flops"] == 2 * at["forward_flops"]
            assert at["executed_density"] >= at["density"]
    assert strided["costs"][0]["refused"].endswith("expected at most the length, 64")
    assert [at["length"] for at in values["lengths"]] == [64, 1000]
    assert values["lengths"][1]["forward_flops"] == 8 * 4 * 64 * 1000**2


@pytest.mark.slow
def test_the_parity_matrix_is_full(made):
    values = json.loads((made / "report.json").read_text())
    for row in values["patterns"]:
        cells = {(cell["implementation"], cell["dtype"]): cell for cell in row["parity"]}
        assert set(cells) == {
            (name, dtype) for name in attention.IMPLEMENTATIONS for dtype in parity.DTYPES
        }
        assert cells["reference", "float32"]["gradient_error"] == 0
        assert 0 < cells["blockwise", "float32"]["gradient_error"] < 1e-5
        assert 1e-5 < cells["blockwise", "bfloat16"]["output_error"] < 0.05
        assert "no kernel for cpu" in cells["fused", "float32"]["refused"]


@pytest.mark.slow
def test_the_report_reads_as_tables_with_pictures(made):
    text = (made / "report.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `banded")]
    assert len(rows) == 5 and all(line.count(" | ") == rows[0].count(" | ") for line in rows[:2])
    assert "`banded(window=3)\\|sinks(window=1,sinks=2)`" in rows[0]
    assert "fused, float32: refuses 3 of 3" in text
    names = {path.name for path in made.glob("*.png")}
    assert len(names) == 4 and all(f"({name})" in text for name in names)


def test_each_device_has_its_implementation_and_says_why():
    def at(pattern, length):
        rows = device_choices(parse(pattern)[0], length)
        return {row["device"].split(",")[0]: row for row in rows}

    band, strided = at("banded(window=256)", 8192), at("strided(stride=128)", 8192)
    assert [row["implementations"] for row in band.values()] == [
        ["blockwise"],
        ["fused"],
        ["fused"],
    ]
    assert strided["H100"]["implementations"] == ["blockwise"]
    assert "cuDNN masks dense and causally banded" in strided["H100"]["reasons"][0]
    assert strided["TPU"]["reasons"] == [
        "strided(stride=128,part=both): fused, one kernel of the device"
    ]
    assert at("heads(dense,strided(stride=128))", 8192)["H100"]["implementations"] == [
        *("fused", "blockwise")
    ]
    refused = at("strided(stride=512)", 64)["CPU"]
    assert not refused["implementations"] and "at most the length" in refused["reasons"][0]


def test_a_difference_is_found(monkeypatch):
    def attend(q, k, v, pattern, impl):
        if impl == "fused":
            raise ValueError("not this one")
        wrong = 0.25 if impl == "blockwise" else 0
        return attention.attend(q, k, v, pattern, impl="reference") + wrong - 2 * wrong * v

    monkeypatch.setattr(parity, "attend", attend)
    monkeypatch.setattr(parity, "LENGTHS", (5,))
    rows = parity.parity(parse("heads(dense,banded(window=2))")[0])
    right, wrong, refused = rows[:3]
    assert right["output_error"] == right["gradient_error"] == 0
    assert wrong["output_error"] > 0.25 and wrong["gradient_error"] > 0.25
    assert refused == {"implementation": "fused", "dtype": "float32", "refused": "not this one"}


@pytest.mark.slow
def test_training_holds_what_xla_plans():
    band = parse("banded(window=64)")[0]
    shape = Shape(512, costs.HEADS, costs.HEAD_DIM, costs.DTYPE)
    program = AttentionProgram(
        shape, lambda *x: attention.attend(*x, band, impl="blockwise"), backward=True
    )
    least = costs.length_costs(512)["training_bytes"]
    assert least < program.bytes < 2 * least


def test_pictures_show_each_pair_and_block(tmp_path):
    pattern = parse("banded(window=20)")[0]
    draw = tmp_path / "band.png"
    pictures.draw_patterns([pattern], draw, panel=640)
    pixels = image.imread(draw)[..., :3]
    q_pos, k_pos = np.arange(64)[:, None], np.arange(64)[None]
    pairs = np.count_nonzero((k_pos <= q_pos) & (q_pos - k_pos < 20))
    of_colour = {
        kind: np.count_nonzero(np.abs(pixels - colors.to_rgb(colour)).max(-1) < 0.01)
        for kind, colour in pictures.COLOURS.items()
    }
    partial = 64 + 63  # blocks, of 10 x 10 pixels as are the pairs
    expected = {EMPTY: 2 * 64**2 - pairs - partial, PARTIAL: partial, FULL: pairs}
    for kind, squares in expected.items():
        # The legend adds four squares, the rim of a panel takes as many.
        assert of_colour[kind] / 100 == pytest.approx(squares, rel=0.04)


def test_pictures_of_heads_are_shaded():
    heads = parse("heads(dense,banded(window=8))")[0]
    image = pictures.pairs(heads)
    assert image.shape == (64, 64)
    assert image[20, 20] == image[20, 13] == 1 and image[20, 12] == 0.5 and image[20, 21] == 0
    blocks = pictures.blocks(parse("banded(window=300)")[0])
    assert blocks[9, 5:11].tolist() == [0, 1, 1, 2, 1, 0]


def test_what_a_user_gets_wrong(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for line, message in {
        "": "--output: got none",
        "--output=x --lengths=12,0": "--lengths: got '0', expected whole numbers",
        "--output=x --patterns=banded(window=0)": "window=0, expected 1 or more",
    }.items():
        assert message in call("attention_report", *line.split()).refusal
    assert not list(tmp_path.iterdir())
