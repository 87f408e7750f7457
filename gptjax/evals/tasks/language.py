r"""Language modelling: LAMBADA, WikiText-2, the Children's Book Test, and any text.

GPT-2 (Radford et al. 2019, sections 3.1 to 3.3): texts "with invertible de-tokenizers".
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gptjax.data.corpora.text import load_corpus
from gptjax.data.corpora.text_files import open_text
from gptjax.data.dialogue.records import Row, decoded
from gptjax.evals.forms.choices import ChoiceItem, Choices
from gptjax.evals.forms.last_word import LastWord, WordItem
from gptjax.evals.forms.whole_text import Passage, WholeText
from gptjax.evals.registry import Source, task
from gptjax.evals.rows import id_of
from gptjax.evals.task import Layout
from gptjax.evals.tasks.detokenizers import childrens_books, wikitext

_HEADING = re.compile(r"^ = [^=].*[^=] = $", re.MULTILINE)
_BLOCK = 21  # lines of a question of the Children's Book Test
_GAP = "X" * 5  # as its files mark the word that is asked for


def _word_items(source: Source, blank: str) -> dict[str, Any]:
    def read(row: Row) -> Iterator[WordItem]:
        context, space, word = row.text("text").rstrip().rpartition(" ")
        if not space or not word:
            raise row.wrong("'text'", "one word", "a passage of two words or more")
        yield WordItem(id_of(row), context + blank, word)

    return source.json(read)


@task(
    "lambada",
    file="lambada/lambada_test.jsonl",
    train_file="lambada/lambada_dev.jsonl",
    get="LAMBADA as OpenAI detokenised it, JSON lines with text",
)
def lambada(source: Source, *, stop_words: bool = False) -> LastWord:
    """LAMBADA, the last word of a passage, in OpenAI's text (Paperno et al. 2016).

    The word is what follows the last space; 7 of 5,153 hold a line end.
    """
    return LastWord(**_word_items(source, ""), stop_words=stop_words)


@task(
    "lambada_cloze",
    file="lambada/lambada_test.jsonl",
    train_file="lambada/lambada_dev.jsonl",
    get="LAMBADA as OpenAI detokenised it, JSON lines with text",
)
def lambada_cloze(source: Source) -> LastWord:
    """LAMBADA as GPT-3 puts it with shots: fill in the blank (2005.14165, section 3.1.2)."""
    return LastWord(**_word_items(source, " ____. →"), layout=Layout("Fill in blank:\n\n"))


@task(
    "wikitext2",
    file="wikitext2_tokens/test.txt",
    get="WikiText-2's tokenised test.txt (wiki.test.tokens)",
)
def wikitext2(source: Source, *, detokenize: bool = True, stride: int | None = None) -> WholeText:
    """WikiText-2, perplexity of words and ends of lines (Merity et al. 2016; GPT-2)."""
    with open_text(Path(source.path).expanduser()) as file:
        text = decoded(source.path, file.read())
    starts = [0, *[found.start() for found in _HEADING.finditer(text)][1:]]
    ends = [*starts[1:], len(text)]
    items = []
    for start, end in zip(starts, ends, strict=True):
        article = text[start:end]
        words = len(article.split()) + article.count("\n")
        line = text.count("\n", 0, start) + 1
        shown = wikitext(article) if detokenize else article
        items.append(Passage(f"{Path(source.path).name}:{line}", shown, words))
    return WholeText(source.name, tuple(items), stride=stride, unit="words and ends of lines")


@task("text", file=".", get="path=FILE with the text, or a folder of *.txt")
def text(source: Source, *, stride: int | None = None) -> WholeText:
    """Any plain text, an item a file or 32 KiB of it: perplexity of a word, bits of a byte."""
    items = tuple(
        Passage(document.name, document.text, max(len(document.text.split()), 1))
        for document in load_corpus(f"text:{source.path}")
        if document.text.strip()
    )
    return WholeText(source.name, items, stride=stride)


def _cbt(source: Source) -> Choices:
    """Questions of 20 sentences and one with a gap; a choice counts with all that follows it."""
    with open_text(Path(source.path).expanduser()) as file:
        lines = decoded(source.path, file.read()).splitlines()
    blocks: list[tuple[int, list[str]]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if line.split(" ", 1)[0] == "1" or not blocks:
            blocks.append((number, []))
        blocks[-1][1].append(line.split(" ", 1)[-1])
    return Choices(
        source.name,
        tuple(_cbt_item(f"{Path(source.path).name}:{number}", block) for number, block in blocks),
        normalisation="plain",
    )


def _cbt_item(id: str, block: list[str]) -> ChoiceItem:
    question, *rest = block[-1].split("\t")
    if len(block) != _BLOCK or len(rest) < 2 or _GAP not in question:
        raise ValueError(
            f"{id}: got {len(block)} lines, expected {_BLOCK}, the last with {_GAP}, its answer "
            "and the choices, divided by tabs"
        )
    answer, choices = rest[0], rest[-1].split("|")
    if answer not in choices:
        raise ValueError(f"{id}: got the answer {answer!r}, expected one of {', '.join(choices)}")
    before, _, after = question.partition(_GAP)
    context = childrens_books("\n".join([*block[:-1], before.strip()]))
    texts = tuple(
        (context, childrens_books(f" {choice}{after}" if before.strip() else f"\n{choice}{after}"))
        for choice in choices
    )
    return ChoiceItem(id, texts, choices.index(answer), tuple(choices))


@task("cbt_cn", file="cbt/cbtest_CN_valid_2000ex.txt", get="CBT's cbtest_CN_valid_2000ex.txt")
def cbt_cn(source: Source) -> Choices:
    """Children's Book Test, common nouns (Hill et al. 2015): the rest of the sentence counts."""
    return _cbt(source)


@task("cbt_ne", file="cbt/cbtest_NE_valid_2000ex.txt", get="CBT's cbtest_NE_valid_2000ex.txt")
def cbt_ne(source: Source) -> Choices:
    """Children's Book Test, named entities (Hill et al. 2015): the rest of the sentence counts."""
    return _cbt(source)
