"""Transfer studies: what is equal, what each run is given, the table, and a small one whole."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from scipy import stats

from experiments.configs import TRANSFERS
from gptjax.config import batch_schedule
from gptjax.models.bert import Bert
from gptjax.models.gpt import GPT
from gptjax.models.parameter_shapes import parameter_shapes
from gptjax.runs.kind import kind_of
from gptjax.runs.workdir import WorkDirectory
from gptjax.studies.transfer import report
from gptjax.studies.transfer.plan import plan, pretraining_configs, tuning_config
from tests.support.binaries import call, registered

SMALL = (
    "model.num_layers=1,model.d_model=16,model.num_heads=2,training.num_steps=4,"
    "training.eval_every=4,training.eval_batches=1,optimizer.warmup_steps=1,"
    "checkpoint.every_steps=4"
)
TASK = "made up: task.train=embedded:count=64,task.validation=embedded:split=held_out,"
TASK += "task.labels=animals,things,task.epochs=1"


def small(name="gpt_beside_bert"):
    return TRANSFERS.get(name)().with_changes(SMALL, None, TASK)


def sizes(shapes):
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def test_gpt_and_bert_are_alike_in_text_tokens_width_and_recipe():
    configs = pretraining_configs(TRANSFERS.get("gpt_beside_bert")(), "tokens", 3)
    bert, alone, gpt = (configs[name] for name in ("BERT", "BERT without NSP", "GPT"))
    for config in (alone, gpt):
        assert (config.data, config.training) == (bert.data, bert.training)
        assert config.optimizer == bert.optimizer and config.training.seed == 3
    tokens = {batch_schedule(x).tokens(x.training.num_steps) for x in configs.values()}
    assert tokens == {1500 * 32 * 64}
    shapes = parameter_shapes(GPT(gpt.model)), parameter_shapes(Bert(bert.model))
    of_gpt, of_bert = map(sizes, shapes)
    assert sizes(shapes[0]["trunk"]) == sizes(shapes[1]["trunk"])
    assert 0.9 < of_gpt / of_bert < 1
    assert alone.model.heads == "masked_lm" and bert.model.heads == "pretraining"


def test_equal_flops_give_the_cheaper_model_more_steps():
    configs = pretraining_configs(TRANSFERS.get("gpt_beside_bert")(), "flops", 0)
    spent = {
        name: kind_of(x).costs(x).executed_flops_per_token
        * batch_schedule(x).tokens(x.training.num_steps)
        for name, x in configs.items()
    }
    assert configs["GPT"].training.num_steps < 1500 == configs["BERT"].training.num_steps
    np.testing.assert_allclose(list(spent.values()), spent["BERT"], rtol=2e-3)
    warmup = configs["GPT"].optimizer.warmup_steps
    assert warmup == round(30 * configs["GPT"].training.num_steps / 1500)


def test_the_lstm_is_as_large_as_the_transformer_with_2048_word_pieces():
    study = TRANSFERS.get("gpt1_ablations")()
    models = {
        name: dataclasses.replace(config.model, vocab_size=2048)
        for name, config in study.pretraining.items()
    }
    found = {name: sizes(parameter_shapes(GPT(model))) for name, model in models.items()}
    assert abs(found["LSTM"] / found["Transformer"] - 1) < 0.03, found


def test_a_study_has_only_the_systems_that_are_asked_for_and_what_they_start_from():
    study = TRANSFERS.get("gpt1_ablations")()
    lstm = study.only(["LSTM with auxiliary loss"])
    assert list(lstm.systems) == ["LSTM with auxiliary loss"] and list(lstm.pretraining) == ["LSTM"]
    assert lstm.systems["LSTM with auxiliary loss"] is study.systems["LSTM with auxiliary loss"]
    with pytest.raises(ValueError, match=r"got \['RNN'\], expected some of \['with auxiliary"):
        study.only(["LSTM with auxiliary loss", "RNN"])


def test_a_random_start_has_the_shape_and_the_tokenizer_of_the_pretrained_model(tmp_path):
    study = small()
    pretrained = pretraining_configs(study, "tokens", 5)
    for name, marks, more in (
        ("GPT without pretraining", "task:", 3),
        ("BERT without pretraining", "", 0),
    ):
        system = study.systems[name]
        source, model = WorkDirectory(str(tmp_path)), pretrained[system.pretraining]
        config = tuning_config(system, study.tasks[0], source, model, 5)
        assert config.checkpoint.init_from is None and config.training.seed == 5
        assert config.model.d_model == 16 and config.model.num_layers == 1
        assert config.data.tokenizer == marks + model.data.tokenizer
        assert config.model.vocab_size == model.model.vocab_size + more
        assert config.task.train == "embedded:count=64"


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("tasks", "task.train=embedded", "got no name in 'task.train=embedded', expected NAME:"),
        ("tasks", "a: task.epochs=1; a: task.epochs=2", "got two tasks 'a', expected NAME:"),
        ("tasks", "a: task.lm_weight=1", "--tasks: unknown config field 'task.lm_weight'"),
        ("tasks", "a: task.train=tsv:none.tsv,task.labels=0,1", "no files at 'none.tsv'"),
        ("tasks", "a: task.train=embedded,task.form=entailment", "config.task.text_b: got None"),
        ("pretrain", "model.d_modle=4", "--pretrain: unknown config field 'model.d_modle'"),
        ("pretrain", "model.d_model=no", "--pretrain: model.d_model: got 'no', expected int"),
        ("tune", "task.epochs=1,task.epochs=2", "--tune: got task.epochs twice in"),
        ("experiment", "gpt_beside_brt", "did you mean 'gpt_beside_bert'?"),
    ],
)
def test_bad_input_is_one_line(flag, value, said, tmp_path):
    ended = call("transfer", f"--workdir={tmp_path}/study", f"--{flag}={value}")
    assert said in ended.refusal
    assert not (tmp_path / "study").exists()


def test_the_table_has_means_intervals_and_paired_differences():
    values = {"BERT": [0.8, 0.7, 0.9], "GPT": [0.7, 0.65, 0.75]}

    def interval(x):
        half = stats.t.interval(0.95, len(x) - 1, np.mean(x), stats.sem(x))[1] - np.mean(x)
        return {"mean": float(np.mean(x)), "half_width": float(half)}

    less = interval(np.subtract(values["GPT"], values["BERT"]))
    task = {
        "metric": "accuracy",
        "majority_share": 0.5,
        "systems": {
            "BERT": {
                "values": values["BERT"],
                "figure": interval(values["BERT"]),
                "less_first": None,
            },
            "GPT": {"values": values["GPT"], "figure": interval(values["GPT"]), "less_first": less},
        },
    }
    lines = report.markdown(
        {"budget": "tokens", "seeds": [0, 1, 2], "pretraining": {}, "tasks": {"SST-2": task}}
    ).splitlines()
    assert "| BERT | 0.800 ± 0.248 |" in lines and "| most frequent label | 0.500 |" in lines
    assert f"| GPT | -0.100 ± {less['half_width']:.3f} |" in lines


@pytest.mark.slow
def test_a_small_study_runs_and_goes_on(tmp_path):
    study = small()
    study = dataclasses.replace(
        study,
        pretraining={name: study.pretraining[name] for name in ("BERT", "GPT")},
        systems={name: study.systems[name] for name in ("BERT", "GPT", "GPT without pretraining")},
    )
    arguments = ("transfer", "--experiment=tiny", f"--workdir={tmp_path}/study")
    with registered(TRANSFERS, tiny=lambda: study):
        ended = call(*arguments, "--seeds=2")
        assert ended.code == 0, ended.errors
        written = tmp_path / "study" / "transfer.json"
        summary = json.loads(written.read_text())
        again = call(*arguments, "--seeds=2")
        assert "step 1/" not in again.output
        assert json.loads(written.read_text())["tasks"] == summary["tasks"]
    figures = summary["tasks"]["made up"]["systems"]
    for name, system in figures.items():
        for seed, value in enumerate(system["values"]):
            run = tmp_path / "study" / f"seed{seed}" / "made_up" / name.replace(" ", "_")
            rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
            assert value == [r for r in rows if r.get("split") == "validation"][-1]["accuracy"]
    assert (tmp_path / "study" / "transfer.png").stat().st_size > 1000
    started = WorkDirectory(f"{tmp_path}/study/seed1/made_up/GPT").config().checkpoint.init_from
    assert started == f"{tmp_path}/study/seed1/pretrain/GPT"


def test_each_run_has_its_own_directory(tmp_path):
    runs = plan(small("gpt1_ablations"), tmp_path, "tokens", 0)
    assert len({run.workdir.path for run in runs}) == len(runs) == 2 + 6
