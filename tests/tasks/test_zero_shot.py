import json
from types import SimpleNamespace

import numpy as np

from gptjax.data.dialogue.records import Records
from gptjax.data.labelled.examples import Example
from gptjax.inference.scoring import Score
from gptjax.tasks.classification.zero_shot import by_candidates, by_threshold, by_words, zero_shot
from gptjax.tokenization import RawBytes
from tests.support.binaries import call

LENGTH = 30


def log_prob(before, byte):
    """Of a byte, by the last one and the number of those before it; any function will do."""
    return -((7 * before[-1] + 3 * byte + 5 * len(before)) % 11) / 3


def scored(prefix, tokens):
    assert len(prefix) + len(tokens) <= LENGTH + 1
    text = [*prefix, *tokens]
    log_probs = [log_prob(text[:i], text[i]) for i in range(len(prefix), len(text))]
    return Score(np.array(log_probs), np.zeros(len(log_probs), bool))


SCORER = SimpleNamespace(
    score=lambda pairs: [scored(*pair) for pair in pairs],
    score_questions=lambda each: [[scored(text, x) for x in answers] for text, answers in each],
)


def records(*texts, targets=(0, 1, 1, 0, 1)):
    items = (Example(each, target) for each, target in zip(texts, targets, strict=False))
    return Records("made up", tuple(items))


def nats(text, answer, longest):
    """Log-probabilities of an answer's bytes behind what of the text fits with the longest one."""
    before, found = text.encode()[-(LENGTH + 1 - longest) :], []
    for byte in answer.encode():
        found.append(log_prob(before, byte))
        before += bytes([byte])
    return found


TEXTS = ("a fine film", "dull", "the best of all the films that there are", "no", "why")


def test_the_most_probable_word_is_the_label():
    found = by_words(RawBytes(), LENGTH, ["bad", "good"], " very")(SCORER, records(*zip(TEXTS)))
    expected = [
        int(sum(nats(f"{text} very", " good", 5)) > sum(nats(f"{text} very", " bad", 5)))
        for text in TEXTS
    ]
    assert found.tolist() == expected and len(set(expected)) == 2


def test_the_candidate_of_the_highest_mean_is_chosen():
    candidates = ("yes", "no", "so so")
    examples = records(*((text, *candidates) for text in TEXTS))
    found = by_candidates(RawBytes(), LENGTH)(SCORER, examples)
    means = [[np.mean(nats(text, f" {each}", 6)) for each in candidates] for text in TEXTS]
    assert found.tolist() == np.argmax(means, 1).tolist() and len(set(found.tolist())) > 1


def test_a_threshold_is_the_best_of_what_is_learned_from(monkeypatch):
    tokenizer = RawBytes()
    means = {text: np.mean(nats(chr(0), text[:LENGTH], LENGTH)) for text in TEXTS}
    middle = sorted(means.values())[2]
    targets = [int(means[text] >= middle) for text in TEXTS]
    learned = records(*zip(TEXTS), targets=targets)
    monkeypatch.setattr(RawBytes, "end_of_text", 0, raising=False)
    predict = by_threshold(tokenizer, LENGTH, "accuracy", learned)
    assert zero_shot(predict, SCORER, learned, 2)["accuracy"] == 1.0


def test_every_checkpoint_has_a_line(trained):
    ended = call(
        "zero_shot",
        f"--workdir={trained('pretrain').path}",
        "--experiment=classification_smoke",
        "--config.task.validation=embedded:split=held_out,count=8",
        "--words=animals,things",
    )
    lines = [json.loads(line) for line in ended.output.splitlines() if line.startswith("{")]
    assert [line["step"] for line in lines] == [4, 8]
    assert all(line["accuracy_low"] <= line["accuracy"] <= line["accuracy_high"] for line in lines)
    refused = call(
        "zero_shot",
        f"--workdir={trained('pretrain').path}",
        "--experiment=classification_smoke",
        "--words=one",
    )
    assert refused.refusal.startswith("--words: got one, expected one for each of the labels")
