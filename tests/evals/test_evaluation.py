"""Evaluation with models that answer by a rule: shots, figures, answers that are kept."""

import dataclasses
import math

import numpy as np
import pytest

from gptjax.alignment.intervals import wilson_interval
from gptjax.evals.answer_store import AnswerStore
from gptjax.evals.evaluation import evaluate
from gptjax.evals.forms.choices import ChoiceItem, Choices
from gptjax.evals.forms.free_text import FreeText, TextItem, final_number, stripped_match
from gptjax.evals.requests import Generation, Likelihood
from gptjax.evals.shots import Prompts
from gptjax.evals.study import Study, some_items
from gptjax.evals.task import Layout
from tests.evals.stand_ins import Counting

ITEMS = tuple(
    ChoiceItem(
        f"q:{i}", tuple((f"Q{i}?", f" {word * (1 + j)}") for j, word in enumerate("abc")), i % 3
    )
    for i in range(60)
)
TRAINING = tuple(ChoiceItem(f"t:{i}", (("T", " x"), (f"T{i}", f" y{i}")), 1) for i in range(12))
CHOICES = Choices("choices", ITEMS, TRAINING, Layout("Choose.\n", "\n"))
SUMS = FreeText(
    "sums",
    tuple(TextItem(f"s:{i}", f"{i} + 1 =", (str(i + 1),)) for i in range(5)),
    scores={"exact_match": stripped_match},
)


def scored(model, task, **options):
    with AnswerStore(None) as store:
        return evaluate(model, task, store, **options)


@pytest.mark.parametrize("count", ["plain", "token", "byte", "character", "unconditional"])
def test_choices_are_counted_as_the_normalisation_says(count):
    model = Counting()
    task = Choices("choices", ITEMS, normalisation=count)
    result = scored(model, task)
    right = 0
    for item in ITEMS:
        values = []
        for context, text in item.texts:
            plain, size = model.log_prob(context + text), len(text)
            alone = model.log_prob("Answer:" + text)
            values.append(
                {
                    "plain": plain,
                    "token": plain / size,
                    "byte": plain / len(text.strip().encode()),
                    "character": plain / len(text.strip()),
                    "unconditional": plain - alone,
                }[count]
            )
        right += values.index(max(values)) == item.answer
    figure = result.figures["accuracy"]
    assert figure.value == right / 60 and figure.low < figure.value < figure.high
    assert len(model.asked) == 60 * 3 + (9 if count == "unconditional" else 0) - 6 * (
        count == "unconditional"
    )
    assert sum(one.margin > 0 for one in result.judged) == right


def test_shots_are_drawn_for_each_item_and_more_begin_with_fewer():
    prompts = Prompts(CHOICES, seed=3)
    four, two = prompts.shots(ITEMS[0], 4), prompts.shots(ITEMS[0], 2)
    assert four[:2] == two and len({shot.id for shot in four}) == 4
    assert four != prompts.shots(ITEMS[1], 4) and four != Prompts(CHOICES, 4).shots(ITEMS[0], 4)
    shown = [f"T{shot.id[2:]} y{shot.id[2:]}\n" for shot in two]
    assert prompts.before(ITEMS[0], 2) == "Choose.\n" + "".join(shown)
    (first, *_) = prompts.requests(ITEMS[0], 2)
    assert first == Likelihood("Choose.\n" + "".join(shown) + "Q0?", " a")
    itself = Choices("itself", ITEMS, ITEMS)
    for item in ITEMS:
        assert item.id not in {shot.id for shot in Prompts(itself, 0).shots(item, 30)}


def test_every_training_example_is_drawn_about_as_often():
    prompts = Prompts(CHOICES, seed=0)
    drawn = [shot.id for item in ITEMS for shot in prompts.shots(item, 4)]
    counts = np.array([drawn.count(shot.id) for shot in TRAINING])
    expected = 60 * 4 / 12
    assert np.abs(counts - expected).max() < 4 * math.sqrt(expected)


def test_as_many_shots_are_taken_as_fit():
    model = Counting()
    model.context_length = 70
    fit = scored(model, CHOICES, shots="fit").shots
    sizes = [
        max(len(r.context + r.continuation) for r in Prompts(CHOICES, 0).requests(item, fit))
        for item in ITEMS
    ]
    more = [
        max(len(r.context + r.continuation) for r in Prompts(CHOICES, 0).requests(item, fit + 1))
        for item in ITEMS
    ]
    assert max(sizes) <= 71 < max(more) and 0 < fit < 12
    with pytest.raises(
        ValueError, match=f"of 60 items exceed the context of 70 tokens, expected {fit} at most"
    ):
        scored(model, CHOICES, shots=fit + 2)
    with pytest.raises(ValueError, match="got 13 for choices, whose training split has 12 exa"):
        scored(Counting(), CHOICES, shots=13)
    with pytest.raises(ValueError, match="got 1 for sums, which has no training split here"):
        scored(Counting(), SUMS, shots=1)


