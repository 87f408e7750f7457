"""A whole study: trains the ladder, predicts, only then trains the target, and reports the error.

study = planned("scaling_smoke", base, Path("runs/scaling"), "non_embedding", sizes, 0.01)
summary = study.run()
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gptjax.atomic_files import write_json, write_text
from gptjax.config import ExperimentConfig, resolve
from gptjax.interrupted import Interrupted
from gptjax.runs.life.claim import claimed
from gptjax.runs.train import train
from gptjax.runs.workdir import WorkDirectory
from gptjax.studies.scaling_laws import report
from gptjax.studies.scaling_laws.ladder import FEWEST, Rung, check_alike, ladder
from gptjax.studies.scaling_laws.prediction import FILE, read_prediction, write_prediction
from gptjax.training.reporting.metrics import read_metrics


@dataclasses.dataclass(frozen=True)
class Study:
    """The runs of a study, and where they live.

    Attributes:
      name: of the experiment.
      root: its directory.
      count: what compute counts, a name in COUNTS.
      rungs: the ladder, smallest compute first.
      target: the large run.
      places: the directories of all runs, by the name of a rung; of the target by "target".
    """

    name: str
    root: Path
    count: str
    rungs: tuple[Rung, ...]
    target: Rung
    places: Mapping[str, Path]

    def workdir(self, rung: Rung) -> WorkDirectory:
        """Where a run of the ladder, or the target, lives."""
        return WorkDirectory(str(self.places["target" if rung is self.target else rung.name]))

    def run(self, say: Callable[[str], None] = print) -> dict[str, Any]:
        """Does what of the study is not done yet; returns what `summary` does.

        prediction.json is written before the large run starts, scaling.json, .md and .png last.

        Args:
          say: is told which run is next, and the prediction.

        Raises:
          ValueError: see `predict`; or the directory is in use.
          Interrupted: a signal ended a run; the same call goes on.
        """
        with claimed(self.root, "--workdir"):
            for number, rung in enumerate(self.rungs, start=1):
                say(f"--- run {number} of {len(self.rungs)}: {rung.name}")
                self.train(rung)
            say(report.markdown(self.predict()))
            say("--- the large run")
            self.train(self.target)
            summary = self.summary()
            write_json(self.root / "scaling.json", summary)
            write_text(self.root / "scaling.md", report.markdown(summary))
            report.plot(summary, self.root / "scaling.png")
        return summary

    def train(self, rung: Rung) -> float:
        """Trains a run to its end, unless that is done; returns its held-out loss.

        Raises:
          Interrupted: a signal ended it.
        """
        own = self.workdir(rung)
        ended = train(self.name, rung.config, own)
        if ended.interrupted_by is not None:
            raise Interrupted(ended.interrupted_by)
        return held_out_loss(own)

    def predict(self) -> dict[str, Any]:
        """The prediction that stands, or else one that is written now.

        Raises:
          ValueError: the large run has begun and no prediction stands; or the one that stands is of
            other runs, losses or another target.
        """
        path, large = self.root / FILE, self.workdir(self.target)
        losses = [held_out_loss(self.workdir(rung)) for rung in self.rungs]
        if not path.exists():
            if large.has_begun():
                raise ValueError(
                    f"{large.path}: got a large run that has begun before a prediction was "
                    "written, expected none: what is known cannot be predicted"
                )
            return write_prediction(path, self.rungs, losses, self.target, self.count)
        stands = read_prediction(path)
        now = [[x.name, x.compute, loss] for x, loss in zip(self.rungs, losses, strict=True)]
        then = [[point[key] for key in ("name", "compute", "loss")] for point in stands["points"]]
        if now != then or stands["target"]["compute"] != self.target.compute:
            raise ValueError(
                f"{path}: got a prediction from other runs, or of another target, expected that of "
                "this ladder: a prediction is written once (choose another --workdir)"
            )
        return stands

    def summary(self) -> dict[str, Any]:
        """The prediction, and what came of it: JSON values.

        Returns:
          What `write_prediction` says, with `measured`, the loss of the large run; `error`, that of
          the prediction as a share of it; and `within`, whether it is within the interval.
        """
        stands, measured = (
            read_prediction(self.root / FILE),
            held_out_loss(self.workdir(self.target)),
        )
        low, high = stands["interval"]
        return stands | {
            "measured": measured,
            "error": stands["predicted"] / measured - 1,
            "within": low <= measured <= high,
        }


def planned(
    name: str,
    base: ExperimentConfig,
    root: Path,
    count: str,
    sizes: Sequence[tuple[int, int]],
    largest: float,
) -> Study:
    """A study whose ladder is planned; see `ladder`."""
    rungs = ladder(base, sizes, count, largest)
    places = {rung.name: root / "ladder" / rung.name for rung in rungs}
    target = Rung.of(resolve(base), count)
    return Study(name, root, count, tuple(rungs), target, places | {"target": root / "target"})


def from_runs(
    name: str, base: ExperimentConfig, root: Path, count: str, directories: Sequence[str]
) -> Study:
    """A study whose ladder consists of runs that have ended, in their work directories.

    Raises:
      ValueError: too few; one that has not ended; or runs that differ in more than size, from each
        other or from the target.
    """
    if len(directories) < FEWEST:
        raise ValueError(
            f"--runs: got {len(directories)}, expected at least {FEWEST}: a law has 3 parameters"
        )
    target, found = Rung.of(resolve(base), count), []
    for directory in directories:
        workdir = WorkDirectory(directory, "--runs")
        if not workdir.has_result():
            raise ValueError(f"--runs: got {directory}, expected the directory of an ended run")
        found.append((Rung.of(workdir.config(), count), workdir.path))
    found.sort(key=lambda pair: pair[0].compute)
    check_alike([*(rung for rung, _ in found), target])
    places = {rung.name: path for rung, path in found}
    if len(places) < len(found):
        raise ValueError(f"--runs: got {len(places)} sizes of {len(found)} runs, expected one each")
    return Study(
        name, root, count, tuple(x for x, _ in found), target, places | {"target": root / "target"}
    )


def held_out_loss(workdir: WorkDirectory) -> float:
    """The loss of the last evaluation of held-out text, in nats per token."""
    rows = read_metrics(workdir.path / "metrics.jsonl")
    return next(row for row in reversed(rows) if row.get("split") == "validation")["loss"]
