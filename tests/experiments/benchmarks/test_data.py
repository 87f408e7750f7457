"""The suite on few documents, with stand-ins for the libraries' processes."""

import contextlib
import itertools
import json

import numpy as np
import pytest

from experiments.benchmarks import data as suite
from experiments.benchmarks.figures import figure_lines, with_targets
from experiments.benchmarks.near_duplicates import contenders
from experiments.benchmarks.near_duplicates.documents import SIMILARITIES, WORDS, made_texts
from experiments.benchmarks.near_duplicates.program import contender
from gptjax.curation.deduplication.scheme import MinHash
from gptjax.data.corpora.text import Document
from tests.support.tiers import tiered

SIZES = suite.DataSizes(documents=400, fewer=100, of_datasketch=50, rounds=3)
SECONDS = {"ours": 4.0, "rensa": 12.0, "datasketch": 30.0}


def figures_of(seconds):
    shares = {"signatures": 0.5, "candidates": 0.25, "decisions": 0.25}
    made = {f"{part}_seconds": seconds * share for part, share in shares.items()}
    made |= {f"{part}_processor_seconds": 2 * seconds * share for part, share in shares.items()}
    return {**made, "pairs": 7, "dropped": 3, "peak_bytes": 1e9}


@contextlib.contextmanager
def some_contender(name, documents):
    seconds = SECONDS[name] * (0.24 if documents == 100 else 1)
    yield lambda: figures_of(seconds), f"{name} 0.0"


@contextlib.contextmanager
def only_ours(name, documents):
    if name != "ours":
        raise ValueError(f"{name} is not installed")
    yield lambda: figures_of(4.0), "gptjax"


def test_libraries_are_compared_for_each_document(monkeypatch):
    monkeypatch.setattr(suite, "contender", some_contender)
    found = suite.measure_near_duplicates(SIZES)
    assert len(found["over_rensa"]) == 3
    assert list(found["over_rensa"].values()) == pytest.approx([3, 3, 3])
    assert found["over_datasketch"]["seconds"] == pytest.approx(30 / 50 / (4 / 400))
    assert found["growth"] == pytest.approx((4 / 400) / (0.96 / 100))
    assert found["ours"]["seconds"] == 4 and found["ours"]["processor_seconds"] == 8
    assert found["rensa"]["candidates_seconds"] == 3
    assert found["datasketch"]["documents"] == 50 and found["rensa"]["library"] == "rensa 0.0"
    judged = with_targets({"near_duplicates": found}, suite.TARGETS)["near_duplicates"]
    assert judged["growth"]["met"] and judged["ours"]["peak_bytes"]["met"]
    assert judged["over_rensa"]["seconds"]["met"] and "target" not in judged["rensa"]
    assert len(list(figure_lines(judged))) > 20 and json.dumps(judged)


def test_a_library_that_is_missing_leaves_its_reason(monkeypatch):
    monkeypatch.setattr(suite, "contender", only_ours)
    found = suite.measure_near_duplicates(SIZES)
    assert found["rensa"] == "rensa is not installed" and "over_rensa" not in found
    assert found["growth"] == pytest.approx(0.25)


def test_tokenising_gives_the_library_s_tokens_at_its_rate(monkeypatch):
    monkeypatch.setattr(suite, "load_corpus", lambda spec: [Document("a", "Some text. " * 9)])
    found = suite.measure_tokenising(rounds=1)
    assert found["over_tokenizers"] > 0 and found["megabytes_per_second"] > 0


@pytest.mark.slow
def test_made_texts_have_the_similarities_they_are_made_with():
    texts = made_texts(2_000, seed=3)
    assert texts[:5] == made_texts(5, seed=3) != made_texts(5, seed=4)
    assert 1900 < np.mean([len(text) for text in texts]) < 2100
    originals: dict[str, list[str]] = {}
    shared = []
    for text in texts:
        words = text.split()
        other = originals.setdefault(" ".join(words[:100]), words)
        if other is not words:
            same = sum(1 for _ in itertools.takewhile(bool, map(str.__eq__, words, other)))
            shared.append(same / (2 * WORDS - same))
    assert 0.17 < len(shared) / len(texts) < 0.23
    assert np.mean(shared) == pytest.approx(SIMILARITIES.mean(), abs=0.02)
    assert min(shared) > 0.49


@pytest.mark.parametrize(
    "name", tiered([(name,) for name in contenders.CONTENDERS], [("ours",), ("datasketch",)])
)
def test_contenders_find_what_is_planted(name):
    if name != "ours":
        pytest.importorskip(name)
    texts = made_texts(400)
    copy = texts[0].split()
    texts += [texts[1], " ".join([*copy[:-9], *["changed"] * 9])]
    found = contenders.CONTENDERS[name](texts, MinHash())
    alone = contenders.CONTENDERS[name](texts[:400], MinHash())
    assert found["dropped"] == alone["dropped"] + 2
    assert found["pairs"] >= alone["pairs"] + 2
    assert min(found[f"{part}_seconds"] for part in suite.PARTS) > 0


@pytest.mark.slow
def test_a_contender_runs_in_a_process_of_its_own():
    of_this_process = np.ones(10**9 // 8)
    with contender("ours", documents=300) as (run, version):
        first, second = run(), run()
    assert version == "gptjax" and first["pairs"] == second["pairs"]
    assert 5e7 < first["peak_bytes"] < of_this_process.nbytes
    with (
        pytest.raises(ValueError, match="theirs does not run here: ValueError: theirs is not"),
        contender("theirs", documents=300),
    ):
        pass


@pytest.mark.slow
def test_shards_loader_rules_and_preparation_are_measured():
    shards, loader = suite.measure_shards(20), suite.measure_loader(1_000_000, 3)
    assert shards["shards"] == 20 and min(*shards.values(), *loader.values()) > 0
    rules = suite.measure_rules(rounds=1)
    assert rules["ours_megabytes_per_second"] > 0 and rules["bytes"] > 1_000_000
    prepared = suite.measure_preparation(1)
    assert prepared["megabytes"] == pytest.approx(1, abs=0.1) and prepared["kept"] > 0
    assert prepared["megabytes_per_cpu_second"] > 0
