"""The demo on a model that takes no minutes."""

import json
from types import SimpleNamespace

import pytest

from experiments.configs import demo as module
from gptjax.inference.generate import Generator
from gptjax.runs import train as runs
from gptjax.training.reporting import curves
from gptjax.training.reporting.curves import plot_curves
from tests.support.binaries import call

pytestmark = pytest.mark.usefixtures("cache")


@pytest.mark.slow
def test_a_demo_that_is_stopped_says_so_by_its_status(make_config, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "demo", make_config)
    monkeypatch.setattr(Generator, "generate", lambda *_, **__: [""])
    monkeypatch.setattr(runs, "train", lambda *_: SimpleNamespace(interrupted_by="SIGINT"))
    done = call("demo", f"--workdir={tmp_path}")
    assert (done.code, done.errors) == (130, "")
    assert done.output.endswith("SIGINT: stopped; the same command goes on there\n")


def test_the_demo_trains_shows_samples_and_says_what_came_of_it(make_config, tmp_path, monkeypatch):
    """Its samples are of 8 tokens, for a context of 16; its picture is drawn."""
    monkeypatch.setattr(curves, "plot_curves", plot_curves)
    monkeypatch.setattr(module, "demo", make_config)
    generate = Generator.generate
    monkeypatch.setattr(
        Generator,
        "generate",
        lambda *given, max_new_tokens, **options: generate(*given, max_new_tokens=8, **options),
    )
    done = call("demo", f"--workdir={tmp_path}")
    assert (done.code, done.errors) == (0, "")
    before, after = (
        done.output.split(f"--- a sample {when} training ---\nReturn the", 1)[1]
        for when in ("before", "after")
    )
    assert before.partition("\n---\n")[0] != after.partition("\n---\n")[0]
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    figures = json.loads((tmp_path / "result.json").read_text())
    last = done.output.splitlines()[-1]
    assert last.startswith(f"demo: bits_per_byte={figures['bits_per_byte']:.3f} seconds=")
    assert figures["experiment"] == "demo" and figures["step"] == 8
    assert f"--workdir={tmp_path} --prompt=" in done.output
