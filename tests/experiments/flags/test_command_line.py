"""Command lines, right and wrong. One child process runs them all: flags are global to a process.

The child's `main` prints what the flags say, or raises what a main may raise.
"""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[3]
CHILD = textwrap.dedent(
    """
    import contextlib, io, json, os, sys
    from absl import flags, logging
    from absl.testing import flagsaver
    from experiments.flags.command_line import run
    from gptjax.settings import fields

    flags.DEFINE_string("workdir", None, "")
    flags.DEFINE_integer("restore_step", None, "", lower_bound=0)
    flags.DEFINE_enum("raises", None, ["ValueError", "OSError", "KeyboardInterrupt"], "")
    flags.DEFINE_bool("unread", False, "")

    def main(argv):
        logging.info("too much")
        if flags.FLAGS.unread:
            reader, writer = os.pipe()
            os.close(reader)
            sys.stdout = os.fdopen(writer, "w")
        if flags.FLAGS.raises:
            raise getattr(__builtins__, flags.FLAGS.raises)("step: got 3,\\nexpected 4")
        config = fields(flags.FLAGS.config) if "config" in flags.FLAGS else None
        print(json.dumps({"config": config, "workdir": flags.FLAGS.workdir}))

    done = []
    for line in json.loads(sys.argv.pop()):
        out, err = io.StringIO(), io.StringIO()
        sys.argv[1:] = line["arguments"]
        saved = flagsaver.save_flag_values(flags.FLAGS)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            logging.get_absl_handler().python_handler.stream = err
            try:
                run(main, with_experiment=line["with_experiment"])
            except SystemExit as leaving:
                code = leaving.code or 0
            finally:
                flagsaver.restore_flag_values(saved, flags.FLAGS)
        done.append([code, out.getvalue(), err.getvalue()])
    print(json.dumps(done))
    """
)

WRONG = {
    "": "error: --experiment: got none, expected one of: demo, gpt1, ",
    "--experiment=gpt2_smal": (
        "error: unknown experiment 'gpt2_smal' (did you mean 'gpt2_small'?); expected one of: demo"
    ),
    "--experiment": "error: Missing value for flag --experiment",
    "--experiment=demo --config.model.num_layer=3": (
        "error: unknown config field 'model.num_layer' (did you mean 'model.num_layers'?); expected"
    ),
    "--experiment=demo --config.modle.num_layers=3": (
        "error: unknown config section 'modle' (did you mean 'model'?); expected one of: model,"
    ),
    "--experiment=demo --config.model=big": "error: unknown config field 'model'",
    "--experiment=demo --config=big": "error: --config: got 'big', expected --config.section.",
    "--experiment=demo --config.model.num_layers=2.5": (
        "error: flag --config.model.num_layers=2.5: expected int >= 1"
    ),
    "--experiment=demo --config.model.num_layers=1e3": (
        "error: flag --config.model.num_layers=1e3: expected int >= 1"
    ),
    "--experiment=demo --config.model.num_layers=True": (
        "error: flag --config.model.num_layers=True: expected int >= 1"
    ),
    "--experiment=demo --config.model.num_layers=none": (
        "error: flag --config.model.num_layers=none: expected int >= 1"
    ),
    "--experiment=demo --config.model.d_ff=wide": (
        "error: flag --config.model.d_ff=wide: expected int or none >= 1"
    ),
    "--experiment=demo --config.optimizer.learning_rate=fast": (
        "error: flag --config.optimizer.learning_rate=fast: expected float > 0"
    ),
    "--experiment=demo --config.optimizer.learning_rate=inf": (
        "error: config.optimizer.learning_rate: got inf, expected float > 0"
    ),
    "--experiment=demo --config.model.tied_embeddings=3": (
        "error: flag --config.model.tied_embeddings=3: expected bool"
    ),
    "--experiment=demo --config.model.num_layers=0": (
        "error: config.model.num_layers: got 0, expected int >= 1"
    ),
    "--experiment=demo --config.model.norm=pro": (
        "error: config.model.norm: got 'pro', expected one of pre, post"
    ),
    "--experiment=demo --config.model.num_heads=5": (
        "error: config.model.d_model: got 192 with 5 heads, expected a multiple of num_heads"
    ),
    "--experiment=demo --config.model.attention=dense,band": (
        "error: attention 'dense,band', column 7: unknown attention pattern 'band' (did you mean"
    ),
    "--experiment=demo --config.model.attention=strided(stride=4096)": (
        "error: strided(stride=4096,part=both): got stride=4096, expected at most the length, 256"
    ),
    "--experiment=demo --config.model.score=soft_cap(cap=high)": (
        "error: score 'soft_cap(cap=high)', column 10: got 'cap=high)', expected soft_cap(cap: "
    ),
    "--experiment=demo --config.model.positions=rotary --config.model.d_head=5": (
        "error: config.model.d_head: got 5 with positions=rotary"
    ),
    "--experiment=demo --config.model.d_model": (
        "error: Missing value for flag --config.model.d_model"
    ),
    "--experiment=demo --workdri=x": "error: unknown flag --workdri (did you mean --workdir?)",
    "--experiment=demo --confg.training.seed=4": (
        "error: unknown flag --confg.training.seed (did you mean --config.training.seed?)"
    ),
    "--experiment=demo --restore_step=-1": "error: flag --restore_step=-1: -1 is not",
    "--experiment=demo stray": "error: unexpected argument 'stray'; expected flags, as --name=",
    "--experiment=demo --raises=ValueError": "error: step: got 3, expected 4",
    "--experiment=demo --raises=OSError": "error: step: got 3, expected 4",
}
RIGHT = {
    "--experiment=demo": {},
    "--experiment demo --workdir x": {},
    "--experiment=gpt3_smoke --config.model.d_ff=none": {"model.d_ff": None},
    "--experiment=demo --config.model.num_layers=3 --config.data.corpus=none": {
        "model.num_layers": 3,
        "data.corpus": None,
    },
    "--experiment=demo --config.optimizer.warmup_steps=none --config.optimizer.warmup_tokens=9": {
        "optimizer.warmup_steps": None,
        "optimizer.warmup_tokens": 9,
    },
    "--experiment=demo --config.model.num_kv_heads=1 --noconfig.model.tied_embeddings": {
        "model.num_kv_heads": 1,
        "model.tied_embeddings": False,
    },
    "--experiment=demo --config.optimizer.clip_norm=0.5 --config.checkpoint.init_from=a/b": {
        "optimizer.clip_norm": 0.5,
        "checkpoint.init_from": "a/b",
    },
    "--experiment=demo --config.model.attention=dense,banded(window=8)": {
        "model.attention": "dense,banded(window=8)"
    },
    "--experiment=demo --config.model.score=soft_cap(cap=30),alibi --config.model.d_value=9": {
        "model.score": "soft_cap(cap=30),alibi",
        "model.d_value": 9,
    },
}
WITHOUT_EXPERIMENT = ("--workdir=x", "--workdri=x", "--workdir=x stray", "--raises=ValueError")
NOISY = ("--experiment=demo --verbosity=0", "--experiment=demo --raises=OSError --verbosity=1")
INTERRUPTED = "--experiment=demo --raises=KeyboardInterrupt"
UNREAD = "--experiment=demo --unread"


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def ended() -> dict[str, Ended]:
    """How each command line of this file ended, by its text."""
    lines = [(line, True) for line in (*RIGHT, *WRONG, *NOISY, INTERRUPTED, UNREAD)]
    lines += [(line, False) for line in WITHOUT_EXPERIMENT]
    argument = [{"arguments": line.split(), "with_experiment": w} for line, w in lines]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(argument)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    results = [Ended(*result) for result in json.loads(done.stdout)]
    return {line: result for (line, _), result in zip(lines, results, strict=True)}


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_command_line_is_answered_in_one_line(ended, line):
    code, out, err = ended[line]
    assert err.startswith(WRONG[line])
    assert err.count("\n") == 1 and err.endswith("\n")
    assert (code, out) == (2, "")


