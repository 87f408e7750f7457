"""Translation beside `nn.Transformer`: BLEU after as many seconds of training on the same batches.

Both have the sizes and the recipe of `transformer_smoke`, with a tokenizer of the pairs, and read
the same batches in the same order. They train in turn, a tenth of the time at once, so that other
work slows both down; compilation counts. Then both translate the same held-out sentences, greedily.

    python -m experiments.benchmark --suite=translation --pairs=tsv:deu.txt --seconds=900
"""

import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import jax

from experiments.benchmarks.figures import Target, with_targets
from experiments.benchmarks.interleaved import interleaved
from experiments.benchmarks.pytorch.program import torch_program
from experiments.benchmarks.registry import SUITES
from experiments.configs import EXPERIMENTS
from gptjax.config import resolve
from gptjax.data.batches.loader import ALL
from gptjax.data.batches.token_stream import HostBatch
from gptjax.data.corpora.text import load_corpus
from gptjax.judging import bleu
from gptjax.runs.program import Program
from gptjax.runs.task import Task
from gptjax.tasks.configs.translation import TranslationConfig
from gptjax.tasks.translated import Translations
from gptjax.tasks.translation import KIND, held_out_pairs
from gptjax.tokenization import ByteLevelBPE
from gptjax.training.partitioning import put_batch

VOCABULARY = 4096  # word pieces of both languages
SLICES = 10
SCORED = 500  # held-out pairs
SAMPLES = 5
TARGETS: dict[str, Target] = {"bleu_ahead_of_torch": ("at least", 0)}


@SUITES.register("translation")
def translation(pairs: str | None = None, seconds: int = 900) -> dict[str, Any]:
    """Trains both sides for so many seconds each on a set of pairs, and prints samples."""
    if pairs is None:
        raise ValueError(
            "--pairs: got none, expected a set of sentence pairs for the suite translation, such "
            "as tsv:PATH or files:SOURCE,TARGET"
        )
    bleu.check_available()
    with tempfile.TemporaryDirectory() as scratch:
        return with_targets(measure_translation(pairs, seconds, Path(scratch)), TARGETS)


def config_of(pairs: str, tokenizer: str) -> TranslationConfig:
    """The configuration of both sides, for pairs and a saved tokenizer."""
    config = cast(TranslationConfig, EXPERIMENTS.get("transformer_smoke")())
    config.model.vocab_size = VOCABULARY
    config.data.tokenizer = tokenizer
    config.translation.pairs, config.translation.num_beams = pairs, 1
    return resolve(config)


def measure_translation(pairs: str, seconds: float, scratch: Path) -> dict[str, Any]:
    """Trains and scores both sides, without targets; `scratch` is an empty directory."""
    corpus = load_corpus(f"pairs:{pairs}")
    is_held_out = corpus.held_out(0.05)
    texts = (document.text for document in corpus if not is_held_out(document))
    ByteLevelBPE.train(texts, VOCABULARY).save(scratch / "tokenizer")
    arguments = {"pairs": pairs, "tokenizer": str(scratch / "tokenizer")}
    config = config_of(**arguments)
    task = KIND.prepare(config)
    scored = held_out_pairs(config, task.tokenizer)[:SCORED]
    written = scratch / "theirs.json"
    with torch_program(
        "translation",
        **arguments,
        seconds=seconds / SLICES,
        slices=SLICES,
        scored=len(scored),
        output=str(written),
    ) as (theirs, version):
        program = _Training(task, seconds / SLICES)
        program()  # as theirs has had a slice
        interleaved({"ours": program, "theirs": theirs}, SLICES - 1)
    made = json.loads(written.read_text())
    translate = Translations(
        KIND.model(config), program.state.params, task.tokenizer, config.translation
    )
    found, figures = translate.scored(scored)
    beside = bleu.scores(made["translations"], [pair.target for pair in scored])
    for pair, mine, other in itertools.islice(
        zip(scored, found, made["translations"], strict=True), SAMPLES
    ):
        print(f"source     {pair.source}\nours       {mine}\ntorch      {other}")
        print(f"reference  {pair.target}\n")
    return {
        "pairs": len(scored),
        "ours": {**figures, "steps": program.steps, "seconds": program.clock.seconds},
        "torch": {"version": version, **beside, "steps": made["steps"], "seconds": made["seconds"]},
        "bleu_ahead_of_torch": figures["bleu"] - beside["bleu"],
    }


def batches(task: Task) -> Iterator[HostBatch]:
    """The batches that both sides learn from, without an end."""
    return iter(task.batches(0, (), ALL))


class Clock:
    """Time in slices; what one takes too long is taken from the next.

    Attributes:
      seconds: so far.
      slices: so far.
    """

    def __init__(self, of_a_slice: float):
        self._of_a_slice, self.seconds, self.slices = of_a_slice, 0.0, 0

    def fill(self, step: Callable[[], object]) -> float:
        """Repeats `step` until the next slice is full, and returns how long that took."""
        before = self.seconds
        self.slices += 1
        while self.seconds < self.slices * self._of_a_slice:
            began = time.perf_counter()
            step()
            self.seconds += time.perf_counter() - began
        return self.seconds - before


class _Training:
    """Our side; a call trains for a slice and returns its seconds.

    Attributes:
      clock: of the training.
      state: after the last step.
      steps: so far.
    """

    def __init__(self, task: Task, of_a_slice: float):
        self._program, self._batches = Program(task.config), batches(task)
        self.clock, self.steps = Clock(of_a_slice), 0
        self._seed = task.config.training.seed
        sharding = jax.tree.map(lambda leaf: leaf.sharding, self._program.target)
        self.state = jax.jit(self._program.fresh, out_shardings=sharding)(self._seed)

    def __call__(self) -> float:
        return self.clock.fill(self._step)

    def _step(self) -> None:
        batch = put_batch(next(self._batches), self._program.mesh)
        self.state, metrics = self._program.train_step(self.state, batch, self._seed)
        float(metrics["loss"])
        self.steps += 1
