"""Runs with LoRA: what they keep, what later commands read of them, and how they go on."""

import copy

import jax
import numpy as np
import pytest
from flax import traverse_util

from gptjax.runs.initial.params import find_initial_checkpoint, initial_params
from gptjax.runs.kind import kind_named
from gptjax.runs.planning import dry_run
from gptjax.runs.program import Program
from gptjax.runs.replay import learner_in, replay
from gptjax.runs.workdir import WorkDirectory
from gptjax.tokenization import load_tokenizer
from gptjax.training.checkpoints.parameter_files import Deferred, StoredParameters, write_parameters
from tests.support.alignment_runs import on_mesh, params_at_start, rows, run, stopping
from tests.support.binaries import call
from tests.support.merging import merged
from tests.support.tiers import tiered

LORA = {"lora__rank": 2, "lora__alpha": 3.0, "lora__targets": "attention,feed_forward/up"}
NAMES = ("attention/query", "attention/key", "attention/value", "attention/out", "feed_forward/up")


@pytest.fixture(scope="module")
def config(trained):
    source = {"checkpoint__init_from": str(trained("sft").path)}
    return trained.config("sft", optimizer__ema_decay=0.5, **source, **LORA)


@pytest.fixture(scope="module")
def adapted(config, tmp_path_factory):
    """A fine-tuned model that is fine-tuned on, by adapters and their average."""
    return run(tmp_path_factory.mktemp("lora") / "run", config)


def adapters_of(workdir, item=None):
    stored = StoredParameters(workdir.path / "checkpoints", workdir.chosen_step(), item)
    leaves = {name: stored.read(name) for name in stored.shapes}
    return traverse_util.unflatten_dict(leaves, sep="/")


def test_its_checkpoints_hold_adapters_alone(adapted, trained):
    for item in ("params", "ema"):
        stored = StoredParameters(adapted.path / "checkpoints", None, item)
        expected = {f"trunk/layers/{name}/lora_{part}" for name in NAMES for part in "ab"}
        assert stored.shapes.keys() == expected
    base = traverse_util.flatten_dict(trained("sft").params(), sep="/")
    optimizer = StoredParameters(adapted.path / "checkpoints", None, "optimizer").shapes
    assert not any(path.endswith(tuple(base)) for path in optimizer)


def test_later_commands_read_the_base_with_the_average_in_it(adapted, trained):
    """Whatever has no adapter is the base's to the bit."""
    base, adapters = trained("sft").params(), adapters_of(adapted)
    expected, found = merged(base, adapters, 3.0 / 2), adapted.params()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected
    )
    changed = {
        path
        for path, leaf in traverse_util.flatten_dict(found, sep="/").items()
        if not np.array_equal(leaf, traverse_util.flatten_dict(base, sep="/")[path])
    }
    assert changed == {f"trunk/layers/{name}/kernel" for name in NAMES}


@pytest.mark.slow
def test_evaluate_and_the_next_stage_take_it_as_any_other(adapted, trained, tmp_path):
    (row,) = call("evaluate", f"--workdir={adapted.path}").rows
    wrote = [row for row in rows(adapted) if row.get("split") == "validation"]
    (of_step,) = (each for each in wrote if each["step"] == row["step"])
    assert row["loss"] == pytest.approx(of_step["loss"], rel=1e-6)
    following = trained.config("sft", checkpoint__init_from=str(adapted.path))
    started = params_at_start(tmp_path / "next", following)
    jax.tree.map(np.testing.assert_array_equal, started, adapted.params())


@pytest.mark.slow
def test_it_goes_on_and_is_replayed_to_the_same_bits(adapted, config, tmp_path):
    stopped = run(tmp_path / "run", config, change=stopping(2))
    assert not stopped.has_result()
    run(stopped.path, config)
    assert rows(stopped) == rows(adapted)
    jax.tree.map(np.testing.assert_array_equal, adapters_of(stopped), adapters_of(adapted))
    compared = list(replay(learner_in(stopped, stopped.config()), stopped, 0, 4))
    assert len(compared) > 4 and {each.difference for each in compared} == {0.0}


