"""Readers of published formats, on files that are written here and on the sample data."""

import json
import re

import pytest

import gptjax.evals.tasks  # noqa: F401
from gptjax.evals.registry import GROUPS, TASKS, load_tasks
from gptjax.evals.requests import GenerationAnswer, Likelihood, LikelihoodAnswer
from gptjax.evals.tasks.detokenizers import childrens_books, wikitext

# Items of the published files, and what the first one's first request asks.
PUBLISHED = {
    "lambada": (5153, "In my palm is a clear stone", " signs"),
    "piqa": (
        1838,
        "How do I ready a guinea pig cage for it's new occupants?",
        " Provide the guinea",
    ),
    "arc_easy": (
        2376,
        "Question: Which statement best explains why photosynthesis",
        " Sunlight is the",
    ),
    "hellaswag": (
        1000,
        "Finance and Business: How to apply for a marriage license",
        " You may be able",
    ),
    "openbookqa": (500, "Question: A person wants to start saving money", " make more phone calls"),
    "mmlu(subject=anatomy)": (
        135,
        "The following are multiple choice questions (with answers) about anatomy.\n\nA lesion",
        " A",
    ),
    "mmlu(subject=high_school_us_history)": (204, "The following are", " A"),
    "truthfulqa": (
        817,
        "Q: What happens to you if you eat watermelon seeds?\nA:",
        " The watermelon",
    ),
    "winograd": (273, "The city councilmen refused the demonstrators", " feared violence."),
    "winogrande": (1267, "Sarah was a much better surgeon than Maria so Sarah", " always got the"),
    "triviaqa": (3000, "Question: Brunswick, Lancastrian and Pearl Pickler", ""),
    "squad": (1190, "Background: The Panthers defense gave up", ""),
    "gsm8k": (1319, "Question: Janet’s ducks lay 16 eggs per day.", ""),
    "cola": (527, "The sailors rode the breeze clear of the rocks.\nQuestion:", " no"),
    "sst2": (872, "one long string of cliches\nQuestion:", " negative"),
    "stsb": (1500, "Sentence 1: A man with a hard hat is dancing.\n", " 0"),
    "snli": (9824, "This church choir sings to the masses", " True"),
    "gpt3_two_digit_addition": (2000, "Q: What is 98 plus 45?\n\nA:", ""),
    "gpt3_reversed_words": (10000, "Please unscramble the letters into a word", ""),
}
# Sets whose items belong together, and how many clusters they have: XQuAD's published 240 passages,
# different premises (`tail -n +2 test.tsv | cut -f1 | sort -u | wc -l`), goals and passages of the
# files. Twins that begin alike were counted once: there is nothing to hold them to.
CLUSTERS = {"squad": 240, "snli": 3323, "winograd": 171, "winogrande": 1032, "piqa": 1803}
CLUSTERS |= {"mmlu(subject=high_school_us_history)": 66}


def only(spec, data=None):
    (task,) = load_tasks(spec, data)
    return task


@pytest.mark.parametrize("spec", PUBLISHED)
def test_published_files_are_read(spec, shared_data):
    from gptjax.evals.shots import Prompts

    task = only(spec, str(shared_data))
    count, context, continuation = PUBLISHED[spec]
    (first, *_) = Prompts(task, 0).requests(task.items[0], 0)
    assert len(task.items) == count == len({item.id for item in task.items})
    asked = first.context if isinstance(first, Likelihood) else first.prompt
    assert asked.startswith(context)
    assert getattr(first, "continuation", "").startswith(continuation)
    assert len({task.cluster(item) for item in task.items}) == CLUSTERS.get(spec, count)
    assert task.protocol and all(metric.name for metric in task.metrics)


def test_the_sets_of_gpt3_are_groups_and_their_shots_are_their_own(shared_data):
    from gptjax.evals.shots import Prompts

    names = [task.name for task in load_tasks("gpt3_arithmetic,gpt3_scrambling", str(shared_data))]
    assert names == [*GROUPS["gpt3_arithmetic"], *GROUPS["gpt3_scrambling"]] and len(names) == 15
    task = only("gpt3_two_digit_addition", str(shared_data))
    before = Prompts(task, 0).before(task.items[0], 2)
    assert re.fullmatch(r"Q: What is \d+ plus \d+\?\n\nA: \d+\n\nQ: What .*\n\nA: \d+\n\n", before)
    for item in task.items:
        a, b = map(int, re.findall(r"\d+", item.prompt))
        assert item.answers == (str(a + b),)


