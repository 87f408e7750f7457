"""Answers in words: TriviaQA, SQuAD's format, GSM8K."""

import re
from collections.abc import Iterator

from gptjax.data.dialogue.records import Row
from gptjax.data.labelled.squad import load_questions
from gptjax.evals.forms.free_text import SQUAD, FreeText, TextItem, final_number
from gptjax.evals.registry import Source, task
from gptjax.evals.rows import id_of

_BEAMS = 4


@task(
    "triviaqa",
    file="triviaqa_3k/triviaqa_sm_sub.jsonl",
    train_file="triviaqa_3k/triviaqa_train.jsonl",
    get="TriviaQA as JSON lines with context, answer and aliases",
)
def triviaqa(source: Source, *, num_beams: int = _BEAMS) -> FreeText:
    """TriviaQA, general knowledge, closed book (Joshi et al. 2017, arXiv 1705.03551)."""

    def read(row: Row) -> Iterator[TextItem]:
        answer, aliases = row.text("answer"), row.as_list("'aliases'", row.value("aliases"))
        texts = dict.fromkeys([answer, *(row.as_text("'aliases'", alias) for alias in aliases)])
        yield TextItem(id_of(row), row.text("context").rstrip(), tuple(texts))

    return FreeText(**source.json(read), scores=SQUAD, num_beams=num_beams, max_new_tokens=24)


@task(
    "squad",
    file="xquad_en/xquad.en.json",
    train_file="squad/train-v1.1.json",
    get="a file of SQuAD's format, such as dev-v1.1.json",
)
def squad(source: Source, *, num_beams: int = _BEAMS) -> FreeText:
    """Reading comprehension, SQuAD's format (Rajpurkar et al. 2016, arXiv 1606.05250)."""

    def of(path: str) -> tuple[TextItem, ...]:
        return tuple(
            TextItem(
                question.id,
                f"Background: {question.context}\n\nQ: {question.question}\n\nA:",
                question.answers,
                cluster=question.context,
            )
            for question in load_questions(path)
        )

    training = () if source.train is None else of(source.train)
    return FreeText(
        source.name,
        of(source.path),
        training,
        scores={name: SQUAD[name] for name in ("f1", "exact_match")},
        num_beams=num_beams,
    )


@task(
    "gsm8k",
    file="gsm8k/test.jsonl",
    train_file="gsm8k/train.jsonl",
    get="GSM8K's test.jsonl and train.jsonl",
)
def gsm8k(source: Source, *, max_new_tokens: int = 256) -> FreeText:
    """GSM8K, school mathematics: the final number (Cobbe et al. 2021, arXiv 2110.14168)."""

    def read(row: Row) -> Iterator[TextItem]:
        worked, mark, number = row.text("answer").rpartition("#### ")
        if not mark:
            raise row.wrong("'answer'", "no final number", "a line #### NUMBER at the end")
        shown = re.sub("<<.*?>>", "", worked) + mark + number
        prompt = f"Question: {row.text('question')}\nAnswer:"
        yield TextItem(id_of(row), prompt, (number.strip(),), shown)

    return FreeText(
        **source.json(read),
        scores={"exact_match": final_number},
        stop=("\n\n", "\nQuestion:"),
        max_new_tokens=max_new_tokens,
    )
