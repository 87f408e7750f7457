"""What a run takes along from the one that it starts from, at every stage and every start."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from experiments.configs import EXPERIMENTS
from gptjax.config import ModelConfig, resolve
from gptjax.runs.initial.inherited import OF_A_RUN, OF_PARAMETERS, VARIANT, inherit
from gptjax.runs.initial.params import initial_params
from gptjax.runs.program import Program
from gptjax.runs.workdir import InitialCheckpoint, WorkDirectory
from gptjax.tasks.configs.fine_tuning import SFTConfig
from tests.support.alignment_runs import make_config
from tests.support.binaries import call


def test_every_field_of_a_model_is_taken_or_is_the_runs_own():
    names = [field.name for field in dataclasses.fields(ModelConfig)]
    assert sorted(names) == sorted((*OF_PARAMETERS, *VARIANT, *OF_A_RUN))


def _inherited(experiment, source, *given, workdir=None, **changes):
    config = EXPERIMENTS.get(experiment)()
    config.checkpoint.init_from = str(source)
    for path, value in changes.items():
        section, field = path.split("__")
        setattr(getattr(config, section), field, value)
    inherit(config, given, workdir)
    return resolve(config)


def test_model_and_tokenizer_are_the_sources_with_the_marks_of_a_chat(trained):
    source = trained("pretrain")
    theirs, ours = source.config().model, _inherited("sft_1.3b", source.path)
    for name in OF_PARAMETERS[1:] + VARIANT:
        assert getattr(ours.model, name) == getattr(theirs, name)
    assert ours.model.residual_dropout == 0.2  # the recipe's
    assert ours.data.tokenizer == f"chat:{source.path}/tokenizer"
    assert ours.model.vocab_size == theirs.vocab_size + 5


def test_what_has_the_marks_goes_on_with_them(trained):
    source = trained("sft")
    ours = _inherited("dpo_smoke", source.path)
    assert ours.data.tokenizer == f"{source.path}/tokenizer"
    assert ours.model.vocab_size == source.config().model.vocab_size


def test_what_is_given_stays(trained):
    source = trained("pretrain").path
    ours = _inherited(
        "gpt2_smoke", source, "model.context_length", "data.tokenizer", data__tokenizer="bytes"
    )
    assert (ours.model.context_length, ours.data.tokenizer) == (64, "bytes")
    assert ours.model.vocab_size == 256
    assert ours.model.d_model == 16


def test_an_experiment_of_a_variant_keeps_it_and_what_follows_does_not(trained):
    source = trained("pretrain").path
    assert _inherited("gpt3_smoke", source).model.attention != "dense"
    assert _inherited("sft_6b", source).model.attention == "dense"


def test_a_run_that_goes_on_takes_what_it_took(trained, tmp_path):
    """With its own copy of the tokenizer: what it started from may be gone."""
    own = WorkDirectory(shutil.copytree(trained("sft").path, tmp_path / "run"))
    run = json.loads((own.path / "config.json").read_text())
    run["started_from"] = {"path": "gone", "step": 8, "sha256": ""}
    del run["config"]["training"]["revision"]  # as in a run begun before it was a field
    (own.path / "config.json").write_text(json.dumps(run))
    ours = _inherited("sft_smoke", "gone", workdir=str(own.path))
    assert (ours.model.d_model, ours.model.vocab_size) == (16, 453)
    assert ours.data.tokenizer == f"{own.path}/tokenizer"
    assert ours.training.revision == 1
    theirs = own.config()
    theirs.data.tokenizer = ours.data.tokenizer
    own.begin("tiny", theirs, own.record())


def test_a_run_that_never_began_pins_nothing(trained, tmp_path):
    own = WorkDirectory(str(tmp_path / "run"))
    config = trained.config("sft", checkpoint__init_from="gone")
    own.begin("tiny", config, {}, lambda: InitialCheckpoint("gone", 8, ""))
    with pytest.raises(ValueError, match="no checkpoint in gone"):
        _inherited("sft_smoke", "gone", workdir=str(own.path))


@pytest.mark.parametrize(
    "parallel",
    [{}, pytest.param({"strategy": "mesh", "tensor": 2, "data": 4}, marks=pytest.mark.slow)],
)
def test_a_vocabulary_that_grows_keeps_its_rows_and_a_longer_context_stretches_positions(
    trained, parallel
):
    source = trained("pretrain")
    context = source.config().model.context_length
    config = make_config(
        SFTConfig,
        checkpoint__init_from=str(source.path),
        data__tokenizer=f"chat:{source.path}/tokenizer",
        model__vocab_multiple=8,
        model__context_length=4 * context,
        **{f"parallelism__{name}": value for name, value in parallel.items()},
    )
    target, read = Program(config).target.params, initial_params(config)
    assert read is not None
    ours, theirs = read(target), source.params()
    table, old = ours.pop("token_embedding"), theirs.pop("token_embedding")
    np.testing.assert_array_equal(table[:448], old[:448])
    new = np.asarray(table[448:])
    assert new.shape == (8, 16) and 0.01 < new.std() < 0.04 and np.unique(new).size == new.size
    np.testing.assert_allclose(new[0, 0], -0.041202754, rtol=1e-6)  # on either mesh
    assert table.sharding == target["token_embedding"].sharding
    longer, short = ours.pop("position_embedding"), theirs.pop("position_embedding")
    at = np.minimum(np.arange(4 * context) / 4, context - 1)
    columns = [np.interp(at, np.arange(context), column) for column in np.asarray(short).T]
    np.testing.assert_allclose(longer, np.stack(columns, axis=1), atol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.slow
def test_a_model_is_fine_tuned_with_no_more_said_than_where_it_is(trained, tmp_path):
    command = (
        *("train", "--experiment=sft_smoke", f"--workdir={tmp_path}/sft"),
        f"--config.checkpoint.init_from={trained('pretrain').path}",
        *("--config.sft.conversations=instructions:count=20", "--config.sft.epochs=1"),
        *("--config.optimizer.warmup_steps=0", "--config.training.batch_size=4"),
    )
    first = call(*command)
    assert first.code == 0, first.errors
    assert "--config.sft.epochs makes a run of only" in first.errors
    config = WorkDirectory(f"{tmp_path}/sft").config()
    assert config.model.d_model == 16 and config.model.vocab_size == 453
    again = call(*[flag for flag in command if "init_from" not in flag])
    assert again.code == 0, again.errors
