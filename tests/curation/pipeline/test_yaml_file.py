"""Configurations in YAML: what comes back, and what is refused."""

import pytest
import yaml

from gptjax.curation.pipeline.configuration import PrepareConfig, SourceConfig
from gptjax.curation.pipeline.yaml_file import as_yaml, checked, read_config

MINIMAL = {"tokenizer": "bytes", "sources": {"books": {"reader": "text", "location": "b"}}}


def refusal(**changes):
    with pytest.raises(ValueError) as caught:
        checked(PrepareConfig, {**MINIMAL, **changes}, "p.yaml")
    (line,) = str(caught.value).splitlines()
    return line


def test_a_file_comes_back_as_it_was_written(tmp_path):
    config = PrepareConfig(
        "bytes", {"books": SourceConfig("text", "b", weight=1.0)}, heuristics={"c4": {"a": 1}}
    )
    path = tmp_path / "p.yaml"
    path.write_text(as_yaml(config))
    assert read_config(path) == config
    written = yaml.safe_load(path.read_text())
    assert written["deduplication"]["scheme"] == "gpt3"  # every default is visible


def test_a_whole_number_is_a_float_where_one_is_expected():
    config = checked(PrepareConfig, {**MINIMAL, "shards": {"megabytes": 2}}, "p.yaml")
    assert type(config.shards.megabytes) is float


@pytest.mark.parametrize("written", ["none", None])
def test_none_is_written_as_in_flags_or_as_in_yaml(written):
    config = checked(PrepareConfig, {**MINIMAL, "deduplication": {"scheme": written}}, "p.yaml")
    assert config.deduplication.scheme is None
    assert "got 'none', expected bool" in refusal(normalise="none")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"tokeniser": "x"}, "unknown field 'tokeniser' (did you mean 'tokenizer'?)"),
        (
            {"sources": {"web": {"reader": "text", "location": "x", "wieght": 1}}},
            "unknown field 'sources.web.wieght' (did you mean 'sources.web.weight'?)",
        ),
        ({"sources": {"web": {"reader": "text"}}}, "sources.web.location: got none, expected file"),
        ({"sources": {"web": 3}}, "sources.web: got 3, expected fields with values"),
        ({"sources": [1]}, "sources: got [1], expected names with values"),
        ({"shards": {"megabytes": 0}}, "shards.megabytes: got 0, expected float > 0"),
        ({"seed": "one"}, "seed: got 'one', expected int >= 0 and <= 2147483647"),
        ({"quality": {"positives": "books"}}, "got 'books', expected a list of str"),
        ({"mixture": {"packing": "tight"}}, "expected one of concatenate, best_fit, document"),
        ({"normalise": 1}, "normalise: got 1, expected bool"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(changes, expected):
    line = refusal(**changes)
    assert line.startswith("p.yaml: ") and expected in line


@pytest.mark.parametrize("content", [b"a: [1", b"\xff\xfe", b"- 1"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, content):
    path = tmp_path / "p.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"p\.yaml: got "):
        read_config(path)
    with pytest.raises(ValueError, match="cannot read"):
        read_config(tmp_path / "none.yaml")
