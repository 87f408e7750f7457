"""Who may import whom: the house's rules, read off the imports of every module.

`violations` is a pure function of path -> source, so that made-up bad modules can show it works.
"""

import ast
import functools
import graphlib
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeGuard

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOP = {"experiments", "gptjax"}
MAX_LINES = 350
MAX_BINARY_LINES = 120
MAX_FILES = 16  # of a room, __init__.py aside

SECTIONS = {"model_config", "vision_config", "multimodal_config", "lora_config", "optimizer_config"}
BASE = {"registry", "batch_schedule", "settings", "config", "atomic_files", "locks", "rooms"}
BASE |= {"interrupted", "finite"} | SECTIONS
TEXT = BASE | {"tokenization"}
MODEL = BASE | {"pytrees", "attention", "models"}
ENGINE = MODEL | {"compiled", "tokenization", "training", "inference"}
RUNS = ENGINE | {"data", "interop", "runs"}
JUDGING = RUNS | {"alignment", "reports", "judging"}
STUDIES = JUDGING | {"tasks", "curation", "evals", "studies", "scaling"}
MAY_IMPORT = {
    **{base: set() for base in ("registry", "rooms", "interrupted", "finite", "locks")},
    "pytrees": set(),
    "compiled": {"attention"},
    "batch_schedule": set(),
    "atomic_files": {"locks"},
    "settings": {"registry"},
    **{section: {"settings", "model_config", "vision_config"} for section in SECTIONS},
    "config": {"batch_schedule", "settings"} | SECTIONS,
    "tokenization": BASE,
    "data": TEXT,
    "curation": TEXT | {"data"},
    "attention": BASE | {"pytrees"},
    "models": BASE | {"pytrees", "attention"},
    "training": MODEL,
    "inference": MODEL | {"compiled", "tokenization"},
    "interop": ENGINE,
    "scaling": BASE | {"models"},
    "alignment": ENGINE | {"data"},
    "reports": BASE | {"data"},
    "runs": RUNS,
    "judging": JUDGING,
    "tasks": JUDGING | {"tasks"},
    "studies": STUDIES,
    "evals": JUDGING | {"evals"},
    "chat": JUDGING | {"tasks", "chat"},
    "serving": JUDGING | {"tasks", "chat", "serving"},
}
LIBRARY = {*MAY_IMPORT}
MAY_IMPORT |= {
    "experiments.configs": BASE | {"alignment", "curation", "tasks", "studies"},
    "experiments.flags": LIBRARY | {"experiments.configs"},
    "experiments.benchmarks": LIBRARY | {"experiments.configs"},
    "experiments.tables": LIBRARY | {"experiments.configs"},
    "experiments": LIBRARY
    | {f"experiments.{room}" for room in ("configs", "flags", "benchmarks", "tables")},
}

JAX = {"flax", "grain", "jax", "jaxlib", "optax", "orbax"}
WITHOUT_JAX = {*TEXT, "data", "curation"}
LOADER = "gptjax/data/batches/loader.py"
OPTIONAL = {"lm_eval", "mlflow", "ray", "sacrebleu", "sqlalchemy", "torch", "transformers"}
OPTIONAL |= {"confusable_homoglyphs", "prometheus_client", "regex", "starlette", "uvicorn", "wandb"}
BANNED_NAMES = {"common", "helpers", "utils"}

ALONE = """
import sys
sys.path = [path for path in sys.path if "editable" not in path]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in str(finder)]
from gptjax.config import *
from gptjax.runs.train import train
from gptjax.runs.workdir import WorkDirectory

config = resolve(
    ExperimentConfig(
        model=ModelConfig(256, context_length=16, num_layers=1, num_heads=1, d_model=8),
        data=DataConfig(corpus="text:corpus", tokenizer="bytes", validation_fraction=0.5),
        training=TrainingConfig(num_steps=10, batch_size=2, eval_batches=1, sample_tokens=0),
    )
)
import os
os.mkdir("corpus")
for i in range(8):
    open(f"corpus/{i}.txt", "w").write(str(i) + " words of a text" * 8)
ended = train("alone", config, WorkDirectory("run"))
try:
    import experiments
except ImportError:
    print(int(ended.state.step), "steps, without experiments")
"""


def module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def room(module: str) -> str:
    """The unit of the table: "data" of gptjax.data.corpora.text, "experiments" of binaries."""
    parts = module.split(".")
    if parts[0] == "gptjax" and len(parts) > 1:
        return parts[1]
    folder = ".".join(parts[:2])
    return folder if folder in MAY_IMPORT else parts[0]


