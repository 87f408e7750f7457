"""The server: its tokens a second over the generator's own, first tokens, turns, and what stays.

    python -m experiments.benchmark --suite=serve

Clients are a process of their own. A loop around `transformers`' generate serves the same weights
beside, where PyTorch is installed: `pip install 'gptjax[interop]'`.
"""

import contextlib
import dataclasses
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from experiments.benchmarks.figures import Target, with_targets
from experiments.benchmarks.interleaved import interleaved, medians, ratio
from experiments.benchmarks.made_items import tokenizer_of_size
from experiments.benchmarks.registry import SUITES
from experiments.benchmarks.served import answers
from gptjax.chat.chat_model import ChatModel
from gptjax.config import ExperimentConfig, ModelConfig, resolve
from gptjax.inference.generate import Generator
from gptjax.interop.huggingface_directory import write_pretrained
from gptjax.models.gpt import GPT


@dataclasses.dataclass(frozen=True)
class ServeSizes:
    """Model, requests and rounds of the suite `serve`.

    Attributes:
      model: that is served.
      turning: model of the conversation whose last turn is timed.
      clients: at the same time, a comparison each.
      each: requests of a client.
      prompt: tokens of a prompt.
      new: tokens of an answer.
      turns: of the conversation whose last turn is timed.
      history: tokens of the conversation before that.
      row: requests one after another, for what stays; memory is read after `settled` of them.
      settled: requests.
      rounds: of each comparison.
    """

    model: ModelConfig
    turning: ModelConfig
    clients: tuple[int, ...] = (1, 8, 32)
    each: int = 1
    prompt: int = 64
    new: int = 64
    turns: int = 10
    history: int = 512
    row: int = 1000
    settled: int = 100
    rounds: int = 5


TARGETS: dict[str, Target] = {
    "clients_1.over_generator": ("at least", 0.95),
    "clients_8.over_generator": ("at least", 0.9),
    "clients_32.over_generator": ("at least", 0.9),
    "first_token.over_prefill_and_step": ("at most", 1.3),
    "turns.from_nothing_over_kept": ("at least", 5),
    "beside_transformers.over_transformers": ("at least", 3),
    "in_a_row.megabytes_grown": ("at most", 20),
    "in_a_row.threads_left": ("at most", 0),
    "in_a_row.descriptors_left": ("at most", 0),
}


@SUITES.register("serve")
def serve() -> dict[str, Any]:
    """Runs the whole suite, turns with GPT-2 small, in about ten minutes on two CPU cores."""
    model = ModelConfig(num_layers=6, num_heads=6, d_model=384, context_length=1024)
    return with_targets(measure_serve(ServeSizes(model, ModelConfig())), TARGETS)


def measure_serve(sizes: ServeSizes) -> dict[str, Any]:
    """Runs the suite's parts, without targets."""
    config = resolve(ExperimentConfig(model=sizes.model)).model
    model, tokenizer = GPT(config), tokenizer_of_size(config.vocab_size)
    params = _random(model)
    slots = max(sizes.clients)
    served = Generator(model, params, tokenizer, slots=slots, max_queue=slots, kept_texts=8)
    chat = ChatModel("model", model, params, tokenizer, served)
    rng = np.random.default_rng(0)

    def prompts(count: int) -> list[np.ndarray]:
        return list(rng.integers(0, config.vocab_size, (count, sizes.prompt), np.int32))

    figures: dict[str, Any] = {}
    with _serving(chat) as port:
        _warm(sizes, port, prompts(max(sizes.clients)))
        for clients in sizes.clients:
            own = Generator(model, params, slots=clients)
            asked = prompts(clients * sizes.each)
            figures[f"clients_{clients}"] = _throughput(sizes, port, own, clients, asked)
        if 8 in sizes.clients:
            own = Generator(model, params, slots=8)
            figures["first_token"] = _first_token(sizes, port, own, prompts(8))
            figures["beside_transformers"] = _beside(sizes, port, model, params, chat, prompts(8))
        figures["in_a_row"] = _in_a_row(sizes, port)
    figures["turns"] = _turns(sizes)
    return figures


def _random(model: GPT) -> Any:
    return jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))["params"]


@contextlib.contextmanager
def _serving(model: ChatModel) -> Iterator[int]:
    """The port of a server of a model, in a thread."""
    # These need packages that are an extra.
    from gptjax.serving.app import make_app
    from gptjax.serving.life import bound, server_of
    from gptjax.serving.served import Limits, Models, Served

    app = make_app(Models([Served(model, Limits())]))
    server, listening = server_of(app, 5), bound("127.0.0.1", 0)
    thread = threading.Thread(target=lambda: server.run(sockets=[listening]))
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@contextlib.contextmanager
def _clients(
    sizes: ServeSizes, port: int, clients: int, prompts: list[np.ndarray], **options: Any
) -> Iterator[Any]:
    """What sends all prompts once more, and gives what came of it."""
    asked = {
        "port": port,
        "clients": clients,
        "prompts": [prompt.tolist() for prompt in prompts],
        "new": sizes.new,
        "stream": False,
        "vocab_size": sizes.model.vocab_size,
        **options,
    }
    command = [sys.executable, "-m", "experiments.benchmarks.http_clients", json.dumps(asked)]
    with answers(command, "clients") as (answer, _):
        yield lambda: json.loads(answer())


