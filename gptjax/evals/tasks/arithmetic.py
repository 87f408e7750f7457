"""GPT-3's ten arithmetic and five word-scrambling sets (2005.14165, section 3.9.1, appendix G).

The published sets hold questions and answers; `arithmetic` makes such questions of any digits and
count, as `data.corpora.sums` does. Shots are other questions of the set.

Differs from the paper: three operations have brackets around the first two numbers, as the
published set has them; the paper's text says the last two.
"""

import itertools
from collections.abc import Iterator

import numpy as np

from gptjax.data.corpora.sums import OPERATIONS, is_held_out, num_questions, question
from gptjax.data.dialogue.records import Row
from gptjax.evals.forms.free_text import FreeText, TextItem, stripped_match
from gptjax.evals.registry import GROUPS, ITSELF, Source, task
from gptjax.evals.rows import id_of
from gptjax.evals.task import Layout
from gptjax.registry import unknown_name

PUBLISHED = {
    "2D+": "two_digit_addition",
    "2D-": "two_digit_subtraction",
    "3D+": "three_digit_addition",
    "3D-": "three_digit_subtraction",
    "4D+": "four_digit_addition",
    "4D-": "four_digit_subtraction",
    "5D+": "five_digit_addition",
    "5D-": "five_digit_subtraction",
    "2Dx": "two_digit_multiplication",
    "1DC": "single_digit_three_ops",
}
SCRAMBLED = {
    "CL": "cycle_letters_in_word",
    "A1": "mid_word_1_anagrams",
    "A2": "mid_word_2_anagrams",
    "RI": "random_insertion_in_word",
    "RW": "reversed_words",
}
_TRIES = 3_000_000
_UNSCRAMBLE = "Please unscramble the letters into a word, and write that word:\n"


def _register(name: str, suffix: str, layout: Layout) -> None:
    """Registers a published set."""

    def load(source: Source) -> FreeText:
        def read(row: Row) -> Iterator[TextItem]:
            prompt = row.text("context").strip("\n")
            yield TextItem(id_of(row), prompt, (row.text("completion").strip(),))

        return FreeText(**source.json(read), layout=layout, scores={"exact_match": stripped_match})

    load.__doc__ = f"GPT-3's {name.replace('_', ' ')} (2005.14165, section 3.9.1)."
    file = f"{name}.jsonl{suffix}"
    get = f"{file} of the repository openai/gpt-3"
    task(f"gpt3_{name}", file=f"gpt3_synthetic/{file}", train_file=ITSELF, get=get)(load)


for _name in PUBLISHED.values():
    _register(_name, "", Layout())
for _name in SCRAMBLED.values():
    _register(_name, ".gz", Layout(_UNSCRAMBLE, "\n"))
GROUPS["gpt3_arithmetic"] = tuple(f"gpt3_{name}" for name in PUBLISHED.values())
GROUPS["gpt3_scrambling"] = tuple(f"gpt3_{name}" for name in SCRAMBLED.values())


@task("arithmetic")
def arithmetic(
    source: Source,
    *,
    operation: str = "addition",
    digits: int = 2,
    count: int = 2000,
    seed: int = 0,
    held_out: bool = False,
) -> FreeText:
    """Sums that are made, of any digits; held_out: only those that the corpus `sums` leaves out."""
    if operation not in OPERATIONS:
        raise unknown_name(f"operation of {source.name}", operation, OPERATIONS)
    for name, value, most in (("digits", digits, 18), ("count", count, 1_000_000)):
        if not 1 <= value <= most:
            raise ValueError(f"{source.name}: {name}: got {value}, expected 1 to {most}")
    made = _made(np.random.default_rng(seed), operation, digits, held_out)
    items = tuple(
        TextItem(f"{operation}:{number}", asked, (answer,))
        for number, (asked, answer) in enumerate(itertools.islice(made, count))
    )
    if len(items) < count:
        raise ValueError(
            f"{source.name}: count: got {count}, expected {len(items)} at most: there are no more "
            "different questions"
        )
    return FreeText(source.name, items, items, scores={"exact_match": stripped_match})


def _made(
    rng: np.random.Generator, operation: str, digits: int, held_out: bool
) -> Iterator[tuple[str, str]]:
    """Different questions, as long as they are found."""
    seen: set[str] = set()
    for _ in range(_TRIES):
        if len(seen) == num_questions(operation, digits):
            return
        asked, answer = question(rng, operation, digits)
        if asked not in seen:
            seen.add(asked)
            if not held_out or is_held_out(asked):
                yield asked, answer
