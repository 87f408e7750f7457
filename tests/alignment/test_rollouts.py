"""Rollouts of a generator that says what it is told to, against a loop over lists."""

import numpy as np
import pytest

from gptjax.alignment.rollouts import draw_rollouts
from gptjax.alignment.token_rewards import last_token
from gptjax.data.dialogue.chat_format import ChatTemplate
from gptjax.inference.sampling import make_sampler
from gptjax.tokenization import ChatTokenizer, RawBytes

TEMPLATE = ChatTemplate(ChatTokenizer(RawBytes()))
END, PADDING = TEMPLATE.tokenizer.end_of_turn, TEMPLATE.tokenizer.padding
MOST_PROMPT, MOST_ANSWER = 6, 4
PROMPTS = [[7], [1, 2, 3, 4, 5, 6], [9, 8, 7], [4, 4], [5, 6, 5, 6]]
ANSWERS = {
    "ends at once": [END],
    "ends early": [*b"Hi", END],
    "ends at the last place": [*b"Yes", END],
    "has no end": [*b"abcd"],
    "has no end and little room": [*b"No"],  # the context may leave less than is asked for
}
SAID = ["", "Hi", "Yes", "abcd", "No"]
ENDS = [True, True, True, False, False]
EPISODES = [40, 41, 7, 8, 1000]


class _Request:
    def __init__(self, tokens):
        self.tokens = tokens

    def result(self):
        return np.array(self.tokens, np.int32)


class _Generator:
    """Gives `ANSWERS`, and keeps what it is asked for."""

    def complete(self, prompts, **options):
        self.prompts, self.options = [prompt.tolist() for prompt in prompts], options
        return [_Request(answer) for answer in ANSWERS.values()]


@pytest.fixture(scope="module")
def generator():
    return _Generator()


@pytest.fixture(scope="module")
def rollouts(generator):
    return draw_rollouts(
        generator,
        [np.array(prompt, np.int32) for prompt in PROMPTS],
        EPISODES,
        TEMPLATE,
        rows=(MOST_PROMPT, MOST_ANSWER),
        temperature=0.7,
        seed=11,
    )


def _filled(ids, size):
    return ids + [PADDING] * (size - len(ids))


def test_the_generator_is_asked_for_all_of_the_policys_distribution(generator, rollouts):
    assert len(rollouts.tokens) == len(generator.prompts)
    assert generator.prompts == PROMPTS
    assert generator.options == {
        "sample_indices": EPISODES,
        "max_new_tokens": MOST_ANSWER,
        "sampler": make_sampler(0.7),
        "seed": 11,
        "stop_token": END,
    }


def test_arrays_are_those_of_a_loop_over_lists(rollouts):
    expected = {"tokens": [], "prompt_lengths": [], "answers": [], "answer_lengths": []}
    for prompt, answer in zip(PROMPTS, ANSWERS.values(), strict=True):
        expected["tokens"].append(_filled(prompt + answer, MOST_PROMPT + MOST_ANSWER))
        expected["prompt_lengths"].append(len(prompt))
        expected["answers"].append(_filled(answer, MOST_ANSWER))
        expected["answer_lengths"].append(len(answer))
    arrays = rollouts.arrays()
    assert arrays.keys() == expected.keys()
    for name, rows in expected.items():
        assert arrays[name].dtype == np.int32
        np.testing.assert_array_equal(arrays[name], rows, err_msg=name)
        np.testing.assert_array_equal(getattr(rollouts, name), rows, err_msg=name)


def test_an_answer_is_finished_by_its_end_of_turn_alone(rollouts):
    assert rollouts.finished.tolist() == ENDS
    assert rollouts.texts(TEMPLATE) == SAID


def test_the_score_stands_at_the_end_token_or_at_the_last_that_was_drawn(rollouts):
    assert rollouts.mask.dtype == bool
    scored = np.asarray(last_token(rollouts.mask))
    for row, answer in enumerate(ANSWERS.values()):
        assert rollouts.mask[row].tolist() == [place < len(answer) for place in range(MOST_ANSWER)]
        assert np.flatnonzero(scored[row]).tolist() == [len(answer) - 1]
        assert (rollouts.answers[row][scored[row]] == END).tolist() == [ENDS[row]]