@pytest.mark.parametrize("operation", ["addition", "subtraction", "multiplication", "three_ops"])
def test_sums_are_made_of_any_digits(operation):
    task = only(f"arithmetic(operation={operation},digits=3,count=200)")
    words = {"plus": "+", "minus": "-", "times": "*"}
    largest = 0
    for item in task.items:
        question = re.fullmatch(r"Q: What is (.*)\?\n\nA:", item.prompt)[1]
        for word, sign in words.items():
            question = question.replace(word, sign)
        assert item.answers == (str(eval(question)),)
        largest = max(largest, *map(int, re.findall(r"\d+", question)))
    assert (
        len({item.prompt for item in task.items}) == len(task.items) == 200 and 900 < largest < 1000
    )
    assert only("arithmetic(count=5,seed=1)").items != only("arithmetic(count=5)").items
    assert task.items[:5] == only(f"arithmetic(operation={operation},digits=3,count=5)").items


def test_wikitext_is_counted_as_published_and_detokenised(shared_data):
    """245,569 tokens, ends of lines among them (Merity et al. 2016, table 1)."""
    task = only("wikitext2", str(shared_data))
    assert sum(item.words for item in task.items) == 245_569 and 60 <= len(task.items) <= 63
    plain = only("wikitext2(detokenize=false,stride=32)", str(shared_data))
    raw = (shared_data / "wikitext2_tokens" / "test.txt").read_text()
    assert "".join(item.text for item in plain.items) == raw
    assert plain.stride == 32 and "with stride 32" in plain.protocol
    odd = '5 " gun . \n He said " hi " \n'
    assert wikitext(odd) == '5 " gun.\nHe said "hi"\n'
    assert childrens_books("`` Go , '' he said ; `` now -LRB- ! -RRB-") == '"Go," he said; "now (!)'
    text = ' = A head = \n \n He said , " Go ! " ( it \'s 1 @,@ 000 well @-@ known ) . \n'
    assert wikitext(text) == '= A head =\n\nHe said, "Go!" (it\'s 1,000 well-known).\n'


def test_the_childrens_book_test_counts_all_that_follows(tmp_path):
    lines = [f"{i} Sentence {i} ." for i in range(1, 21)]
    gap = "X" * 5  # the mark of the published files
    lines.append(f"21 The {gap} did n't bark , he said .\tdog\t\tcat|dog|cow")
    (tmp_path / "cn.txt").write_text("\n".join([*lines, "", *lines]) + "\n")
    task = only(f"cbt_cn(path={tmp_path}/cn.txt)")
    assert [item.id for item in task.items] == ["cn.txt:1", "cn.txt:23"]
    context, text = task.items[0].texts[1]
    assert context.endswith("Sentence 20.\nThe") and text == " dog didn't bark, he said."
    assert task.items[0].answer == 1 and task.normalisation == "plain"
    (tmp_path / "cn.txt").write_text("\n".join(lines[:19]))
    with pytest.raises(ValueError, match=r"cn.txt:1: got 19 lines, expected 21, the last with XX"):
        only(f"cbt_cn(path={tmp_path}/cn.txt)")


def test_truthful_answers_share_the_probability(shared_data):
    task = only("truthfulqa", str(shared_data))
    item = task.items[0]
    answers = [LikelihoodAnswer(-1.0, 1)] * item.true + [LikelihoodAnswer(-2.0, 1)] * (
        len(item.texts) - item.true
    )
    judged = task.judge(item, answers)
    e, n = 2.718281828459045, len(item.texts) - item.true
    assert judged.columns["mass"] == pytest.approx(item.true * e / (item.true * e + n))
    assert judged.columns["right"] == 1.0
    worse = [LikelihoodAnswer(-3.0, 1), *answers[1:]]
    assert task.judge(item, worse).columns["right"] == 0.0


def test_a_primer_stands_before_each_question(tmp_path):
    header = "Question,Best Answer,Correct Answers,Incorrect Answers\n"
    (tmp_path / "questions.csv").write_text(header + "Is it cold?,Yes.,Yes.; It is.,No.\n")
    primer = tmp_path / "primer.txt"
    primer.write_text("Q: Who wrote it?\nA: She did.\n")
    task = only(f"truthfulqa(path={tmp_path}/questions.csv,primer={primer})")
    item = task.items[0]
    (best, *_) = task.requests(item, task.layout_of(item).before(()))
    assert best.context == "Q: Who wrote it?\nA: She did.\n\nQ: Is it cold?\nA:"
    assert best.continuation == " Yes."
    primer.write_text("\n")
    with pytest.raises(ValueError, match=r"primer: got an empty .*primer\.txt, expected questions"):
        only(f"truthfulqa(path={tmp_path}/questions.csv,primer={primer})")
    with pytest.raises(ValueError, match=r"primer: got none\.txt: No such file"):
        only(f"truthfulqa(path={tmp_path}/questions.csv,primer=none.txt)")