def test_no_shot_fits_where_no_item_does_and_none_is_the_item_itself():
    long = dataclasses.replace(SUMS, training=SUMS.items, max_new_tokens=60)
    model = Counting()
    model.context_length = 12
    assert scored(model, long, shots="fit").shots == 0
    with pytest.raises(ValueError, match="exceed the context of 12 tokens, expected 0 at most"):
        scored(model, long, shots=1)
    twice = dataclasses.replace(SUMS.items[0], id="again")
    doubled = dataclasses.replace(SUMS, training=(twice, *SUMS.items))
    assert all(shot.prompt != "0 + 1 =" for shot in Prompts(doubled, 0).shots(SUMS.items[0], 4))


def test_texts_are_written_and_scored():
    writes = {"0 + 1 =": " 1 ", "1 + 1 =": " 2", "2 + 1 =": " 12", "3 + 1 =": "", "4 + 1 =": "5"}
    model = Counting(writes=writes)
    result = scored(model, SUMS)
    assert result.figures["exact_match"].value == 3 / 5
    assert Generation("0 + 1 =", stop=("\n",), max_new_tokens=32) in model.asked
    assert [
        final_number(*case)
        for case in (
            ("so 3 and 1,204.", ("1204",)),
            ("it is 7.0", ("7",)),
            ("none", ("7",)),
            ("7 then 8", ("7",)),
        )
    ] == [1, 1, 0, 0]


def test_answers_are_kept_through_a_kill_and_asked_once(tmp_path):
    path, killed, again = tmp_path / "deep" / "answers.sqlite", Counting(fails_after=70), Counting()
    with pytest.raises(KeyboardInterrupt), AnswerStore(path) as store:
        evaluate(killed, CHOICES, store)
    with AnswerStore(path) as store:
        progress = []
        result = evaluate(again, CHOICES, store, progress=lambda *x: progress.append(x))
        assert progress[0] == (70, 180) and progress[-1] == (180, 180)
        assert len(again.asked) == 110
        evaluate(again, CHOICES, store)
        assert len(again.asked) == 110
        evaluate(other := Counting("two"), CHOICES, store)
        assert len(other.asked) == 180
    assert result.judged == scored(Counting(), CHOICES).judged
    path.write_text("no database at all, but a text of some length" * 10)
    with pytest.raises(ValueError, match=r"answers.sqlite: got file is not a database, expected a"):
        AnswerStore(path)


def test_items_that_training_text_holds_are_left_out_beside():
    dirty = frozenset(item.id for item in ITEMS[:20])
    all_of = scored(Counting(), CHOICES, dirty=dirty)
    clean = dataclasses.replace(CHOICES, items=ITEMS[20:])
    assert all_of.clean["accuracy"].value == scored(Counting(), clean).figures["accuracy"].value
    assert all_of.figures == scored(Counting(), CHOICES).figures


def test_items_of_a_cluster_are_counted_as_one():
    """In figures of all and of clean items, of both forms, and between two models."""
    clustered = [
        dataclasses.replace(
            task,
            items=tuple(dataclasses.replace(x, cluster=x.id[:3]) for x in task.items),
        )
        for task in (CHOICES, dataclasses.replace(SUMS, items=SUMS.items * 2))
    ]
    study = Study({task.name: task for task in clustered}, [0], dirty={"choices": {"q:0"}})
    with AnswerStore(None) as store:
        for name in ("one", "two"):
            study.run(name, Counting(name), store)
    choices, sums = study.rows()[:2]
    for figures in (choices["figures"], choices["clean"]["figures"], sums["figures"]):
        assert {figure["interval"] for figure in figures.values()} == {"cluster wilson"}
    assert {row["test"] for row in study.differences()} == {"cluster sign flips"}
    right = np.array([one.columns["right"] for one in study.results["one"][0].judged])
    of = np.array([item.id[:3] for item in ITEMS])
    counts = [(right[of == name].sum(), (of == name).sum()) for name in dict.fromkeys(of)]
    low, high = wilson_interval(*zip(*counts, strict=True))
    accuracy = choices["figures"]["accuracy"]
    assert (accuracy["low"], accuracy["high"]) == (low, high)


def test_two_models_are_compared_on_the_items_of_a_study():
    study = Study({"choices": CHOICES, "sums": SUMS}, [0, 2][:1])
    with AnswerStore(None) as store:
        for name in ("one", "two", "three"):
            study.run(name, Counting(name), store)
    assert [row["model"] for row in study.rows()] == ["one"] * 2 + ["two"] * 2 + ["three"] * 2
    differences = study.differences()
    assert len(differences) == 6
    first = differences[0]
    values = [
        row["figures"]["accuracy"]["value"] for row in study.rows() if row["task"] == "choices"
    ]
    assert first["value"] == pytest.approx(values[0] - values[1])
    assert len(list(study.examples())) == 3 * 65
    some = some_items(CHOICES, 7, seed=0)
    assert len(some.items) == 7 and list(some.items) == sorted(some.items, key=ITEMS.index)