def imported_modules(tree: ast.AST, modules: set[str]) -> Iterator[str]:
    """Every module an import statement names, at any depth; a relative one keeps its dots.

    `from a import b` names a.b where that is a module; the top packages hold nothing but modules.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            for alias in node.names:
                full = f"{source}.{alias.name}"
                yield full if full in modules or source in TOP else source


def is_binary(tree: ast.Module) -> bool:
    return any(
        isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"
        for node in tree.body
    )


def tells_kinds_apart(node: ast.AST) -> TypeGuard[ast.Call]:
    """`isinstance(x, SomeConfig)` of an experiment's configuration, or `type(config)`."""
    called = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
    if called not in ("isinstance", "type"):
        return False
    arguments = [ast.unparse(argument) for argument in node.args]
    if called == "isinstance":
        return bool(re.search(r"\b\w+Config\b", arguments[1]))
    return len(arguments) == 1 and arguments[0].endswith(("config", "theirs"))


def import_violations(path: str, imports: set[str]) -> Iterator[str]:
    here = room(module_name(path))
    for imported in sorted(imports):
        package = imported.split(".")[0]
        if package == "":
            yield f"{path}: relative import {imported}; expected an absolute one"
        elif package in TOP or package == "tests":
            there = room(imported)
            if here == there == "experiments":
                yield f"{path}: nothing imports a binary ({imported})"
            elif there != here and there not in MAY_IMPORT.get(here, set()):
                yield f"{path}: {here} may not import {there} ({imported})"
        elif package == "grain" and path != LOADER:
            yield f"{path}: only {LOADER} imports grain"
        elif package in JAX and here in WITHOUT_JAX and path != LOADER:
            yield f"{path}: {here} imports no {package}"
        elif package == "flax" and here == "attention":
            yield f"{path}: attention never sees flax"


def shape_violations(path: str, source: str, tree: ast.Module) -> Iterator[str]:
    lines, stem = len(source.splitlines()), Path(path).stem
    if lines > MAX_LINES:
        yield f"{path}: {lines} lines; expected at most {MAX_LINES}"
    if str(Path(path).parent) == "experiments" and stem != "__init__":
        if not is_binary(tree):
            yield f"{path}: no binary; expected what binaries share in a folder"
        elif lines >= MAX_BINARY_LINES:
            yield f"{path}: a binary of {lines} lines; expected fewer than {MAX_BINARY_LINES}"
    if path.startswith(("gptjax/runs/", "experiments/")):
        for node in ast.walk(tree):
            if tells_kinds_apart(node):
                yield f"{path}:{node.lineno}: kinds of run are told apart; expected kind_of(config)"
    if path.startswith("gptjax/") and re.search(
        r"@.*(register_dataclass|struct\.dataclass)", source
    ):
        yield f"{path}: jax takes such classes for each other; expected gptjax.pytrees.pytree"
    if stem in BANNED_NAMES or stem.endswith(("_utils", "_helpers", "_common", "_v2")):
        yield f"{path}: the name says nothing of what is inside"


def violations(sources: Mapping[str, str]) -> list[str]:
    """One line for each broken rule; `sources` maps paths below the repository root to source."""
    modules = {module_name(path) for path in sources}
    found: list[str] = []
    graph: dict[str, set[str]] = {}
    importers: dict[str, list[str]] = {}
    for path, source in sources.items():
        tree = ast.parse("" if path.startswith("tests/") else source)
        found += shape_violations(path, source, tree)
        imports = set(imported_modules(tree, modules))
        found += import_violations(path, imports)
        graph[module_name(path)] = imports & modules
        for package in sorted({name.split(".")[0] for name in imports} & OPTIONAL):
            importers.setdefault(package, []).append(path)
    rooms = Counter(str(Path(path).parent) for path in sources if not path.endswith("__init__.py"))
    found += [
        f"{folder}: {files} files; expected sub-rooms, each of at most {MAX_FILES}"
        for folder, files in rooms.items()
        if folder.startswith("gptjax") and files > MAX_FILES
    ]
    for package, paths in importers.items():
        folders = sorted((Path(path).parent for path in paths), key=lambda path: len(path.parts))
        if not all(folder.is_relative_to(folders[0]) for folder in folders):
            found.append(f"{package} is imported by {', '.join(paths)}; expected one folder")
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        found.append(f"import cycle: {' -> '.join(error.args[1])}")
    return found


@functools.cache
def house() -> dict[str, str]:
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for folder in ("gptjax", "experiments", "tests")
        for path in sorted((ROOT / folder).rglob("*.py"))
    }


def test_the_house_keeps_its_rules():
    found = violations(house())
    assert not found, "\n".join(found)


def test_every_room_is_in_the_table():
    rooms = {room(module_name(path)) for path in house() if not path.startswith("tests/")}
    assert rooms - {"gptjax"} <= set(MAY_IMPORT)


def test_a_binary_that_another_one_imports_and_a_full_room_are_found():
    binary = "if __name__ == '__main__':\n  x = 2"
    sources = {"experiments/a.py": binary, "experiments/b.py": f"import experiments.a\n{binary}"}
    assert violations(sources) == ["experiments/b.py: nothing imports a binary (experiments.a)"]
    (found,) = violations({f"gptjax/data/{i}.py": "" for i in range(18)})
    assert found.startswith("gptjax/data: 18 files")


