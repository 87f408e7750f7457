r"""Programs: HumanEval.

python -m experiments.evals --workdir=DIR --data=DIR --tasks=humaneval --allow_code
"""

from collections.abc import Iterator

from gptjax.data.dialogue.records import Row
from gptjax.evals.forms.program import ProgramItem, Programs
from gptjax.evals.registry import Source, task

# Chen et al. (2107.03374, section 2.1).
_STOP = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
_SAMPLING = 0.2  # the best temperature for pass@1 (figure 5); for pass@100 it is 0.8


@task(
    "humaneval",
    file="humaneval/HumanEval.jsonl.gz",
    get="HumanEval.jsonl.gz of openai/human-eval",
    runs_code=True,
)
def humaneval(
    source: Source,
    *,
    samples: int = 1,
    k: int = 1,
    temperature: float | None = None,
    max_new_tokens: int = 256,
) -> Programs:
    """HumanEval, functions from their docstrings (Chen et al. 2021, arXiv 2107.03374): runs code.

    Greedy with one sample, else by default with temperature 0.2. Differs from the paper: samples
    are drawn from the whole distribution, not from its top 0.95.
    """

    def read(row: Row) -> Iterator[ProgramItem]:
        yield ProgramItem(
            row.text("task_id"),
            row.text("prompt"),
            f"{row.text('test')}\ncheck({row.text('entry_point')})",
            row.text("canonical_solution"),
        )

    if temperature is None:
        temperature = 0.0 if samples == 1 else _SAMPLING
    return Programs(
        **source.json(read),
        samples=samples,
        k=k,
        temperature=temperature,
        stop=_STOP,
        max_new_tokens=max_new_tokens,
    )
