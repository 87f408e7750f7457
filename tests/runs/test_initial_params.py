"""What runs start from: the average that their source keeps, and the same source ever after."""

import dataclasses
import hashlib
import json

import jax
import numpy as np
import pytest

from gptjax.config import ExperimentConfig
from gptjax.runs import supervised
from gptjax.runs.initial.params import find_initial_checkpoint, initial_params
from gptjax.runs.kind import kind_of
from gptjax.runs.program import Program
from gptjax.runs.workdir import InitialCheckpoint, WorkDirectory
from gptjax.tasks.configs.fine_tuning import SFTConfig
from gptjax.tasks.configs.reward_modelling import RewardModelConfig
from gptjax.tokenization import load_tokenizer
from tests.support.alignment_runs import make_config, params_at_start, rows, run
from tests.support.binaries import call
from tests.support.tiers import tiered


@pytest.fixture(scope="module", autouse=True)
def _cache(cache):
    return cache


def _made(path, kind):
    """A run that nobody trained, whose checkpoint 2 has zeros, and ones for their average."""
    config = make_config(kind, optimizer__ema_decay=0.5)
    tokenizer = load_tokenizer(config.data.tokenizer)
    workdir = WorkDirectory(str(path))
    workdir.begin("made", config, {"tokenizer_hash": tokenizer.content_hash()}, InitialCheckpoint)
    workdir.keep_tokenizer(tokenizer)
    _save(workdir, 2, params=0.0, average=1.0)
    return workdir


def _save(workdir, step, params, average):
    """Puts a checkpoint in the place of all from `step` on."""
    config = workdir.config()
    shapes = kind_of(config).shapes(config)
    trees = [
        jax.tree.map(lambda leaf, value=value: np.full(leaf.shape, value, leaf.dtype), shapes)
        for value in (params, average)
    ]
    with workdir.checkpoints() as checkpoints:
        checkpoints.remove_after(step - 1)
        state = {"count": np.zeros((), np.float32)}
        checkpoints.save(step, params=trees[0], ema=trees[1], opt_state=state, data={}, config={})


@pytest.fixture
def source(tmp_path):
    return _made(tmp_path / "source", ExperimentConfig)


def _values(params):
    return set(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)]).tolist())


@pytest.mark.parametrize(
    ("kind", "before"),
    tiered(
        [
            (ExperimentConfig, ExperimentConfig),
            (SFTConfig, ExperimentConfig),
            (RewardModelConfig, SFTConfig),
        ],
        [(SFTConfig, ExperimentConfig)],
    ),
)
def test_runs_start_from_the_average_that_was_judged(tmp_path, kind, before):
    source = _made(tmp_path / "source", before)
    config = make_config(kind, checkpoint__init_from=str(source.path))
    started = dict(params_at_start(tmp_path / "run", config))
    started.pop("scalar_head", None)
    table, kept = started["token_embedding"], source.config().model.vocab_size
    grows = kept < config.model.vocab_size  # into rows that were padding
    assert grows == (kind is SFTConfig) and grows == (1.0 not in _values(table[kept:]))
    started["token_embedding"] = table[:kept]
    assert _values(started) == {1.0}
    assert _values(source.params()) == {1.0}


def test_a_run_says_what_it_started_from(source, tmp_path):
    config = make_config(ExperimentConfig, checkpoint__init_from=str(source.path))
    params_at_start(tmp_path / "run", config)
    said = json.loads((tmp_path / "run/config.json").read_text())["started_from"]
    manifest = (source.path / "checkpoints/2/manifest.sha256").read_bytes()
    digest = hashlib.sha256(manifest).hexdigest()
    assert said == {"path": str(source.path), "step": 2, "sha256": digest}
    params_at_start(tmp_path / "random", make_config(ExperimentConfig))
    assert WorkDirectory(str(tmp_path / "random")).initial_checkpoint() == InitialCheckpoint()


