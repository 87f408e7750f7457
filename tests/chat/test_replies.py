"""Reply policies against the generator, the search and the choice that they stand for."""

import numpy as np
import pytest

from gptjax.alignment.rewards import Reward, composed
from gptjax.chat.drafts import Asked, finish_reason
from gptjax.chat.replies import Beams, BestOf, RankerFailed, Sampling
from gptjax.data.dialogue.chat_format import Message
from gptjax.inference.beam import BeamSearch
from gptjax.inference.sampling import make_sampler
from tests.support.chat_models import chat_model

USER = (Message("user", "hi"),)


def most_vowels(prompts, replies):
    return np.array([sum(reply.count(vowel) for vowel in "aeiou") for reply in replies])


def lost(prompts, replies):
    return composed([Reward("lost", lambda prompt, reply: np.nan)], prompts, replies)[0]


@pytest.fixture(scope="module")
def model():
    return chat_model(rankers={"vowels": most_vowels, "lost": lost})


@pytest.fixture(scope="module")
def asked(model):
    marks = model.template.tokenizer
    return Asked(
        model.template.prompt(USER),
        stop_token=marks.end_of_turn,
        banned=marks.outside_answers,
        messages=USER,
        max_new_tokens=6,
        seed=3,
    )


def text(draft) -> str:
    return "".join(draft.text())


def test_sampling_is_the_generator_with_the_sampler_of_its_options(model, asked):
    policy = Sampling(0.8, top_p=0.9, presence_penalty=0.5, logit_bias={65: 2.0})
    drafts = policy.drafts(model, model.generator, asked, count=2)
    sampler = make_sampler(
        0.8,
        top_p=0.9,
        presence_penalty=0.5,
        logit_bias={65: 2.0},
        banned_tokens=asked.banned,
        vocab_size=261,
    )
    for index, draft in enumerate(drafts):
        request = model.generator.submit(
            asked.prompt,
            sampler=sampler,
            seed=3,
            sample_index=index,
            max_new_tokens=6,
            stop_token=asked.stop_token,
        )
        assert text(draft) == "".join(request.text()) and draft.tokens == request.tokens
        assert finish_reason(draft) == "length" and len(draft.tokens) == 6
    assert str(policy) == "temperature=0.8, top_p=0.9, presence_penalty=0.5"


def test_beams_are_those_of_the_search(model, asked):
    policy = Beams(num_beams=3, length_penalty=0.6)
    drafts = policy.drafts(model, model.generator, asked, count=2)
    (found,) = BeamSearch(model.model, model.params)(
        [asked.prompt],
        num_beams=3,
        num_best=2,
        max_new_tokens=6,
        stop_token=asked.stop_token,
        length_penalty=0.6,
        sampler=make_sampler(0, banned_tokens=asked.banned, vocab_size=261),
    )
    for draft, hypothesis in zip(drafts, found, strict=True):
        assert draft.finished is None
        shown = text(draft)
        assert draft.tokens == hypothesis.tokens.tolist()
        ended = hypothesis.tokens[-1] == asked.stop_token
        assert shown == model.tokenizer.decode(hypothesis.tokens[: -1 if ended else None])
        assert finish_reason(draft) == ("stop" if ended else "length")
    with pytest.raises(ValueError, match="n: got 4 with 3 beams"):
        policy.drafts(model, model.generator, asked, count=4)


@pytest.mark.parametrize("ranker", [None, "vowels"])
def test_the_best_of_several_draws_is_the_best_by_its_ranker(model, asked, ranker):
    draws = Sampling().drafts(model, model.generator, asked, count=6)
    texts = [text(draft) for draft in draws]
    if ranker:
        scores = most_vowels(None, texts)
    else:
        scores = np.array([np.mean(draft.log_probs) for draft in draws])
    expected = sorted(range(6), key=lambda i: -scores[i])[:2]
    chosen = BestOf(6, ranker).drafts(model, model.generator, asked, count=2)
    assert [text(draft) for draft in chosen] == [texts[i] for i in expected]
    assert [draft.tokens for draft in chosen] == [draws[i].tokens for i in expected]


def test_a_ranker_that_is_not_there_and_options_out_of_range_are_refused(model, asked):
    with pytest.raises(ValueError, match="rank_by: got 'nobody', expected one of: vowels"):
        BestOf(2, "nobody").drafts(model, model.generator, asked)
    with pytest.raises(ValueError, match="temperature: got -1"):
        Sampling(temperature=-1.0).drafts(model, model.generator, asked)


def test_a_ranker_without_a_number_fails_as_such(model, asked):
    (chosen,) = BestOf(2, "lost").drafts(model, model.generator, asked)
    with pytest.raises(RankerFailed, match=r"rank_by: reward 'lost', row 0 .*: got nan, expected"):
        text(chosen)


def test_cancelled_draws_end_at_once(model, asked):
    (chosen,) = BestOf(2).drafts(model, model.generator, asked)
    chosen.cancel()
    assert chosen.finished == "cancelled" and text(chosen) == ""
