"""Samples of a hardly trained model against its corpus of eleven words."""

import numpy as np
import pytest

from gptjax.runs import inputs
from gptjax.runs.train import train
from gptjax.runs.workdir import WorkDirectory
from gptjax.studies.choices import DetectionPlan
from gptjax.studies.generated_text import detect, detection_lines, windows
from tests.support.binaries import call

pytest.importorskip("sklearn", reason="scikit-learn is not installed: extra `curation`")

PLAN = DetectionPlan(texts=60, judged=12, context=4, tokens=12, fewest_texts=2)


@pytest.fixture(scope="module")
def workdir(make_config, tmp_path_factory):
    workdir = WorkDirectory(str(tmp_path_factory.mktemp("runs") / "tiny"))
    train("tiny", make_config(), workdir)
    return workdir


@pytest.mark.slow
def test_noise_is_told_from_words(workdir):
    samplers = {"temperature 1": {}, "greedy": {"temperature": 0.0}}
    rows = detect([workdir], samplers, PLAN)
    assert [row["sampler"] for row in rows] == list(samplers)
    assert all(row["accuracy"] > 0.8 for row in rows)
    assert rows == detect([workdir], samplers, PLAN)
    assert len(detection_lines(rows)) == 3


@pytest.mark.slow
def test_windows_have_no_end_of_text_and_longer_ones_are_refused(workdir):
    tokenizer = workdir.tokenizer()
    split = inputs.prepare_corpus(workdir.config(), tokenizer).train
    rows = windows(split, tokenizer, 60, PLAN)
    assert rows.shape == (60, 16) and not (rows == tokenizer.end_of_text).any()
    stream = np.asarray(split.tokens).tolist()
    text = " ".join(map(str, stream))
    assert all(" ".join(map(str, row)) in text for row in rows.tolist())
    with pytest.raises(ValueError, match="windows of 16 tokens in which no document ends, exp"):
        windows(split, tokenizer, 10_000, PLAN)
    with pytest.raises(ValueError, match=r"got texts of 8 \+ 96 tokens, expected at most the mod"):
        detect([workdir], {}, DetectionPlan())


def test_the_binary_is_refused_without_a_run(tmp_path):
    ended = call("detect_generated", f"--output={tmp_path}/out")
    assert ended.refusal == "--workdirs: got none, expected the work directory of one run at least"
    assert not (tmp_path / "out").exists()
