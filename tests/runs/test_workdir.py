import contextlib
import json
import os
import pwd
import shutil
import tempfile
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from gptjax.config import ExperimentConfig, ModelConfig, resolve
from gptjax.models.gpt import GPT
from gptjax.models.parameter_shapes import parameter_shapes
from gptjax.runs.caches import cache_directory
from gptjax.runs.provenance import provenance
from gptjax.runs.workdir import InitialCheckpoint, WorkDirectory
from gptjax.settings import to_dict
from gptjax.tokenization import load_tokenizer
from gptjax.training.state import create

RECORD = {"corpus_hash": "c" * 64, "tokenizer_hash": "d" * 64}


def _config(**changes):
    config = ExperimentConfig(
        model=ModelConfig(vocab_size=30, context_length=8, num_layers=1, num_heads=2, d_model=8)
    )
    for path, value in changes.items():
        section, field = path.split("__")
        setattr(getattr(config, section), field, value)
    return resolve(config)


def _begun(path, config=None):
    """A directory whose run has written a row."""
    workdir = WorkDirectory(str(path))
    workdir.begin("tiny", config or _config(), RECORD)
    (path / "metrics.jsonl").write_text('{"step": 1}\n')
    return workdir


def test_a_directory_must_be_given():
    with pytest.raises(ValueError, match=r"--workdir: got none, expected the directory of a run"):
        WorkDirectory(None)


def test_a_run_says_what_it_is(tmp_path):
    workdir = _begun(tmp_path / "runs" / "tiny")
    assert workdir.config() == _config()
    assert workdir.record() == RECORD
    run = json.loads((tmp_path / "runs/tiny/config.json").read_text())
    assert run == {"experiment": "tiny", "config": to_dict(_config()), **RECORD}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("training__log_every", 3),
        ("training__eval_every", 7),
        ("checkpoint__every_steps", 5),
        ("checkpoint__keep", 1),
        ("checkpoint__keep_every", 10),
        ("training__rollback_after", 3),
        ("checkpoint__init_from", "elsewhere"),
        ("parallelism__strategy", "mesh"),
        ("parallelism__sequence_attention", "ring"),
        ("profile__num_steps", 3),
    ],
)
def test_what_does_not_change_the_run_may_change(tmp_path, field, value):
    workdir = _begun(tmp_path / "run")
    workdir.begin("tiny", _config(**{field: value}), RECORD)
    section, name = field.split("__")
    assert getattr(getattr(workdir.config(), section), name) == value


@pytest.mark.parametrize(
    ("field", "value", "was"),
    [
        ("model__num_layers", 2, 1),
        ("model__attention", "banded(window=4)", "dense"),
        ("data__document_masking", True, False),
        ("optimizer__learning_rate", 0.5, 6e-4),
        ("training__batch_size", 4, 8),
        ("training__num_steps", 11, 1000),
        ("training__seed", 1, 0),
        ("training__skip_grad_norm", 5.0, None),
    ],
)
def test_another_run_is_refused_with_what_differs(tmp_path, field, value, was):
    workdir = _begun(tmp_path / "run")
    before = (tmp_path / "run/config.json").read_bytes()
    with pytest.raises(ValueError, match="holds another run") as error:
        workdir.begin("tiny", _config(**{field: value}), RECORD)
    assert f"{field.replace('__', '.')}: {value!r}, not {was!r}" in str(error.value)
    assert "\n" not in str(error.value)
    assert (tmp_path / "run/config.json").read_bytes() == before


@pytest.mark.parametrize(
    ("schedule", "restore_step", "message"),
    [
        ("constant", None, None),
        ("cosine", None, "num_steps: 2000, not 1000, although the learning rates so far depend"),
        ("wsd", 901, None),
        ("wsd", None, "although the learning rate has decayed since step 901: go on .*_step=901"),
        ("wsd", 902, "although the learning rate has decayed since step 901: go on .*_step=901"),
        ("wsd", 800, r"--restore_step: got 800, expected one of 901, 902, 1000"),
    ],
)
def test_a_run_may_be_longer_where_its_steps_would_have_been_the_same(
    tmp_path, schedule, restore_step, message
):
    """Steps that would not are gone before the longer run is written down."""
    workdir = _begun(tmp_path / "run", _config(optimizer__schedule=schedule))
    for step in (901, 902, 1000):
        (tmp_path / "run/checkpoints" / str(step)).mkdir(parents=True)
    longer = _config(optimizer__schedule=schedule, training__num_steps=2000)
    with pytest.raises(ValueError, match=message) if message else contextlib.nullcontext():
        workdir.begin("tiny", longer, RECORD, restore_step=restore_step)
    assert workdir.config().training.num_steps == (1000 if message else 2000)
    left = sorted(int(path.name) for path in (tmp_path / "run/checkpoints").glob("[0-9]*"))
    assert left == ([901] if restore_step == 901 else [901, 902, 1000])
    with pytest.raises(ValueError, match="holds another run"):
        workdir.begin("tiny", _config(optimizer__schedule=schedule), RECORD | {"a_hash": "x"})


