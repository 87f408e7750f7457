"""Adapters in peft's format: there and back, against NumPy, and against peft where it is there."""

import json

import jax
import numpy as np
import pytest
from flax import traverse_util

from gptjax.config import LoRAConfig
from gptjax.interop.huggingface import model_config, params_from_huggingface
from gptjax.interop.peft import CONFIG, WEIGHTS, read_peft, write_peft
from gptjax.interop.safetensors_files import SafeTensors
from gptjax.models.adapters import Base, joined
from gptjax.models.gpt import GPT
from gptjax.training.lora import trained_params
from tests.interop.theirs import KINDS, SIZES, huggingface, tensors, their_logits
from tests.support.merging import merged
from tests.support.tiers import tiered

ALL = "attention,feed_forward"
TOKENS = np.random.default_rng(1).integers(0, 61, (2, 24))


@pytest.fixture(scope="module")
def model():
    return model_config({"model_type": "gpt2", **SIZES})


def random_adapters(model, lora):
    """Adapters by path, none of whose numbers is zero."""
    shapes = GPT(model).init
    params = jax.eval_shape(shapes, jax.random.key(0), np.zeros((1, 1), np.int32))["params"]
    made = jax.eval_shape(lambda: trained_params(lora, params, jax.random.key(0)))
    rng = np.random.default_rng(0)
    leaves = traverse_util.flatten_dict(made, sep="/")
    return {name: rng.normal(0, 0.3, x.shape).astype(np.float32) for name, x in leaves.items()}


@pytest.mark.parametrize("targets", [ALL, "attention/value,feed_forward/down"])
def test_they_come_back_as_they_were(model, targets, tmp_path):
    """But for the scale, which is then in B."""
    lora = LoRAConfig(rank=3, alpha=6.0, targets=targets)
    leaves = random_adapters(model, lora)
    write_peft(tmp_path / "out", leaves, model, lora, base="somewhere")
    found = read_peft(tmp_path / "out", model)
    names = {name.rpartition("/")[0].removeprefix("trunk/layers/") for name in leaves}
    alive = {name: leaf for name, leaf in found.leaves.items() if leaf.any()}
    assert found.lora.rank == 3 and found.lora.scale == 1.0
    assert names <= set(found.lora.targets.split(","))
    for name, leaf in leaves.items():
        scale = 2.0 if name.endswith("lora_b") else 1.0
        np.testing.assert_array_equal(alive[name], scale * leaf, err_msg=name)
    others = {name.rpartition("/")[0] for name in alive} - {n.rpartition("/")[0] for n in leaves}
    assert all(f"{name}/lora_b" not in alive for name in others)


def test_one_module_is_three_of_our_kernels(model, tmp_path):
    """B A of `attn.c_attn`, [3 E, E], is those of query, key and value, one below another."""
    lora = LoRAConfig(rank=2, alpha=5.0)
    leaves = random_adapters(model, lora)
    write_peft(tmp_path / "out", leaves, model, lora, base=None)
    described, written = (
        json.loads((tmp_path / "out" / CONFIG).read_text()),
        SafeTensors(tmp_path / "out" / WEIGHTS),
    )
    key = "base_model.model.transformer.h.1.attn.c_attn.lora_{}.weight"
    a, b = written[key.format("A")], written[key.format("B")]
    assert a.shape == (6, 32) and b.shape == (96, 6)
    scale = described["alpha_pattern"]["attn.c_attn"] / described["rank_pattern"]["attn.c_attn"]
    assert scale == described["lora_alpha"] / described["r"] == 2.5
    expected = [
        sum(
            np.outer(
                leaves[f"trunk/layers/attention/{name}/lora_b"][1, r].ravel(),
                leaves[f"trunk/layers/attention/{name}/lora_a"][1, :, r],
            )
            for r in range(2)
        )
        for name in ("query", "key", "value")
    ]
    np.testing.assert_allclose(b @ a, np.concatenate(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"use_dora": True}, "got use_dora = True, expected False"),
        ({"bias": "all"}, "got bias = 'all', expected 'none'"),
        ({"peft_type": "IA3"}, "got peft_type = 'IA3', expected 'LORA'"),
        ({"r": None}, "got r = None and lora_alpha = 3.0, expected numbers above 0"),
    ],
)
def test_adapters_of_another_kind_are_refused(model, settings, message, tmp_path):
    lora = LoRAConfig(rank=3)
    write_peft(tmp_path / "out", random_adapters(model, lora), model, lora, base=None)
    file = tmp_path / "out" / CONFIG
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    with pytest.raises(ValueError, match=message):
        read_peft(tmp_path / "out", model)


def test_adapters_of_another_model_are_refused(model, tmp_path):
    lora = LoRAConfig(rank=3)
    write_peft(tmp_path / "out", random_adapters(model, lora), model, lora, base=None)
    for changed, message in (
        ({"n_embd": 16}, r"h\.0\.attn\.c_attn of shapes \[9, 32\] and \[96, 9\], expected \[r, 16"),
        ({"n_layer": 2}, r"got base_model\.model\.transformer\.h\.2\.\S+, expected .* in 2 layers"),
    ):
        other = model_config({"model_type": "gpt2", **SIZES, **changed})
        with pytest.raises(ValueError, match=message):
            read_peft(tmp_path / "out", other)


@pytest.mark.parametrize("kind", tiered([(kind,) for kind in KINDS], [([*KINDS][-1],)]))
def test_peft_computes_the_same(kind, tmp_path):
    """To 1e-5: what is written, read by peft; and what peft makes and saves, read here."""
    peft, torch = pytest.importorskip("peft"), pytest.importorskip("torch")
    theirs = huggingface(kind)
    config = model_config(json.loads(theirs.config.to_json_string()))
    params = params_from_huggingface(tensors(theirs), config)
    apply = jax.jit(GPT(config).apply)
    lora = LoRAConfig(rank=3, alpha=6.0, targets=ALL)
    leaves = random_adapters(config, lora)
    write_peft(tmp_path / "ours", leaves, config, lora, base=None)
    adapted = peft.PeftModel.from_pretrained(theirs, tmp_path / "ours")
    ours = traverse_util.unflatten_dict(leaves, sep="/")
    found = apply({"params": joined(ours, Base(params, lora.scale))}, TOKENS.astype(np.int32))
    expected = their_logits(adapted, TOKENS)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())

    modules = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]
    settings = peft.LoraConfig(
        r=4, lora_alpha=8, target_modules=modules, fan_in_fan_out=True, rank_pattern={"c_fc": 2}
    )
    adapted = peft.get_peft_model(huggingface(kind), settings)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
    adapted.save_pretrained(tmp_path / "theirs")
    read = read_peft(tmp_path / "theirs", config)
    trained = traverse_util.unflatten_dict(read.leaves, sep="/")
    found = apply({"params": merged(params, trained, read.lora.scale)}, TOKENS.astype(np.int32))
    expected = their_logits(adapted.eval(), TOKENS)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
