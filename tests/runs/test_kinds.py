"""What holds of every kind of run, the toy one of `tests.support` among them."""

import contextlib
import dataclasses
import functools
import math
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from experiments.configs import EXPERIMENTS
from gptjax.attention.device import Device, current
from gptjax.config import ExperimentConfig, batch_schedule
from gptjax.data.batches.loader import ALL
from gptjax.inference.samples import SamplePrompt
from gptjax.models import projections
from gptjax.runs import supervised
from gptjax.runs.kind import KINDS, kind_named, kind_of
from gptjax.runs.planning import dry_run
from gptjax.runs.program import Program
from gptjax.runs.replay import learner_in, replay
from gptjax.runs.run_identity import IDENTITY, changes
from gptjax.settings import fields
from gptjax.tasks.configs.fine_tuning import SFTConfig
from gptjax.training.partitioning import make_mesh
from gptjax.training.reporting.curves import plot_curves
from gptjax.training.reporting.metrics import read_metrics
from gptjax.training.reporting.throughput import Peak
from tests.support.alignment_runs import make_config, prepared, rows, run, stopping
from tests.support.binaries import call
from tests.support.tiers import tiered

FREE = ("training.", "checkpoint.", "parallelism.", "profile.")  # what is not in IDENTITY
ALL_KINDS = [*KINDS, "toy"]
SUPERVISED = [name for name in ALL_KINDS if name != "ppo"]
# Their whole lives are of the second tier; what they have of their own is tested beside them.
LATER = (
    *("masked_lm", "translation", "classification", "bert_classification", "question_answering"),
    *("moderation", "image_classification", "image_text"),
)


def quick(kinds):
    """The kinds as cases, those of LATER in the second tier."""
    return tiered(zip(kinds, strict=True), [(name,) for name in kinds if name not in LATER])


@pytest.fixture(scope="module", autouse=True)
def toy(trained, programs_once):
    """The toy is a kind like any other once it has its line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPTJAX_CACHE", str(trained.cache))
        patch.setitem(KINDS, "toy", "tests.support.toy_kind")
        yield


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


@pytest.mark.parametrize("name", quick(SUPERVISED))
def test_the_largest_batch_has_the_arrays_of_a_real_one(name, trained):
    config = trained.config(name)
    kind, task = kind_named(name), prepared(config)
    assert kind.shows_examples == (task.examples is not None)
    expected, real = kind.largest_batch(config), next(task.batches(0, (), ALL))
    assert {key: array.dtype for key, array in real.items()} == {
        key: array.dtype for key, array in expected.items()
    }
    for key, array in expected.items():
        assert len(real[key].shape) == len(array.shape)
        if array.ndim > 1:  # there may be more rows, if they are shorter
            assert math.prod(real[key].shape) <= math.prod(array.shape), key
    assert 0 < kind.tokens(real) <= kind.tokens(expected)
    params = kind.shapes(config)
    jax.eval_shape(kind.loss(config, kind.model(config)), params, expected, None)


def test_a_step_is_made_for_its_mesh_however_many_devices_there_are(trained, monkeypatch):
    """Implementations are chosen for the one device of the mesh, not for this process's eight."""
    config, seen = trained.config("sft"), []
    program = Program(config)
    monkeypatch.setattr(projections, "on_one_cpu", lambda: seen.append(current()))
    batch = kind_named("sft").largest_batch(config)
    program.train_step.trace(program.target, batch, 0)
    assert set(seen) == {Device("cpu", count=1)}
    judge = {"of_devices": lambda params: {"count": current().count}}
    task = dataclasses.replace(prepared(config), evaluators=lambda program: judge)
    learner = kind_named("sft").learner(task, trained("sft"))
    assert learner.evaluators["of_devices"](None) == {"count": 1}


@pytest.mark.parametrize("name", quick(SUPERVISED))
def test_another_seed_has_another_order(name, trained):
    first, again, other = (
        next(prepared(trained.config(name, training__seed=seed)).batches(0, (), ALL))
        for seed in (0, 0, 1)
    )
    jax.tree.map(np.testing.assert_array_equal, first, again)
    read = "tokens" if "tokens" in first else "images"
    assert not np.array_equal(first[read], other[read])


@pytest.mark.parametrize("name", tiered(zip(SUPERVISED, strict=True), [("dpo",)]))
def test_speed_is_that_of_the_tokens_that_a_batch_has(name, trained, monkeypatch):
    """The schedule counts a context length a row; a row of rankings has more.

    They are compared with what all devices that have cores of their own can do.
    """
    workdir, config, kind = trained(name), trained.config(name), kind_named(name)
    monkeypatch.setattr(supervised, "Throughput", lambda *given, scale: (given[2], scale))
    monkeypatch.setattr(supervised, "num_chips", lambda mesh: 3)
    monkeypatch.setattr(supervised, "fit", lambda *_, throughput, **__: throughput)
    task, start = prepared(config), SimpleNamespace(step=0)
    learner = kind.learner(task, workdir)
    peak, scale = learner.learn(
        start, SimpleNamespace(data_record={"skipped_examples": ()}, progress=None)
    )
    real, counted = next(task.batches(0, (), ALL)), batch_schedule(config).tokens(1)
    assert scale * counted == pytest.approx(kind.tokens(real))
    assert peak == 3 * supervised.peak_flops(config.model.dtype).flops_per_second


