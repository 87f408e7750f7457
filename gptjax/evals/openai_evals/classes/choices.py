r"""The choice that a grader makes: how it is asked for, how it is read, and what it is worth.

    choice_of("I think so.\nYes", "cot_classify", "starts_or_endswith", ["Yes", "No"])   # "Yes"

The format's own reading takes a line that begins or ends with a choice: with the choices A and B,
"Answer: B" is A, because it begins with that letter. `strict_choice_of` reads it as B.

Source: evals/elsuite/modelgraded/classify_utils.py of openai/evals 3.0.1, whose texts to a grader
these are, word by word.
"""

import string
from collections.abc import Callable, Sequence
from typing import Any

from gptjax.evals.openai_evals.prompts import Prompt, filled
from gptjax.registry import unknown_name

INVALID = "__invalid__"
ANSWER_PROMPTS = {
    "classify": "Answer the question by printing only a single choice from {choices} (without "
    "quotes or punctuation) corresponding to the correct answer with no other text.",
    "classify_cot": "First, answer by printing a single choice from {choices} (without quotes or "
    "punctuation) corresponding to the correct answer. Then, from the next line, explain your "
    "reasonings step by step.",
    "cot_classify": "First, write out in a step by step manner your reasoning to be sure that your "
    "conclusion is correct. Avoid simply stating the correct answer at the outset. Then print only "
    "a single choice from {choices} (without quotes or punctuation) on its own line corresponding "
    "to the correct answer. At the end, repeat just the answer by itself on a new line.\n\n"
    "Reasoning:",
    "cot_classify_jp": "まず、一歩一歩あなたの推論を書き出してください。"
    "単に正しい答えを最初に述べることを避けてください。次に、{choices}（引用符や句読点なし）から正しい答えに対応する1つの選択肢を単独の行に書きだしてください。"
    "最後に、答えだけを新しい行に繰り返してください。\n\n推論：",
}
MATCHES: dict[str, Callable[[str, str], bool]] = {
    "include": lambda line, choice: line in choice,  # so, and not the other way, in the original
    "exact": lambda line, choice: line == choice,
    "endswith": lambda line, choice: line.endswith(choice),
    "starts_or_endswith": lambda line, choice: line.startswith(choice) or line.endswith(choice),
}
_COUNTED = {
    "from_n": lambda i: str(i + 1),
    "from_n_abc": lambda i: string.ascii_lowercase[i % 26],
    "from_n_ABC": lambda i: string.ascii_uppercase[i % 26],
}
_AROUND = string.punctuation + string.whitespace
_LEADS = (":", "：", "is", "choice", "answer")  # what may stand before a choice, strictly read


def choices_of(given: Any, n: int) -> list[str]:
    """The choices that a specification names: texts, a text of letters, or as many as answers.

    Raises:
      ValueError: a choice with ASCII punctuation, which reading leaves out.
    """
    if isinstance(given, str) and given in _COUNTED:
        return [_COUNTED[given](i) for i in range(n)]
    choices = [str(choice) for choice in given]
    for choice in choices:
        if any(character in string.punctuation for character in choice):
            raise ValueError(f"choice_strings: got {choice!r}, expected none with punctuation")
    return choices


def scores_of(given: Any, choices: Sequence[str]) -> dict[str, float] | None:
    """What each choice is worth; None: the specification has no scores.

    Raises:
      ValueError: a choice without a score, or one that is no number.
    """
    if given is None:
        return None
    if given == "from_strings":
        given = {choice: choice for choice in choices}
    try:
        found = {str(choice): float(score) for choice, score in given.items()}
    except (AttributeError, ValueError) as error:
        raise ValueError(f"choice_scores: got {given!r}, expected a number a choice") from error
    if missing := [choice for choice in choices if choice not in found]:
        raise ValueError(f"choice_scores: got none of {missing[0]!r}, expected one a choice")
    return found


def score_of(choice: str, scores: dict[str, float] | None) -> float | None:
    """What a choice is worth; one that cannot be read is worth the lowest."""
    if scores is None:
        return None
    return min(scores.values()) if choice == INVALID else scores[choice]


def asking(prompt: Prompt, eval_type: str, choices: Sequence[str]) -> list[dict[str, str]]:
    """A grader's prompt, with what says how to answer at the end of its last message."""
    if eval_type not in ANSWER_PROMPTS:
        raise unknown_name("eval_type", eval_type, ANSWER_PROMPTS)
    said = " or ".join(f'"{choice}"' for choice in choices)
    how = str(filled(ANSWER_PROMPTS[eval_type], {"choices": said}))
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    last = {**messages[-1], "content": f"{messages[-1]['content']}\n\n{how}"}
    return [*messages[:-1], last]


def choice_of(text: str, eval_type: str, match_fn: str, choices: Sequence[str]) -> str:
    """The choice that the first line with one names; lines are read from the last one for cot_*.

    Args:
      text: of the grader.
      eval_type: see ANSWER_PROMPTS.
      match_fn: when a line names a choice, see MATCHES.
      choices: in the order in which each line is held beside them.
    """
    matches = MATCHES[match_fn]
    for line in _lines(text, eval_type):
        line = "".join(each for each in line.strip() if each not in string.punctuation)
        for choice in choices:
            if line and matches(line, choice):
                return choice
    return INVALID


def strict_choice_of(text: str, eval_type: str, choices: Sequence[str]) -> str:
    """The choice that a line states: alone, or after a colon or "is", as "The answer is (B).".

    Lines that state none are passed over; case counts.
    """
    longest_first = sorted(choices, key=len, reverse=True)
    for line in _lines(text, eval_type):
        line = line.strip(_AROUND)
        for choice in longest_first:
            if line == choice:
                return choice
            if line.endswith(choice):
                before = line[: -len(choice)].rstrip(" \t\"'`*_([{")
                words = before.split()
                if before != line[: -len(choice)] and words and _leads(words[-1]):
                    return choice
    return INVALID


def _leads(word: str) -> bool:
    return word.endswith((":", "：")) or word.lower() in _LEADS


def _lines(text: str, eval_type: str) -> list[str]:
    lines = text.strip().split("\n")
    return lines[::-1] if eval_type.startswith("cot_classify") else lines
