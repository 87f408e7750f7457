import dataclasses
import json
import math
import shutil
import signal
from typing import NamedTuple

import numpy as np
import pytest

from experiments.configs import PIPELINES
from experiments.tables import TABLES
from gptjax.data.dialogue.instructions import gold_reward
from gptjax.data.dialogue.prompts import load_prompts
from gptjax.judging.best_answers import best_of_n_curve
from gptjax.judging.policies import Policy
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import differences
from gptjax.studies.instruct_pipeline import plan, study
from gptjax.studies.instruct_pipeline.evidence import checked, means
from gptjax.studies.instruct_pipeline.plan import stages
from tests.support.binaries import call, registered


def systems(sft, ppo, ptx):
    """Figures of three systems: gold reward, loss on text, and PPO's win rate."""
    names = ("gold", "text_loss", "win_rate")
    of = {"sft": sft, "ppo": ppo, "ppo_ptx": ptx}
    return {system: dict(zip(names, figures, strict=True)) for system, figures in of.items()}


def test_claims_are_those_of_a_worked_example():
    results = [
        {
            "reward_model": {"accuracy": 0.80, "agreement": 0.82},
            "systems": systems((0.4, 1.0, 0.5), (0.6, 1.4, 0.7), (0.59, 1.1, 0.68)),
        },
        {
            "reward_model": {"accuracy": 0.78, "agreement": 0.82},
            "systems": systems((0.4, 1.0, 0.5), (0.5, 1.2, 0.58), (0.48, 1.15, 0.6)),
        },
    ]
    claims = checked(results)
    figures = [claim.figures for claim in claims]
    np.testing.assert_allclose(
        figures,
        [[2, 4], [0.2, 0.1], [70, 58], [0.75, 0.25], [0.05, 0.2]],
        atol=1e-9,
    )
    assert [claim.holds for claim in claims] == [True, True, False, True, False]
    assert means(results)["ppo"]["gold"] == pytest.approx(0.55)


def test_a_gain_that_is_none_holds_nothing():
    same = systems((0.4, 1.0, 0.5), (0.4, 1.0, 0.5), (0.4, 1.0, 0.5))
    claims = checked([{"reward_model": {"accuracy": 0.8, "agreement": 0.8}, "systems": same}])
    assert [claim.holds for claim in claims] == [True, False, False, False, False]
    assert math.isnan(claims[-1].figures[0])


def test_the_best_of_n_is_chosen_by_the_proxy_and_judged_by_gold():
    proxy = np.array([[0.0, 3.0, 1.0, 2.0], [5.0, 1.0, 6.0, 0.0]])
    gold = np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]])
    points = best_of_n_curve(proxy, {"reward_model": proxy, "gold": gold})
    assert [point["n"] for point in points] == [1, 2, 4]
    # Of pairs of the first row 3 is best in three, 2 in two, 1 in one; of the second 6, 5, 1.
    pairs = (3 * 0.2 + 2 * 0.4 + 0.3) / 6, (3 * 0.7 + 2 * 0.5 + 0.6) / 6
    np.testing.assert_allclose(
        [point["gold"] for point in points], [0.45, sum(pairs) / 2, (0.2 + 0.7) / 2]
    )
    np.testing.assert_allclose([point["reward_model"] for point in points][::2], [2.25, 4.5])


@pytest.mark.parametrize("name", list(PIPELINES))
def test_stages_start_from_each_other_and_ppo_ptx_is_ppo_but_for_gamma(name, tmp_path):
    pipeline = PIPELINES.get(name)()
    made = {stage.name: stage.run.args[1] for stage in stages(pipeline, tmp_path, seed=3)}
    sources = {name: config.checkpoint.init_from for name, config in made.items()}
    sft = str(tmp_path / "sft")
    assert sources == {"pretrain": None, "sft": str(tmp_path / "pretrain")} | dict.fromkeys(
        ("reward_model", "ppo", "ppo_ptx", "dpo"), sft
    )
    assert all(config.training.seed == 3 for config in made.values())
    changed = differences(made["ppo_ptx"], made["ppo"], ("",))
    assert len(changed) == 1 and "pretraining_coefficient" in changed[0]
    models = [dataclasses.replace(config.model, residual_dropout=0.0) for config in made.values()]
    assert all(model == models[0] for model in models)
    without = stages(dataclasses.replace(pipeline, dpo=None), tmp_path, seed=3)
    assert [stage.name for stage in without] == [name for name in made if name != "dpo"]


