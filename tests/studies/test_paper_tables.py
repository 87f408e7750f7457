"""Tables of papers: published values, how cells are filled, what is said of claims."""

import dataclasses
import json
import shutil

import pytest

from experiments.configs import EXPERIMENTS, TRANSFERS, experiment_named
from experiments.tables import TABLES
from gptjax.config import resolve
from gptjax.runs.workdir import WorkDirectory
from gptjax.studies.paper_tables import report
from gptjax.studies.paper_tables.outcomes import outcomes_of_run
from gptjax.studies.paper_tables.plan import plan_lines
from gptjax.studies.paper_tables.reproduce import config_of, folder_of, reproduce
from gptjax.studies.paper_tables.table import (
    Cell,
    Claim,
    Counted,
    Elsewhere,
    Evaluated,
    Model,
    Reached,
    Studied,
    Study,
    Table,
    Translated,
)
from gptjax.tasks.translated import Translations
from gptjax.tasks.translation import held_out_pairs
from tests.support.binaries import call, registered

PARTS = [
    Cell("small", "bits", 1.5, "small", Reached("bits_per_byte")),
    Cell("large", "bits", None, "large", Reached("bits_per_byte")),
    Cell("large", "sums", 40.0, "large", Evaluated("arithmetic(count=6)", "exact_match")),
    Cell("broken", "bits", 1.0, "broken", Reached("bits_per_byte")),
    Cell("unmade", "bits", 1.0, "unmade", Reached("bits_per_byte")),
    Cell("unmade", "layers", 2.0, "small", Counted(lambda config: config.model.num_layers)),
]


def claims():
    return [
        Claim("two is above one", lambda values: 1.0, "steps"),
        Claim("one is above two", lambda values: -1.0, "steps"),
        Claim("it is above", lambda values: 1 + values["small", "bits"] / 1000, "bits"),
        Claim("it is below", lambda values: -1 - values["small", "bits"] / 1000, "bits"),
        Claim("layers are many", lambda values: values["unmade", "layers"], "layers"),
        Claim("needs what is not there", lambda values: values["unmade", "bits"], "bits"),
        Claim(
            "small is as good as large",
            lambda values: values["large", "bits"] - values["small", "bits"],
            "bits",
        ),
    ]


@pytest.fixture(scope="module")
def small(make_config):
    def make(steps=4, corpus=None):
        once = {"training__eval_every": steps, "checkpoint__every_steps": steps}
        config = make_config(training__num_steps=steps, **once)
        if corpus is not None:
            config.data = dataclasses.replace(config.data, corpus=corpus)
        return config

    return make


@pytest.fixture(scope="module")
def table(small):
    return Table(
        name="made:1",
        title="a made-up table",
        source="nowhere, table 1",
        units={"bits": "", "sums": "%", "layers": ""},
        cells=PARTS,
        models={
            "large": Model("gpt2_small", mini=lambda: small(8)),
            "small": Model("gpt2_small", mini=small),
            "broken": Model("gpt2_small", mini=lambda: small(4, "text:/nowhere")),
            "unmade": Model("gpt2_small"),
        },
        claims=claims(),
        notes="Notes.",
    )


