"""Multiple choice by lm-evaluation-harness' class `hf`, as a program of its own.

A model directory answers the pairs of context and continuation in a file. `torch_program` starts
this and talks to it; the log-probabilities are left in the file `answers`:

    python -m experiments.benchmarks.pytorch.lm_eval_hf \
        '{"model": "DIR", "asked": "asked.json", "answers": "answers.json", "batch_size": 8}'
"""

import importlib
import importlib.metadata
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from experiments.benchmarks.pytorch.program import serve

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def _answering(model: str, asked: str, answers: str, batch_size: int) -> Callable[[], float]:
    """Builds a function that answers all once and returns the seconds it took."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    theirs: Any = importlib.import_module("lm_eval.models.huggingface")
    instance = importlib.import_module("lm_eval.api.instance").Instance
    model_of_theirs = theirs.HFLM(
        pretrained=model, device=DEVICE, dtype="float32", batch_size=batch_size
    )
    requests = [
        instance("loglikelihood", {}, tuple(pair), number)
        for number, pair in enumerate(json.loads(Path(asked).read_text()))
    ]

    def run() -> float:
        began = time.perf_counter()
        found = model_of_theirs.loglikelihood(requests, disable_tqdm=True)
        seconds = time.perf_counter() - began
        Path(answers).write_text(json.dumps([log_prob for log_prob, _ in found]))
        return seconds

    return run


if __name__ == "__main__":
    ours = f"lm_eval {importlib.metadata.version('lm_eval')}, torch {torch.__version__}"
    serve(_answering, f"{ours}, transformers {transformers.__version__} on {DEVICE}")
