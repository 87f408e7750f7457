"""Tasks without fine-tuning: a language model answers by the probabilities of texts.

Radford et al. 2018, section 5, "Zero-shot behaviors", and figure 2, right:

    words        of a word for each label, the most probable after the text and "very" (SST-2)
    candidates   the candidate whose tokens have the highest mean log-probability (RACE)
    threshold    whether the mean log-probability of a token is above a threshold (CoLA)

    figures = zero_shot(by_candidates(tokenizer), Scorer(model, params), examples, num_classes=4)
"""

from collections.abc import Callable, Sequence

import numpy as np

from gptjax.data.dialogue.records import Records
from gptjax.data.labelled.examples import Example
from gptjax.inference.scoring import Scorer
from gptjax.judging.metrics import metrics, metrics_of
from gptjax.tokenization import Tokenizer

SEED = 0  # of the bootstrap
THRESHOLDS = np.linspace(0, 1, 101)  # quantiles of what is seen of the examples to learn from
Predict = Callable[[Scorer, Records[Example]], np.ndarray]


def by_words(tokenizer: Tokenizer, length: int, words: Sequence[str], suffix: str) -> Predict:
    """Predicts the label whose word is the most probable behind a text.

    Args:
      tokenizer: of the model.
      length: tokens of its context; what exceeds it at the front of a text is cut.
      words: one a label, in their order.
      suffix: stands between the text and the word.
    """
    answers = [np.asarray(tokenizer.encode(f" {word}")) for word in words]

    def predict(scorer: Scorer, examples: Records[Example]) -> np.ndarray:
        texts = tokenizer.encode_batch([example.texts[0] + suffix for example in examples])
        scored = scorer.score_questions([(_cut(text, answers, length), answers) for text in texts])
        return np.array([np.argmax([score.total for score in each]) for each in scored])

    return predict


def by_candidates(tokenizer: Tokenizer, length: int) -> Predict:
    """Predicts the candidate with the highest mean log-probability; others as of `by_words`."""

    def predict(scorer: Scorer, examples: Records[Example]) -> np.ndarray:
        questions = []
        for example in examples:
            context, *candidates = tokenizer.encode_batch(
                [example.texts[0], *(f" {text}" for text in example.texts[1:])]
            )
            answers = [np.asarray(candidate[: length // 2]) for candidate in candidates]
            questions.append((_cut(context, answers, length), answers))
        scored = scorer.score_questions(questions)
        return np.array([np.argmax([score.mean for score in each]) for each in scored])

    return predict


def by_threshold(
    tokenizer: Tokenizer, length: int, metric: str, learned: Records[Example]
) -> Predict:
    """Predicts the second of two labels for texts that are probable enough.

    Args:
      tokenizer: of the model; its end of text stands before each text, as in training.
      length: tokens of the model's context; what exceeds it is cut.
      metric: a name of `metrics`; the threshold makes that of `learned` as high as it can be.
      learned: examples with their labels.
    """

    def means(scorer: Scorer, examples: Records[Example]) -> np.ndarray:
        begin = np.array([tokenizer.end_of_text])
        texts = tokenizer.encode_batch([example.texts[0] for example in examples])
        scored = scorer.score([(begin, np.asarray(text[:length])) for text in texts])
        return np.array([score.mean for score in scored])

    def predict(scorer: Scorer, examples: Records[Example]) -> np.ndarray:
        seen, targets, figure = means(scorer, learned), targets_of(learned), metrics(2)[metric]
        thresholds = np.quantile(seen, THRESHOLDS)
        figures = [figure((seen > x).astype(np.int64), targets) for x in thresholds]
        best = thresholds[int(np.argmax(figures))]
        return (means(scorer, examples) > best).astype(np.int64)

    return predict


def zero_shot(
    predict: Predict, scorer: Scorer, examples: Records[Example], num_classes: int
) -> dict[str, float]:
    """`metrics_of` what a model predicts of examples, without having learned the task."""
    return metrics_of(predict(scorer, examples), targets_of(examples), num_classes, SEED)


def targets_of(examples: Records[Example]) -> np.ndarray:
    """The labels of examples, int64 [N]."""
    return np.array([int(example.target) for example in examples])


def _cut(text: np.ndarray, answers: Sequence[np.ndarray], length: int) -> np.ndarray:
    """The end of a text [m] that fits the context with the longest answer."""
    room = length + 1 - max(answer.size for answer in answers)
    return text[-room:]
