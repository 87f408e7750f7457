"""The convert binary: from a model directory to a work directory, onward, and back."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from experiments.configs import EXPERIMENTS
from gptjax.config import ExperimentConfig, LoRAConfig, ParallelismConfig, resolve
from gptjax.interop.huggingface_directory import Pretrained
from gptjax.interop.peft import read_peft, write_peft
from gptjax.interop.safetensors_files import SafeTensors
from gptjax.models.gpt import GPT
from gptjax.runs.initial.inherited import inherit
from gptjax.runs.initial.params import find_initial_checkpoint, initial_params
from gptjax.runs.inputs import load_chat_template
from gptjax.runs.program import Program
from gptjax.runs.workdir import WorkDirectory
from gptjax.training.checkpoints.parameter_files import StoredParameters
from gptjax.training.lora import trained_params
from gptjax.training.partitioning import make_mesh, placed
from tests.interop.theirs import save_tokenizer, their_logits
from tests.support.binaries import call
from tests.support.merging import merged

CONFIG = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]} | {
    "vocab_size": 1024,
    "n_positions": 24,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
}


def their_tensors() -> dict[str, np.ndarray]:
    """Random tensors under GPT-2's names; kernels are [inputs, outputs] there."""
    rng, width = np.random.default_rng(0), CONFIG["n_embd"]
    shapes = {"wte.weight": (1024, width), "wpe.weight": (24, width)}
    for i in range(CONFIG["n_layer"]):
        for name, inputs, outputs in (
            ("attn.c_attn", width, 3 * width),
            ("attn.c_proj", width, width),
            ("mlp.c_fc", width, 4 * width),
            ("mlp.c_proj", 4 * width, width),
        ):
            shapes |= {f"h.{i}.{name}.weight": (inputs, outputs), f"h.{i}.{name}.bias": (outputs,)}
        for norm in ("ln_1", "ln_2"):
            shapes |= {f"h.{i}.{norm}.{part}": (width,) for part in ("weight", "bias")}
    shapes |= {f"ln_f.{part}": (width,) for part in ("weight", "bias")}
    return {
        f"transformer.{name}": rng.normal(0, 0.2, shape).astype(np.float32)
        for name, shape in shapes.items()
    }


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    """A model directory as they write it, in two files."""
    theirs = pytest.importorskip("safetensors.numpy")
    directory, tensors = tmp_path_factory.mktemp("theirs"), their_tensors()
    names, index = list(tensors), {}
    for number, part in enumerate((names[:9], names[9:]), start=1):
        file = f"model-0000{number}-of-00002.safetensors"
        theirs.save_file({name: tensors[name] for name in part}, directory / file, {"format": "pt"})
        index |= dict.fromkeys(part, file)
    weights = {"metadata": {}, "weight_map": index}
    (directory / "model.safetensors.index.json").write_text(json.dumps(weights))
    (directory / "config.json").write_text(json.dumps(CONFIG))
    return save_tokenizer(directory)


@pytest.fixture(scope="module")
def model(directory):
    """The same in transformers."""
    transformers = pytest.importorskip("transformers")
    return transformers.AutoModelForCausalLM.from_pretrained(directory).eval()


@pytest.fixture(scope="module")
def run(directory, cache, tmp_path_factory) -> WorkDirectory:
    path, texts = tmp_path_factory.mktemp("ours") / "run", tmp_path_factory.mktemp("texts")
    for name in range(20):
        (texts / f"{name}.txt").write_text(f"{name} brown foxes jump over lazy dogs. " * 5)
    flags = (f"--from_huggingface={directory}", f"--workdir={path}", f"--corpus=text:{texts}")
    done = call("convert", *flags)
    assert (done.code, done.errors) == (0, "")
    count = sum(tensor.size for tensor in their_tensors().values())
    assert done.output == f"{path}: {count:,} parameters are written\n"
    return WorkDirectory(str(path))


TOKENS = np.random.default_rng(0).integers(0, 1024, (2, 24))


def test_a_converted_model_is_a_work_directory(run):
    assert {path.name for path in run.path.iterdir()} == {"config.json", "tokenizer", "checkpoints"}
    assert [path.name for path in run.path.parent.iterdir()] == ["run"]
    params, tensors = run.params(), their_tensors()
    table = np.asarray(params["token_embedding"])[:1024]
    np.testing.assert_array_equal(table, tensors["transformer.wte.weight"])
    keys = params["trunk"]["layers"]["attention"]["key"]["kernel"][1]  # [16, 2 heads, 8]
    theirs = tensors["transformer.h.1.attn.c_attn.weight"][:, 16:32]
    np.testing.assert_array_equal(np.reshape(keys, (16, 16)), theirs)
    assert run.tokenizer().decode(run.tokenizer().encode("The café")) == "The café"