def test_a_source_that_is_trained_on_is_read_as_it_was(source):
    config = make_config(ExperimentConfig, checkpoint__init_from=str(source.path))
    initial, target = find_initial_checkpoint(config), Program(config).target.params
    _save(source, 3, params=5.0, average=7.0)
    assert _values(initial_params(config, initial)(target)) == {1.0}
    assert _values(initial_params(config)(target)) == {7.0}  # as it is now


def test_adapters_on_a_run_that_has_not_ended_are_warned_of(source, caplog):
    """A directory without rows has been converted, and is not trained on."""
    config = make_config(ExperimentConfig, checkpoint__init_from=str(source.path), lora__rank=2)
    find_initial_checkpoint(config)
    assert caplog.text == ""
    (source.path / "metrics.jsonl").touch()
    find_initial_checkpoint(config)
    assert "source has not ended; if it goes on, it may remove the checkpoint" in caplog.text
    caplog.clear()
    source.write_result({})
    find_initial_checkpoint(config)
    assert caplog.text == ""


def test_a_source_may_move(source, tmp_path):
    config = make_config(ExperimentConfig, checkpoint__init_from=str(source.path))
    initial, target = find_initial_checkpoint(config), Program(config).target.params
    moved = source.path.rename(tmp_path / "moved")
    with pytest.raises(ValueError, match=r"init_from: no checkpoint in .*source, "):
        initial_params(config, initial)(target)
    config.checkpoint.init_from = str(moved)
    assert _values(initial_params(config, initial)(target)) == {1.0}


def test_a_source_that_has_changed_is_refused(source):
    config = make_config(ExperimentConfig, checkpoint__init_from=str(source.path))
    initial, target = find_initial_checkpoint(config), Program(config).target.params
    _save(source, 2, params=5.0, average=7.0)
    with pytest.raises(ValueError, match=r"with the SHA-256 \w{12}, expected \w{12}, as ") as e:
        initial_params(config, initial)(target)
    assert "\n" not in str(e.value)


@pytest.fixture
def diverging():
    """A change of a task: the first batch of the first start is not a number."""
    left = [1]

    def change(task):
        def batches(step, skipped, share):
            for batch in task.batches(step, skipped, share):
                if left:
                    left.pop()
                    batch = {**batch, "loss_weights": batch["loss_weights"] * np.float32("nan")}
                yield batch

        return dataclasses.replace(task, batches=batches)

    return change


@pytest.mark.slow
def test_a_run_that_goes_back_to_its_start_finds_it(source, tmp_path, diverging, monkeypatch):
    """Although its source has been trained on since."""
    changes = {"checkpoint__init_from": str(source.path), "training__rollback_after": 1}
    config = make_config(ExperimentConfig, training__num_steps=2, **changes)
    whole = run(tmp_path / "whole", config)
    read, calls = supervised.initial_params, []

    def trained_on(*given):
        calls.append(given)
        if len(calls) == 2:
            _save(source, 3, params=5.0, average=7.0)
        return read(*given)

    monkeypatch.setattr(supervised, "initial_params", trained_on)
    back = run(tmp_path / "back", config, change=diverging)
    assert len(calls) == 2
    assert rows(back) == rows(whole)


@pytest.mark.slow
def test_a_replay_from_the_start_finds_it_or_is_refused(source, tmp_path):
    config = make_config(
        ExperimentConfig, training__num_steps=2, checkpoint__init_from=str(source.path)
    )
    workdir = run(tmp_path / "run", config)
    _save(source, 3, params=5.0, average=7.0)
    done = call("verify", f"--workdir={workdir.path}")
    assert done.code == 0 and done.output.endswith(": 3 of 3 rows agree\n")
    _save(source, 2, params=5.0, average=7.0)
    refused = call("verify", f"--workdir={workdir.path}").refusal
    assert refused.startswith(f"config.checkpoint.init_from: got {source.path} with the SHA-256")
