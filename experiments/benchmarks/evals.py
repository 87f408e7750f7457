"""Evals: multiple choice with a shared context, generation tasks, and LAMBADA from a cold start.

    python -m experiments.benchmark --suite=evals

Multiple choice is measured beside each continuation with its context again, and beside the class
`hf` of lm-evaluation-harness, which needs `pip install 'gptjax[lm_eval,interop]'`: with the same
weights, items and cores, in its default batches of one and in batches of eight.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from experiments.benchmarks.figures import Target, with_targets
from experiments.benchmarks.interleaved import TimedProgram, interleaved, medians, ratio
from experiments.benchmarks.made_items import Range, Words, choices, tokenizer_of_size
from experiments.benchmarks.pytorch.program import torch_program
from experiments.benchmarks.registry import SUITES
from experiments.configs import EXPERIMENTS
from gptjax.config import ExperimentConfig, ModelConfig, resolve
from gptjax.evals.models.language_model import LanguageModel
from gptjax.evals.requests import Generation, Likelihood, LikelihoodAnswer
from gptjax.inference.generate import Generator
from gptjax.inference.sampling import make_sampler
from gptjax.interop.huggingface_directory import write_pretrained
from gptjax.models.gpt import GPT
from gptjax.runs.inputs import tokenizer_named
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import to_dict
from gptjax.training.checkpoints.parameter_files import Deferred, write_parameters


@dataclasses.dataclass(frozen=True)
class EvalSizes:
    """Model, items and rounds of the suite `evals`.

    Attributes:
      model: of multiple choice and generation.
      batch_size: texts that ours scores, or writes, at the same time.
      questions: with `answers` each.
      context, answer: words, which are tokens, that the answers to a question share, and their own.
      batches_of_hf: sizes of its batches.
      prompts, prompt: texts that are continued, and the words of each.
      new: tokens of each continuation.
      passages, passage: of LAMBADA, and the words of each.
      rounds: of each comparison.
    """

    model: ModelConfig
    batch_size: int = 32
    questions: int = 16
    answers: int = 4
    context: Range = (200, 400)
    answer: Range = (10, 20)
    batches_of_hf: tuple[int, ...] = (1, 8)
    prompts: int = 48
    prompt: Range = (16, 256)
    new: int = 32
    passages: int = 1_000
    passage: Range = (40, 115)
    rounds: int = 5


TARGETS: dict[str, Target] = {
    "multiple_choice.apart_over_shared": ("at least", 2.5),
    "multiple_choice.over_hf": ("at least", 2),
    "multiple_choice.nats_from_hf": ("at most", 0.01),
    "generation.over_generator": ("at least", 0.9),
    "lambada.seconds": ("at most", 60),
}


@SUITES.register("evals")
def evals() -> dict[str, Any]:
    """Runs the whole suite on GPT-2 small, in about 45 minutes on two slow CPU cores."""
    return with_targets(measure_evals(EvalSizes(ModelConfig())), TARGETS)


def measure_evals(sizes: EvalSizes) -> dict[str, Any]:
    """Runs the suite's parts, without targets."""
    config = resolve(ExperimentConfig(model=sizes.model)).model
    model, tokenizer = GPT(config), tokenizer_of_size(config.vocab_size)
    params = _random(model)
    ours = LanguageModel(
        model, params, tokenizer, content_hash="random", batch_size=sizes.batch_size
    )
    generator = Generator(model, params, slots=sizes.batch_size)
    return {
        "lambada": measure_lambada(sizes),
        "multiple_choice": measure_multiple_choice(sizes, ours, model, params),
        "generation": measure_generation(sizes, ours, generator),
    }


def measure_multiple_choice(
    sizes: EvalSizes, ours: LanguageModel, model: GPT, params: Any
) -> dict[str, Any]:
    """Requests of which those of a question are scored together, or each alone, or by `hf`."""
    asked = choices(
        sizes.questions,
        Words(),
        context=sizes.context,
        answers=sizes.answers,
        answer=sizes.answer,
    )
    found = [cast(LikelihoodAnswer, answer).log_prob for answer in ours.all_answers(asked)]

    def apart() -> None:
        for first in range(sizes.answers):  # of equal contexts one is in each call
            ours.all_answers(asked[first :: sizes.answers])

    programs = {"shared": _timed(lambda: ours.all_answers(asked)), "apart": _timed(apart)}
    seconds = interleaved(programs, sizes.rounds)
    figures: dict[str, Any] = {
        "requests": len(asked),
        **medians(seconds),
        "apart_over_shared": ratio(seconds, "apart", "shared"),
    }
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "model"
        leaves: dict[str, Any] = traverse_util.flatten_dict(jax.device_get(params), sep="/")
        write_pretrained(directory, model.config, lambda name: leaves[name], ours.tokenizer)
        return figures | _beside_hf(sizes, directory, asked, found, programs["shared"])


