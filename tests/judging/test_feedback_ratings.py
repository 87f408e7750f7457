"""Ratings by people's rankings, against the likelihood of two players, and experiments.elo."""

import json
import math

import pytest
from scipy.optimize import brentq

from gptjax.data.feedback.opening import open_store
from gptjax.data.feedback.records import ranked_replies
from gptjax.judging.feedback_ratings import PRIOR, compared, feedback_ratings
from tests.support.binaries import call
from tests.support.said import ranking, reply

POINTS = 400 / math.log(10)


def rated(*bodies):
    return feedback_ratings(map(ranked_replies, bodies))


def lead_of(wins, losses):
    """Points by which the likelihood and the prior of two players are greatest, and 1.96 errors.

    Each has a strength of half the lead, about a mean of 0.
    """

    def chance(lead):
        return 1 / (1 + math.exp(-lead))

    def slope(lead):
        return wins - (wins + losses) * chance(lead) - lead / 2 * (POINTS / PRIOR) ** 2

    lead = brentq(slope, -20, 20, xtol=1e-12)
    information = (wins + losses) * chance(lead) * chance(-lead) + (POINTS / PRIOR) ** 2 / 2
    return POINTS * lead, 1.959964 * POINTS / math.sqrt(information)


@pytest.mark.parametrize(("wins", "losses"), [(1, 0), (7, 2), (0, 5)])
def test_two_players_have_the_lead_of_greatest_likelihood(wins, losses):
    """On one prompt, so that judgements are independent; who never loses has a rating too."""
    orders = [(1, 2)] * wins + [(2, 1)] * losses
    table = rated(*(ranking("q", {"a": a, f"b{i}": b}) for i, (a, b) in enumerate(orders)))
    assert table["comparisons"] == wins + losses and table["prior"] == PRIOR
    assert {each["games"] for each in table["players"]} == {wins + losses}
    of = {each["name"]: each for each in table["players"]}
    lead, reach = lead_of(wins, losses)
    assert of["sft"]["rating"] - of["ppo"]["rating"] == pytest.approx(lead, abs=1e-3)
    assert of["sft"]["high"] - of["sft"]["low"] == pytest.approx(reach, rel=1e-4)
    assert table["players"][0]["rating"] >= table["players"][1]["rating"]


def test_a_ranking_is_all_of_its_pairs():
    body = ranking("q", {"a": 1, "b": 3, "c": 2, "d": 2})
    body["replies"] = [
        reply("a", "sft", "temperature=0"),
        reply("b", "sft", "temperature=1"),
        reply("c", "sft", "temperature=1"),
        reply("d", "ppo"),
    ]
    judgements, prompts = compared([ranked_replies(body)])
    greedy, drawn = "sft (temperature=0)", "sft (temperature=1)"
    assert [(each.first, each.second, each.outcome) for each in judgements] == [
        (greedy, drawn, 1.0),
        (greedy, drawn, 1.0),
        (greedy, "ppo", 1.0),
        (drawn, "ppo", 0.0),  # between b and c nobody is compared
        (drawn, "ppo", 0.5),
    ]
    assert len(prompts) == 5 and prompts[0][0].content == "q"


def test_players_that_nothing_connects_are_rated_apart():
    bodies = [ranking(f"p{i}", {"a": 1, "b": 2}, models=("x", "y")) for i in range(3)]
    apart = ranking("q", {"a": 1, "b": 2}, models=("u", "v"))
    table = rated(apart, *bodies)
    assert [(each["name"], each["group"]) for each in table["players"]] == [
        ("x", 0),
        ("y", 0),
        ("u", 1),
        ("v", 1),
    ]
    ratings = [each["rating"] for each in table["players"]]
    assert sum(ratings[:2]) == pytest.approx(2000) and sum(ratings[2:]) == pytest.approx(2000)
    joined = rated(apart, *bodies, ranking("q", {"a": 1, "c": 2}, models=("y", "u")))
    assert {each["group"] for each in joined["players"]} == {0}
    assert [each["name"] for each in joined["players"]] == ["x", "y", "u", "v"]


def test_prompts_that_disagree_widen_intervals():
    """Twelve prompts, each with ten labellers of one mind, have less to say than 120 judgements."""
    bodies = [
        ranking(f"p{i}", {"a": 1 + (i % 3 == 0), "b": 2 - (i % 3 == 0)}, labeller=f"l{j}")
        for i in range(12)
        for j in range(10)
    ]
    spread, (lead, reach) = rated(*bodies)["players"], lead_of(80, 40)
    assert spread[0]["rating"] - spread[1]["rating"] == pytest.approx(lead, abs=1e-3)
    assert spread[0]["high"] - spread[0]["low"] > 2 * reach


def test_none_are_rated_by_nothing():
    same = ranking("q", {"a": 1, "b": 2}, models=("x",))
    for table in (rated(), rated(same)):
        assert (table["players"], table["comparisons"]) == ([], 0)


def test_the_last_word_of_a_labeller_is_the_one_that_is_rated():
    first, last = ({"a": a, "b": 3 - a} for a in (1, 2))
    table = rated(ranking("q", first, labeller="ann"), ranking("q", last, labeller="ann"))
    assert table["comparisons"] == 1 and table["players"][0]["name"] == "ppo"


def test_elo_reads_a_store(tmp_path):
    with open_store(f"{tmp_path}/x.db", create=True) as store:
        for i in range(6):
            store.add(ranked_replies(ranking(f"p{i}", {"a": 1 + (i < 2), "b": 2 - (i < 2)})))
    done = call("elo", f"--votes=votes:{tmp_path}/x.db", f"--output={tmp_path}/elo.json")
    figures = json.loads((tmp_path / "elo.json").read_text())
    (pair,) = figures["pairs"]
    assert (pair["first"], pair["wins"], pair["losses"], pair["ties"]) == ("sft", 4, 2, 0)
    assert pair["lead"] == pytest.approx(400 * math.log10(2), abs=1e-3)
    assert done.output.splitlines()[2].startswith("| sft | ")
    refused = call("elo", "--votes=votes:nowhere.db", f"--output={tmp_path}/elo.json").refusal
    assert "no store of feedback at 'nowhere.db'" in refused