def test_data_of_the_same_content_may_move(tmp_path, caplog):
    workdir = _begun(tmp_path / "run", _config(data__corpus="text:here"))
    moved = _config(data__corpus="text:there")
    said = "data.corpus: 'text:there', not 'text:here'"
    for record in (RECORD | {"corpus_hash": "e" * 64}, {"tokenizer_hash": "d" * 64}):
        with pytest.raises(ValueError, match=f"holds another run.*{said}"):
            workdir.begin("tiny", moved, record)
    assert not caplog.records
    workdir.begin("tiny", moved, RECORD)
    assert workdir.config() == moved
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning == f"{tmp_path}/run: data has moved, its content is the same: {said}"


@pytest.mark.parametrize("name", RECORD)
def test_other_contents_are_refused(tmp_path, name):
    workdir = _begun(tmp_path / "run")
    with pytest.raises(ValueError, match=f"another run.*{name}: eeeeeeeeeeee, not [cd]{{12}}$"):
        workdir.begin("tiny", _config(), RECORD | {name: "e" * 64})


def test_a_run_that_has_made_nothing_yet_can_be_configured_anew(tmp_path):
    workdir = WorkDirectory(str(tmp_path / "run"))
    workdir.begin("tiny", _config(), RECORD)
    workdir.begin("tiny", _config(model__num_layers=2), RECORD)
    assert workdir.config().model.num_layers == 2


def test_what_a_run_started_from_is_said_once_it_has_begun_and_never_again(tmp_path):
    path = tmp_path / "run"
    workdir = WorkDirectory(str(path))
    workdir.begin("tiny", _config(), RECORD)
    with pytest.raises(
        ValueError, match=r"config\.json: got no 'started_from', expected the file of a run "
    ):
        workdir.initial_checkpoint()
    first, second = InitialCheckpoint("other", 3, "a" * 64), InitialCheckpoint()
    for initial in (second, first):  # nothing is made yet
        workdir.begin("tiny", _config(), RECORD, lambda initial=initial: initial)
        assert workdir.initial_checkpoint() == initial
    (path / "metrics.jsonl").write_text("")
    workdir.begin("tiny", _config(training__log_every=3), RECORD, lambda: second)
    workdir.begin("tiny", _config(), RECORD)
    assert workdir.initial_checkpoint() == first


def test_a_directory_with_other_files_is_refused(tmp_path):
    """What a desktop leaves is none."""
    (tmp_path / "new").mkdir()
    (tmp_path / "new/.DS_Store").touch()
    WorkDirectory(str(tmp_path / "new")).begin("tiny", _config(), RECORD)
    shutil.rmtree(tmp_path / "new")
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ValueError, match=r"holds files but no config\.json; expected a new or em"):
        WorkDirectory(str(tmp_path)).begin("tiny", _config(), RECORD)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot write .*/file/run: Not a directory; expected"):
        WorkDirectory(str(tmp_path / "file" / "run")).begin("tiny", _config(), RECORD)


def _full(*_, **__):
    raise OSError(28, os.strerror(28))


def test_a_full_disk_is_one_line_and_the_same_command_works_later(tmp_path, monkeypatch):
    workdir = WorkDirectory(str(tmp_path / "run"))
    with monkeypatch.context() as full_disk:
        full_disk.setattr(Path, "replace", _full)
        with pytest.raises(ValueError, match=r"cannot write .*: No space left on device") as error:
            workdir.begin("tiny", _config(), RECORD)
    assert "\n" not in str(error.value)
    workdir.begin("tiny", _config(), RECORD)
    assert workdir.config() == _config()


def test_a_full_disk_does_not_cost_the_configuration(tmp_path, monkeypatch):
    workdir = _begun(tmp_path / "run")
    monkeypatch.setattr(Path, "replace", _full)
    with pytest.raises(ValueError, match="No space left on device"):
        workdir.begin("tiny", _config(training__log_every=3), RECORD)
    assert workdir.config() == _config()


@pytest.mark.parametrize("content", ["{", "{}", "[1]"])
def test_a_damaged_configuration_is_named(tmp_path, content):
    workdir = _begun(tmp_path / "run")
    (tmp_path / "run/config.json").write_text(content)
    with pytest.raises(ValueError, match=r"run/config\.json is damaged"):
        workdir.begin("tiny", _config(), RECORD)


def test_a_hash_is_read_by_the_name_that_it_had(tmp_path):
    workdir = _begun(tmp_path)
    run = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(run | {"judges_hash": "e" * 64}))
    assert workdir.record() == RECORD | {"rewards_hash": "e" * 64}


