"""Answers of a language model against full forward passes, and the generator alone."""

import numpy as np
import pytest

from gptjax.data.pictures.picture import Picture
from gptjax.evals.models import language_model
from gptjax.evals.models.language_model import LanguageModel
from gptjax.evals.requests import Generation, Likelihood, LikelihoodAnswer, Rolling, key
from gptjax.inference.beam import BeamSearch
from gptjax.tokenization import load_tokenizer
from tests.inference.models import CONTEXT, GREEDY, full_logits, generator_of, log_softmax, made

BYTES = load_tokenizer("bytes")
START = ord("\n")  # bytes have no end-of-text
LONG = "a passage that is longer than the context of seventy-two tokens, which are bytes. " * 2
ASKED = [
    Likelihood("The cat sat on the", " mat"),
    Likelihood("The cat sat on the", " moon"),
    Likelihood("", "Once"),
    Likelihood("A dog ", "barks"),
    Likelihood("A dog", " barks"),
    Likelihood(LONG, " end"),
    Likelihood("The cat sat on the", "re"),
    Likelihood("short", LONG),
    Rolling(LONG),
    Rolling("a short one"),
    Rolling(LONG, stride=40),
]


@pytest.fixture(scope="module")
def bytes_model():
    return made(vocab_size=BYTES.vocab_size, vocab_multiple=1, num_layers=1, attention="dense")


@pytest.fixture(scope="module")
def model(bytes_model):
    return LanguageModel(*bytes_model, BYTES, content_hash="some", batch_size=4)


@pytest.fixture(scope="module")
def answers(model):
    return model.all_answers(ASKED)


def ids(text: str) -> list[int]:
    return BYTES.encode(text).tolist()


def expected(bytes_model, prefix: list[int], continuation: list[int]) -> tuple[float, bool]:
    """Of a continuation behind as much of a prefix as fits, by one forward pass."""
    prefix = prefix[-(CONTEXT + 1 - len(continuation)) :]
    logits = full_logits(bytes_model, [*prefix, *continuation][:-1])[len(prefix) - 1 :]
    logits = logits[: len(continuation)]
    log_probs = log_softmax(logits)[np.arange(len(continuation)), continuation]
    return float(log_probs.sum()), bool((logits.argmax(-1) == continuation).all())


@pytest.mark.parametrize("number", range(7))
def test_a_continuation_has_the_log_probability_of_a_forward_pass(number, answers, bytes_model):
    asked, answer = ASKED[number], answers[number]
    context, continuation = asked.context.rstrip(), ids(asked.continuation)
    if asked.context.endswith(" "):
        continuation = ids(" " + asked.continuation)
    log_prob, greedy = expected(bytes_model, ids(context) or [START], continuation)
    assert answer.log_prob == pytest.approx(log_prob, rel=1e-5)
    assert (answer.tokens, answer.greedy) == (len(continuation), greedy)
    assert answer.cut == (len(context) + len(continuation) > CONTEXT + 1)


def test_white_space_at_the_end_of_a_context_is_the_continuations(answers):
    assert answers[3] == answers[4]


def test_a_continuation_past_the_context_is_scored_in_pieces(answers, bytes_model):
    text, total = ids("short")[-1:] + ids(LONG), 0.0
    for at in range(1, len(text), CONTEXT):
        total += expected(bytes_model, text[at - 1 : at], text[at : at + CONTEXT])[0]
    assert answers[7].log_prob == pytest.approx(total, rel=1e-5)
    assert answers[7].tokens == len(ids(LONG)) and answers[7].cut


@pytest.mark.parametrize(("number", "stride"), [(8, CONTEXT), (9, CONTEXT), (10, 40)])
def test_a_whole_text_has_each_token_once(number, stride, answers, bytes_model):
    text, total, done = [START, *ids(ASKED[number].text)], 0.0, 1
    start = 0
    while done < len(text):
        end = min(start + CONTEXT + 1, len(text))
        logits = full_logits(bytes_model, text[start : end - 1])[: end - 1 - start]
        of = log_softmax(logits)[np.arange(end - 1 - start), text[start + 1 : end]]
        total += float(of[done - start - 1 :].sum())
        done, start = end, start + stride
    assert answers[number] == LikelihoodAnswer(
        pytest.approx(total, rel=1e-5), len(ids(ASKED[number].text))
    )


