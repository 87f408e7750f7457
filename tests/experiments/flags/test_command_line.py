"""Command lines, right and wrong, of a binary whose `main` prints what the flags say.

Or it raises what a main may raise.
"""

import builtins
import contextlib
import importlib
import io
import json
import os
import re
import signal
import sys
from pathlib import Path

import jax
import pytest
from absl import flags, logging

import experiments
from gptjax.config import CheckpointConfig, ExperimentConfig, resolve
from gptjax.settings import fields
from tests.support.binaries import Ended, call, called


def main(argv):
    logging.info("too much")
    if flags.FLAGS.unread:
        reader, writer = os.pipe()
        os.close(reader)
        sys.stdout = os.fdopen(writer, "w")
        print("begun")
    if flags.FLAGS.raises:
        raise getattr(builtins, flags.FLAGS.raises)("step: got 3,\nexpected 4")
    config = fields(flags.FLAGS.config) if "config" in flags.FLAGS else None
    print(json.dumps({"config": config, "workdir": flags.FLAGS.workdir}))


def ended(line: str, with_experiment: bool = True, positional: tuple[str, ...] = ()) -> Ended:
    """How the binary ends that is given this command line."""

    def binary():
        importlib.import_module("experiments.flags.paths").define_path("workdir", None, "")
        flags.DEFINE_integer("restore_step", None, "", lower_bound=0)
        flags.DEFINE_bool("unread", False, "")
        flags.DEFINE_enum(
            "raises", None, ["ValueError", "OSError", "KeyboardInterrupt", "SystemExit"], ""
        )
        command_line = importlib.import_module("experiments.flags.command_line")
        command_line.run(main, with_experiment=with_experiment, positional=positional)

    return called(binary, *line.split())


