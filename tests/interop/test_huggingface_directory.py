"""Model directories, against transformers: what it saves is read, what is written it loads."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import traverse_util

from gptjax.config import ModelConfig
from gptjax.interop.huggingface_directory import Pretrained, is_pretrained, write_pretrained
from gptjax.interop.safetensors_files import INDEX, SINGLE
from gptjax.models.gpt import GPT
from gptjax.tokenization import Tokenizer, load_tokenizer
from tests.interop.theirs import KINDS, huggingface, save, their_logits

TOKENS = np.random.default_rng(1).integers(0, 1024, (2, 24))


def our_logits(config: ModelConfig, params) -> np.ndarray:
    return np.asarray(jax.jit(GPT(config).apply)({"params": params}, TOKENS.astype(np.int32)))


def read_all(source: Pretrained, **arguments):
    return jax.tree.map(lambda leaf: leaf.read(), source.params(**arguments))


@pytest.fixture(scope="module", params=KINDS)
def model(request):
    return huggingface(request.param, vocab_size=1024)


@pytest.fixture
def saved(model, tmp_path) -> Path:
    return save(model, tmp_path / "saved")


@pytest.fixture
def gpt2(tmp_path) -> Path:
    return save(huggingface("gpt2", vocab_size=1024), tmp_path / "gpt2", max_shard_size="100KB")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer("python_docs_1024")


def test_one_file_and_shards_give_their_logits(model, saved, tmp_path):
    source = Pretrained(saved)
    assert source.kind == model.config.model_type
    params = read_all(source)
    logits = our_logits(source.model, params)
    np.testing.assert_allclose(logits, their_logits(model, TOKENS), rtol=1e-4, atol=1e-4)

    sharded = save(model, tmp_path / "sharded", max_shard_size="100KB")
    assert (sharded / INDEX).is_file() and len(list(sharded.glob("model-*"))) > 2
    jax.tree.map(np.testing.assert_array_equal, read_all(Pretrained(sharded)), params)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bit_weights_are_widened(dtype, tmp_path):
    torch = pytest.importorskip("torch")
    model = huggingface("gpt2", vocab_size=1024).to(getattr(torch, dtype))
    params = read_all(Pretrained(save(model, tmp_path / "saved")))
    wide = model.transformer.wpe.weight.detach().float().numpy()
    np.testing.assert_array_equal(params["position_embedding"], wide)


def exported(source: Pretrained, path: Path, tokenizer: Tokenizer, **options) -> Path:
    leaves = traverse_util.flatten_dict(source.params(), sep="/")
    write_pretrained(path, source.model, lambda name: leaves[name].read(), tokenizer, **options)
    return path


def load(path: Path):
    transformers = pytest.importorskip("transformers")
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        path, output_loading_info=True
    )
    assert not any(report.values()), report
    return model.eval()


@pytest.mark.parametrize("max_shard_bytes", [10**9, 100_000])
def test_transformers_loads_what_is_written(model, saved, tmp_path, tokenizer, max_shard_bytes):
    path = exported(
        Pretrained(saved), tmp_path / "x/out", tokenizer, max_shard_bytes=max_shard_bytes
    )
    assert (path / INDEX).exists() != (path / SINGLE).exists() == (max_shard_bytes == 10**9)
    loaded = load(path)
    assert type(loaded) is type(model)
    np.testing.assert_array_equal(their_logits(loaded, TOKENS), their_logits(model, TOKENS))
    assert loaded.generation_config.eos_token_id == tokenizer.end_of_text == 1023
    assert loaded.config.eos_token_id == 1023
    assert [entry.name for entry in path.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_are_written_in_sixteen_bits(dtype, gpt2, tmp_path, tokenizer):
    torch = pytest.importorskip("torch")
    loaded = load(exported(Pretrained(gpt2), tmp_path / "out", tokenizer, dtype=dtype))
    assert loaded.dtype == getattr(torch, dtype)
    expected = huggingface("gpt2", vocab_size=1024).to(loaded.dtype)
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, expected.state_dict()[name]), name


def test_untied_gpt1_loads_with_its_own_output_layer(tmp_path, tokenizer):
    model = huggingface("openai-gpt", vocab_size=1024, tie_word_embeddings=False)
    source = Pretrained(save(model, tmp_path / "saved"))
    assert not source.model.tied_embeddings
    loaded = load(exported(source, tmp_path / "out", tokenizer))
    np.testing.assert_array_equal(their_logits(loaded, TOKENS), their_logits(model, TOKENS))


def test_no_directory_with_files_is_written_to(gpt2, tmp_path, tokenizer):
    (tmp_path / "used").mkdir()
    (tmp_path / "used/thesis.tex").touch()
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    source = Pretrained(gpt2)
    for name, reason in (("used", "has files in it"), ("file", "is a file")):
        with pytest.raises(ValueError, match=f"{name} {reason}, expected a new or empty directory"):
            exported(source, tmp_path / name, tokenizer)
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["thesis.tex"]
    exported(source, tmp_path / "empty", tokenizer)
    assert (tmp_path / "empty" / SINGLE).is_file()


def test_what_fails_half_way_leaves_nothing(gpt2, tmp_path, tokenizer):
    source = Pretrained(gpt2)
    leaves = traverse_util.flatten_dict(source.params(), sep="/")
    before = sorted(tmp_path.iterdir())

    def read(name: str) -> np.ndarray:
        if name.endswith("up/kernel"):
            raise OSError("gone")
        return leaves[name].read()

    with pytest.raises(OSError, match="gone"):
        write_pretrained(tmp_path / "out", source.model, read, tokenizer)
    large = dataclasses.replace(source.model, attention="banded(window=4)")
    with pytest.raises(ValueError, match="expected dense"):
        write_pretrained(tmp_path / "out", large, read, tokenizer)
    with pytest.raises(ValueError, match="tokenizer: got 256 tokens, expected the model's 1024"):
        write_pretrained(tmp_path / "out", source.model, read, load_tokenizer("bytes"))
    assert sorted(tmp_path.iterdir()) == before


def test_parameters_fit_a_model_that_only_attends_otherwise(gpt2):
    source = Pretrained(gpt2)
    sparse = dataclasses.replace(source.model, attention="banded(window=4)", residual_dropout=0.5)
    jax.tree.map(np.testing.assert_array_equal, read_all(source, config=sparse), read_all(source))
    other = dataclasses.replace(source.model, num_heads=8, d_head=4, d_value=4, num_kv_heads=8)
    with pytest.raises(ValueError, match=r"another model, with num_heads 4, not 8$"):
        source.params(other)


def edit(path: Path, **fields) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def only_pickles(directory: Path) -> None:
    for file in directory.glob("model*"):
        file.unlink()
    (directory / "pytorch_model.bin").write_bytes(b"\x80\x02")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda d: edit(d / "config.json", model_type="llama"),
            "got 'llama', expected one of gpt2",
        ),
        (lambda d: edit(d / "config.json", n_layer=2), "got transformer.h.2.attn.c_attn.bias, tr"),
        (lambda d: edit(d / "config.json", n_layer=4), "got no transformer.h.3.ln_1.weight, trans"),
        (
            lambda d: edit(d / "config.json", n_inner=64),
            r"transformer.h.0.mlp.c_fc.weight: got shape \(32, 128\), expected \(32, 64\)",
        ),
        (
            lambda d: edit(d / "config.json", vocab_size=1000),
            r"transformer.wte.weight: got shape \(1024, 32\), expected \(1000, 32\)",
        ),
        (lambda d: edit(d / "config.json", activation_function="silu"), "got 'silu', expected one"),
        (lambda d: (d / "config.json").write_text("{"), "config.json: .*expected a JSON object"),
        (lambda d: (d / "config.json").write_text("[]"), "config.json: got no JSON object"),
        (lambda d: (d / "config.json").unlink(), "cannot read config.json"),
        (lambda d: next(d.glob("model-*")).unlink(), "files are missing"),
        (only_pickles, "got pytorch_model.bin, a pickle, which is never opened"),
        (
            shutil.rmtree,
            "got no directory, expected a downloaded model: a directory with config.json",
        ),
    ],
)
def test_damaged_directories_are_refused_in_one_line(gpt2, damage, message):
    damage(gpt2)
    with pytest.raises(ValueError, match=message) as caught:
        Pretrained(gpt2).params()
    assert "\n" not in str(caught.value) and str(gpt2) in str(caught.value)


def test_a_pickle_is_refused_by_its_name(tmp_path):
    with pytest.raises(ValueError, match=r"model.bin: got a pickle, .*save_pretrained"):
        Pretrained(tmp_path / "model.bin")


def test_model_directories_are_told_from_others(gpt2, tmp_path):
    assert is_pretrained(gpt2)
    assert not is_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"experiment": "demo", "config": {}}')
    assert not is_pretrained(tmp_path)