def test_a_table_is_filled_and_goes_on(table, tmp_path, monkeypatch):
    """Runs of several seeds, the cheapest first; what fails leaves its cells empty."""
    root, said = str(tmp_path), []
    summary = reproduce(table, root, seeds=2, experiment=experiment_named, say=said.append)
    cells = {(cell["row"], cell["column"]): cell for cell in summary["cells"]}
    small = cells["small", "bits"]
    runs = [WorkDirectory(f"{folder_of(table, root, 'mini')}/small/{seed}") for seed in (0, 1)]
    assert [run.config().training.seed for run in runs] == [0, 1]
    reached = [run.result()["bits_per_byte"] for run in runs]
    assert small["values"] == reached and small["ours"] == pytest.approx(sum(reached) / 2)
    half = 12.706204736 * abs(reached[0] - reached[1]) / 2  # Student's t of one degree of freedom
    assert small["high"] - small["ours"] == pytest.approx(half, rel=1e-6)
    assert cells["large", "sums"]["values"] == [0.0, 0.0]
    assert cells["large", "sums"]["how"]["items"] == 6
    assert cells["unmade", "layers"]["ours"] == 1.0
    order = [line.split(": ")[1].split(",")[0] for line in said if line.startswith("---")]
    assert sorted(order) == ["broken", "large", "large", "small", "small"]
    assert order[-2:] == ["large"] * 2  # the dearest
    why = {place: cell["why"] for place, cell in cells.items()}
    assert why["broken", "bits"].startswith("not run: ValueError: 'text:/nowhere': no files at")
    assert why["unmade", "bits"] == "never run: unmade has no mini form"
    assert why["small", "bits"] is None and summary["failed"]
    assert any(line.startswith("made:1: broken failed: ") for line in said)
    verdicts = {claim["claim"]: claim["verdict"] for claim in summary["claims"]}
    assert verdicts["two is above one"] == "the same for all seeds: as claimed"
    assert verdicts["one is above two"] == "the same for all seeds: not as claimed"
    assert (verdicts["it is above"], verdicts["it is below"]) == ("holds", "does not hold")
    assert verdicts["layers are many"] == "of one measurement: as claimed"
    assert verdicts["needs what is not there"] == "not measured"
    effects = summary["claims"][-1]["effects"]
    by_hand = [cell["values"] for cell in summary["cells"][:2]]
    assert effects == [large - small for small, large in zip(*by_hand, strict=True)]
    report.write(summary, tmp_path)
    assert "never run: unmade has no mini form" in (tmp_path / "table.md").read_text()
    monkeypatch.setattr("gptjax.studies.paper_tables.reproduce.train", lambda *_: 1 / 0)
    models = {key: model for key, model in table.models.items() if key != "broken"}
    good = [cell for cell in PARTS if cell.row != "broken"]
    whole = dataclasses.replace(table, models=models, cells=good)
    again = reproduce(whole, root, seeds=2, experiment=experiment_named, say=lambda line: None)
    kept = [cell for cell in summary["cells"] if cell["row"] != "broken"]
    assert again["cells"] == kept and not again["failed"]


def test_a_study_fills_cells_and_its_failure_leaves_them_empty(tmp_path):
    asked = []

    def run(folder, seeds, data, say):
        asked.append((str(folder), seeds, data))
        return [{"won": 0.5 + number / 4} for number in range(seeds)]

    def broken(*_):
        raise ValueError("no data")

    full = Elsewhere("another command")
    won = Studied("pairs", lambda found: [100 * one["won"] for one in found])
    cells = [
        Cell("ours", "won", 71.0, "one", full, mini=won),
        Cell("ours", "lost", None, "one", full),
        Cell("theirs", "won", None, "one", full, mini=Studied("nothing", lambda _: [])),
    ]
    table = Table(
        **{"name": "made:1", "title": "made up", "source": "nowhere"},
        units={"won": "%", "lost": "%"},
        cells=cells,
        models={"one": Model("gpt2_small")},
        claims=[Claim("it wins", lambda values: values["ours", "won"] - 50, "points")],
        studies={
            "pairs": Study(run, "a minute", "pairs"),
            "nothing": Study(broken, "", "nothing"),
        },
    )
    root = str(tmp_path)
    summary = reproduce(table, root, seeds=3, data="files", experiment=experiment_named)
    assert asked == [(f"{folder_of(table, root, 'mini')}/pairs", 3, "files")]
    ours, lost, theirs = summary["cells"]
    assert ours["values"] == [50, 75, 100] and ours["interval"] == "t over 3 seeds"
    assert lost["why"] == "never run here: another command"
    assert theirs["why"] == "not run: ValueError: no data" and summary["failed"]
    assert summary["claims"][0]["effects"] == [0, 25, 50]
    of_full = reproduce(table, root, form="full", experiment=experiment_named)
    assert {cell["why"] for cell in of_full["cells"]} == {"never run here: another command"}
    assert any(
        "pairs: a minute; by itself: pairs" in x for x in plan_lines(table, experiment_named)
    )


