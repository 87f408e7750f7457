"""Generation, search and scoring beside `transformers`, static batches, and what memory allows.

python -m experiments.benchmark --suite=generate
"""

import dataclasses
import os
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.figures import Target, with_targets
from experiments.benchmarks.interleaved import TimedProgram, interleaved, medians, ratio
from experiments.benchmarks.pytorch.program import torch_program
from experiments.benchmarks.registry import SUITES
from gptjax.config import ExperimentConfig, ModelConfig, resolve
from gptjax.inference.beam import BeamSearch
from gptjax.inference.generate import Generator
from gptjax.inference.prefill import Prefill
from gptjax.inference.sampling import make_sampler
from gptjax.inference.scoring import Scorer
from gptjax.models.costs import matmul_parameters
from gptjax.models.gpt import GPT
from gptjax.training.reporting.throughput import matmul_peak_flops


@dataclasses.dataclass(frozen=True)
class GenerateSizes:
    """Model, lengths and rounds of the suite `generate`.

    Attributes:
      model: of all figures.
      prompt, new: tokens of a prompt and after it.
      rows: of the larger batch.
      requests, lengths: how many requests are batched, and the new tokens of the shortest and the
        longest of them.
      question, answers, answer: tokens of a question, how many answers it has, tokens of each.
      prefill: tokens of each of four prompts that are fed.
      stream: bytes that are read to measure the memory's bandwidth.
      rounds: of each comparison.
    """

    model: ModelConfig
    prompt: int = 32
    new: int = 64
    rows: int = 8
    requests: int = 32
    lengths: tuple[int, int] = (8, 256)
    question: int = 448
    answers: int = 4
    answer: int = 16
    prefill: int = 512
    stream: int = 1 << 30
    rounds: int = 5


TARGETS: dict[str, Target] = {
    "greedy_1.over_transformers": ("at least", 2),
    "greedy_8.over_transformers": ("at least", 3),
    "beam_4.over_transformers": ("at least", 2),
    "greedy_1.share_of_bandwidth": ("at least", 0.6),
    "scoring.apart_over_shared": ("at least", 2.5),
    "continuous.static_over_continuous": ("at least", 1.5),
    "prefill.share_of_matmul_peak": ("at least", 0.55),
}


@SUITES.register("generate")
def generate() -> dict[str, Any]:
    """Runs the whole suite on GPT-2 small, in about fifteen minutes on two CPU cores."""
    # Read when JAX first meets the GPU, most of whose memory it would take from PyTorch otherwise.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    dtype = "bfloat16" if jax.default_backend() == "gpu" else "float32"
    return with_targets(measure_generate(GenerateSizes(ModelConfig(dtype=dtype))), TARGETS)


def measure_generate(sizes: GenerateSizes) -> dict[str, Any]:
    """Runs the suite's parts, without targets."""
    config = resolve(ExperimentConfig(model=sizes.model)).model
    model = GPT(config)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))["params"]
    generator, beams = Generator(model, params, slots=sizes.rows), BeamSearch(model, params)
    rng = np.random.default_rng(0)

    def prompts(rows: int, length: int) -> list[np.ndarray]:
        return list(rng.integers(0, config.vocab_size, (rows, length)))

    def greedy(rows: int, new: int) -> TimedProgram:
        asked = prompts(rows, sizes.prompt)
        options = {"max_new_tokens": new, "sampler": make_sampler(0)}
        return _timed(lambda: generator.complete(asked, **options))

    def searched() -> Any:
        return beams(asked, num_beams=4, max_new_tokens=sizes.new)

    asked = prompts(1, sizes.prompt)
    beside = {
        "greedy_1": (greedy(1, sizes.new), 1, 1),
        f"greedy_{sizes.rows}": (greedy(sizes.rows, sizes.new), sizes.rows, 1),
        "beam_4": (_timed(searched), 1, 4),
    }
    figures = {name: _beside_transformers(sizes, *programs) for name, programs in beside.items()}
    figures["greedy_1"] |= _bandwidth(sizes, config, greedy)
    return figures | {
        "scoring": _scoring(sizes, Scorer(model, params), prompts),
        "continuous": _continuous(sizes, generator, prompts),
        "prefill": _prefill(sizes, model, generator.params, prompts),
    }


def _timed(call: Any) -> TimedProgram:
    def run() -> float:
        began = time.perf_counter()
        jax.block_until_ready(call())
        return time.perf_counter() - began

    run()  # compiles
    return run