def test_it_goes_back_as_it_was(run, tmp_path):
    theirs = pytest.importorskip("safetensors.numpy")
    out = tmp_path / "out"
    done = call("convert", f"--workdir={run.path}", f"--to_huggingface={out}")
    assert (done.code, done.errors) == (0, "")
    found, expected = theirs.load_file(out / "model.safetensors"), their_tensors()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found[name], tensor, err_msg=name)
    described = json.loads((out / "config.json").read_text())
    assert described.items() >= CONFIG.items()
    assert (out / "vocab.json").exists() and (out / "merges.txt").exists()


def test_weights_are_written_as_options_say(run, tmp_path):
    out, options = tmp_path / "out", ("--dtype=bfloat16", "--max_shard_gib=0.00003")
    done = call("convert", f"--workdir={run.path}", f"--to_huggingface={out}", *options)
    assert (done.code, done.errors) == (0, "")
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 1
    written = SafeTensors(out)
    for name, tensor in their_tensors().items():
        np.testing.assert_array_equal(written[name], tensor.astype(jnp.bfloat16), err_msg=name)
        assert written[name].dtype == jnp.bfloat16


def test_it_is_evaluated_on_the_corpus_it_was_given(run):
    done = call("evaluate", f"--workdir={run.path}")
    assert (done.code, done.errors) == (0, "")
    (row,) = done.rows
    assert row["step"] == 0 and 0 < row["bits_per_byte"] < 20


@pytest.mark.slow
def test_it_computes_and_is_sampled_from_as_transformers_does(run, model):
    logits = run.model().apply({"params": run.params()}, TOKENS.astype(np.int32))
    np.testing.assert_allclose(logits, their_logits(model, TOKENS), rtol=1e-4, atol=1e-4)
    torch = pytest.importorskip("torch")
    prompt = run.tokenizer().encode("The function")
    ids = torch.tensor(prompt[None], dtype=torch.long)
    theirs = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=8, pad_token_id=0
    )
    done = call(
        "sample",
        f"--workdir={run.path}",
        "--prompt=The function",
        "--temperature=0",
        "--max_new_tokens=8",
    )
    assert (done.code, done.output) == (0, run.tokenizer().decode(theirs[0].numpy()) + "\n")


@pytest.mark.slow
def test_transformers_reads_what_options_say(run, model, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    options = ("--dtype=bfloat16", "--max_shard_gib=0.00003")
    out = tmp_path / "out"
    done = call("convert", f"--workdir={run.path}", f"--to_huggingface={out}", *options)
    assert (done.code, done.errors) == (0, "")
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
        (["--workdir=x"], "got none of them, expected one"),
        (
            ["--from_huggingface={theirs}", "--workdir=x", "--tokenizer=bytes"],
            "got a tokenizer of 256 tokens, expected the model's 1024",
        ),
        (["--to_huggingface={theirs}", "--workdir={ours}"], "has files in it, expected a new"),
        (
            ["--merge=x", "--workdir={ours}"],
            "a run without adapters, expected one",
        ),
        (["--to_peft=x", "--workdir={ours}"], "a run without adapters, expected one with config."),
        (["--from_peft={theirs}", "--workdir=x"], "cannot read adapter_config.json"),
        (
            ["--to_huggingface=x", "--workdir={ours}", "--restore_step=7"],
            "--restore_step: got 7, expected one of 0 in",
        ),
    ],
)
def test_bad_flags_are_one_line_and_leave_nothing(run, directory, tmp_path, flags, message):
    places = {"theirs": str(directory), "ours": str(run.path)}
    flags = [flag.format(**places).replace("=x", f"={tmp_path}/x") for flag in flags]
    assert message in call("convert", *flags).refusal
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def adapted(run, tmp_path_factory):
    """A directory of peft's with adapters of rank 2, and the work directory that is made of it."""
    folder, model = tmp_path_factory.mktemp("adapted"), run.config().model
    rng, lora = np.random.default_rng(0), LoRAConfig(rank=2, alpha=3.0, targets="attention")
    params = run.params()
    shapes = jax.eval_shape(lambda: trained_params(lora, params, jax.random.key(0)))
    trained = jax.tree.map(lambda x: rng.normal(0, 0.3, x.shape).astype("float32"), shapes)
    leaves = traverse_util.flatten_dict(trained, sep="/")
    write_peft(folder / "theirs", leaves, model, lora, base=str(run.path))
    done = call("convert", f"--from_peft={folder}/theirs", f"--workdir={folder}/ours")
    assert (done.code, done.output) == (0, f"{folder}/ours: adapters are written\n")
    return folder, WorkDirectory(f"{folder}/ours"), merged(params, trained, 1.5)