def test_figure_1_is_made_without_dpo(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(study, "run_pipeline", lambda name, made, *_, **__: asked.append(made))
    (table,) = TABLES.get("instructgpt:1")().studies.values()
    table.run(tmp_path, 1, None, print)
    assert asked[0].dpo is None and asked[0].ppo == PIPELINES.get("instruct_demo")().ppo


class Stopped(NamedTuple):
    """How a stage ends that took so many steps."""

    steps: int
    interrupted_by: str | None = None


@pytest.fixture
def tiny(trained, tmp_path, monkeypatch):
    """A pipeline whose stages are runs that have ended; the names of those that were started.

    What stands for the pretrained model has a chat tokenizer, as a pipeline's has.
    """
    sources = {"pretrain": "sft", "ppo_ptx": "ppo"}
    started = []

    def stages_of(pipeline, root, seed):
        def stage(name):
            def end():
                started.append(name)
                if name in stops:
                    return Stopped(1, "SIGTERM")
                if (root / name).exists():
                    return Stopped(0)
                root.mkdir(parents=True, exist_ok=True)
                (root / name).symlink_to(trained(sources.get(name, name)).path)
                return Stopped(8)

            return plan.Stage(name, WorkDirectory(str(root / name)), end)

        return [stage(each.name) for each in made(pipeline, root, seed)]

    stops: set[str] = set()
    made = plan.stages
    monkeypatch.setattr(study, "stages", stages_of)
    pipeline = PIPELINES.get("instruct_smoke")()
    pipeline = dataclasses.replace(
        pipeline, judged="instructions:split=held_out,count=4", best_of=2
    )
    with registered(PIPELINES, tiny=lambda: pipeline):
        yield started, stops


def run(path, name="tiny", code=0):
    """Runs the pipeline's binary in `path`, which may warn of prompts that are dropped."""
    done = call("instruct", f"--experiment={name}", f"--workdir={path}")
    assert done.code == code and all(line[0] == "W" for line in done.errors.splitlines()), done
    return done.output


@pytest.mark.slow
def test_a_pipeline_stops_goes_on_and_judges_what_it_has_made(tiny, tmp_path):
    started, stops = tiny
    stops.add("ppo")
    stopped = run(tmp_path, code=128 + signal.SIGTERM)
    assert stopped.endswith("SIGTERM: stopped; the same command goes on there\n")
    assert started == ["pretrain", "sft", "reward_model", "ppo"]
    assert not (tmp_path / "instruct.json").exists()
    earlier = json.loads((tmp_path / "seed0/seconds.json").read_text())
    stops.clear()
    said = run(tmp_path)
    assert started[4:] == ["pretrain", "sft", "reward_model", "ppo", "ppo_ptx", "dpo"]
    _assert_reported(tmp_path, said, best="best_of_2", name="tiny")
    (seed,) = json.loads((tmp_path / "instruct.json").read_text())["seeds"]
    systems = seed["systems"]
    assert systems["pretrain"] == systems["sft"] and systems["ppo"] == systems["ppo_ptx"]
    assert systems["sft"]["kl"] == 0 and systems["sft"]["win_rate"] == 0.5
    assert systems["dpo"]["kl"] > 0 and systems["dpo"]["text_loss"] != systems["sft"]["text_loss"]
    policy = Policy(WorkDirectory(str(tmp_path / "seed0/dpo")))
    prompts = load_prompts("instructions:split=held_out,count=4")
    room = PIPELINES.get("instruct_smoke")().ppo.ppo.max_answer_tokens
    drawn = policy.answers(prompts, 1, seed=0, max_new_tokens=room)
    gold = [gold_reward(p[0].content, each.text) for p, (each,) in zip(prompts, drawn, strict=True)]
    assert systems["dpo"]["gold"] == pytest.approx(np.mean(gold))
    assert set(seed["seconds"]) == {*started, "verdict"}
    assert all(seed["seconds"][name] == earlier[name] for name in started[:3])  # were done
    assert seed["seconds"]["ppo"] > earlier["ppo"]


def _assert_reported(path, said, best, name):
    table = (path / "table.md").read_text()
    for system in ("pretrain", "sft", best, "ppo", "ppo_ptx", "dpo"):
        assert f"| {system} |" in table
    for made in ("overoptimisation.png", "samples.html"):
        assert (path / made).stat().st_size > 1000
    assert table.count("holds: ") + table.count("FAILS: ") == 5
    assert f"{name}: gold=" in said


@pytest.mark.slow
@pytest.mark.timeout(600)  # two pipelines, whose programs are compiled
@pytest.mark.usefixtures("cache")
def test_the_smoke_pipeline_runs_every_stage_and_goes_on_where_it_stopped(tmp_path):
    path = tmp_path / "run"
    said = run(path, "instruct_smoke")
    first = json.loads((path / "instruct.json").read_text())
    _assert_reported(path, said, best="best_of_16", name="instruct_smoke")
    shutil.rmtree(path / "seed0" / "dpo")
    run(path, "instruct_smoke")
    again = json.loads((path / "instruct.json").read_text())
    assert again["seeds"][0]["systems"] == first["seeds"][0]["systems"]
    seconds, earlier = again["seeds"][0]["seconds"], first["seeds"][0]["seconds"]
    assert seconds["dpo"] > earlier["dpo"]  # twice
    assert all(seconds[name] == earlier[name] for name in ("pretrain", "sft", "ppo", "ppo_ptx"))