def _beside_hf(
    sizes: EvalSizes,
    model: Path,
    asked: Sequence[Likelihood],
    found: Sequence[float],
    ours: TimedProgram,
) -> dict[str, Any]:
    """Seconds of `hf` over ours, in the better of its batches, and how far its answers are."""
    file, answers = model.with_name("asked.json"), model.with_name("answers.json")
    file.write_text(json.dumps([(each.context, each.continuation) for each in asked]))
    places = {"model": str(model), "asked": str(file), "answers": str(answers)}
    figures: dict[str, Any] = {}
    over = []
    for rows in sizes.batches_of_hf:
        try:
            with torch_program("lm_eval_hf", **places, batch_size=rows) as (theirs, version):
                seconds = interleaved({"ours": ours, "hf": theirs}, sizes.rounds)
        except ValueError as error:
            return figures | {"hf": str(error)}
        over.append(ratio(seconds, "hf", "ours"))
        figures |= {"hf": version, f"hf_batches_of_{rows}_seconds": medians(seconds)["hf_seconds"]}
    there = np.array(json.loads(answers.read_text()))
    return figures | {
        "over_hf": min(over),
        "nats_from_hf": float(np.abs(there - np.array(found)).max()),
    }


def measure_generation(
    sizes: EvalSizes, ours: LanguageModel, generator: Generator
) -> dict[str, float]:
    """Tokens a second of a task's requests, over those of the generator on the prompts' tokens.

    A task has stop strings, so that all its tokens become text as they come.
    """
    words, end = Words(1), ours.tokenizer.end_of_text
    texts = [words.text(words.number(sizes.prompt)) for _ in range(sizes.prompts)]
    asked = [Generation(text, ("\n\nQ:",), sizes.new) for text in texts]
    prompts = ours.tokenizer.encode_batch(texts)
    options = {"max_new_tokens": sizes.new, "sampler": make_sampler(0), "stop_token": end}
    written = sum(len(each.tokens) for each in generator.complete(prompts, **options))
    programs = {
        "task": _timed(lambda: ours.all_answers(asked)),
        "generator": _timed(lambda: generator.complete(prompts, **options)),
    }
    seconds = interleaved(programs, sizes.rounds)
    found = medians(seconds)
    return {
        "tokens": written,
        "task_tokens_per_second": written / found["task_seconds"],
        "generator_tokens_per_second": written / found["generator_seconds"],
        "over_generator": ratio(seconds, "generator", "task"),
    }


def measure_lambada(sizes: EvalSizes) -> dict[str, float]:
    """Seconds of `experiments.evals` on passages of LAMBADA's lengths, with no program cached.

    The model is that of `gpt2_smoke`. `seconds` is the whole process; `import_seconds` is a process
    that only imports the command's module.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder, words = Path(scratch), Words(2)
        _untrained_run(folder / "run")
        file = folder / "lambada" / "lambada_test.jsonl"
        file.parent.mkdir()
        rows = [{"text": words.text(words.number(sizes.passage))} for _ in range(sizes.passages)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        environment = {**os.environ, "GPTJAX_CACHE": str(folder / "cache")}
        command = ["-m", "experiments.evals", "--tasks=lambada"]
        command += [f"--workdir={folder / 'run'}", f"--data={folder}"]
        imports = _process_seconds(["-c", "import experiments.evals"], environment)
        return {
            "items": sizes.passages,
            "import_seconds": imports,
            "seconds": _process_seconds(command, environment),
        }


def _untrained_run(path: Path) -> None:
    """A work directory of `gpt2_smoke` as if its run had just begun."""
    config = resolve(EXPERIMENTS.get("gpt2_smoke")())
    assert config.data.tokenizer
    tokenizer = tokenizer_named(config.data.tokenizer)
    leaves: dict[str, Any] = jax.device_get(_random(GPT(config.model)))
    run = WorkDirectory(str(path))
    run.begin("gpt2_smoke", config, {"tokenizer_hash": tokenizer.content_hash()})
    run.keep_tokenizer(tokenizer)
    params = jax.tree.map(lambda leaf: Deferred(leaf.shape, lambda: leaf), leaves)
    write_parameters(path / "checkpoints", 0, params, to_dict(config))


def _random(model: GPT) -> Any:
    return jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))["params"]


def _process_seconds(arguments: Sequence[str], environment: dict[str, str]) -> float:
    began = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True
    )
    seconds = time.perf_counter() - began
    if ended.returncode:
        raise ValueError(f"{arguments}: exit code {ended.returncode}: {ended.stderr[-500:]}")
    return seconds


def _timed(call: Callable[[], Any]) -> TimedProgram:
    def run() -> float:
        began = time.perf_counter()
        call()
        return time.perf_counter() - began

    run()  # compiles
    return run
