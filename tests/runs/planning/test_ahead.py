"""Programs for accelerators that are not at hand: lowered for them, and compiled where JAX can.

The training step, decoding and scoring are lowered for a GPU and a TPU with nothing but JAX. With
JAX's plugins, libtpu and jax[cuda12], the training step is compiled for them, too.
"""

import importlib.util
import re

import jax
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, AxisType, use_abstract_mesh

from gptjax.attention.device import Device, compiling_for, current
from gptjax.runs.kind import kind_of
from gptjax.runs.planning.ahead import target_device, target_devices
from gptjax.runs.planning.choices import TARGETS
from gptjax.runs.planning.collectives import collectives
from gptjax.runs.program import Program
from gptjax.training.memory import bytes_of_each_device
from gptjax.training.partitioning import make_mesh
from tests.support.device_programs import anywhere, config, decoding, scoring, training

# How StableHLO and HLO write what moves between a device and its host in the middle of a program.
TRANSFERS = re.compile(r"infeed|outfeed|stablehlo\.(send|recv)|callback|pinned_host|SendToHost")
# Products of matrices, batches of them left out: types of the operands and of what is made.
PRODUCTS = re.compile(
    r"dot_general %\S+ %\S+ contracting_dims.*"
    r": \(tensor<\S*x(\w+)>, tensor<\S*x(\w+)>\) -> tensor<\S*x(\w+)>"
)
KERNELS = {"cuda": r"@(__cudnn\$\w+)", "tpu": "@(tpu_custom_call)"}
DEVICES = {"cuda": Device("gpu", "9.0"), "tpu": Device("tpu")}


def lowered(make, platform, monkeypatch):
    """StableHLO of a program for a platform, and the number of its donated arguments."""
    where = "jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version"
    monkeypatch.setattr(where, lambda: 91_000)
    device = AbstractDevice(device_kind="TPU v5 lite", num_cores=1, platform="tpu")
    mesh = AbstractMesh((1,), ("data",), (AxisType.Auto,), abstract_device=device)
    with compiling_for(DEVICES[platform]), use_abstract_mesh(mesh):
        program, arguments = make(config())
        text = program.trace(*arguments).lower(lowering_platforms=(platform,)).as_text()
    return text, text.count("tf.aliasing_output") + text.count("jax.buffer_donor"), arguments


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_a_training_step_is_lowered_with_the_kernels_of_the_device(platform, monkeypatch):
    text, donated, (state, *_) = lowered(anywhere, platform, monkeypatch)
    kernels = re.findall(KERNELS[platform], text)
    assert len(kernels) == {"cuda": 2, "tpu": 3}[platform]  # backward in two on a TPU
    assert not TRANSFERS.search(text)
    assert donated == len(jax.tree.leaves(state))
    # But for a batch of dot products, with which splash attention begins its backward pass.
    products = PRODUCTS.findall(text)
    assert {operand for *operands, _ in products for operand in operands} == {"bf16"}
    assert [made for *_, made in products].count("f32") == 3  # logits and their two gradients


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("make", [decoding, scoring])
def test_decoding_and_scoring_are_lowered(make, platform, monkeypatch):
    text, donated, arguments = lowered(make, platform, monkeypatch)
    assert bool(re.search(KERNELS[platform], text)) == (make is scoring)  # decoding has positions
    assert not TRANSFERS.search(text)
    assert donated == (len(jax.tree.leaves(arguments[1])) if make is decoding else 0)


def test_the_device_that_is_asked_for_is_so_within_the_context_alone():
    at_hand = current()
    assert at_hand == Device("cpu", "", jax.device_count())
    with compiling_for(target_device("h100", 8)):
        assert current() == Device("gpu", "9.0", 8)
    assert current() == at_hand


def test_the_step_that_a_device_runs_aliases_the_whole_state():
    """In the compiled program every array of the state has the place of its successor."""
    given = config()
    program, (state, *arguments) = training(given)
    compiled = program.lower(state, *arguments).compile()
    assert not TRANSFERS.search(compiled.as_text())
    aliased = compiled.memory_analysis().alias_size_in_bytes
    assert aliased == bytes_of_each_device(state)


PLUGINS = {"h100": "jax_cuda12_plugin", "v5e": "libtpu"}


def test_a_device_without_its_plugin_is_refused_in_one_line(monkeypatch):
    def no_plugin(*arguments, **options):
        raise RuntimeError("Unknown backend\nof two lines")

    monkeypatch.setattr("jax.experimental.topologies.get_topology_desc", no_plugin)
    for name in TARGETS:
        with pytest.raises(ValueError, match=r"got 8 devices .*expected JAX's plugin") as error:
            target_devices(name, 8)
        assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_a_step_is_compiled_for_devices_that_are_not_at_hand(target):
    if importlib.util.find_spec(PLUGINS[target]) is None:
        pytest.skip(f"{PLUGINS[target]} is not installed")
    given = config(fsdp=8)
    mesh = make_mesh(given.parallelism, target_devices(target, 8))
    compiled = kind_of(given).largest_program(given, mesh).compiled
    text = compiled.as_text()
    assert "cudnn" in text if target == "h100" else "tpu_custom_call" in text
    assert not re.search("infeed|outfeed|callback|S\\(5\\)", text)
    # No array of the state is copied, but ahead of its use into a TPU's fast memory, S(1).
    entry = text[text.index("\nENTRY ") :]
    arguments = set(re.findall(r"(%\S+) = \S+ parameter\(", entry))
    copies = re.findall(r"= (f32\[\d+,\S*) copy\((%\S+?)\)", entry)
    assert arguments and not [x for x, name in copies if name in arguments and "S(1)" not in x]
    held = bytes_of_each_device(Program(given, mesh).target)
    assert compiled.memory_analysis().alias_size_in_bytes >= held
    assert {row.axes for row in collectives(text, mesh.shape)} == {"fsdp"}