def test_studies_of_tables_take_figures_of_systems_that_there_are():
    """A cell's system and task are the study's, whose figures are shares."""
    for name in ("gpt1:5", "bert:5"):
        table = TABLES.get(name)()
        (study,) = table.studies
        systems = TRANSFERS.get(study)().systems
        found = {
            "tasks": {
                task: {"systems": {x: {"values": [share, share + 0.01]} for x in systems}}
                for task, share in {"CoLA": 0.1, "SST-2": 0.5, "STS-B": 0.3}.items()
            }
        }
        expected = {"CoLA": 10, "SST-2": 50, "STS-B": 30, "average": 30}
        for cell in table.cells:
            if cell.mini is not None:
                first = expected[cell.column]
                assert cell.mini.of(found) == pytest.approx([first, first + 1])
        ones = {cell.place: 1.0 for cell in table.cells}
        assert [claim.effect(ones) for claim in table.claims] == [0.0] * len(table.claims)


def test_translations_of_a_run_are_scored_once(trained, tmp_path, monkeypatch):
    pytest.importorskip("sacrebleu")
    shutil.copytree(trained("translation").path, tmp_path / "run")
    run, limit = WorkDirectory(str(tmp_path / "run")), 5
    measures = Translated("chrf"), Translated("exact")
    found = outcomes_of_run(measures, run, None, limit)
    config = run.config()
    translate = Translations(
        run.model("translation model"),
        run.restored(run.resolve_step(None)),
        run.tokenizer(),
        config.translation,
    )
    pairs = held_out_pairs(config, run.tokenizer())[:limit]
    _, figures = translate.scored(pairs)
    assert [found[each].value for each in measures] == [figures["chrf"], figures["exact"]]
    assert found[measures[0]].how["items"] == len(pairs) == limit
    monkeypatch.setattr(Translations, "scored", lambda *_: ([], {"chrf": 1, "bleu_signature": ""}))
    assert outcomes_of_run(measures, run, None, limit) == found
    assert outcomes_of_run(measures[:1], run, None, 4)[measures[0]].value == 1


@pytest.mark.slow
def test_a_table_runs_its_study(cache, tmp_path):
    """BERT's table 5, hardly trained, with files as GLUE's SST-2 has them."""
    (tmp_path / "glue_sst2").mkdir()
    for name, count in (("train", 40), ("dev", 20)):
        lines = (f"a {'good' if i % 2 else 'bad'} film number {i}\t{i % 2}\n" for i in range(count))
        (tmp_path / "glue_sst2" / f"{name}.tsv").write_text("".join(lines))
    few = "training.num_steps=2,training.eval_every=2,training.eval_batches=1,"
    few += "checkpoint.every_steps=2,optimizer.warmup_steps=1,model.d_model=16,model.num_heads=2"
    small = TRANSFERS.get("gpt_beside_bert")().with_changes(few, "task.epochs=1", None)
    table, root = TABLES.get("bert:5")(), str(tmp_path / "tables")
    with registered(TRANSFERS, gpt_beside_bert=lambda: small):
        refused = reproduce(table, root, seeds=1, experiment=experiment_named)
        summary = reproduce(table, root, seeds=1, data=str(tmp_path), experiment=experiment_named)
    why = refused["cells"][0]["why"]
    assert why == "not run: ValueError: --data: got none, expected a folder with the files of SST-2"
    cells = {(cell["row"], cell["column"]): cell for cell in summary["cells"]}
    assert 0 <= cells["BERT base", "SST-2"]["ours"] <= 100 and not summary["failed"]
    assert cells["BERT base", "SQuAD"]["why"].startswith("never run here: python -m experiments")
    (study,) = tmp_path.glob("tables/**/gpt_beside_bert")
    tuned, before = (len(list((study / "seed0" / x).iterdir())) for x in ("SST-2", "pretrain"))
    assert (tuned, before) == (3, 3)  # of six systems those that have rows


