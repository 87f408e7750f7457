"""The main job on an embedded default: trains a small GPT, evaluates it, and samples from it.

python -m experiments.demo
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.configs.demo import demo
from experiments.flags.command_line import run
from experiments.flags.paths import define_path
from gptjax.config import resolve
from gptjax.interrupted import Interrupted
from gptjax.runs.caches import enable_compilation_cache

if TYPE_CHECKING:
    from gptjax.inference.generate import Generator

_WORKDIR = define_path(
    "workdir", "runs/demo", "Work directory of the run. The same command resumes there."
)

PROMPT = "Return the"
NEXT = """
What to try next:
  {python} -m experiments.sample --workdir={workdir} --prompt="A list is"
  {python} -m experiments.train --experiment=demo --workdir=runs/banded \\
      --config.model.attention="dense,banded(window=64)"
  {python} -m experiments.list
"""


def _show_sample(title: str, generator: "Generator") -> None:
    from gptjax.inference.sampling import make_sampler

    sampler = make_sampler(temperature=0.7, top_p=0.95)
    (text,) = generator.generate([PROMPT], max_new_tokens=80, sampler=sampler)
    print(f"\n--- {title} ---\n{PROMPT}{text}\n---\n", flush=True)


def main(argv: Sequence[str]) -> None:
    """Runs the experiment `demo` in --workdir and shows its results."""
    import jax
    import jax.numpy as jnp

    from gptjax.inference.generate import Generator
    from gptjax.models.gpt import GPT
    from gptjax.runs.inputs import load_model_tokenizer
    from gptjax.runs.train import train
    from gptjax.runs.workdir import WorkDirectory
    from gptjax.training.state import rng

    del argv
    began = time.monotonic()
    enable_compilation_cache()
    workdir = WorkDirectory(_WORKDIR.value)
    config = resolve(demo())
    model = GPT(config.model)
    key = rng(config.training.seed, "params")
    params = jax.jit(model.init)(key, jnp.zeros((1, 1), jnp.int32))
    generator = Generator(model, params, load_model_tokenizer(config))
    _show_sample("a sample before training", generator)

    outcome = train("demo", config, workdir)
    if outcome.interrupted_by is not None:
        raise Interrupted(outcome.interrupted_by)
    generator.params = outcome.state.params
    _show_sample("a sample after training", generator)
    figures = workdir.result()
    print(
        f"In {workdir.path}: checkpoints/, metrics.jsonl, result.json, tensorboard/, and the loss"
    )
    print(f"curve, {workdir.path}/loss.png.")
    print(NEXT.format(python=".venv/bin/python", workdir=workdir.path))
    seconds = time.monotonic() - began
    print(f"demo: bits_per_byte={figures['bits_per_byte']:.3f} seconds={seconds:.0f}")


if __name__ == "__main__":
    run(main)