def _warm(sizes: ServeSizes, port: int, prompts: list[np.ndarray]) -> None:
    """Compiles what batches that grow and shrink need, of as many clients as there will be."""
    clients = 1
    while clients <= len(prompts):
        with _clients(sizes, port, clients, prompts[:clients]) as send:
            send()
        clients *= 2


def _throughput(
    sizes: ServeSizes, port: int, own: Generator, clients: int, prompts: list[np.ndarray]
) -> dict[str, float]:
    def alone() -> float:
        began = time.perf_counter()
        own.complete(prompts, max_new_tokens=sizes.new)
        return time.perf_counter() - began

    alone()  # compiles
    with _clients(sizes, port, clients, prompts) as send:
        send()  # others may have joined one another in the first pass
        seconds = interleaved(
            {"server": lambda: send()["seconds"], "generator": alone}, sizes.rounds
        )
    tokens = sizes.new * len(prompts)
    found = medians(seconds)
    return {
        "server_tokens_per_second": tokens / found["server_seconds"],
        "generator_tokens_per_second": tokens / found["generator_seconds"],
        "over_generator": ratio(seconds, "generator", "server"),
    }


def _first_token(
    sizes: ServeSizes, port: int, own: Generator, prompts: list[np.ndarray]
) -> dict[str, float]:
    """Seconds to the first token of all, over those of a batch that reads and takes one step."""

    def once() -> float:
        began = time.perf_counter()
        own.complete(prompts, max_new_tokens=1)
        return time.perf_counter() - began

    once()
    with _clients(sizes, port, len(prompts), prompts, stream=True) as send:
        send()
        seconds = interleaved(
            {"first": lambda: statistics.median(send()["first"]), "prefill_and_step": once},
            sizes.rounds,
        )
    over = ratio(seconds, "first", "prefill_and_step")
    return {**medians(seconds), "over_prefill_and_step": over}


def _beside(
    sizes: ServeSizes,
    port: int,
    model: GPT,
    params: Any,
    chat: ChatModel,
    prompts: list[np.ndarray],
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "model"
        leaves: dict[str, Any] = traverse_util.flatten_dict(jax.device_get(params), sep="/")
        write_pretrained(directory, model.config, lambda name: leaves[name], chat.tokenizer)
        module = "experiments.benchmarks.pytorch.serve_generate"
        try:
            with (
                answers([sys.executable, "-m", module, str(directory)], "PyTorch") as (_, theirs),
                _clients(sizes, port, 8, prompts) as ours,
                _clients(sizes, int(theirs), 8, prompts) as send,
            ):
                programs = {
                    "server": lambda: ours()["seconds"],
                    "transformers": lambda: send()["seconds"],
                }
                seconds = interleaved(programs, sizes.rounds)
        except ValueError as error:
            return {"transformers": str(error)}
    return {**medians(seconds), "over_transformers": ratio(seconds, "transformers", "server")}


def _in_a_row(sizes: ServeSizes, port: int) -> dict[str, float]:
    """What requests one after another leave behind."""
    short = dataclasses.replace(sizes, new=4)
    prompts = [np.arange(1, 33, dtype=np.int32)] * sizes.settled  # kept, and found again

    def left() -> tuple[float, int, int]:
        status = Path("/proc/self/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        descriptors = sum(1 for _ in Path("/proc/self/fd").iterdir())
        return int(fields["VmRSS"].split()[0]) / 1024, int(fields["Threads"]), descriptors

    with _clients(short, port, 1, prompts, vocab_size=0) as send:
        send()
        before = left()
        for _ in range(sizes.row // sizes.settled - 1):
            send()
        after = left()
    grown, threads, descriptors = (b - a for a, b in zip(before, after, strict=True))
    return {"megabytes_grown": grown, "threads_left": threads, "descriptors_left": descriptors}


def _turns(sizes: ServeSizes) -> dict[str, float]:
    """Seconds to the first token of a conversation's last turn, read from nothing and kept."""
    model = GPT(resolve(ExperimentConfig(model=sizes.turning)).model)
    params = _random(model)
    said = sizes.history // sizes.turns
    rng = np.random.default_rng(1)
    turns = rng.integers(0, model.config.vocab_size, (sizes.turns, said), np.int32)
    generators = {
        "from_nothing": Generator(model, params),
        "kept": Generator(model, params, kept_texts=1),
    }

    def last_turn(generator: Generator) -> float:
        history = np.zeros(0, np.int32)
        seconds = 0.0
        for turn in turns:
            history = np.concatenate([history, turn[: said - 4]])
            began = time.perf_counter()
            first = generator.submit(history, max_new_tokens=1).result()
            seconds = time.perf_counter() - began
            history = np.concatenate([history, first, turn[said - 3 :]])
        return seconds

    for generator in generators.values():
        last_turn(generator)  # compiles
    seconds = interleaved(
        {name: lambda g=generator: last_turn(g) for name, generator in generators.items()},
        sizes.rounds,
    )
    over = ratio(seconds, "from_nothing", "kept")
    return {**medians(seconds), "from_nothing_over_kept": over}
