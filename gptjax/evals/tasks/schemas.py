"""Which of two words a sentence means: Winograd's schemas and WinoGrande.

The two texts differ in the word, and are compared by what follows it ("partial evaluation", Trinh
and Le 2018, arXiv 1806.02847), as GPT-2 (section 3.4) and GPT-3 (2005.14165, section 3.4) do. Twins
that differ only in what follows the word are of one cluster.
"""

from collections.abc import Iterator

from gptjax.data.dialogue.records import Row
from gptjax.evals.forms.choices import ChoiceItem, Choices
from gptjax.evals.registry import ITSELF, Source, task
from gptjax.evals.rows import id_of
from gptjax.evals.tasks.choices import index_of


def _schemas(source: Source) -> Choices:
    def read(row: Row) -> Iterator[ChoiceItem]:
        options = row.as_list("'context_options'", row.value("context_options"))
        contexts = [row.as_text("'context_options'", option) for option in options]
        continuation = f" {row.text('continuation').strip()}"
        texts = tuple((context, continuation) for context in contexts)
        answer = index_of(row, row.value("gold"), len(texts))
        yield ChoiceItem(id_of(row), texts, answer, cluster="\n".join(sorted(contexts)))

    return Choices(**source.json(read), normalisation="plain")


@task(
    "winograd",
    file="winograd_wsc273/winograd_wsc.jsonl",
    train_file=ITSELF,
    get="Winograd's 273 schemas as JSON lines with context_options, continuation and gold",
)
def winograd(source: Source) -> Choices:
    """Winograd's schemas (Levesque et al. 2012); shots are other schemas, as in GPT-3."""
    return _schemas(source)


@task(
    "winogrande",
    file="winogrande/winogrande.jsonl",
    train_file="winogrande/winogrande_train.jsonl",
    get="WinoGrande as JSON lines with context_options, continuation and gold",
)
def winogrande(source: Source) -> Choices:
    """WinoGrande, adversarially filtered schemas (Sakaguchi et al. 2019, arXiv 1907.10641)."""
    return _schemas(source)
