import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from gptjax.runs import inputs, supervised
from gptjax.runs.train import train
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import fields
from gptjax.training.checkpoints.store import Checkpoints
from gptjax.training.evaluation import language_model_evaluator
from gptjax.training.reporting.metrics import read_metrics

REPOSITORY = Path(__file__).resolve().parents[2]


def _run(path, config, restore_step=None):
    return train("tiny", config, WorkDirectory(str(path)), restore_step)


def _rows(path):
    """What metrics.jsonl says, without how fast it went."""
    rows = read_metrics(path / "metrics.jsonl")
    speed = ("tokens_per_second", "mfu", "executed_mfu")
    return [{k: v for k, v in row.items() if k not in speed} for row in rows]


def _steps(path):
    return Checkpoints(path / "checkpoints").steps()


def _assert_same_end(path, other):
    assert _rows(path) == _rows(other)
    params, expected = (WorkDirectory(str(run)).params() for run in (path, other))
    jax.tree.map(np.testing.assert_array_equal, params, expected)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, make_config):
    """A run that nobody interrupts; it is not to be changed."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    _run(path, make_config())
    return path


@pytest.fixture
def copy(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def test_a_run_leaves_all_that_later_binaries_need(whole, make_config):
    assert {path.name for path in whole.iterdir()} == {
        "config.json",
        "metrics.jsonl",
        "result.json",
        "checkpoints",
        "tokenizer",
        "tensorboard",
        "loss.png",
    }
    rows = _rows(whole)
    assert [(row["step"], row.get("split")) for row in rows] == [
        (2, None),
        (4, None),
        (4, "validation"),
        (6, None),
        (8, None),
        (8, "validation"),
    ]
    assert rows[-1]["loss"] < rows[2]["loss"] < rows[0]["loss"] < 1.02 * np.log(1024)
    assert _steps(whole) == [6, 8]
    workdir = WorkDirectory(str(whole))
    assert workdir.config() == make_config()
    assert workdir.tokenizer().vocab_size == 1024
    logits = workdir.model().apply({"params": workdir.params()}, np.zeros((1, 3), np.int32))
    assert logits.shape == (1, 3, 1024)
    assert (whole / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert list((whole / "tensorboard").glob("events.*"))


def test_the_result_is_that_of_the_last_evaluation(whole):
    result = json.loads((whole / "result.json").read_text())
    for name, value in _rows(whole)[-1].items():
        assert result[name] == value
    # 1,024 and 16 rows of 8; a layer of 12 8^2 weights and 13 x 8 biases and gains; a last norm.
    assert result["parameters"] == 1040 * 8 + 12 * 64 + 13 * 8 + 2 * 8
    assert result["seconds"] > 0 and 0 <= result["data_wait_fraction"] < 1
    assert result["versions"]["jax"] == jax.__version__


def test_statistics_of_layers_are_rows_of_their_own_and_change_nothing(
    tmp_path, whole, make_config
):
    _run(tmp_path / "run", make_config(training__statistics_every=3))
    rows = _rows(tmp_path / "run")
    sizes = {row["step"]: row for row in rows if row.get("split") == "layers"}
    assert list(sizes) == [3, 6]
    others = [row for row in rows if row.get("split") != "layers"]
    assert others == _rows(whole)
    (of_whole,) = (row["grad_norm"] for row in others if row["step"] == 6)
    (of_layer,) = sizes[6]["gradient_norm"]
    assert 0 < of_layer < of_whole  # the embeddings have the rest
    assert sizes[3]["activation_max"] > sizes[3]["activation_rms"]


def test_starting_a_finished_run_again_changes_nothing(copy, whole, make_config):
    """Not even with other settings, of those that are free to change."""
    before = {name: (copy / name).read_bytes() for name in ("metrics.jsonl", "result.json")}
    outcome = _run(
        copy,
        make_config(
            training__log_every=1,
            parallelism__strategy="mesh",
            parallelism__sequence=2,
            parallelism__fsdp=4,
            checkpoint__keep=5,
        ),
    )
    assert outcome.steps == 0
    assert {name: (copy / name).read_bytes() for name in before} == before
    _assert_same_end(copy, whole)


def test_a_run_killed_before_its_result_was_written_still_gets_one(copy, whole, make_config):
    (copy / "result.json").unlink()
    _run(copy, make_config())
    ours, theirs = (json.loads((run / "result.json").read_text()) for run in (copy, whole))
    assert ours["bits_per_byte"] == theirs["bits_per_byte"]


def test_a_damaged_checkpoint_is_named_and_the_one_before_leads_to_the_same_end(
    copy, whole, make_config
):
    damaged = next(filter(Path.is_file, (copy / "checkpoints/8/params").rglob("*")))
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    with pytest.raises(ValueError, match=r"checkpoint 8 .*corrupt.*--restore_step=6") as error:
        _run(copy, make_config())
    assert "\n" not in str(error.value)
    assert _steps(copy) == [6, 8]

    outcome = _run(copy, make_config(), restore_step=6)
    assert outcome.steps == 2
    assert _steps(copy) == [6, 8]
    _assert_same_end(copy, whole)


def test_a_run_resumes_on_a_mesh_to_the_same_figures(copy, whole, make_config):
    """Dropout too: its bits do not depend on where a row or a position lives."""
    shutil.rmtree(copy / "checkpoints/8")
    mesh = {"strategy": "mesh", "data": 2, "fsdp": 2, "sequence": 2, "sequence_attention": "ring"}
    outcome = _run(copy, make_config(**{f"parallelism__{k}": v for k, v in mesh.items()}))
    assert outcome.steps == 2
    for row, expected in zip(_rows(copy), _rows(whole), strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-5)


def test_an_average_of_the_parameters_is_judged_kept_and_resumed(tmp_path, make_config):
    config = make_config(optimizer__ema_decay=0.5)
    whole, copy = tmp_path / "whole", tmp_path / "copy"
    _run(whole, config)
    average = WorkDirectory(str(whole)).params()
    with Checkpoints(whole / "checkpoints") as checkpoints:
        params = checkpoints.restore_params()  # they load alone
        kept = checkpoints.restore_params(item="ema")
    jax.tree.map(np.testing.assert_array_equal, average, kept)
    assert not np.array_equal(average["token_embedding"], params["token_embedding"])

    prepared = inputs.prepare_corpus(config, inputs.load_model_tokenizer(config))
    program = supervised.Program(config)
    evaluate = language_model_evaluator(
        program.loss,
        inputs.validation_batches(config, prepared.validation),
        prepared.validation.bytes_per_target,
        program.mesh,
    )
    assert evaluate(average)["loss"] == _rows(whole)[-1]["loss"] != evaluate(params)["loss"]

    shutil.copytree(whole, copy)
    shutil.rmtree(copy / "checkpoints/8")
    assert _run(copy, config).steps == 2
    _assert_same_end(copy, whole)


@pytest.mark.parametrize(
    "changes",
    [
        {"model__num_layers": 2},
        {"data__validation_fraction": 0.3},
        {"optimizer__learning_rate": 0.02},
        {"training__batch_size": 8},
        {"training__seed": 1},
        {"training__num_steps": 9},
    ],
)
def test_another_run_is_refused_and_nothing_is_lost(whole, make_config, changes):
    before = (whole / "config.json").read_bytes()
    (path,) = changes
    with pytest.raises(ValueError, match=f"another run.*{path.replace('__', '[.]')}: "):
        _run(whole, make_config(**changes))
    assert (whole / "config.json").read_bytes() == before


def test_another_text_under_the_same_name_is_refused(whole, make_config, folder):
    document = folder / "00.txt"
    text = document.read_text()
    document.write_text(text + " again")
    try:
        with pytest.raises(ValueError, match=r"another run.*corpus_hash: \w{12}, not \w{12}$"):
            _run(whole, make_config())
    finally:
        document.write_text(text)


def test_a_run_that_another_process_works_on_is_left_alone(copy, make_config):
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    with WorkDirectory(str(copy)).checkpoints() as checkpoints:
        checkpoints.acquire_lock()
        with pytest.raises(ValueError, match=r"another process is writing checkpoints there"):
            _run(copy, make_config())
    assert before == {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}


def test_init_from_starts_with_another_runs_parameters(whole, tmp_path, make_config, monkeypatch):
    class Started(Exception):
        pass

    def stop(state, *_, **__):
        raise Started(state)

    monkeypatch.setattr(supervised, "fit", stop)
    config = make_config(checkpoint__init_from=str(whole), training__seed=5)
    with pytest.raises(Started) as started:
        _run(tmp_path / "fine-tuned", config)
    (state,) = started.value.args
    assert int(state.step) == 0
    jax.tree.map(np.testing.assert_array_equal, state.params, WorkDirectory(str(whole)).params())

    wider = make_config(checkpoint__init_from=str(whole), model__d_ff=64)
    with pytest.raises(ValueError, match=r"does not fit: params .*32,8\], expected .*64,8\]"):
        _run(tmp_path / "wider", wider)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parallelism__strategy": "mesh", "parallelism__data": 9}, "product is 8, the devices"),
        ({"parallelism__strategy": "mesh"}, "got 4 sequences .* a multiple of 8"),
        (
            {"parallelism__strategy": "mesh", "parallelism__tensor": 8},
            "tensor: got 8, expected a divisor of 1, ",
        ),
    ],
)
def test_what_no_mesh_can_run_is_refused_before_training(tmp_path, make_config, changes, message):
    with pytest.raises(ValueError, match=message):
        _run(tmp_path / "run", make_config(**changes))
    assert not (tmp_path / "run/metrics.jsonl").exists()


def _command(path, config):
    """The command line of `config`, with each of its fields spelt out."""
    module = [sys.executable, "-m", "experiments.train", "--experiment=demo"]
    overrides = [
        f"--config.{field}={'none' if value is None else value}"
        for field, value in fields(config).items()
    ]
    return [*module, f"--workdir={path}", *overrides]


def test_a_killed_command_goes_on_to_the_same_bits(tmp_path, make_config):
    """SIGTERM once a few steps are done; the same command then ends the run."""
    path, config = tmp_path / "run", make_config(training__num_steps=60, training__log_every=1)
    config.checkpoint.every_steps = 1  # a step then takes long enough to be interrupted
    process = subprocess.Popen(
        _command(path, config), cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    metrics = path / "metrics.jsonl"
    while process.poll() is None and (not metrics.exists() or len(_rows(path)) < 3):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr.decode()
    step = _steps(path)[-1]
    assert step < 60
    assert f"SIGTERM: stopped at step {step}; the same command goes on" in stdout.decode()
    assert not (path / "result.json").exists()

    config.checkpoint.every_steps = 60
    assert _run(path, config).steps == 60 - step
    _run(tmp_path / "whole", config)
    _assert_same_end(path, tmp_path / "whole")