WRONG = {
    "": "error: --experiment: got none, expected one of: bert_base, ",
    "--experiment=gpt2_smal": (
        "error: unknown experiment 'gpt2_smal' (did you mean 'gpt2_small'?); expected one of: bert_"
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
    "--experiment=gpt2_small --config.training.num_steps=20": (
        "error: config.optimizer.warmup_tokens: got 375000000, as long as the run of 20 steps or "
        "longer, expected less: the learning rate would not reach its peak (a tenth of the run is "
        "--config.optimizer.warmup_steps=2)"
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
    "--experimnt=demo --config.model.d_model=8": (
        "error: unknown flag --experimnt (did you mean --experiment?); --help lists the flags"
    ),
    "--experiment=instruct_smoke": (
        "error: --experiment: got the pipeline 'instruct_smoke', expected one experiment; `python"
    ),
    "--experiment=demo --d_model=8": (
        "error: unknown flag --d_model (did you mean --config.model.d_model?)"
    ),
    "--experiment=sft_smoke --config.sft.judges=gold": (
        "error: unknown config field 'sft.judges' (did you mean 'sft.rewards'?); expected one of"
    ),
    "--experiment=demo --workdri=x": "error: unknown flag --workdri (did you mean --workdir?)",
    "--experiment=demo --confg.training.seed=4": (
        "error: unknown flag --confg.training.seed (did you mean --config.training.seed?)"
    ),
    "--experiment=demo --restore_step=-1": "error: flag --restore_step=-1: expected int >= 0",
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
    "--experiment=gpt2_small --config.training.num_steps=20 --config.optimizer.warmup_steps=3": {
        "optimizer.warmup_steps": 3,
        "optimizer.warmup_tokens": None,
    },
    "--experiment=sft_smoke -config.sft.conversations=jsonl:mine": {"sft.validation": None},
    "--experiment=sft_smoke --config.sft.conversations=jsonl:a --config.sft.validation=jsonl:x": {
        "sft.validation": "jsonl:x"
    },
    "--experiment=reward_model_smoke --config.reward.rankings=jsonl:mine": {
        "reward.validation": None,
        "reward.demonstrations": None,
    },
    "--experiment=ppo_smoke --config.ppo.prompts=jsonl:mine": {"ppo.samples": None},
    "--experiment=demo --config.model.num_kv_heads=1 --noconfig.model.tied_embeddings": {
        "model.num_kv_heads": 1,
        "model.tied_embeddings": False,
    },
    "--experiment=demo --config.optimizer.clip_norm=0.5 --config.data.corpus=text:a/b": {
        "optimizer.clip_norm": 0.5,
        "data.corpus": "text:a/b",
    },
    "--experiment=demo --config.model.attention=dense,banded(window=8)": {
        "model.attention": "dense,banded(window=8)"
    },
    "--experiment=demo --config.model.score=soft_cap(cap=30),alibi --config.model.d_value=9": {
        "model.score": "soft_cap(cap=30),alibi",
        "model.d_value": 9,
    },
}


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_command_line_is_answered_in_one_line(line):
    assert f"error: {ended(line).refusal}".startswith(WRONG[line])


@pytest.mark.parametrize("line", RIGHT)
def test_overrides_reach_the_config(line):
    done = ended(line)
    assert (done.code, done.errors) == (0, "")
    config = json.loads(done.output)["config"]
    assert {path: config[path] for path in RIGHT[line]} == RIGHT[line]


def test_a_tilde_is_the_home_in_flags_and_in_the_configuration(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    done = ended(
        "--experiment=sft_smoke --workdir=~/run --config.sft.conversations=jsonl:~/a~b.jsonl "
        "--config.data.corpus=jsonl:~/books/*.jsonl#text --config.data.tokenizer=chat:bytes "
        "--config.sft.rewards=reward_model:~/rm+0.5*rubric:~nobody-here/x"
    )
    assert (done.code, done.errors) == (0, "")
    printed = json.loads(done.output)
    assert printed["workdir"] == f"{tmp_path}/run"
    config = printed["config"]
    assert config["sft.conversations"] == f"jsonl:{tmp_path}/a~b.jsonl"
    assert config["data.corpus"] == f"jsonl:{tmp_path}/books/*.jsonl#text"
    assert config["sft.rewards"] == f"reward_model:{tmp_path}/rm+0.5*rubric:~nobody-here/x"
    refused = ended("--experiment=sft_smoke --config.checkpoint.init_from=~/source").refusal
    assert f"no checkpoint in {tmp_path}/source" in refused
    config = ExperimentConfig(checkpoint=CheckpointConfig(init_from="~/source"))
    assert resolve(config).checkpoint.init_from == f"{tmp_path}/source"
    assert config.checkpoint.init_from == "~/source"


TEXTS = {  # flags that hold no path
    *("prompt", "stop", "suite", "experiment", "kind", "patterns", "variants", "attention"),
    *("shots", "table", "sft", "ppo"),
    *("coordinator", "lengths", "tracker", "text", "words", "suffix", "ids"),
    *(
        "pretrain",
        "tune",
        "tasks",
        "target",
        "sizes",
        "changes",
        "widths",
        "rates",
    ),  # whose paths are fields, which know the home
    *("eval", "eval_set", "extra_eval_params", "completion_args", "user", "http_run_url"),
    *("system", "host", "cors_origin", "labels", "template", "query", "methods"),
}


def test_every_text_flag_is_known_to_be_a_path_or_not():
    defined = re.compile(r"flags\.DEFINE_(?:multi_)?(?:string|list)\(\s*\"(\w+)\"")
    binaries = Path(experiments.__file__).parent.rglob("*.py")
    found = {name for file in binaries for name in defined.findall(file.read_text())}
    assert found == TEXTS


def test_binaries_without_experiments_answer_alike():
    right = ended("--workdir=x", with_experiment=False)
    assert right.code == 0 and json.loads(right.output) == {"config": None, "workdir": "x"}
    for line, expected in {
        "--workdri=x": "unknown flag --workdri (did you mean --workdir?); --help lists the flags",
        "--workdir=x stray": "unexpected argument 'stray'; expected flags, as --name=value",
        "--raises=ValueError": "step: got 3, expected 4",
    }.items():
        assert ended(line, with_experiment=False).refusal == expected


def test_flags_may_be_given_by_place_and_with_hyphens():
    for line in ("x", "x --restore-step=3 --no-unread", "--restore-step 3 x", "--workdir=x"):
        right = ended(line, False, ("workdir",))
        assert right.code == 0 and json.loads(right.output)["workdir"] == "x"
    for line, expected in {
        "--workdir=x y": "--workdir: got it twice, the second time as 'y'",
        "x y": "unexpected argument 'y'; expected flags, as --name=value",
        "x --restore-setp=3": (
            "unknown flag --restore_setp (did you mean --restore_step?); --help lists the flags"
        ),
    }.items():
        assert ended(line, False, ("workdir",)).refusal == expected
    assert ended("--restore-step=3", False).code == 2


def test_verbosity_shows_messages_and_the_traceback_of_an_error():
    informed = ended("--experiment=demo --verbosity=0")
    assert informed.code == 0 and "too much" in informed.errors
    traced = ended("--experiment=demo --raises=OSError --verbosity=1")
    assert traced.code == 2 and "Traceback (most recent call last)" in traced.errors
    assert traced.errors.endswith("error: step: got 3, expected 4\n")


def test_64_bits_are_refused_before_anything_is_done():
    with jax.enable_x64(True):
        refused = ended("--experiment=demo").refusal
    assert refused.startswith("JAX_ENABLE_X64: got true, from the environment or jax.config.")


def test_control_c_leaves_with_the_shells_code():
    interrupted = ended("--experiment=demo --raises=KeyboardInterrupt")
    assert interrupted == Ended(128 + signal.SIGINT, "", "")


def test_a_reader_that_leaves_is_no_error():
    quiet = Ended(128 + signal.SIGPIPE, "", "")
    assert ended("--experiment=demo --unread") == quiet
    assert ended("--experiment=demo --unread --raises=SystemExit") == quiet


def test_what_a_terminal_cannot_show_is_escaped():
    narrow = io.TextIOWrapper(io.BytesIO(), "ascii", write_through=True)

    def binary():
        command_line = importlib.import_module("experiments.flags.command_line")
        with contextlib.redirect_stdout(narrow):
            command_line.run(lambda argv: print("café \udc80 🙂"))

    assert called(binary) == Ended(0, "", "")
    assert narrow.buffer.getvalue() == rb"caf\xe9 \udc80 \U0001f642" + b"\n"


def test_a_real_binary_says_one_line_and_makes_nothing(tmp_path):
    workdir = tmp_path / "run"
    done = call("train", "--experiment=gpt2_small", f"--workdir={workdir}")
    assert done.refusal.startswith("config.data.tokenizer: got none, expected bytes, gpt2:DIR")
    assert not workdir.exists()