def test_a_directory_without_a_run_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no run in .*config\.json: No such file"):
        WorkDirectory(str(tmp_path)).config()


def test_the_tokenizer_is_kept_whole(tmp_path, monkeypatch):
    tokenizer = load_tokenizer("python_docs_1024")
    workdir = WorkDirectory(str(tmp_path / "run"))
    workdir.begin("tiny", _config(), {**RECORD, "tokenizer_hash": tokenizer.content_hash()})
    workdir.keep_tokenizer(tokenizer)
    with monkeypatch.context() as full_disk, pytest.raises(OSError, match="No space left"):
        full_disk.setattr(Path, "write_text", _full)
        workdir.keep_tokenizer(tokenizer)
    assert workdir.tokenizer().content_hash() == tokenizer.content_hash()
    workdir.keep_tokenizer(tokenizer)
    assert workdir.tokenizer().content_hash() == tokenizer.content_hash()


def test_another_tokenizer_than_the_one_trained_with_is_refused(tmp_path):
    workdir = _begun(tmp_path / "run")
    workdir.keep_tokenizer(load_tokenizer("bytes"))
    with pytest.raises(ValueError, match=r"tokenizer: got the tokenizer \w{12}, expected d{64}"):
        workdir.tokenizer()


def test_parameters_load_alone(tmp_path):
    workdir = _begun(tmp_path / "run")
    config = _config().model
    assert workdir.model() == GPT(config)
    shapes = parameter_shapes(GPT(config))
    with pytest.raises(ValueError, match="has no checkpoint yet"):
        workdir.resolve_step(None)
    with workdir.checkpoints() as checkpoints:
        for step in (1, 2):
            params = jax.tree.map(
                lambda leaf, step=step: np.full(leaf.shape, step, leaf.dtype), shapes
            )
            state = create(params, optax.sgd(0.1))
            checkpoints.save(step, params=params, opt_state=state.opt_state, data={}, config={})
    assert (workdir.resolve_step(None), workdir.resolve_step(1)) == (2, 1)
    with pytest.raises(ValueError, match=r"--restore_step: got 3, expected one of 1, 2"):
        workdir.resolve_step(3)
    for step, value in ((None, 2), (1, 1)):
        jax.tree.map(
            lambda leaf, value=value: np.testing.assert_array_equal(leaf, value),
            workdir.params(step),
        )


def test_a_result_says_what_made_it(tmp_path):
    workdir = _begun(tmp_path / "run")
    assert not workdir.has_result()
    workdir.write_result({"loss": 1.5})
    assert workdir.has_result()
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result == {"loss": 1.5, **provenance()}
    assert result["versions"]["jax"] == jax.__version__
    assert result["hardware"]["devices"].startswith("8 x ")


def test_what_is_left_out_is_what_the_last_row_of_that_kind_says(tmp_path):
    workdir = _begun(tmp_path / "run")
    assert workdir.skipped_examples() == ()
    with (workdir.path / "metrics.jsonl").open("a") as rows:
        for ranges in ([[4, 8]], [[4, 8], [20, 24]]):
            rows.write(json.dumps({"step": 2, "skipped_examples": ranges}) + "\n")
        rows.write('{"step": 3, "split": "validation"}\n')
    assert workdir.skipped_examples() == ((4, 8), (20, 24))


def test_the_commit_is_that_of_this_code_whatever_the_current_folder_is(tmp_path, monkeypatch):
    commit = provenance()["commit"]
    monkeypatch.chdir(tmp_path)
    assert provenance()["commit"] == commit


def test_a_result_is_dropped_unless_the_run_is_at_its_step(tmp_path):
    workdir = _begun(tmp_path / "run", _config(training__num_steps=3))
    workdir.drop_result_of_another_step(3)
    workdir.write_result({"step": 3})
    workdir.drop_result_of_another_step(3)
    assert workdir.has_result()
    workdir.drop_result_of_another_step(2)
    assert not workdir.has_result()


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("GPTJAX_CACHE", str(tmp_path))
    assert cache_directory() == tmp_path
    monkeypatch.delenv("GPTJAX_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory() == tmp_path / ".cache" / "gptjax"


def test_a_user_without_a_home_has_a_cache(monkeypatch, tmp_path):
    """As in a container under a number that nobody knows; or under one whose home is /."""

    def unknown(number):
        raise KeyError(number)

    kept = tmp_path / f"gptjax-{os.getuid()}"
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("GPTJAX_CACHE", raising=False)
    monkeypatch.setenv("HOME", "/")
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != "/")
    assert cache_directory() == kept
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.delenv("HOME")
    assert cache_directory() == kept / ".cache" / "gptjax"
    assert Path("~/model").expanduser() == kept / "model"
