"""What holds of every kind of run, the toy one of `tests.support` among them."""

import jax
import numpy as np
import pytest

from experiments.configs import EXPERIMENTS
from gptjax.config import ExperimentConfig
from gptjax.data.batches.loader import ALL
from gptjax.runs import dry_run
from gptjax.runs.kind import KINDS, kind_named, kind_of
from gptjax.runs.replay import learner_in, replay
from gptjax.runs.run_identity import IDENTITY, changes
from gptjax.settings import fields
from gptjax.training.reporting.metrics import read_metrics
from tests.support.alignment_runs import make_config, prepared, rows, run, stopping
from tests.support.binaries import call

FREE = ("training.", "checkpoint.", "parallelism.", "profile.")  # what is not in IDENTITY
ALL_KINDS = [*KINDS, "toy"]
SUPERVISED = [name for name in ALL_KINDS if name != "ppo"]
SMALL = {
    "training__num_steps": 4,
    "training__eval_every": 2,
    "checkpoint__every_steps": 2,
}
PPO = {
    "training__batch_size": 8,
    "ppo__prompts": "instructions:count=16",
    "ppo__rewards": "gold",
    "ppo__max_prompt_tokens": 26,
    "ppo__max_answer_tokens": 12,
    "ppo__minibatches": 2,
    "ppo__pretraining_coefficient": 2.0,
    "ppo__pretraining_rows": 1,
    "stop__max_empty": None,
}


@pytest.fixture(scope="module", autouse=True)
def toy(cache):
    """The toy is a kind like any other once it has its line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(KINDS, "toy", "tests.support.toy_kind")
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Returns a function from the name of a kind to a run of it, made once."""
    folder, made = tmp_path_factory.mktemp("runs"), {}

    def of(name):
        if name not in made:
            start = {"checkpoint__init_from": str(of("sft").path)} if name == "ppo" else {}
            made[name] = run(folder / name, tiny(name, **start))
        return made[name]

    return of


def tiny(name, **changes):
    """The configuration of a run of four steps."""
    special = PPO if name == "ppo" else {}
    return make_config(kind_named(name).config, **SMALL, **special, **changes)


def own_sections(name):
    """The leaves of the sections that a kind adds to those of all."""
    shared = set(fields(ExperimentConfig()))
    return [path for path in fields(kind_named(name).config()) if path not in shared]


@pytest.mark.parametrize("name", ALL_KINDS)
def test_every_field_makes_the_run_or_is_free(name):
    kind = kind_named(name)
    assert kind.name == name == kind.config.kind
    assert kind.__doc__ and (kind.follows is None or kind.follows in KINDS)
    for path in own_sections(name):
        assert path.startswith(kind.identity) != path.startswith(kind.free), path
    for path in fields(ExperimentConfig()):
        assert path.startswith(IDENTITY) or path.startswith(FREE), path


def test_every_experiment_is_of_a_kind():
    for name in EXPERIMENTS:
        config = EXPERIMENTS.get(name)()
        assert type(config) is kind_of(config).config


@pytest.mark.parametrize("name", SUPERVISED)
def test_the_largest_batch_has_the_arrays_of_a_real_one(name):
    config = tiny(name)
    kind, task = kind_named(name), prepared(config)
    expected, real = kind.largest_batch(config), next(task.batches(0, (), ALL))
    assert {key: array.dtype for key, array in real.items()} == {
        key: array.dtype for key, array in expected.items()
    }
    for key, array in expected.items():
        assert len(real[key].shape) == len(array.shape)
        assert all(a <= b for a, b in zip(real[key].shape, array.shape, strict=True)), key
    assert 0 < kind.tokens(real) <= kind.tokens(expected)
    params = jax.eval_shape(lambda: kind.init(config, jax.random.key(0)))
    jax.eval_shape(kind.loss(config, kind.model(config)), params, expected, None)


@pytest.mark.parametrize("name", ALL_KINDS)
def test_parameters_are_those_of_the_leaves_less_the_rows_that_pad_the_vocabulary(name):
    config, kind = tiny(name), kind_named(name)
    params = jax.eval_shape(lambda: kind.init(config, jax.random.key(0)))
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    padding = params["token_embedding"].shape[0] - config.model.vocab_size
    assert kind.costs(config).parameters == size - config.model.d_model * padding
    assert kind.costs(config).executed_flops_per_token > 0
    assert kind.costs(config).executed_flops_per_token <= kind.costs(config).flops_per_token


