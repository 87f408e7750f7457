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

    Sources are docstrings, source files, and noise made of help topics: copies, near copies,
    evaluation questions, repetitions, symbols, adverts (`gptjax.curation.planted_noise`).
    Expected: under a minute on two CPU cores. Every copy is found, and nearly every near copy;
    every question is cut out; of the junk the rules and the classifier leave next to nothing.
    """
    return PrepareConfig(
        tokenizer="python_docs_1024",
        sources={
            "docs": SourceConfig("corpus", "python_docs", heuristics=False, weight=0.6),
            "code": SourceConfig(
                "corpus", "python_source", heuristics=False, priority=1, weight=0.3
            ),
            "copies": SourceConfig(
                "corpus", "planted_noise:copies", heuristics=False, priority=2, weight=0.01
            ),
            "junk": SourceConfig(
                "corpus", "planted_noise:junk", quality=True, priority=2, weight=0.01
            ),
        },
        heuristics={"gopher_quality": {}, "gopher_repetition": {}},
        quality=QualityConfig(positives=("docs",), negatives=("junk",), documents=300),
        decontamination=DecontaminationConfig(sets=("planted_questions",)),
        mixture=MixtureConfig(tokens=10_000_000, context_length=256),
        shards=ShardsConfig(megabytes=4.0),
    )
