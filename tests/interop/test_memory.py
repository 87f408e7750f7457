"""What the convert binary takes in memory, both ways: no more than 1.3 times the model's size."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gptjax.interop.huggingface import model_config, tensor_shapes
from gptjax.interop.safetensors_files import SINGLE, write_safetensors
from tests.interop.theirs import save_tokenizer

ROOT = Path(__file__).resolve().parents[2]
DESCRIBED = {
    "model_type": "gpt2",
    "vocab_size": 1024,
    "n_positions": 64,
    "n_layer": 6,
    "n_head": 8,
    "n_embd": 640,
}
# Prints, in bytes, how far memory rises above what the interpreter and the modules take.
MEASURED = """
import ast, importlib, inspect, sys
from pathlib import Path
import jax
from absl import flags
from experiments import convert
for node in ast.walk(ast.parse(inspect.getsource(convert))):  # its functions import them later
    if isinstance(node, ast.ImportFrom):
        importlib.import_module(node.module)
def resident(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))
flags.FLAGS(sys.argv)
jax.device_count()
Path("/proc/self/clear_refs").write_text("5")  # the highest mark is where memory is now
before = resident("VmRSS")
convert.main(sys.argv[:1])
print(resident("VmHWM") - before)
"""


def risen(*arguments: str) -> int:
    result = subprocess.run(
        [sys.executable, "-c", MEASURED, *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return int(result.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_a_model_is_converted_in_little_more_than_its_size(tmp_path):
    theirs, ours, back = (tmp_path / name for name in ("theirs", "ours", "back"))
    theirs.mkdir()
    (theirs / "config.json").write_text(json.dumps(DESCRIBED))
    save_tokenizer(theirs)
    shapes = tensor_shapes(model_config(DESCRIBED))
    rng = np.random.default_rng(0)  # zeros would be compressed
    drawn = ((name, rng.standard_normal(shape, np.float32)) for name, shape in shapes.items())
    write_safetensors(theirs, shapes, "float32", 2**30, drawn)
    size = 4 * sum(math.prod(shape) for shape in shapes.values())
    assert risen(f"--from_huggingface={theirs}", f"--workdir={ours}") < 1.3 * size
    assert risen(f"--to_huggingface={back}", f"--workdir={ours}") < 1.3 * size
    assert (back / SINGLE).read_bytes()[-size:] == (theirs / SINGLE).read_bytes()[-size:]