@pytest.mark.slow
def test_the_first_loss_is_that_of_the_base(trained, tmp_path):
    """To the bit: the first step's loss is computed before anything has been learned."""
    one = {"checkpoint__init_from": str(trained("sft").path), "training__num_steps": 1}
    whole, adapted = (
        run(tmp_path / name, trained.config("sft", **one, **lora))
        for name, lora in (("whole", {}), ("adapted", LORA))
    )
    assert rows(adapted)[0]["loss"] == rows(whole)[0]["loss"]
    assert rows(adapted)[0]["grad_norm"] != rows(whole)[0]["grad_norm"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r"init_from: got none with lora\.rank=2, expected a work directory or a model"),
        ({"lora__rank": 17}, r"config\.lora\.rank: got 17, expected at most 16, d_model, or none"),
        ({"lora__targets": "mlp"}, r"config\.lora\.targets: got 'mlp', expected a list of attent"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(trained, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message) as error:
        run(tmp_path / "run", trained.config("sft", **{**LORA, **changes}))
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", tiered([("sft",), ("ppo",)], [("sft",)]))
def test_a_dry_run_shows_what_is_saved(name, trained, monkeypatch):
    """A float32 base, adapters, and an optimizer of adapters alone: two numbers for each."""
    monkeypatch.setattr(dry_run, "_planned_in_a_child", lambda *_: dry_run.Planned(10**8))
    ema = {"optimizer__ema_decay": None}
    whole = dry_run.dry_run(trained.config(name, **ema))
    figures = dry_run.dry_run(trained.config(name, **ema, **LORA))
    count = 2 * (4 * (16 + 16) + 16 + 64)  # rank x (inputs + outputs) of five kernels
    assert figures["trained_parameters"] * 4 == figures["parameter_bytes"] == 4 * count
    assert 8 * count <= figures["optimizer_bytes"] < 8 * count + 1000  # and a few numbers besides
    assert figures["base_bytes"] == whole["parameter_bytes"]
    if name == "ppo":  # the value network's base is the reward model, unless it is read by itself
        reward = {"ppo__value_from": str(trained("reward_model").path)}
        apart = dry_run.dry_run(trained.config(name, **ema, **LORA, **reward))
        more = apart["base_bytes"] - figures["base_bytes"]
        assert more == figures["reward_model_bytes"] == apart["reward_model_bytes"]
    assert "reference_bytes" not in figures
    if name == "sft":  # a kernel's gradient is 2 FLOPs a parameter and token, an adapter takes 6
        kernels = 12 * 16 * 16 + 453 * 16
        saved = 4 * 48 * (2 * kernels - 6 * count)
        assert whole["flops_per_step"] - figures["flops_per_step"] == saved
    assert "trained: 416 parameters of adapters" in "\n".join(dry_run.dry_run_lines(figures))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pretrain", "reward_model", "dpo", "ppo"])
def test_every_kind_is_trained_by_adapters(name, trained, tmp_path):
    source = "pretrain" if name == "pretrain" else "sft"
    changes = {"checkpoint__init_from": str(trained(source).path), **LORA}
    workdir = run(tmp_path / "run", trained.config(name, **changes))
    names = StoredParameters(workdir.path / "checkpoints", None).shapes
    heads = {path for path in names if "lora_" not in path}
    assert heads == (
        {"scalar_head/kernel", "scalar_head/bias"} if name == "reward_model" else set()
    )
    shapes = kind_named(name).shapes(workdir.config())
    assert jax.tree.map(np.shape, workdir.restored()) == jax.tree.map(np.shape, shapes)
    assert kind_named(name).largest_program(workdir.config()).bytes > 0
    if name == "ppo":
        assert rows(workdir)[0]["kl"] == 0.0  # the reference is the base
        critic = StoredParameters(workdir.path / "checkpoints", None, "optimizer").shapes
        assert sum("critic/trunk" in path for path in critic) == 2 * len(NAMES)


def untrained(path, config):
    """A run of `config` whose adapters are zero after 0 steps, and its program."""
    workdir, program = WorkDirectory(str(path)), Program(config)
    tokenizer = load_tokenizer(config.data.tokenizer)
    record = {"tokenizer_hash": tokenizer.content_hash()}
    workdir.begin("untrained", config, record, lambda: find_initial_checkpoint(config))
    workdir.keep_tokenizer(tokenizer)
    zeros = jax.tree.map(
        lambda leaf: Deferred(leaf.shape, lambda: np.zeros(leaf.shape, leaf.dtype)),
        program.target.params,
    )
    write_parameters(path / "checkpoints", 0, zeros, {})
    return workdir, program


@pytest.mark.slow
def test_rows_drawn_for_a_chat_are_those_that_later_commands_read(trained, tmp_path, caplog):
    """448 and 453 tokens are both 512 rows. A B is zero: all else is what the run trains with."""
    source = trained("pretrain")
    config = trained.config("sft", checkpoint__init_from=str(source.path), **LORA)
    workdir, program = untrained(tmp_path / "run", config)
    assert "pretrain has no rows for 5 tokens of this run; they are drawn at random" in caplog.text
    read = initial_params(config, workdir.initial_checkpoint())
    assert read is not None
    base = read(program.params)
    jax.tree.map(np.testing.assert_array_equal, workdir.params(), base)
    marks, padding = (x["token_embedding"][448:453] for x in (base, source.params()))
    assert not np.any(marks == padding)


@pytest.mark.slow
def test_a_reward_model_is_merged_with_the_result_of_the_same_step(trained, tmp_path):
    source = {"checkpoint__init_from": str(trained("sft").path)}
    workdir, _ = untrained(tmp_path / "run", trained.config("reward_model", **source, **LORA))
    merge = "convert", f"--workdir={workdir.path}", f"--merge={tmp_path}/merged"
    workdir.write_result({"step": 8})
    assert "run has no result.json of step 0, expected the last step of" in call(*merge).refusal
    workdir.write_result({"step": 0})
    assert call(*merge).code == 0
    whole = WorkDirectory(f"{tmp_path}/merged")
    assert whole.result() == workdir.result()
    assert whole.initial_checkpoint() == workdir.initial_checkpoint()


@pytest.mark.slow
def test_a_mesh_gives_the_figures_of_one_device(adapted, config, tmp_path):
    config = copy.deepcopy(config)
    for name, value in on_mesh(data=2, fsdp=2, tensor=2).items():
        setattr(config.parallelism, name.removeprefix("parallelism__"), value)
    divided = run(tmp_path / "run", config)
    for row, expected in zip(rows(divided), rows(adapted), strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    found, expected = adapters_of(divided), adapters_of(adapted)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), found, expected)
