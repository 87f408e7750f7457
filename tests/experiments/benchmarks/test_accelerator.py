"""The suite at toy size, without the packages that a machine with a new GPU may lack."""

import ast
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.benchmarks import accelerator as suite
from experiments.benchmarks.on_device import budget
from experiments.benchmarks.on_device.attention import flex_mask
from experiments.benchmarks.on_device.budget import run_parts
from experiments.benchmarks.on_device.report import markdown
from gptjax.attention import parse
from gptjax.attention.patterns import in_order
from tests.support.parts import SHORT, breaking, endless, parts

ROOT = Path(__file__).resolve().parents[3]
# jax, flax, optax and orbax, and what they themselves need.
ALLOWED = {
    "absl",
    "etils",
    "flax",
    "jax",
    "numpy",
    "optax",
    "orbax",
    "rich",
    "scipy",
    "tensorstore",
}
LACKING = ("grain", "ml_collections", "tensorboardX", "sentencepiece", "tokenizers", "zstandard")
LACKING += ("matplotlib", "PIL", "sklearn", "torch", "transformers")

# Every process that starts with it on its path lacks the packages: Python imports it first.
WITHOUT = """
import importlib.abc, sys

class Lacking(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {lacking}:
            raise ImportError(f"no module named {{name}}")

sys.meta_path.insert(0, Lacking())
"""
TOY = """
import runpy
from experiments.benchmarks import accelerator as suite
from experiments.benchmarks.train_shape import TrainShape
from gptjax.config import ModelConfig

shape = TrainShape(50, 8, 1, 1, 8, batch_size=2, dtype="float32")
suite.SIZES = suite.AcceleratorSizes(
    models={"tiny": shape},
    decoded=ModelConfig(vocab_size=50, context_length=16, num_layers=1, num_heads=1, d_model=8),
    rows=(1, 2),
    prompt=4,
    new=4,
    lengths=(80,),
    patterns=("dense", "banded(window=16)"),
    longest_reference=0,
    heads=1,
    head_dim=8,
    dtype="float32",
    stream=1 << 12,
    rounds=2,
)
runpy.run_module("experiments.benchmark", run_name="__main__")
"""


def test_parts_that_fail_die_or_never_end_are_named_and_the_rest_goes_on():
    outcome = run_parts(parts, budget=100)
    assert outcome.figures == {"first": {"of": "first"}, "last": {"after": "first"}}
    assert outcome.failed == {
        "broken": "MemoryError: out of memory",
        "endless": "took over 0.1 seconds",
        "deadly": "its process ended with code 3",
    }
    assert outcome.left_out.pop("absent") == "there is none"
    assert "no time: it may take 1,000 s, and" in outcome.left_out.pop("long")
    assert not outcome.left_out and 2 * SHORT < outcome.seconds < 100


def test_a_part_takes_no_more_than_what_is_left_of_the_budget(monkeypatch):
    """The clock stands still until the first part is offered: processes start as they can."""
    times = itertools.chain([0.0, 0.0], itertools.repeat(100.0))
    monkeypatch.setattr(budget, "time", SimpleNamespace(monotonic=lambda: next(times)))
    monkeypatch.setattr(budget, "PATIENCE", 1e9)
    outcome = run_parts(endless, budget=2 * SHORT)
    assert outcome.failed["endless"] == "took over 0.1 seconds"
    assert outcome.left_out["last"].startswith("no time: it may take 10 s, and 0 s are left")


def test_parts_that_no_process_offers_are_not_forgotten():
    outcome = run_parts(breaking, budget=100)
    assert outcome.figures == {"first": {}}
    said = outcome.failed["next part"]
    assert said == "its process ended with code 4; neither it nor those after it began"


def test_the_report_has_every_part():
    figures = {
        "device": {"kind": "NVIDIA H100", "count": 1},
        "dtype": "bfloat16",
        "attention": {"dense, 2,048": "fused, one kernel of the device"},
        "parts": {
            "peaks": {"flops_per_second": 9.89e14, "flops_source": "published"},
            "training.gpt2_small": {"tokens_per_second": 123456.0, "mfu": 0.51},
        },
        "failed": {"decoding.rows=64": "XlaRuntimeError: RESOURCE_EXHAUSTED"},
        "left_out": {"torch.training.gpt2_small": "PyTorch is not installed"},
        "seconds": 400.0,
        "budget_seconds": 480.0,
        "versions": {"jax": "0.10.2"},
        "commit": "abc",
    }
    text = markdown(figures)
    assert "| gpt2_small | 1.235e+05 | 0.51 |" in text
    for said in ("RESOURCE_EXHAUSTED", "PyTorch is not installed", "one kernel of the device"):
        assert said in text


@pytest.mark.parametrize("spec", ["dense", "banded(window=5)", "strided(stride=4)"])
def test_flex_attention_computes_the_same_pattern(spec):
    torch = pytest.importorskip("torch")
    from experiments.benchmarks.pytorch.attention import mask_of

    pattern = parse(spec)[0]
    mask = mask_of(**flex_mask(pattern, 20))
    i, j = torch.arange(20)[:, None], torch.arange(20)[None]
    at = np.arange(20)
    ours = np.broadcast_to(in_order(pattern)(at[:, None], at[None]), (20, 20))
    np.testing.assert_array_equal(mask(0, 0, i, j).numpy(), ours)


def test_a_suite_in_which_a_part_failed_ends_with_an_error():
    from experiments.benchmarks.registry import SUITES
    from tests.support.binaries import call, registered

    with registered(SUITES, broken=lambda: {"failed": {"part": "it broke"}}):
        done = call("benchmark", "--suite=broken")
    assert done.code == 1 and json.loads(done.output.splitlines()[-1])["failed"]


def _imported(path):
    """Absolute imports of a file that run when it is imported."""
    tree = ast.parse(path.read_text())
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_it_imports_no_more_than_a_machine_with_a_new_gpu_has():
    """Modules that its own import loads, as far as they say so at their top."""
    found, waiting = set(), ["experiments.benchmark", suite.__name__]
    seen = set(waiting)
    while waiting:
        module = waiting.pop()
        path = ROOT / module.replace(".", "/")
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if not path.exists():
            continue  # a name of a module
        for name in _imported(path):
            if name.split(".")[0] not in ("gptjax", "experiments"):
                found.add(name.split(".")[0])
            elif name not in seen:
                seen.add(name)
                waiting.append(name)
    assert found - set(sys.stdlib_module_names) <= ALLOWED


@pytest.mark.slow
def test_the_suite_at_toy_size_without_other_packages(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(WITHOUT.format(lacking=set(LACKING)))
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "1", "PYTHONPATH": path}
    flags = "--suite=accelerator", f"--output={tmp_path / 'out'}"
    command = [sys.executable, "-c", TOY, *flags]
    done = subprocess.run(command, env=environment, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "out" / "accelerator.json").read_text())
    assert not figures["failed"]
    assert json.loads(done.stdout.splitlines()[-1])["parts"] == figures["parts"]
    parts = figures["parts"]
    assert {name.split(".")[0] for name in parts} == {
        "peaks",
        "training",
        "decoding",
        "attention",
    }
    assert parts["training.tiny"]["mfu"] > 0 and parts["decoding.rows=2"]["share_of_bandwidth"] != 0
    assert parts["attention.80.dense.blockwise.forward_backward"]["share_of_peak"] > 0
    left = figures["left_out"]
    assert "no kernel for cpu" in left["attention.80.dense.fused.forward"]
    assert "PyTorch is measured on a GPU" in left["torch.training.tiny"]
    assert (tmp_path / "out" / "accelerator.md").read_text() == markdown(figures)
