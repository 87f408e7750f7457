"""GPT-4 (OpenAI 2023, arXiv 2303.08774), figure 1: a final loss, predicted before the run."""

import copy
from pathlib import Path
from typing import Any

from experiments.configs import EXPERIMENTS
from gptjax.studies.choices import LARGEST_SHARE
from gptjax.studies.paper_tables.table import (
    TABLES,
    Cell,
    Claim,
    Elsewhere,
    Model,
    Say,
    Studied,
    Study,
    Table,
)

_STUDY, _ROW = "scaling_brief", "the large run"
_SIZES = [(2, width) for width in (8, 10, 12, 14, 16, 20)]  # layers, width
_COMMAND = (
    f"python -m experiments.scaling --experiment={_STUDY} "
    f"--sizes={','.join(f'{layers}x{width}' for layers, width in _SIZES)}"
)
_ERROR = "predicted over reached, less one"


@TABLES.register("gpt4:1")
def predicted_loss() -> Table:
    """GPT-4's final loss, predicted from smaller runs."""
    by = Elsewhere("python -m experiments.scaling --runs=... (docs/scaling.md)")

    def run(folder: Path, seeds: int, data: str | None, say: Say) -> list[dict[str, Any]]:
        from gptjax.runs.initial.inherited import inherit
        from gptjax.studies.scaling_laws.study import planned

        del data
        base, summaries = EXPERIMENTS.get(_STUDY)(), []
        inherit(base, {"data.tokenizer"})
        for seed in range(seeds):
            target = copy.deepcopy(base)
            target.training.seed = seed
            root = folder / f"seed{seed}"
            study = planned(_STUDY, target, root, "non_embedding", _SIZES, LARGEST_SHARE)
            summaries.append(study.run(say))
        return summaries

    columns = {
        "predicted, nats a token": Studied(_STUDY, lambda seeds: [x["predicted"] for x in seeds]),
        "reached, nats a token": Studied(_STUDY, lambda seeds: [x["measured"] for x in seeds]),
        _ERROR: Studied(_STUDY, lambda seeds: [100 * x["error"] for x in seeds]),
    }
    return Table(
        name="gpt4:1",
        title="the final loss, predicted from runs of a hundredth of the compute at most",
        source="arXiv 2303.08774, figure 1, by runs of up to a ten-thousandth of the compute",
        units=dict.fromkeys(columns, "") | {_ERROR: "%"},
        cells=[Cell(_ROW, column, None, "GPT", by, mini=mini) for column, mini in columns.items()],
        models={"GPT": Model("gpt3_small")},
        claims=[
            Claim(
                "the loss is predicted within 2%",
                lambda values: 2 - abs(values[_ROW, _ERROR]),
                "points",
            )
        ],
        studies={_STUDY: Study(run, "five minutes a seed on two CPU cores", _COMMAND)},
        notes=(
            "The figure has no numbers. The mini form is a study of some minutes; docs/scaling.md "
            "has one of 20 minutes, whose law is better supported."
        ),
    )
