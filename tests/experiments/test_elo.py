"""Ratings of checkpoints from the command line, against counts, and votes against known odds."""

import json
import math
from itertools import combinations

import numpy as np
import pytest

from gptjax.data.dialogue.instructions import gold_reward
from gptjax.data.dialogue.prompts import load_prompts
from gptjax.judging.policies import Policy
from gptjax.judging.ratings import report, systems_of, votes_of
from tests.support.binaries import call

PROMPTS = "instructions:split=held_out,count=8"
SYSTEMS = {"early": 4, "late": None, "again": 4}  # checkpoints, by name
WRONG = {
    "--output={f}/x": "--systems and --votes: got neither, expected one",
    "--systems=a=b --votes=c --output={f}/x": "--systems and --votes: got both, expected one",
    "--votes={f}/votes.jsonl": "--output: got none, expected a file to write",
    "--votes={f}/votes.jsonl --output={f}/x --page={f}/y": "--page: got it with --votes",
    "--votes={f}/bad.jsonl --output={f}/x": (
        "{f}/bad.jsonl:2: 'winner': got 'draw', expected 'a', 'b' or 'tie'"
    ),
    "--votes={f}/none.jsonl --output={f}/x": "'votes:{f}/none.jsonl'",
    "--systems=a={run} --rewards=gold --output={f}/x": "--systems: got 1, expected at least 2",
    "--systems=a={run},b={run}@3 --prompts={p} --rewards=gold --output={f}/x": (
        "--restore_step: got 3, expected one of"
    ),
}


@pytest.fixture(scope="module")
def sft(trained):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPTJAX_CACHE", str(trained.cache))
        yield trained("sft")


def votes(folder):
    """Of three systems with known odds, 300 votes a pair, an eighth of them ties."""
    rng, strengths = np.random.default_rng(0), {"x": 1.0, "y": 0.0, "z": -0.5}
    rows = []
    for _ in range(300):
        for a, b in combinations(strengths, 2):
            won = rng.random() < 1 / (1 + math.exp(strengths[b] - strengths[a]))
            winner = "tie" if rng.random() < 0.125 else "a" if won else "b"
            rows.append({"a": a, "b": b, "winner": winner, "why": "said so"})
    (folder / "votes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    bad = [rows[0], rows[0] | {"winner": "draw"}]
    (folder / "bad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in bad))
    return rows, strengths


def test_pairs_are_counted_as_a_loop_over_answers_counts_them(tmp_path, sft):
    """The third system answers as the first does: all of their judgements are ties."""
    places = [f"{name}={sft.path}{f'@{step}' if step else ''}" for name, step in SYSTEMS.items()]
    done = call(
        "elo",
        *(f"--systems={','.join(places)}", "--rewards=gold", "--seed=1", f"--prompts={PROMPTS}"),
        *("--samples=4", "--prior=400", "--tie_margin=0.03", "--max_new_tokens=12"),
        *(f"--output={tmp_path}/elo.json", f"--page={tmp_path}/elo.html"),
    )
    assert done.code == 0
    figures = json.loads((tmp_path / "elo.json").read_text())
    prompts = load_prompts(PROMPTS)
    rewards = {
        name: [
            [gold_reward(prompt[0].content, answer.text) for answer in several]
            for prompt, several in zip(
                prompts,
                Policy(sft, step).answers(prompts, 4, seed=1, max_new_tokens=12),
                strict=True,
            )
        ]
        for name, step in (("early", 4), ("late", 8))
    }
    rewards["again"] = rewards["early"]
    found = [(pair["first"], pair["second"]) for pair in figures["pairs"]]
    assert found == [("early", "late"), ("early", "again"), ("late", "again")]
    for pair in figures["pairs"]:
        counts = {"wins": 0, "ties": 0, "losses": 0}
        for ours, theirs in zip(rewards[pair["first"]], rewards[pair["second"]], strict=True):
            for a, b in zip(ours, theirs, strict=True):
                counts["ties" if abs(a - b) <= 0.03 else "wins" if a > b else "losses"] += 1
        assert {name: pair[name] for name in counts} == counts
        total = sum(counts.values())
        assert pair["win_rate"] == pytest.approx((counts["wins"] + counts["ties"] / 2) / total)
        low, high = pair["win_rate_interval"]
        assert low < pair["win_rate"] < high
    assert counts["wins"] + counts["losses"] > 0
    assert {row["judgements"] for row in figures["ratings"]} == {2 * total}
    assert np.mean([row["rating"] for row in figures["ratings"]]) == pytest.approx(1000)
    rewards = [row["reward"] for row in figures["ratings"]]
    assert (np.mean(rewards), np.std(rewards)) == pytest.approx((0, 1), abs=1e-6)
    assert all(row["low"] < row["rating"] < row["high"] for row in figures["ratings"])
    printed = done.output.splitlines()
    assert printed[0] == "| system | rating | 95% interval | reward | judgements |"
    best = figures["ratings"][0]
    assert printed[2].startswith(f"| {best['name']} | {best['rating']:.0f} | ")
    page = (tmp_path / "elo.html").read_text()
    assert page.count("<article") == 3 * len(prompts) and prompts[0][0].content in page


def test_votes_give_back_the_odds_that_they_were_drawn_by(tmp_path):
    _, strengths = votes(tmp_path)
    done = call("elo", f"--votes={tmp_path}/votes.jsonl", f"--output={tmp_path}/votes.json")
    figures = json.loads((tmp_path / "votes.json").read_text())
    assert [row["name"] for row in figures["ratings"]] == ["x", "y", "z"]
    points = 400 / math.log(10)
    for pair in figures["pairs"]:
        truth = points * (strengths[pair["first"]] - strengths[pair["second"]])
        low, high = pair["lead_interval"]
        assert low - 20 < truth < high + 20 and high - low < 150
    assert figures["ties"] > 0 and "prompts" not in figures
    assert sum(line.startswith("| x | ") for line in done.output.splitlines()) == 1


def test_votes_on_the_same_prompt_widen_intervals(tmp_path):
    rows, _ = votes(tmp_path)
    for i, row in enumerate(rows):
        row["prompt"] = f"p{i % 10}" if row["winner"] != "a" else f"p{i % 3}"
    (tmp_path / "together.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    alone, together = (
        report(votes_of(f"{tmp_path}/{name}.jsonl")) for name in ("votes", "together")
    )
    for one, other in zip(alone["ratings"], together["ratings"], strict=True):
        assert one["rating"] == other["rating"]
        assert other["high"] - other["low"] > 1.3 * (one["high"] - one["low"])


def test_bad_input_is_one_line(tmp_path, sft):
    votes(tmp_path)
    names = {"f": tmp_path, "run": sft.path, "p": PROMPTS}
    for line, expected in WRONG.items():
        refused = call("elo", *line.format(**names).split()).refusal
        assert expected.format(**names) in refused, line
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        (["a"], "got 'a', expected NAME=WORKDIR or NAME=WORKDIR@STEP"),
        (["=b"], "got '=b'"),
        (["a=b", "a=c"], "got 'a' twice, expected different names"),
    ],
)
def test_systems_are_named_and_have_a_place(specs, message):
    with pytest.raises(ValueError, match=f"--systems: {message}"):
        systems_of(specs)
    assert systems_of(["a=x@y", "b=x=1@20"]) == {"a": ("x@y", None), "b": ("x=1", 20)}