@pytest.mark.parametrize("line", RIGHT)
def test_overrides_reach_the_config(ended, line):
    code, out, err = ended[line]
    assert (code, err) == (0, "")
    config = json.loads(out)["config"]
    assert {path: config[path] for path in RIGHT[line]} == RIGHT[line]


def test_binaries_without_experiments_answer_alike(ended):
    right, flag, stray, error = (ended[line] for line in WITHOUT_EXPERIMENT)
    assert right.code == 0 and json.loads(right.out) == {"config": None, "workdir": "x"}
    assert flag == (
        2,
        "",
        "error: unknown flag --workdri (did you mean --workdir?); --help lists the flags\n",
    )
    assert stray.err == "error: unexpected argument 'stray'; expected flags, as --name=value\n"
    assert error == (2, "", "error: step: got 3, expected 4\n")


def test_verbosity_shows_messages_and_the_traceback_of_an_error(ended):
    informed, traced = (ended[line] for line in NOISY)
    assert informed.code == 0 and "too much" in informed.err
    assert traced.code == 2 and "Traceback (most recent call last)" in traced.err
    assert traced.err.endswith("error: step: got 3, expected 4\n")


def test_control_c_leaves_with_the_shells_code(ended):
    assert ended[INTERRUPTED] == (128 + signal.SIGINT, "", "")


def test_a_reader_that_leaves_is_no_error(ended):
    assert ended[UNREAD] == (128 + signal.SIGPIPE, "", "")


def test_a_real_binary_says_one_line_and_makes_nothing(tmp_path):
    workdir = tmp_path / "run"
    command = ["-m", "experiments.train", "--experiment=gpt2_small", f"--workdir={workdir}"]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"GPTJAX_CACHE": str(tmp_path / "cache")},
    )
    assert done.stderr.startswith(
        "error: config.data.tokenizer: got none, expected bytes, gpt2:DIR"
    )
    assert done.stderr.count("\n") == 1
    assert (done.returncode, done.stdout) == (2, "")
    assert not workdir.exists()
