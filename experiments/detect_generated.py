r"""Tells samples of trained models from the text they were trained on, as GPT-2's release does.

    python -m experiments.detect_generated --workdirs=runs/small,runs/large \
        --output=runs/detection

For each model, and for temperature 1, top-k 40 and nucleus 0.9: a detector (TF-IDF of 1- and
2-grams of words, logistic regression; 1908.09203, section 4) is fitted on continuations of the
training split, written and sampled, and judged on held-out documents, whole and cut. The table is
printed, and detection.json written to `--output`. It takes the extra `curation`.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments.flags.command_line import run
from experiments.flags.paths import define_path, define_paths
from gptjax.atomic_files import write_json
from gptjax.runs.caches import enable_compilation_cache
from gptjax.studies.choices import DetectionPlan

_WORKDIRS = define_paths(
    "workdirs", [], "Work directories of runs, with commas between them. One at least."
)
_OUTPUT = define_path("output", None, "Directory to write to. It must be given.", required=True)
_TEXTS = flags.DEFINE_integer(
    "texts", DetectionPlan.texts, "Texts of each kind to fit on and to choose on.", lower_bound=20
)
_JUDGED = flags.DEFINE_integer(
    "judged", DetectionPlan.judged, "Texts of each kind to judge on.", lower_bound=10
)
_TOKENS = flags.DEFINE_integer("tokens", DetectionPlan.tokens, "Tokens of a text.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the texts.", lower_bound=0)


def main(argv: Sequence[str]) -> None:
    """Prints a row for each model and sampler."""
    from gptjax.runs.workdir import WorkDirectory
    from gptjax.studies.generated_text import SAMPLERS, detect, detection_lines

    del argv
    if not _WORKDIRS.value:
        raise ValueError("--workdirs: got none, expected the work directory of one run at least")
    enable_compilation_cache()
    plan = DetectionPlan(
        texts=_TEXTS.value, judged=_JUDGED.value, tokens=_TOKENS.value, seed=_SEED.value
    )
    rows = detect([WorkDirectory(path) for path in _WORKDIRS.value], SAMPLERS, plan)
    output = Path(_OUTPUT.value)
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "detection.json", rows)
    print("\n".join(detection_lines(rows)))
    print(f"{output}/detection.json is written")


if __name__ == "__main__":
    run(main)
