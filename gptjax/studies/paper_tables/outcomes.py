"""What a trained run gives for the cells that are measured on it.

outcomes_of_run([Reached("loss"), Evaluated("lambada", "accuracy")], workdir, data, limit=None)
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from gptjax.atomic_files import write_json
from gptjax.evals.answer_store import AnswerStore
from gptjax.evals.evaluation import evaluate
from gptjax.evals.metrics import Figure
from gptjax.evals.models.language_model import LanguageModel
from gptjax.evals.models.of_runs import of_run
from gptjax.evals.study import some_items
from gptjax.evals.tasks import load_tasks
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import to_dict
from gptjax.studies.paper_tables.table import Evaluated, Measure, Reached, Translated
from gptjax.tasks.configs.translation import TranslationConfig
from gptjax.tasks.translated import Translations
from gptjax.tasks.translation import held_out_pairs
from gptjax.training.reporting.metrics import read_metrics


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A value of one run, in the cell's unit.

    Attributes:
      value: NaN where it could not be measured.
      figure: of an eval, in its own unit.
      how: items and protocol, and shots and cut contexts of an eval.
      why: why it could not be measured.
    """

    value: float = float("nan")
    figure: Figure | None = None
    how: Mapping[str, Any] | None = None
    why: str | None = None


def outcomes_of_run(
    measures: Sequence[Measure], workdir: WorkDirectory, data: str | None, limit: int | None
) -> dict[Measure, Outcome]:
    """The outcomes of the measures that a run can give.

    Args:
      measures: of the cells; those of other kinds are left out.
      workdir: of a run that has ended.
      data: folder of the evals' files.
      limit: items of each eval, and pairs that are translated; None: all.
    """
    outcomes: dict[Measure, Outcome] = {}
    model: LanguageModel | None = None
    with AnswerStore(workdir.path / "evals" / "answers.sqlite") as store:
        for each in dict.fromkeys(measures):
            try:
                if isinstance(each, Reached):
                    outcomes[each] = _reached(each, workdir)
                elif isinstance(each, Evaluated):
                    model = model or of_run(workdir)
                    outcomes[each] = _evaluated(each, model, store, data, limit)
                elif isinstance(each, Translated):
                    outcomes[each] = _translated(each, workdir, limit)
            except ValueError as error:
                outcomes[each] = Outcome(why=str(error))
    return outcomes


def _reached(measure: Reached, workdir: WorkDirectory) -> Outcome:
    rows = read_metrics(workdir.path / "metrics.jsonl")
    found = [row for row in rows if row.get("split") == measure.split]
    if not found or measure.figure not in found[-1]:
        raise ValueError(f"{workdir.path}: got no {measure.figure} of {measure.split}")
    return Outcome(found[-1][measure.figure] * measure.factor)


def _evaluated(
    measure: Evaluated,
    model: LanguageModel,
    store: AnswerStore,
    data: str | None,
    limit: int | None,
) -> Outcome:
    (task,) = load_tasks(measure.task, data)
    result = evaluate(model, some_items(task, limit, 0), store, shots=measure.shots)
    if measure.figure not in result.figures:
        raise ValueError(f"{measure.task}: got no figure {measure.figure}")
    figure = result.figures[measure.figure]
    how = {
        "items": len(result.ids),
        "shots": result.shots,
        "cut": result.cut,
        "protocol": result.protocol,
    }
    return Outcome(figure.value * measure.factor, figure, how)


def _translated(measure: Translated, workdir: WorkDirectory, limit: int | None) -> Outcome:
    """Of the run's own checkpoint and search; the scores are kept in evals/translations.json."""
    config, tokenizer = cast(TranslationConfig, workdir.config()), workdir.tokenizer()
    search = config.translation
    search.bleu_tokenizer = measure.bleu_tokenizer or search.bleu_tokenizer
    pairs = held_out_pairs(config, tokenizer)[:limit]
    step, kept = workdir.resolve_step(None), workdir.path / "evals" / "translations.json"
    asked = {"items": len(pairs), "step": step, **to_dict(search)}
    scored = json.loads(kept.read_text()) if kept.exists() else {}
    if scored.get("asked") != asked:
        model, params = workdir.model("translation model"), workdir.restored(step)
        _, figures = Translations(model, params, tokenizer, search).scored(pairs)
        scored = {"asked": asked, "figures": figures}
        write_json(kept, scored)
    figures = scored["figures"]
    how = {"items": len(pairs), "protocol": figures["bleu_signature"]}
    return Outcome(float(figures[measure.figure]), how=how)
