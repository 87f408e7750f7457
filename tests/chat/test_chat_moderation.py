"""What a chat server says of texts: OpenAI's shape, and the classifier of a run."""

import json

import pytest

from gptjax.chat.filters.chain import FilterChain
from gptjax.chat.moderation import (
    NAMES,
    OFFICIAL,
    Moderator,
    moderation_response,
    moderation_result,
)
from gptjax.tasks.moderation.config import CATEGORIES

SCORES = {"S": 0.9, "H2": 0.5, "V": 0.2}


def test_a_result_has_thirteen_categories_and_flags_from_the_threshold_on():
    result = moderation_result(SCORES, {"S": 0.95, "H2": 0.5, "V": None})
    assert len(OFFICIAL) == 13 and NAMES.keys() == set(CATEGORIES)
    flagged = {name for name, flag in result["categories"].items() if flag}
    assert (result["flagged"], flagged) == (True, {"hate/threatening"})
    assert result["category_scores"]["sexual"] == 0.9
    assert result["category_scores"]["illicit/violent"] == 0.0
    applied = result["category_applied_input_types"]
    assert applied["violence"] == ["text"] and applied["illicit"] == []
    assert json.loads(json.dumps(result)) == result
    assert not moderation_result(SCORES, {})["flagged"]
    assert moderation_result({"X": 1.0}, {"X": 0.5})["categories"]["X"]


def test_the_answer_is_what_openai_s_client_reads():
    types = pytest.importorskip("openai.types", reason="openai is not installed: extra `clients`")
    answer = moderation_response([SCORES, SCORES], {"S": 0.5}, "runs/x", "modr-1")
    read = types.ModerationCreateResponse.model_validate(answer, strict=True, by_alias=True)
    assert [len(type(r.categories).model_fields) for r in read.results] == [13, 13]
    first = read.results[0]
    assert first.flagged and first.categories.sexual and not first.categories.hate_threatening
    assert first.category_scores.hate_threatening == 0.5 and first.category_scores.illicit == 0.0
    assert first.category_applied_input_types.violence_graphic == []


def test_the_classifier_of_a_run_is_a_stage(trained):
    path = str(trained("moderation").path)
    moderator = Moderator.load(path)
    (scores,) = moderator.scores(["fox jar"])
    assert scores.keys() == set(moderator.categories) == {"A", "B"}
    spec = {"stage": "classifier", "run": path, "thresholds": {"A": scores["A"], "B": 1.0}}
    judged = FilterChain.parse([spec]).judge("fox jar", "input")
    (decision,) = judged.decisions
    assert decision.category == "A" and decision.score == pytest.approx(scores["A"], abs=1e-6)


def test_another_run_is_refused_by_the_name_it_was_given_under(trained):
    with pytest.raises(ValueError, match=r"^filters: got .*, a run of kind pretrain"):
        Moderator.load(str(trained("pretrain").path), "filters")