def test_adapters_of_pefts_are_a_run_like_any_other(adapted, run, directory, tmp_path):
    folder, ours, expected = adapted

    def assert_close(found):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)

    assert_close(ours.params())
    assert set(StoredParameters(ours.path / "checkpoints", None).shapes) == {
        f"trunk/layers/attention/{name}/lora_{part}"
        for name in ("query", "key", "value", "out")
        for part in "ab"
    }
    flags = f"--from_peft={folder}/theirs", f"--base={directory}", f"--workdir={tmp_path}/of_theirs"
    assert call("convert", *flags).code == 0
    assert_close(WorkDirectory(f"{tmp_path}/of_theirs").params())
    assert call("convert", f"--workdir={ours.path}", f"--merge={tmp_path}/merged").code == 0
    whole = WorkDirectory(f"{tmp_path}/merged")
    assert whole.config().lora.rank is None and whole.config().model == run.config().model
    assert_close(whole.params())
    assert call("convert", f"--workdir={ours.path}", f"--to_huggingface={tmp_path}/hub").code == 0
    back = Pretrained(tmp_path / "hub").params()
    assert_close(jax.tree.map(lambda leaf: leaf.read(), back))
    assert call("convert", f"--workdir={ours.path}", f"--to_peft={tmp_path}/peft").code == 0
    theirs, again = (
        read_peft(x, run.config().model) for x in (folder / "theirs", tmp_path / "peft")
    )
    jax.tree.map(np.testing.assert_array_equal, theirs.leaves, again.leaves)


def test_a_base_that_is_gone_is_named(adapted, tmp_path):
    file = Path(shutil.copytree(adapted[1].path, tmp_path / "moved")) / "config.json"
    file.write_text(file.read_text().replace(str(adapted[1].config().checkpoint.init_from), "gone"))
    refused = call("sample", f"--workdir={tmp_path}/moved", "--prompt=The").refusal
    assert refused.startswith("config.checkpoint.init_from: cannot read checkpoint 0 of gone")


@pytest.mark.parametrize("kind", ["converted", "theirs"])
def test_init_from_starts_with_its_parameters(run, directory, kind):
    config = run.config()
    config.checkpoint.init_from = str({"converted": run.path, "theirs": directory}[kind])
    abstract = jax.eval_shape(
        GPT(config.model).init, jax.random.key(0), jax.ShapeDtypeStruct((1, 1), "int32")
    )["params"]
    mesh = make_mesh(ParallelismConfig(strategy="mesh", fsdp=4))
    target = placed(abstract, mesh)
    read = initial_params(config, find_initial_checkpoint(config))
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
    read = initial_params(config, find_initial_checkpoint(config))
    assert read is not None
    with pytest.raises(ValueError, match=r"init_from: .* with activation gelu_tanh, not relu"):
        read(None)
    config.checkpoint.init_from = str(run.path)
    read = initial_params(config, find_initial_checkpoint(config))
    assert read is not None
    read(None)
    assert "has another model.activation: 'relu', not 'gelu_tanh'" in caplog.text


def test_conversations_are_learned_on_a_model_directory_as_it_is(directory):
    config = EXPERIMENTS.get("sft_smoke")()
    config.checkpoint.init_from = str(directory)
    inherit(config, ())
    config = resolve(config)
    assert (config.model.d_model, config.model.vocab_size) == (16, 1024 + 5)
    template = load_chat_template(config)
    assert template.tokenizer.decode(template.tokenizer.encode("The café")) == "The café"
    read = initial_params(config)
    assert read is not None
    table = read(Program(config).target.params)["token_embedding"]
    np.testing.assert_array_equal(table[:1024], their_tensors()["transformer.wte.weight"])
    assert np.unique(table[1024:]).size == 128 * 16


def test_a_run_that_starts_at_random_reads_nothing():
    config = ExperimentConfig()
    assert initial_params(config, find_initial_checkpoint(config)) is None