@pytest.mark.slow
def test_the_library_trains_without_the_binaries(tmp_path):
    """A copy of gptjax alone, with the tokenizers beside it, takes ten steps."""
    for name in ("gptjax", "tokenizers"):
        shutil.copytree(ROOT / name, tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-c", ALONE], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "10 steps, without experiments"


def test_the_tokenizers_folder_is_no_package():
    assert not (ROOT / "tokenizers" / "__init__.py").exists()


def test_rooms_without_jax_do_not_load_it():
    """Run for real: importing every such module leaves jax out of the process."""
    names = [
        module_name(path)
        for path in house()
        if room(module_name(path)) in WITHOUT_JAX and path.startswith("gptjax/") and path != LOADER
    ]
    code = f"import sys, {', '.join(names)}; print(sorted({JAX} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (run.returncode, run.stdout) == (0, "[]\n"), run.stderr


@pytest.mark.parametrize(
    ("path", "source", "expected"),
    [
        ("gptjax/models/gpt.py", "import gptjax.data.corpora.text", "models may not import data"),
        ("gptjax/training/loop.py", "from gptjax import tokenization", "may not import token"),
        ("gptjax/attention/rules.py", "from gptjax.models import gpt", "may not import models"),
        ("gptjax/inference/beam.py", "import gptjax.training.loop", "may not import training"),
        ("gptjax/alignment/ppo.py", "import experiments.train", "may not import experiments"),
        ("gptjax/runs/kind.py", "import gptjax.tasks.fine_tuning", "runs may not import tasks"),
        ("gptjax/judging/rubrics.py", "import gptjax.tasks.fine_tuning", "may not import tasks"),
        ("experiments/configs/a.py", "import experiments.flags.b", "may not import experiments.fl"),
        ("experiments/flags/a.py", "import experiments.train", "may not import experiments ("),
        ("gptjax/runs/train.py", "isinstance(c, SFTConfig)", "kinds of run are told apart"),
        ("experiments/flags/a.py", "type(config) is X", "kinds of run are told apart"),
        ("experiments/support.py", "x = 1", "no binary"),
        ("gptjax/models/gpt.py", "import tests.oracle", "may not import tests"),
        ("gptjax/scaling/fit.py", "import gptjax.data.batches.shards", "may not import data"),
        ("gptjax/models/gpt.py", "def f():\n  import gptjax.data", "may not import data"),
        ("gptjax/models/gpt.py", "from . import layers", "relative import"),
        ("gptjax/models/gpt.py", "from ..data import shards", "relative import"),
        ("gptjax/registry.py", "import jax.numpy as jnp", "registry imports no jax"),
        ("gptjax/config.py", "from jax import Array", "config imports no jax"),
        ("gptjax/data/batches/shards.py", "import optax", "data imports no optax"),
        ("gptjax/training/loop.py", "import grain", "loader.py imports grain"),
        ("gptjax/attention/cache.py", "from flax import linen", "attention never sees flax"),
        ("gptjax/models/gpt.py", "x = 1\n" * 351, "351 lines; expected at most 350"),
        (
            "experiments/sample.py",
            "x = 1\n" * 120 + 'if __name__ == "__main__":\n  x = 2',
            "a binary of 122 lines",
        ),
        ("gptjax/data/utils.py", "", "the name says nothing"),
        ("gptjax/models/gpt_v2.py", "", "the name says nothing"),
        ("tests/data/text_helpers.py", "", "the name says nothing"),
    ],
)
def test_a_broken_rule_is_found(path: str, source: str, expected: str):
    (found,) = violations({path: source, "gptjax/tokenization/__init__.py": ""})
    assert found.startswith(path) and expected in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "experiments/train.py",
            "import gptjax.tasks, gptjax.training.loop\nif __name__ == '__main__':\n  x = 2",
        ),
        ("gptjax/data/batches/loader.py", "import grain, jax"),
        ("gptjax/inference/generate.py", "from gptjax import tokenization"),
        ("gptjax/interop/huggingface.py", "import transformers"),
    ],
)
def test_what_is_allowed_passes(path: str, source: str):
    assert violations({path: source}) == []


def test_an_optional_package_is_imported_in_one_folder():
    sources = {"gptjax/interop/a.py": "import torch", "gptjax/models/b.py": "import torch.nn"}
    (found,) = violations(sources)
    assert found.startswith("torch is imported by gptjax/interop/a.py, gptjax/models/b.py")


def test_a_cycle_is_found():
    sources = {
        "gptjax/data/__init__.py": "",
        "gptjax/data/a.py": "from gptjax.data import b",
        "gptjax/data/b.py": "import gptjax.data.a",
    }
    (found,) = violations(sources)
    assert found.startswith("import cycle: ")