def _beside_transformers(
    sizes: GenerateSizes, ours: TimedProgram, rows: int, num_beams: int
) -> dict[str, Any]:
    model = sizes.model
    names = ("vocab_size", "context_length", "num_layers", "num_heads", "d_model")
    arguments = {
        "rows": rows,
        "num_beams": num_beams,
        "prompt": sizes.prompt,
        "new": sizes.new,
        "dtype": model.dtype,
        "shape": {name: getattr(model, name) for name in names},
    }
    tokens = rows * sizes.new
    try:
        with torch_program("generate", **arguments) as (theirs, version):
            seconds = interleaved({"ours": ours, "transformers": theirs}, sizes.rounds)
    except ValueError as error:
        seconds = interleaved({"ours": ours}, sizes.rounds)
        figures: dict[str, Any] = {"transformers": str(error)}
    else:
        figures = {
            "transformers": version,
            "over_transformers": ratio(seconds, "transformers", "ours"),
        }
    return figures | {
        f"{name.removesuffix('_seconds')}_tokens_per_second": tokens / value
        for name, value in medians(seconds).items()
    }


def _bandwidth(sizes: GenerateSizes, config: ModelConfig, greedy: Any) -> dict[str, float]:
    """Bytes of weights a second of decoding, over bytes a second of a sum of as many numbers."""
    weights = matmul_parameters(config) * jnp.dtype(config.dtype).itemsize
    numbers = jnp.ones(sizes.stream // 4, jnp.float32)
    total = jax.jit(jnp.sum)
    programs = {
        "long": greedy(1, sizes.new),
        "short": greedy(1, 1),
        "read": _timed(lambda: total(numbers)),
    }
    seconds = interleaved(programs, 2 * sizes.rounds)
    pairs = zip(seconds["long"], seconds["short"], strict=True)
    seconds["token"] = [(long - short) / (sizes.new - 1) for long, short in pairs]
    return {
        "bandwidth": sizes.stream / min(seconds["read"]),
        "weight_bytes": float(weights),
        "share_of_bandwidth": ratio(seconds, "read", "token") * weights / sizes.stream,
    }


def _scoring(sizes: GenerateSizes, scorer: Scorer, prompts: Any) -> dict[str, float]:
    """The answers to one question, with its cache shared and each with the question again."""
    (question,), answers = prompts(1, sizes.question), prompts(sizes.answers, sizes.answer)
    programs = {
        "shared": _timed(lambda: scorer.score_answers(question, answers)),
        "apart": _timed(lambda: [scorer.score_answers(question, [answer]) for answer in answers]),
    }
    seconds = interleaved(programs, sizes.rounds)
    return {**medians(seconds), "apart_over_shared": ratio(seconds, "apart", "shared")}


def _continuous(sizes: GenerateSizes, generator: Generator, prompts: Any) -> dict[str, float]:
    """Requests of mixed lengths through one running batch, and in batches that end together."""
    asked = prompts(sizes.requests, sizes.prompt)
    lengths = np.linspace(*sizes.lengths, sizes.requests).astype(int)
    lengths = np.random.default_rng(1).permutation(lengths).tolist()

    def continuous() -> None:
        requests = [
            generator.submit(prompt, max_new_tokens=length, sampler=make_sampler(0))
            for prompt, length in zip(asked, lengths, strict=True)
        ]
        while any(request.writing for request in requests):
            generator.step(max(lengths))

    def static() -> None:
        for first in range(0, sizes.requests, sizes.rows):
            rows = range(first, min(first + sizes.rows, sizes.requests))
            longest = max(lengths[row] for row in rows)
            generator.complete(
                [asked[row] for row in rows], max_new_tokens=longest, sampler=make_sampler(0)
            )

    programs = {"continuous": _timed(continuous), "static": _timed(static)}
    seconds = interleaved(programs, max(1, sizes.rounds // 2))
    return {
        **medians(seconds),
        "tokens_per_second": sum(lengths) / medians(seconds)["continuous_seconds"],
        "static_over_continuous": ratio(seconds, "static", "continuous"),
    }


def _prefill(sizes: GenerateSizes, model: GPT, params: Any, prompts: Any) -> dict[str, float]:
    """FLOPs a second of feeding four prompts, over the matmul peak."""
    config, fed = model.config, np.stack(prompts(4, sizes.prefill)).astype(np.int32)
    feed, counts = Prefill(model), np.full(4, sizes.prefill, np.int32)
    assert config.d_head and config.d_value
    kernels = matmul_parameters(config) - config.vocab_size * config.d_model
    widths = config.num_layers * config.num_heads * (config.d_head + config.d_value)
    flops = fed.size * (2 * kernels + widths * sizes.prefill)
    programs = {
        "feed": _timed(lambda: feed(params, fed, counts)),
        "matmul_flop": lambda: 1 / matmul_peak_flops(config.dtype),
    }
    seconds = interleaved(programs, 2 * sizes.rounds)
    return {
        "tokens_per_second": fed.size / medians(seconds)["feed_seconds"],
        "share_of_matmul_peak": flops * ratio(seconds, "matmul_flop", "feed"),
    }
