"""The convert binary: from a model directory to a work directory, onward, and back."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from gptjax.config import ExperimentConfig, ParallelismConfig
from gptjax.models.gpt import GPT
from gptjax.runs.initial_params import find_initial_checkpoint, initial_params
from gptjax.runs.workdir import WorkDirectory
from gptjax.training.partitioning import make_mesh, placed
from tests.interop.theirs import huggingface, save, their_logits

ROOT = Path(__file__).resolve().parents[2]


def call(binary: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"experiments.{binary}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def refusal(*arguments: str) -> str:
    result = call("convert", *arguments)
    assert (result.returncode, result.stdout) == (2, ""), result.stderr
    (line,) = result.stderr.splitlines()
    return line.removeprefix("error: ")


@pytest.fixture(scope="module")
def model():
    return huggingface("gpt2", vocab_size=1024)


@pytest.fixture(scope="module")
def directory(model, tmp_path_factory) -> Path:
    return save(model, tmp_path_factory.mktemp("theirs"), max_shard_size="100KB")


@pytest.fixture(scope="module")
def run(model, directory, tmp_path_factory) -> WorkDirectory:
    path, texts = tmp_path_factory.mktemp("ours") / "run", tmp_path_factory.mktemp("texts")
    for name in range(100):
        (texts / f"{name}.txt").write_text(f"{name} brown foxes jump over lazy dogs. " * 5)
    flags = (f"--from_huggingface={directory}", f"--workdir={path}", f"--corpus=text:{texts}")
    result = call("convert", *flags)
    assert result.returncode == 0, result.stderr
    count = sum(parameter.numel() for parameter in model.parameters())
    assert result.stdout == f"{path}: {count:,} parameters are written\n"
    assert result.stderr == ""
    return WorkDirectory(str(path))


TOKENS = np.random.default_rng(0).integers(0, 1024, (2, 24))


def test_a_converted_model_is_a_work_directory(run, model):
    assert {path.name for path in run.path.iterdir()} == {"config.json", "tokenizer", "checkpoints"}
    assert [path.name for path in run.path.parent.iterdir()] == ["run"]
    params = run.params()
    logits = run.model().apply({"params": params}, TOKENS.astype(np.int32))
    np.testing.assert_allclose(logits, their_logits(model, TOKENS), rtol=1e-4, atol=1e-4)
    assert run.tokenizer().decode(run.tokenizer().encode("The café")) == "The café"


def test_it_is_sampled_from_as_transformers_does(run, model):
    torch = pytest.importorskip("torch")
    prompt = run.tokenizer().encode("The function")
    ids = torch.tensor(prompt[None], dtype=torch.long)
    theirs = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=8, pad_token_id=0
    )
    result = call(
        "sample",
        f"--workdir={run.path}",
        "--prompt=The function",
        "--temperature=0",
        "--max_new_tokens=8",
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == run.tokenizer().decode(theirs[0].numpy()) + "\n"


def test_it_is_evaluated_on_the_corpus_it_was_given(run):
    result = call("evaluate", f"--workdir={run.path}")
    assert (result.returncode, result.stderr) == (0, "")
    row = json.loads(result.stdout)
    assert row["step"] == 0 and 0 < row["bits_per_byte"] < 20


def test_it_goes_back_as_it_was_or_as_options_say(run, model, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    options = ("--dtype=bfloat16", "--max_shard_gib=0.0001")
    out = tmp_path / "out"
    result = call("convert", f"--workdir={run.path}", f"--to_huggingface={out}", *options)
    assert (result.returncode, result.stderr) == (0, "")
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 1
    loaded = transformers.AutoModelForCausalLM.from_pretrained(out)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor.to(torch.bfloat16)), name
    text = "def f(x):\n    return x**2  # naïve"
    theirs = transformers.AutoTokenizer.from_pretrained(out)(text).input_ids
    assert theirs == run.tokenizer().encode(text).tolist()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--workdir=x"], "expected one of --from_huggingface=DIR and --to_huggingface=DIR"),
        (
            ["--from_huggingface={theirs}", "--workdir=x", "--tokenizer=bytes"],
            "got a tokenizer of 256 tokens, expected the model's 1024",
        ),
        (["--to_huggingface={theirs}", "--workdir={ours}"], "has files in it, expected a new"),
    ],
)
def test_bad_flags_are_one_line_and_leave_nothing(run, directory, tmp_path, flags, message):
    places = {"theirs": str(directory), "ours": str(run.path)}
    flags = [flag.format(**places).replace("=x", f"={tmp_path}/x") for flag in flags]
    assert message in refusal(*flags)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["converted", "theirs"])
def test_init_from_starts_with_its_parameters(run, directory, kind):
    config = run.config()
    config.checkpoint.init_from = str({"converted": run.path, "theirs": directory}[kind])
    abstract = jax.eval_shape(
        GPT(config.model).init, jax.random.key(0), jax.ShapeDtypeStruct((1, 1), "int32")
    )["params"]
    mesh = make_mesh(ParallelismConfig(strategy="mesh", fsdp=4))
    target = placed(abstract, mesh)
    read = initial_params(config)
    assert read is not None
    params = read(target)
    jax.tree.map(np.testing.assert_array_equal, params, run.params())
    assert jax.tree.map(lambda leaf: leaf.sharding, params) == jax.tree.map(
        lambda leaf: leaf.sharding, target
    )


@pytest.mark.parametrize("changed", ["config.json", "*-00002-of-*.safetensors"])
def test_init_from_a_model_directory_that_has_changed_is_refused(run, directory, tmp_path, changed):
    theirs = Path(shutil.copytree(directory, tmp_path / "theirs"))
    config = run.config()
    config.checkpoint.init_from = str(theirs)
    initial = find_initial_checkpoint(config)
    assert (initial.path, initial.step) == (str(theirs), None)
    (theirs / "README.md").write_text("A card of the model.")
    assert find_initial_checkpoint(config) == initial
    (file,) = theirs.glob(changed)
    content = file.read_bytes()
    last = bytes([content[-1] ^ 1]) if file.suffix == ".safetensors" else content[-1:] + b"\n"
    file.write_bytes(content[:-1] + last)
    read = initial_params(config, initial)
    assert read is not None
    with pytest.raises(ValueError, match=r"theirs with the SHA-256 \w{12}, expected \w{12}, as "):
        read(None)


def test_init_from_another_model_is_refused_or_warned_of(run, directory, caplog):
    config = run.config()
    config.model.activation = "relu"
    config.checkpoint.init_from = str(directory)
    read = initial_params(config)
    assert read is not None
    with pytest.raises(ValueError, match=r"init_from: .* with activation gelu_tanh, not relu"):
        read(None)
    config.checkpoint.init_from = str(run.path)
    read = initial_params(config)
    assert read is not None
    read(None)
    assert "has another model.activation: 'relu', not 'gelu_tanh'" in caplog.text


def test_a_run_that_starts_at_random_reads_nothing():
    assert initial_params(ExperimentConfig()) is None
