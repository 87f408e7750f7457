"""The study of moderation: who sees what, the baseline, prompts that are safe, and one whole."""

import json
import re

import numpy as np
import pytest

from gptjax.data.dialogue.records import Records
from gptjax.data.labelled.multilabel import LabelledText
from gptjax.judging.detection import area_under_roc
from gptjax.studies.moderation.nested import Plan, nested
from gptjax.studies.moderation.over_blocking import Prompt, over_blocking, read_xstest
from gptjax.studies.moderation.report import markdown, summarise
from tests.support.binaries import call

WORDS = ("apple", "brick", "cloud", "drum", "engine", "flute", "grass", "hotel", "iron", "jelly")
NAMES = ("A", "B")


def drawn(count=60, seed=0):
    """Texts; of A where "apple" stands in them, of B where "brick" does; a fifth unknown."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        words = rng.choice(WORDS, size=6).tolist()
        hidden = rng.random(2) < 0.2
        labels = [None if h else int(w in words) for h, w in zip(hidden, WORDS, strict=False)]
        made.append(LabelledText(" ".join(words), (labels[0], 0 if hidden.all() else labels[1])))
    return Records("drawn", tuple(made))


def plan(**changes):
    return Plan(
        **{"texts": drawn(), "categories": NAMES, "folds": 4, "inner": 2, "precision": 0.8}
        | changes
    )


def test_no_member_is_asked_of_what_it_learned():
    study = plan()
    fold_of = {text.text: fold for text, fold in zip(study.texts, study.fold_of, strict=True)}
    asked = {}

    def system(outer, inner):
        learned = study.learned(outer, inner)
        assert len({outer, inner, *learned}) == 4 == study.folds

        def predict(texts):
            folds = {fold_of[text] for text in texts if text in fold_of}
            assert folds == {outer, inner} and texts[-1] == "a prompt"
            asked.setdefault(outer, []).append(inner)
            return np.full((len(texts), 2), 0.5)

        return predict

    nested(study, system, ["a prompt"])
    assert asked == {0: [1, 2], 1: [2, 3], 2: [3, 0], 3: [0, 1]}


def test_thresholds_are_of_inner_folds_and_scores_the_mean_of_members():
    """Members whose inner folds say other thresholds than the outer one would."""
    study = plan(inner=1)
    fold_of, (labels, known) = study.fold_of, study.labels
    number = {text.text: i for i, text in enumerate(study.texts)}

    def system(outer, inner):
        def predict(texts):
            rows = [number[text] for text in texts]
            right = labels[rows] * known[rows]
            return np.where((fold_of[rows] == inner)[:, None], 0.2 + 0.1 * right, 0.9 * right)

        return predict

    found = nested(study, system, [])
    np.testing.assert_allclose(found.scores, 0.9 * labels)
    for outer, chosen in enumerate(found.thresholds):
        inner = (outer + 1) % 4
        for i, name in enumerate(NAMES):
            has = (labels[:, i] * known[:, i])[fold_of == inner].any()
            assert chosen[name] == (pytest.approx(0.3) if has else None)
    (summary,) = summarise(study, {"x": found}, [])["systems"].values()
    assert summary["categories"]["A"]["auprc"] == 1.0
    assert summary["categories"]["A"]["precision"] == summary["categories"]["A"]["recall"] == 1.0
    assert summary["thresholds"]["A"] == pytest.approx(0.9) and summary["xstest"] is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inner": 3}, "--inner: got 3 with --folds=4, expected 1 to 2"),
        ({"texts": drawn(3), "folds": 9}, "--folds: got 9, of which .* have none of the 3 rows"),
    ],
)
def test_folds_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        plan(**changes)


def test_the_baseline_learns_which_words_count(monkeypatch):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: extra `curation`")
    from gptjax.studies.moderation import baseline
    from gptjax.studies.moderation.baseline import fit_baseline

    monkeypatch.setattr(baseline, "FEATURES", 1 << 12)
    predict = fit_baseline(drawn(150, 1), drawn(60, 2))
    said = predict([text.text for text in drawn(60, 3)])
    for i in range(2):
        of = [(x.labels[i], y) for x, y in zip(drawn(60, 3), said[:, i], strict=True)]
        right, scores = np.array([pair for pair in of if pair[0] is not None], float).T
        assert area_under_roc(scores, right) > 0.95
    only = [LabelledText(x.text, (0, x.labels[1])) for x in drawn(20, 4)]
    assert (fit_baseline(only, only)(["apple"])[0, 0], said.shape) == (0.0, (60, 2))


def test_shares_of_prompts_are_averaged_over_folds():
    prompts = [Prompt("a", "x", True), Prompt("b", "y", True), Prompt("c", "x", False)]
    flags = np.zeros((2, 3, 2), bool)
    flags[0, 0] = True, True  # the first is flagged in one fold of two
    flags[:, 2, 1] = True
    found = over_blocking(prompts, flags, NAMES)
    assert found["safe"]["flagged"] == 0.25 and found["safe"]["prompts"] == 2
    assert found["unsafe"]["flagged"] == 1.0
    assert found["safe_by_category"] == {"A": 0.25, "B": 0.25}
    assert found["safe_by_type"] == {"x": 0.5, "y": 0.0}


def write_xstest(path):
    rows = [
        f'{i},"is {word}, there?",kind{i % 2},{("safe", "unsafe")[i % 2]},f,n'
        for i, word in enumerate(WORDS)
    ]
    path.write_text("\n".join(["id,prompt,type,label,focus,note", *rows]) + "\n")


def test_a_file_of_another_form_is_refused(tmp_path):
    path = tmp_path / "prompts.csv"
    write_xstest(path)
    assert len(read_xstest(path)) == 10 and read_xstest(path)[1] == Prompt(
        "is brick, there?", "kind1", False
    )
    for text, message in {
        "a,b\n1,2\n": "got a, b, expected columns prompt, type and label",
        "": "got no rows",
        "prompt,type,label\nx,y,z\n": "row 1: label: got 'z', expected safe or unsafe",
    }.items():
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_xstest(path)
    with pytest.raises(ValueError, match=r"cannot read .*No such file"):
        read_xstest(tmp_path / "none")


TUNE = "--tune=model.num_layers=1,model.d_model=16,model.num_heads=2,model.context_length=16,"
TUNE += "moderation.epochs=1,moderation.head_width=8,moderation.categories=A,B"


@pytest.fixture
def small(tmp_path):
    """Arguments of a study on the published format, whose texts are harmless."""
    rows = [
        {"prompt": text.text}
        | {n: x for n, x in zip(NAMES, text.labels, strict=True) if x is not None}
        for text in drawn(48)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_xstest(tmp_path / "prompts.csv")
    return [
        f"--data=jsonl:{tmp_path}/rows.jsonl",
        f"--xstest={tmp_path}/prompts.csv",
        f"--workdir={tmp_path}/study",
        *("--folds=3", TUNE),
    ]


def test_a_study_is_done_once_and_shows_no_text(small, tmp_path, trained):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: extra `curation`")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPTJAX_CACHE", str(trained.cache))
        patch.setattr("gptjax.judging.metrics.RESAMPLES", 20)
        patch.setattr("gptjax.studies.moderation.baseline.FEATURES", 1 << 12)
        done = call("moderation", *small)
        assert done.code == 0, done.errors
        study = tmp_path / "study"
        summary = json.loads((study / "moderation.json").read_text())
        members = sorted(str(x.parent.relative_to(study)) for x in study.rglob("result.json"))
        assert members == ["outer0/inner1", "outer1/inner2", "outer2/inner0"]
        assert [*summary["systems"]] == ["moderation", "n-grams"]
        assert all(0 <= s["xstest"]["safe"]["flagged"] <= 1 for s in summary["systems"].values())
        table = (study / "moderation.md").read_text()
        assert table == markdown(summary) and table in done.output
        assert len(re.findall(r"^\| [AB], (moderation|n-grams) \|", table, re.M)) == 4
        times = {x: x.stat().st_mtime_ns for x in study.rglob("checkpoints/[0-9]*")}
        again = call("moderation", *small, "--nobaseline")
        alone = json.loads((study / "moderation.json").read_text())["systems"]
        assert alone == {"moderation": summary["systems"]["moderation"]}
        assert times == {x: x.stat().st_mtime_ns for x in study.rglob("checkpoints/[0-9]*")}
    files = [x for x in study.rglob("*.json*") if x.is_file()] + [study / "moderation.md"]
    written = done.output + done.errors + again.output + "".join(x.read_text() for x in files)
    assert not any(text.text in written for text in drawn(48))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--experiment=demo"], "--experiment: got demo, a run of kind pretrain, expected one of"),
        (["--data=jsonl:/nowhere"], "/nowhere"),
        (["--xstest=/nowhere"], "--xstest: cannot read /nowhere (No such file"),
        (["--inner=2"], "--inner: got 2 with --folds=3, expected 1 to 1"),
        (["--init_from=/nowhere"], "/nowhere"),
        (["--tune=moderation.epoch=1"], "unknown config field 'moderation.epoch'"),
    ],
)
def test_what_cannot_be_studied_is_refused_in_a_line(small, given, message, tmp_path):
    assert message in call("moderation", *small, *given).refusal
    assert not (tmp_path / "study" / "outer0").exists()