@pytest.mark.slow
def test_answers_do_not_depend_on_batch_order_or_neighbours(answers, bytes_model):
    """Another batch size in another order, and each alone."""
    other = LanguageModel(*bytes_model, BYTES, content_hash="some", batch_size=2)
    turned = other.all_answers(ASKED[::-1])[::-1]
    for answer, again in zip(answers, turned, strict=True):
        assert again.log_prob == pytest.approx(answer.log_prob, rel=1e-5, abs=1e-5)
        assert (again.tokens, again.greedy) == (answer.tokens, answer.greedy)
    (alone,) = other.all_answers(ASKED[1:2])
    assert alone.log_prob == pytest.approx(answers[1].log_prob, rel=1e-5)


def test_texts_are_those_of_the_generator(model, bytes_model):
    """Greedy, drawn, stopped, and with a prompt whose end alone leaves room."""
    generator = generator_of(bytes_model, BYTES, slots=1, longest=(CONTEXT - 9, 9))
    prompts = ["once", "the end of", "a", "b", "cd", LONG]
    asked = [Generation(prompt, max_new_tokens=9) for prompt in prompts]
    made_texts = [answer.text for answer in model.all_answers(asked)]
    fits = [*prompts[:-1], LONG[-(CONTEXT - 9) :]]
    for prompt, text in zip(fits, made_texts, strict=True):
        request = generator.submit(
            np.array(ids(prompt)),
            sampler=GREEDY,
            max_new_tokens=9,
        )
        assert text == "".join(request.text())
    assert [answer.cut for answer in model.all_answers(asked)] == [False] * 5 + [True]
    stop = made_texts[0][4]
    (stopped,) = model.all_answers([Generation("once", stop=(stop,), max_new_tokens=9)])
    assert stopped.text == made_texts[0][: made_texts[0].index(stop)]
    drawn = model.all_answers(
        [Generation("once", max_new_tokens=9, temperature=1.0, draw=draw) for draw in (0, 0, 1)]
    )
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_text_that_meets_its_stop_string_is_not_written_to_its_end(model, monkeypatch):
    """Written on the device until the next look, and not as far as its tokens may go."""
    (whole,) = model.all_answers([Generation("once", max_new_tokens=60)])
    asked, step = [], model._generator.step

    def watched(num_steps):
        asked.append(num_steps)
        step(num_steps)

    monkeypatch.setattr(model._generator, "step", watched)
    monkeypatch.setattr(language_model, "_LOOK", 4)
    stops = (whole.text[2],), (whole.text[-1] + "no",)
    stopped, through = model.all_answers([Generation("once", stop, 60) for stop in stops])
    assert stopped.text == whole.text[: whole.text.index(stops[0][0])]
    assert through.text == whole.text and asked == [4] * 15
    asked.clear()
    model.all_answers([Generation("once", stops[0], 60)])
    assert asked == [4]
    model.all_answers([Generation("once", max_new_tokens=9)])
    assert asked == [4, CONTEXT]


def test_beams_are_those_of_beam_search(model, bytes_model):
    asked = Generation("once", max_new_tokens=5, num_beams=3, num_best=3)
    (answer,) = model.all_answers([asked])
    search = BeamSearch(*bytes_model, BYTES)
    (found,) = search(
        [np.array(ids("once"))],
        num_beams=3,
        num_best=3,
        max_new_tokens=5,
        length_penalty=0.6,
        normalization="gnmt",
    )
    texts = [BYTES.decode(each.tokens) for each in found]
    assert answer.texts == tuple(texts) and len(set(texts)) == 3


def test_what_cannot_be_asked_is_refused(model, bytes_model):
    with pytest.raises(ValueError, match="continuation: got none after 'so', expected text"):
        model.all_answers([Likelihood("so", "")])
    with pytest.raises(ValueError, match="text: got an empty one, expected some"):
        model.all_answers([Rolling("")])
    picture = Picture.of(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="pictures: got a request with some, expected text"):
        model.all_answers([Likelihood("<image> is", " a", (picture,))])


def test_a_requests_key_stands_for_all_its_fields():
    keys = {
        key(request)
        for request in (
            *ASKED,
            Generation("a"),
            Generation("a", stop=("b",)),
            Generation("a", num_beams=2),
            Generation("a", draw=1),
            Rolling("a"),
        )
    }
    assert len(keys) == len(ASKED) + 5
    assert key(Generation("a")) == key(Generation("a", ()))
