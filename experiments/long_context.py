r"""Extends a trained run to a longer context, and shows what it reads there.

    python -m experiments.long_context --workdir=runs/short --factor=4 --output=runs/long
    python -m experiments.long_context --workdir=runs/short --factor=4 --output=runs/long \
        --steps=200 --methods=interpolation,yarn \
        --attention="sinks(window=256,sinks=4);banded(window=256)"

Every way is judged on the same held-out windows: the loss by position, up to twice the longer
context, and passkeys and needles by depth and length. First with the run's parameters as they are;
with `--steps`, again after training on under each method, in a work directory of its own under
`--output`, as `--config.model.rotary_scaling` would there. `--attention` adds patterns under which
the run is judged as it is. Written to `--output`: long_context.json, .md, losses.png,
retrieval.png. See docs/long_context.md.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from experiments.flags.command_line import run
from experiments.flags.paths import define_path
from gptjax.atomic_files import write_json, write_text
from gptjax.interrupted import Interrupted
from gptjax.model_config import ModelConfig
from gptjax.runs.caches import enable_compilation_cache
from gptjax.studies.long_context import report as reports

if TYPE_CHECKING:
    from gptjax.runs.workdir import WorkDirectory
    from gptjax.studies.long_context.extension import Way
    from gptjax.studies.long_context.study import Study

_WORKDIR = define_path("workdir", None, "Work directory of the run. It must be given.")
_OUTPUT = define_path("output", None, "Directory to write to. It must be given.")
_FACTOR = flags.DEFINE_float("factor", 4.0, "How many times longer the context becomes.")
_METHODS = flags.DEFINE_list(
    "methods", None, "Of none, interpolation, ntk, yarn. By default all that the positions have."
)
_ATTENTION = flags.DEFINE_string(
    "attention", None, "Attention specifications to judge as well, with semicolons between."
)
_STEPS = flags.DEFINE_integer(
    "steps", 0, "Steps of training under each method; 0: none.", lower_bound=0
)
_RATE = flags.DEFINE_float(
    "learning_rate", None, "Peak rate of that training. By default a tenth of the run's own."
)
_WINDOWS = flags.DEFINE_integer("windows", 16, "Most texts to measure.", lower_bound=1)
_TRIALS = flags.DEFINE_integer(
    "trials", 4, "Passkeys and needles at each depth and length; 0: none.", lower_bound=0
)


def main(argv: Sequence[str]) -> None:
    """Judges each way, trains on where that is asked for, and judges again."""
    from gptjax.runs.life.claim import claimed
    from gptjax.runs.workdir import WorkDirectory
    from gptjax.studies.long_context.study import Study

    del argv
    if _WORKDIR.value is None or _OUTPUT.value is None:
        missing = "--workdir" if _WORKDIR.value is None else "--output"
        raise ValueError(f"{missing}: got none, expected a directory")
    enable_compilation_cache()
    workdir, output = WorkDirectory(_WORKDIR.value), WorkDirectory(_OUTPUT.value, "--output")
    ways = _ways(workdir.config().model)
    study = Study(workdir, factor=_FACTOR.value, windows=_WINDOWS.value, trials=_TRIALS.value)
    with claimed(output.path, "--output"):
        rows = [_said(study.in_short_windows()), *(_said(study.judged(way)) for way in ways)]
        for way in ways if _STEPS.value else ():
            if way.method != "none":
                rows.append(_said(_trained(study, workdir, way, output)))
        report = {"workdir": str(workdir.path), "factor": _FACTOR.value, **study.about()}
        report["rows"] = rows
        write_json(output.path / "long_context.json", report)
        write_text(output.path / "long_context.md", reports.markdown(report))
        reports.plot_losses(report, output.path / "losses.png")
        if any(row["retrieval"] for row in rows):
            reports.plot_retrieval(report, output.path / "retrieval.png")
    print(reports.markdown(report))
    print(f"{output.path}: long_context.json, long_context.md and pictures are written")


def _ways(model: ModelConfig) -> "list[Way]":
    """The methods, and the run as it is under each attention; refuses what its positions lack."""
    from gptjax.studies.long_context.extension import METHODS, Way

    ways = [Way(method, _FACTOR.value) for method in _METHODS.value or METHODS[model.positions]]
    others = filter(None, map(str.strip, (_ATTENTION.value or "").split(";")))
    ways += [Way("none", _FACTOR.value, specification) for specification in others]
    for way in ways:
        way.model(model, model.context_length)
    return ways


def _trained(study: "Study", workdir: "WorkDirectory", way: "Way", output: "WorkDirectory") -> Any:
    """The figures after training on, in a work directory that resumes."""
    from gptjax.runs.train import train
    from gptjax.runs.workdir import WorkDirectory
    from gptjax.studies.long_context.extension import trained_on

    own = WorkDirectory(str(output.path / way.method))
    ended = train(way.method, trained_on(workdir, way, _STEPS.value, _RATE.value), own)
    if ended.interrupted_by is not None:
        raise Interrupted(ended.interrupted_by)
    return study.judged(way, own)


def _said(row: dict[str, Any]) -> dict[str, Any]:
    """The row, once its losses are printed."""
    losses = (f"{each['loss']:.3f} to {each['end']:,}" for each in row["ranges"])
    print(f"{reports.named(row)}: loss {', '.join(losses)}", flush=True)
    return row


if __name__ == "__main__":
    run(main)