@pytest.mark.parametrize("name", ALL_KINDS)
def test_a_dry_run_says_what_is_held(name, monkeypatch):
    monkeypatch.setattr(
        dry_run, "_planned_in_a_child", lambda config, _: kind_of(config).planned_bytes(config)
    )
    config, kind = tiny(name), kind_named(name)
    figures = dry_run.dry_run(config, device_memory_gib=1.0)
    params = jax.eval_shape(lambda: kind.init(config, jax.random.key(0)))
    assert figures["parameter_bytes"] == 4 * sum(leaf.size for leaf in jax.tree.leaves(params))
    assert figures["estimated_activation_bytes"] > 0 and figures["flops_per_step"] > 0
    assert figures["estimated_to_fit"] is True


@pytest.mark.parametrize("name", SUPERVISED)
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(name, whole, tmp_path):
    config = tiny(name)
    stopped = run(tmp_path / "run", config, change=stopping(2))
    assert not stopped.has_result()
    run(stopped.path, config)
    assert rows(stopped) == rows(whole(name))
    jax.tree.map(np.testing.assert_array_equal, stopped.restored(), whole(name).restored())


@pytest.mark.parametrize("name", ALL_KINDS)
def test_a_run_leaves_what_later_commands_need(name, whole):
    workdir, kind = whole(name), kind_named(name)
    result, (figure, _) = workdir.result(), kind.curve
    assert (result["experiment"], result["step"]) == ("tiny", 4)
    assert result["parameters"] == kind.costs(workdir.config()).parameters
    assert np.isfinite(result[figure]) and result["seconds"] > 0
    assert (workdir.path / f"{figure}.png").read_bytes()[:4] == b"\x89PNG"
    assert type(workdir.config()) is kind.config


@pytest.mark.parametrize("name", ALL_KINDS)
def test_another_configuration_is_refused(name, whole):
    workdir, kind = whole(name), kind_named(name)
    for path in ["model.d_model", *own_sections(name)]:
        config = workdir.config()
        section, field = path.split(".")
        setattr(getattr(config, section), field, "another")
        changed = changes(config, {}, workdir.config(), {})
        if path.startswith(kind.free):
            assert changed == []
        else:
            assert [line.startswith(f"{path}: 'another', not ") for line in changed] == [True]
    with pytest.raises(ValueError, match=r"another run; .*training\.seed: 1, not 0"):
        workdir.begin("tiny", tiny(name, training__seed=1), {})


@pytest.mark.parametrize("name", SUPERVISED)
def test_every_row_is_replayed_to_the_same_bits(name, whole):
    workdir = whole(name)
    compared = list(replay(learner_in(workdir, workdir.config()), workdir, 2, 4))
    seen = [(row["step"], row.get("split", "train")) for row in rows(workdir) if row["step"] >= 2]
    assert sorted((c.step, c.split) for c in compared) == sorted(seen[1:])  # from the row after 2
    assert {comparison.difference for comparison in compared} == {0.0}


def test_a_kind_that_cannot_be_replayed_says_so(whole):
    with pytest.raises(ValueError, match=r"a run of kind ppo, whose steps cannot be trained again"):
        learner_in(whole("ppo"), whole("ppo").config())


@pytest.mark.parametrize("name", ALL_KINDS)
def test_evaluate_gives_the_figures_of_the_run_itself(name, whole):
    workdir = whole(name)
    ended = call("evaluate", f"--workdir={workdir.path}", "--restore_step=4")
    if name == "ppo":
        assert ended.code == 2 and "which has no evaluators of its own" in ended.errors
        return
    wrote = [row for row in read_metrics(workdir.path / "metrics.jsonl") if row["step"] == 4]
    assert ended.rows == [row for row in wrote if "split" in row]


@pytest.mark.parametrize("name", ALL_KINDS)
def test_a_kind_is_explained(name):
    shown = call("list", f"--kind={name}").output
    assert kind_named(name).__doc__.splitlines()[0] in shown
    assert all(path in shown for path in own_sections(name))


def test_the_toy_is_divided_over_a_mesh(whole, tmp_path):
    divided = tiny("toy", parallelism__strategy="mesh", parallelism__fsdp=2, parallelism__tensor=2)
    found, alone = rows(run(tmp_path / "run", divided)), rows(whole("toy"))
    for row, expected in zip(found, alone, strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-5)


def test_the_toy_is_refused_what_its_kind_cannot_have():
    with pytest.raises(ValueError, match=r"config\.toy\.shown: got 10, expected less than 10"):
        prepared(tiny("toy", toy__shown=10))