def test_a_sample_goes_on_from_the_first_prompt_that_fits(trained, monkeypatch):
    monkeypatch.setattr(supervised, "peak_flops", lambda dtype: Peak(None, "not known"))
    config = trained.config("sft", training__sample_tokens=5)
    task, kind, length = prepared(config), kind_named("sft"), config.model.context_length
    assert len(task.prompts) > 1
    long, short = (SamplePrompt("", np.zeros(size, np.int32), None) for size in (length, 1))

    def said(*prompts):
        learner = kind.learner(dataclasses.replace(task, prompts=prompts), trained("sft"))
        return learner.header["samples"]

    full = f"none: prompt: got {length} tokens, expected fewer than the {length} that fit"
    assert said(long) == full
    assert said(long, short) == "5 tokens at each evaluation"


@pytest.mark.parametrize("name", ALL_KINDS)
def test_parameters_are_those_of_the_leaves_less_the_rows_that_pad_the_vocabulary(name, trained):
    config, kind = trained.config(name), kind_named(name)
    params = kind.shapes(config)
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    table = params.get("token_embedding")  # an encoder of images has none
    padding = 0 if table is None else table.shape[0] - config.model.vocab_size
    assert kind.costs(config).parameters == size - config.model.d_model * padding
    assert kind.costs(config).executed_flops_per_token > 0
    assert kind.costs(config).executed_flops_per_token <= kind.costs(config).flops_per_token


@pytest.mark.parametrize("name", ALL_KINDS)
def test_a_dry_run_says_what_is_held(name, monkeypatch, trained):
    """A step is planned for the toy; test_dry_run plans that of a reward model."""

    def planned(config, devices, target):
        if name != "toy":
            return dry_run.Planned(10**8)
        return dry_run.planned_on(config, make_mesh(config.parallelism))

    monkeypatch.setattr(dry_run, "_planned_in_a_child", planned)
    config, kind = trained.config(name), kind_named(name)
    figures = dry_run.dry_run(config, device_memory_gib=1.0)
    params = kind.shapes(config)
    assert figures["parameter_bytes"] == 4 * sum(leaf.size for leaf in jax.tree.leaves(params))
    assert figures["estimated_activation_bytes"] > 0 and figures["flops_per_step"] > 0
    assert figures["estimated_to_fit"] is True


@pytest.mark.parametrize(("name", "has"), [("pretrain", True), ("reward_model", False)])
def test_chunks_of_the_loss_are_for_kinds_that_have_them(name, has):
    kind = kind_named(name)
    config, chunked = (make_config(kind.config, training__loss_chunk=n) for n in (None, 8))
    proposed = [field for field, _, _ in kind.savings(config)]
    assert ("training.loss_chunk" in proposed) == has
    with contextlib.nullcontext() if has else pytest.raises(ValueError, match="loss_chunk: got 8"):
        kind.check(chunked)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_step_of_every_kind_can_be_planned(name, trained):
    config = trained.config(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dry_run, "_planned_in_a_child", lambda *_: dry_run.Planned(0))
        held = dry_run.dry_run(config)["parameter_bytes"]
    assert kind_named(name).largest_program(config).bytes > held


@pytest.mark.slow  # of pretraining, tests/tasks/test_language_modelling.py has one for `make test`
@pytest.mark.parametrize("name", SUPERVISED)
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(name, tmp_path, trained):
    config = trained.config(name)
    stopped = run(tmp_path / "run", config, change=stopping(2))
    assert not stopped.has_result()
    run(stopped.path, config)
    assert rows(stopped) == rows(trained(name))
    jax.tree.map(np.testing.assert_array_equal, stopped.restored(), trained(name).restored())


@pytest.mark.parametrize("name", quick(ALL_KINDS))
def test_a_run_leaves_what_later_commands_need(name, trained):
    workdir, kind = trained(name), kind_named(name)
    result, figure = workdir.result(), kind.curves[0][0]
    assert (result["experiment"], result["step"]) == ("tiny", workdir.config().training.num_steps)
    assert result["parameters"] == kind.costs(workdir.config()).parameters
    assert np.isfinite(result[figure]) and result["seconds"] > 0
    assert (workdir.path / kind.picture).exists()
    assert type(workdir.config()) is kind.config


@pytest.mark.parametrize("name", tiered(zip(ALL_KINDS, strict=True), [("pretrain",), ("ppo",)]))
def test_its_figures_are_drawn(name, trained, tmp_path):
    workdir, kind, path = trained(name), kind_named(name), tmp_path / "drawn.png"
    if name in ("pretrain", "ppo"):  # of the others tests draw no picture while they train
        path = workdir.path / kind.picture
    else:
        plot_curves(workdir.path / "metrics.jsonl", path, "tiny", kind.curves)
    assert path.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(("schedule", "way"), [("constant", None), ("cosine", "init_from=DIR of")])
