"""Preparations of data, for `python -m experiments.prepare_data`.

python -m experiments.prepare_data --experiment=prepare_smoke --output=prepared/smoke
"""

from gptjax.curation.pipeline.configuration import (
    PREPARATIONS,
    DecontaminationConfig,
    MixtureConfig,
    PrepareConfig,
    QualityConfig,
    ShardsConfig,
    SourceConfig,
)


@PREPARATIONS.register("prepare_smoke")
def prepare_smoke() -> PrepareConfig:
    """Every stage on text that comes with every Python, and on noise that is planted.

    Sources are docstrings, source files, and noise made of the docstrings: copies, near copies,
    repetitions, symbols and evaluation questions (`gptjax.curation.planted_noise`).
    Expected: under a minute on two CPU cores; every copy that was planted is found.
    """
    return PrepareConfig(
        tokenizer="python_docs_1024",
        sources={
            "docs": SourceConfig("corpus", "python_docs", heuristics=False, weight=0.6),
            "code": SourceConfig(
                "corpus", "python_source", heuristics=False, priority=1, weight=0.3
            ),
            "noise": SourceConfig(
                "corpus", "planted_noise", quality=True, priority=2, weight=0.1
            ),
        },
        heuristics={"gopher_quality": {}, "gopher_repetition": {}},
        quality=QualityConfig(positives=("docs",), negatives=("noise",)),
        decontamination=DecontaminationConfig(sets=("planted_questions",)),
        mixture=MixtureConfig(tokens=10_000_000, context_length=256),
        shards=ShardsConfig(megabytes=4.0),
    )
