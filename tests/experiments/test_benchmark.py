"""The benchmark binary; its suites are tested in benchmarks/."""

import json
import re
from pathlib import Path

from experiments.benchmarks import registry
from experiments.benchmarks.figures import with_targets
from experiments.benchmarks.registry import SUITES
from tests.support.binaries import call, registered


def test_the_figures_of_a_suite_are_printed_for_people_and_for_programs():
    figures = with_targets({"part": {"speedup": 4.5}}, {"part.speedup": ("at least", 4)})
    with registered(SUITES, tiny=lambda: figures):
        done = call("benchmark", "--suite=tiny")
    assert (done.code, done.errors) == (0, "")
    *lines, last = done.output.splitlines()
    assert [line.split() for line in lines] == [
        ["part"],
        ["speedup", "4.5", "at", "least", "4:", "met"],
    ]
    made = json.loads(last)
    assert made.items() >= {"suite": "tiny", **figures}.items() and made["versions"]["jax"]


def test_a_suite_that_is_not_there_is_named():
    refused = call("benchmark", "--suite=trian").refusal
    assert refused.startswith("unknown benchmark suite 'trian' (did you mean 'train'?)")


def test_a_suite_is_in_the_module_of_its_name():
    places = {
        name: path.stem
        for path in Path(registry.__file__).parent.glob("*.py")
        for name in re.findall(r'^@SUITES.register\("(\w+)"\)', path.read_text(), re.MULTILINE)
    }
    assert places == {name: name for name in SUITES}