def test_more_epochs_are_a_longer_run(schedule, way):
    changes_by = {"optimizer__schedule": schedule, "sft__epochs": 2}
    config, longer = (make_config(SFTConfig, **changes_by) for _ in range(2))
    config.training.num_steps = config.optimizer.decay_steps = 8
    longer.training.num_steps = longer.optimizer.decay_steps = 12
    longer.sft.epochs = 3
    changed = changes(longer, {}, config, {}, taken=8)
    assert [way in line for line in changed] == [True] if way else changed == []


@pytest.mark.parametrize("name", quick(ALL_KINDS))
def test_another_configuration_is_refused(name, trained):
    workdir, kind = trained(name), kind_named(name)
    for path in ["model.d_model", *own_sections(name)]:
        config = workdir.config()
        *sections, field = path.split(".")
        setattr(functools.reduce(getattr, sections, config), field, "another")
        changed = changes(config, {}, workdir.config(), {})
        if path.startswith(kind.free):
            assert changed == []
        else:
            assert [line.startswith(f"{path}: 'another', not ") for line in changed] == [True]
    with pytest.raises(ValueError, match=r"another run; .*training\.seed: 1, not 0"):
        workdir.begin("tiny", trained.config(name, training__seed=1), {})


@pytest.mark.parametrize("name", quick(KINDS))
def test_data_that_a_kind_reads_may_move_and_its_content_may_not_change(name, trained):
    kind, read = kind_named(name), trained(name).record()
    for content in kind.contents:
        config, theirs = trained.config(name), trained.config(name)
        section, field = content.field.split(".")
        setattr(getattr(config, section), field, "reward_model:here + gold")
        setattr(getattr(theirs, section), field, "reward_model:there + gold")
        assert changes(config, {content.hash: "a"}, theirs, {content.hash: "a"}) == []
        line, _ = changes(config, {content.hash: "a"}, theirs, {content.hash: "b"})
        assert line.startswith(f"{content.field}: ")
    assert read.keys() <= {content.hash for content in kind.contents} | {"tokenizer_hash"}


def test_other_weights_of_the_same_rewards_make_another_run(trained):
    config, theirs = trained.config("ppo"), trained.config("ppo")
    theirs.ppo.rewards = f"2*{theirs.ppo.rewards}"
    (line,) = changes(config, {"rewards_hash": "a"}, theirs, {"rewards_hash": "a"})
    assert line.startswith("ppo.rewards: ")
    theirs.ppo.rewards = "python:mine:here"
    config.ppo.rewards = "python:mine:there"
    assert changes(config, {"rewards_hash": "a"}, theirs, {"rewards_hash": "a"})


@pytest.mark.parametrize("name", tiered(zip(SUPERVISED, strict=True), [("pretrain",), ("sft",)]))
def test_every_row_is_replayed_to_the_same_bits(name, trained):
    workdir = trained(name)
    compared = list(replay(learner_in(workdir, workdir.config()), workdir, 4, 8))
    seen = [(row["step"], row.get("split", "train")) for row in rows(workdir) if row["step"] >= 4]
    assert sorted((c.step, c.split) for c in compared) == sorted(seen[1:])  # from the row after 4
    assert {comparison.difference for comparison in compared} == {0.0}


def test_a_kind_that_cannot_be_replayed_says_so(trained):
    with pytest.raises(ValueError, match=r"a run of kind ppo, whose steps cannot be trained again"):
        learner_in(trained("ppo"), trained("ppo").config())


@pytest.mark.parametrize(
    "name", tiered(zip(ALL_KINDS, strict=True), [("pretrain",), ("ppo",), ("contrastive",)])
)
def test_evaluate_gives_the_figures_of_the_run_itself(name, trained):
    """Of the checkpoint that is asked for: 4, which is not the one that later commands take."""
    workdir, step = trained(name), 4
    ended = call("evaluate", f"--workdir={workdir.path}", f"--restore_step={step}")
    if name == "ppo":
        assert ended.code == 2 and "which has no evaluators of its own" in ended.errors
        return
    wrote = [row for row in read_metrics(workdir.path / "metrics.jsonl") if row["step"] == step]
    evaluations = [row for row in wrote if "split" in row]
    assert all(row.pop("seconds") > 0 and row.pop("tokens") > 0 for row in evaluations)
    assert ended.rows == evaluations


@pytest.mark.parametrize("name", ALL_KINDS)
def test_a_kind_is_explained(name):
    shown = call("list", f"--kind={name}").output
    assert kind_named(name).__doc__.splitlines()[0] in shown
    assert all(path in shown for path in own_sections(name))


@pytest.mark.slow
def test_the_toy_is_divided_over_a_mesh(tmp_path, trained):
    divided = trained.config(
        "toy", parallelism__strategy="mesh", parallelism__fsdp=2, parallelism__tensor=2
    )
    found, alone = rows(run(tmp_path / "run", divided)), rows(trained("toy"))
    for row, expected in zip(found, alone, strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-5)


def test_the_toy_is_refused_what_its_kind_cannot_have(trained):
    with pytest.raises(ValueError, match=r"config\.toy\.shown: got 10, expected less than 10"):
        prepared(trained.config("toy", toy__shown=10))