def test_a_table_is_shown_as_it_is(tmp_path):
    value = {
        "row": "small",
        "unit": "%",
        "model": "small",
        "why": None,
        "how": None,
        "interval": "t over 2 seeds",
    }
    cells = [
        {
            **{**value, "how": {"items": 1500, "shots": 3, "cut": 2}, "column": "bits"},
            **{"published": 1.5, "ours": 2.25, "low": 2.0, "high": 2.5},
        },
        {**value, "column": "flops", "published": None, "ours": 3e21, "low": None, "high": None},
        {
            **{**value, "column": "sums", "published": 40.0, "ours": None},
            **{"low": None, "high": None, "why": "never run: <none>"},
        },
    ]
    claim = {"claim": "a | b", "unit": "bits", "effect": 0.5, "low": 0.25, "high": 0.75}
    summary = {
        **{"table": "made:1", "title": "a table", "source": "nowhere", "notes": "Notes."},
        **{
            "limit": None,
            "form": "mini",
            "seeds": 2,
            "cells": cells,
            "claims": [{**claim, "verdict": "holds"}],
        },
        "models": {"small": {"command": "train", "parameters": 5e6, "flops": 1e9, "seconds": 7.0}},
    }
    report.write(summary, tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert text.startswith("# made:1: a table (mini form, 2 seeds)\n\nnowhere. Notes.\n")
    found = "| 2 to 2.5 (t over 2 seeds) | 1,500 items, 3 shots, 2 cut | small |"
    assert f"| small, bits | 1.5 % | 2.25 % {found}" in text
    assert "| small, flops |  | 3e+21 % |  |  | small |" in text
    assert "| small, sums | 40 % | never run: <none> |  |  | small |" in text
    assert "| a \\| b | +0.5 bits | +0.25 to +0.75 | holds |" in text
    assert "| small | 5,000,000 | 1.00e+09 | 7 | train |" in text
    page = (tmp_path / "table.html").read_text()
    assert "never run: &lt;none&gt;" in page and "<img" in page
    assert (tmp_path / "table.png").stat().st_size > 1000
    assert any(line.startswith("small, bits ") for line in report.lines(summary))


def test_the_binary_lists_plans_fills_and_says_what_failed(table, tmp_path):
    counted = dataclasses.replace(table, cells=PARTS[-1:], claims=[])
    broken = dataclasses.replace(table, cells=[PARTS[3], PARTS[-1]], claims=[])
    tables = {"made:1": lambda: counted, "made:2": lambda: table, "made:3": lambda: broken}
    with registered(TABLES, **tables):
        listed = call("reproduce", "--list").output
        assert "made:1: a made-up table, 1 cells, 0 claims\n" in listed
        ended = call("reproduce", "--table=made:1", f"--workdir={tmp_path}")
        assert ended.code == 0 and "unmade, layers  2" in ended.output
        written = json.loads((tmp_path / "made_1" / "mini" / "table.json").read_text())
        assert written["cells"][0]["ours"] == 12.0 and written["versions"]
        planned = call("reproduce", "--table=made:2", "--dry_run").output
        assert "  unmade: none\n" in planned and "124,439,808 parameters" in planned
        ended = call("reproduce", "--table=made:3", f"--workdir={tmp_path}")
        assert ended.code == 1 and "broken, bits" in ended.output and "layers  2" in ended.output
        assert call("reproduce", "--table=made").refusal.startswith("unknown table 'made'")
        assert (
            call("reproduce", "--table=made:1").refusal == "--workdir: got none, expected a folder"
        )


@pytest.mark.parametrize("name", list(TABLES))
def test_tables_of_papers_are_whole(name):
    """Each cell's model is a registered experiment; claims name cells; both forms resolve."""
    table = TABLES.get(name)()
    assert table.name == name and table.source
    for key, model in table.models.items():
        assert model.experiment in EXPERIMENTS, key
        config_of(model, "mini", experiment_named)
    ones = {cell.place: 1.0 + number for number, cell in enumerate(table.cells)}
    for claim in table.claims:
        assert isinstance(claim.effect(ones), float) and claim.unit
    assert list(plan_lines(table, experiment_named)) if name == "gpt3:3.9" else True


def test_gpt3s_sizes_are_those_of_its_tables():
    """Table D.1 rounds parameters to three digits and FLOPs to three."""
    table = TABLES.get("gpt3:2.1")()
    for cell in table.cells:
        config = resolve(experiment_named(table.models[cell.model].experiment)())
        assert cell.measure.of(config) == pytest.approx(cell.published, rel=7e-3), cell.place
