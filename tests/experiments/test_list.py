import json
import re
from pathlib import Path

import pytest

from experiments.configs import EXPERIMENTS, PIPELINES, STUDIES
from gptjax.config import resolve
from gptjax.settings import expected, fields, limits_of, meaning
from tests.support.binaries import call

GOLDEN = Path(__file__).parent / "golden"


def listed(*arguments: str) -> str:
    ended = call("list", *arguments)
    assert (ended.code, ended.errors) == (0, "")
    return ended.output


def entries(shown: str) -> dict[str, tuple[str, str, str]]:
    """The value, what is allowed, and the meaning, by path, of what `list` shows of a config."""
    _, _, shown = shown.partition("its meaning is below.\n")
    found, path = {}, ""
    for line in shown.splitlines():
        if line.startswith(" " * 6):
            value, allowed, words = found[path]
            found[path] = value, allowed, f"{words} {line.strip()}".strip()
        elif line.startswith("  "):
            path, value, allowed = re.split(" {2,}", line.strip())
            assert path not in found
            found[path] = value, allowed, ""
    return found


def explanations(config, values) -> dict[str, tuple[str, str, str]]:
    return {
        path: (
            str(value).lower() if value is None or isinstance(value, bool) else str(value),
            expected(*limits_of(config, path)),
            meaning(config, path),
        )
        for path, value in values.items()
    }


def test_every_experiment_has_its_line():
    listed = call("list")
    lines = listed.output.splitlines()
    assert (listed.code, listed.errors) == (0, "")
    assert [line.split()[0] for line in lines] == [
        *EXPERIMENTS,
        *(name for registry in STUDIES.values() for name in registry),
    ]
    assert any(line.split(maxsplit=1)[1].startswith("GPT-3 175B, 174,604M") for line in lines)


@pytest.mark.parametrize("name", ["gpt3_xl", "grpo_smoke"])
def test_an_experiment_is_explained_in_full(name):
    shown = listed(f"--experiment={name}")
    assert (EXPERIMENTS.get(name).__doc__ or "").splitlines()[0] in shown
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    values = {
        f"{section}.{field}": value for section, of in golden.items() for field, value in of.items()
    }
    assert entries(shown) == explanations(EXPERIMENTS.get(name)(), values)


@pytest.mark.parametrize("name", list(PIPELINES))
def test_a_pipeline_is_explained_stage_by_stage(name):
    shown = listed(f"--experiment={name}")
    pipeline = PIPELINES.get(name)()
    values = {path: value for path, value in fields(pipeline).items() if "." not in path}
    for stage in ("pretrain", "sft", "reward_model", "ppo", "dpo"):
        of_stage = fields(resolve(getattr(pipeline, stage)))
        values |= {f"{stage}.{path}": value for path, value in of_stage.items()}
    assert len(values) > 400
    assert entries(shown) == explanations(pipeline, values)


def test_an_unknown_name_is_answered_with_the_nearest():
    ended = call("list", "--experiment=instruct_smok")
    assert (ended.code, ended.output) == (2, "")
    assert ended.errors.startswith(
        "error: unknown experiment or study 'instruct_smok' (did you mean 'instruct_smoke'?)"
    )


def test_a_kind_of_run_is_explained_by_the_fields_that_it_adds():
    shown = listed("--kind=dpo")
    assert "Experiments:  dpo_6b, dpo_smoke\n" in shown
    found = entries(shown)
    assert found["dpo.label_smoothing"] == (
        "0.0",
        "float >= 0 and < 0.5",
        "share of the preferences that dpo assumes to be wrong",
    )
    assert {path.split(".")[0] for path in found} == {"dpo"}
    assert "It adds no fields" in listed("--kind=pretrain")


def test_a_transfer_study_names_its_models_systems_and_tasks():
    shown = listed("--experiment=gpt_beside_bert")
    assert "Models:  BERT, BERT without NSP, GPT\n" in shown
    assert "left-to-right BERT without NSP, GPT, " in shown
    assert shown.endswith("Tasks:  animals or things\n")


def test_a_preparation_says_its_fields():
    shown = listed("--experiment=prepare_smoke")
    assert "python -m experiments.prepare_data --experiment=prepare_smoke --output=DIR\n" in shown
    assert "  packing: concatenate\n" in shown