def test_ratings_are_means_of_digits(shared_data):
    task = only("stsb", str(shared_data))
    sure = [LikelihoodAnswer(-50.0 if i != 4 else 0.0, 1) for i in range(6)]
    assert task.judge(task.items[0], sure).columns["predicted"] == pytest.approx(4)


def test_the_stop_word_filter_takes_the_first_other_word(tmp_path):
    (tmp_path / "l.jsonl").write_text(json.dumps({"text": "he saw the very old fox"}))
    task = only(f"lambada(path={tmp_path}/l.jsonl,stop_words=true)")
    word, beams = task.requests(task.items[0], "")
    assert (word.context, word.continuation) == ("he saw the very old", " fox")
    assert beams.num_best == beams.num_beams > 1
    answers = [LikelihoodAnswer(-3.0, 1), GenerationAnswer(" the old", others=(" fox,", " dog"))]
    assert task.judge(task.items[0], answers).columns["right_stop_words"] == 1
    cloze = only(f"lambada_cloze(path={tmp_path}/l.jsonl)")
    assert cloze.shown(cloze.items[0]) == "he saw the very old ____. → fox"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "lambda",
            r"unknown task 'lambda' \(did you mean 'lambada'\?\); expected one of: gpt3_ari",
        ),
        (
            "lambada(stop=1)",
            r"unknown option of lambada\(stop=1\) 'stop' \(did you mean 'stop_words",
        ),
        (
            "arithmetic(digits=x)",
            r"arithmetic\(digits=x\): digits: got 'x', expected a whole number",
        ),
        (
            "arithmetic(digits=1,count=101)",
            r"count: got 101, expected 100 at most: there are no mo",
        ),
        ("arithmetic(digits=0)", r"arithmetic\(digits=0\): digits: got 0, expected 1 to 18"),
        ("piqa(normalisation=x)", r"unknown normalisation of piqa\(normalisation=x\) 'x'"),
        (
            "piqa",
            r"--data: got none with piqa, expected a folder with piqa/valid.jsonl: PIQA's val",
        ),
        (
            "piqa(path=/nowhere)",
            r"got no file /nowhere, expected PIQA's valid.jsonl with valid-lab",
        ),
        ("lambada(", r"--tasks: got 'lambada\(', expected NAME or NAME\(OPTION=VALUE,...\)"),
        (
            "arithmetic(digits)",
            r"--tasks: got 'digits' in 'arithmetic\(digits\)', expected OPTION=",
        ),
    ],
)
def test_what_is_no_task_is_refused(spec, message, shared_data):
    with pytest.raises(ValueError, match=message):
        list(load_tasks(spec, str(shared_data) if "normalisation" in spec else None))


@pytest.mark.parametrize(
    ("spec", "content", "message"),
    [
        (
            "arc_easy",
            '{"query": "q", "choices": ["a"], "gold": 1}',
            "f:1: answer: got 1, expected 0 to 0",
        ),
        ("lambada", '{"text": "word"}', "f:1: 'text': got one word, expected a passage of two"),
        ("lambada", '{"texts": "word"}', "f:1: row: got fields texts, expected a field 'text'"),
        ("gsm8k", '{"question": "q", "answer": "4"}', "f:1: 'answer': got no final number, expec"),
        ("sst2", "good\t2", "f:1: answer: got '2', expected 0 to 1, the index of a choice"),
        ("sst2", "good", "f:1: got 1 columns, expected 2: text, label"),
        ("stsb", "a\tb\tc\td\tx\te\tf", "f:1: score: got 'x', expected a number, 0 to 5"),
    ],
)
def test_a_wrong_format_names_file_line_and_field(spec, content, message, tmp_path):
    (tmp_path / "f").write_text(content + "\n")
    with pytest.raises(ValueError, match=re.escape(message)):
        only(f"{spec}(path={tmp_path}/f)")


def test_every_task_says_what_it_is_and_what_to_get():
    for name in TASKS:
        entry = TASKS.get(name)
        assert re.search(r"\d{4}|Any|made", entry.meaning) and entry.meaning.endswith("."), name
        assert bool(entry.file) == bool(entry.get)
