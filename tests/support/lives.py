"""A run that SIGKILL ends again and again, at random moments, and the same run left alone.

A moment is a number of files: a life ends when it has opened, renamed, made or removed so many
below its directory, be it at its start, between steps or within a save.

    python -m tests.support.lives DIR --kills=20

Each life is a process of its own, forked from one that has imported everything and computed
nothing: importing would take most of the time. Prints what was found, as JSON.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import sys
from pathlib import Path

import jax
import matplotlib.figure  # noqa: F401  what a run imports when it ends
import numpy as np

from gptjax.config import ExperimentConfig, resolve
from gptjax.runs.caches import enable_compilation_cache
from gptjax.runs.train import train
from gptjax.runs.workdir import WorkDirectory
from gptjax.training.reporting.metrics import read_metrics

TINY = {
    "model": {"vocab_size": 256, "context_length": 16, "num_layers": 1, "num_heads": 1}
    | {"d_model": 8, "residual_dropout": 0.1},
    "data": {"tokenizer": "bytes", "validation_fraction": 0.2},
    "training": {"num_steps": 200, "batch_size": 4, "log_every": 1}
    | {"eval_every": 7, "eval_batches": 1, "sample_tokens": 0},
    "checkpoint": {"keep_every": 50},
}
TOUCHES = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"}
MOST_FILES = 250  # a save takes some seventy
SPEED = ("seconds", "tokens_per_second", "mfu", "executed_mfu")


def _config(corpus, every_steps):
    config, varying = ExperimentConfig(), {"data": {"corpus": f"text:{corpus}"}}
    for part in (TINY, varying, {"checkpoint": {"every_steps": every_steps}}):
        for section, values in part.items():
            for name, value in values.items():
                setattr(getattr(config, section), name, value)
    return resolve(config)


def live(path, run):
    """Starts a life of the run in `path`; returns its process id."""
    process = os.fork()
    if process == 0:
        with (path.parent / "output").open("a") as output, contextlib.redirect_stdout(output):
            enable_compilation_cache()
            run(WorkDirectory(str(path)))
        os._exit(0)
    return process


def _live(path, config):
    return live(path, lambda workdir: train("lives", config, workdir))


def _end(process):
    """Return code of a life that has ended: 0, or minus its signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _mortal(path, files):
    """Has this process end itself when it has touched so many files below `path`."""
    left, below = [files], f"{path}/"

    def noted(event, arguments):
        if event in TOUCHES and str(arguments[0]).startswith(below):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(noted)


def _killed(path, config, files):
    """Lives until so many files are touched; returns whether it left a save half done."""
    left = _half_done(path)

    def run(workdir):
        _mortal(path, files)
        train("lives", config, workdir)

    assert _end(live(path, run)) == -signal.SIGKILL, "it ended by itself"
    return _half_done(path) != left


def _half_done(path):
    return {entry.name for entry in (path / "checkpoints").glob("[rs]*ing.*")}


def _rows(path):
    rows = read_metrics(path / "metrics.jsonl")
    return [{name: x for name, x in row.items() if name not in SPEED} for row in rows]


def main():
    """Kills the run in DIR/killed, ends it, and compares it with that in DIR/whole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    arguments = parser.parse_args()
    killed, whole = arguments.directory / "killed", arguments.directory / "whole"
    corpus, rng = arguments.directory / "texts", random.Random(0)
    corpus.mkdir(parents=True)
    for i in range(40):
        (corpus / f"{i:02}.txt").write_text(" ".join(rng.choices(("the", "cat", "runs"), k=60)))

    rarely = _config(corpus, 1000)
    assert _end(_live(whole, rarely)) == 0
    during_a_save, resumed_from = 0, []
    for _ in range(arguments.kills):
        config = _config(corpus, rng.choice((1, 2, 5)))
        during_a_save += _killed(killed, config, rng.randrange(1, MOST_FILES))
        steps = (killed / "checkpoints").glob("[0-9]*")
        resumed_from.append(max((int(step.name) for step in steps), default=0))
    assert _end(_live(killed, rarely)) == 0

    assert _rows(killed) == _rows(whole)
    params, expected = (WorkDirectory(str(path)).params() for path in (killed, whole))
    jax.tree.map(np.testing.assert_array_equal, params, expected)
    found = {"kills": arguments.kills, "during_a_save": during_a_save}
    json.dump(found | {"resumed_from": resumed_from}, sys.stdout)


if __name__ == "__main__":
    main()
