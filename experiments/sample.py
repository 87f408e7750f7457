"""Continues a prompt with a trained model; text streams as it comes.

python -m experiments.sample --workdir=runs/demo --prompt="The function"
echo "The function" | python -m experiments.sample --workdir=runs/demo --temperature=0
python -m experiments.sample --workdir=runs/demo --prompt= --num_samples=3   # from nothing
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import flags

from experiments.binary import run
from experiments.processes import connect
from experiments.workdir import WorkDirectory, enable_compilation_cache
from gptjax.inference.generate import Generator
from gptjax.inference.requests import room_after
from gptjax.inference.sampling import make_sampler
from gptjax.inference.text import TextStream, encode_prompt
from gptjax.training.partitioning import make_mesh

_WORKDIR = flags.DEFINE_string("workdir", None, "The run to sample from.")
_STEP = flags.DEFINE_integer("restore_step", None, "The checkpoint; by default the newest.")
_PROMPT = flags.DEFINE_string(
    "prompt", None, "Text to continue, by default what is piped in; empty: a text from nothing."
)
_PROMPT_FILE = flags.DEFINE_string(
    "prompt_file", None, "File that holds the prompt, less a last newline; - for standard input."
)
_MAX_NEW_TOKENS = flags.DEFINE_integer(
    "max_new_tokens", None, "By default all that fit in the context.", lower_bound=1
)
_TEMPERATURE = flags.DEFINE_float("temperature", 1.0, "0 for the most probable token each time.")
_TOP_K = flags.DEFINE_integer("top_k", None, "Draws from that many most probable tokens.")
_TOP_P = flags.DEFINE_float("top_p", None, "Draws from the tokens that hold this share.")
_NUM_SAMPLES = flags.DEFINE_integer("num_samples", 1, "Texts to write.", lower_bound=1)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Another seed, other samples.", lower_bound=0, upper_bound=2**31 - 1
)


def read_prompt(prompt: str | None, prompt_file: str | None) -> str:
    """The prompt that the flags say; where they say none, what is piped in, else nothing.

    Raises:
      ValueError: both are given, or what cannot be read as UTF-8.
    """
    if prompt is not None and prompt_file is not None:
        raise ValueError("got both --prompt and --prompt_file, expected at most one")
    if prompt is not None:
        return prompt
    if prompt_file is None and sys.stdin.isatty():
        return ""
    try:
        if prompt_file is None or prompt_file == "-":
            content = sys.stdin.buffer.read()
        else:
            content = Path(prompt_file).read_bytes()
        return content.decode().removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        source = "standard input" if prompt_file in (None, "-") else "--prompt_file"
        raise ValueError(f"{source}: {error}; expected text in UTF-8") from error


def main(argv: Sequence[str]) -> None:
    """Prints prompt and continuation, `--num_samples` times."""
    del argv
    connect()
    sampler = make_sampler(_TEMPERATURE.value, _TOP_K.value, _TOP_P.value)
    workdir = WorkDirectory(_WORKDIR.value)
    tokenizer, model = workdir.tokenizer(), workdir.model()
    prompt = encode_prompt(tokenizer, read_prompt(_PROMPT.value, _PROMPT_FILE.value))
    room = room_after(prompt, model.config)
    if (_MAX_NEW_TOKENS.value or 1) > room:
        fits = f"{room} new tokens fit in the context after the prompt's {prompt.size}"
        print(f"note: only {fits}", file=sys.stderr)
    enable_compilation_cache()
    mesh = make_mesh(workdir.config().parallelism) if jax.process_count() > 1 else None
    params = workdir.params(workdir.resolve_step(_STEP.value), mesh)
    generator = Generator(model, params)

    for index in range(_NUM_SAMPLES.value):
        if _NUM_SAMPLES.value > 1:
            print(f"======== sample {index + 1} of {_NUM_SAMPLES.value} ========")
        text = TextStream(tokenizer)
        print(text.push(prompt), end="", flush=True)
        for (new_tokens,) in generator.stream(
            [prompt],
            max_new_tokens=_MAX_NEW_TOKENS.value,
            sampler=sampler,
            seed=_SEED.value,
            sample_indices=[index],
            stop_token=tokenizer.end_of_text,
        ):
            print(text.push(new_tokens), end="", flush=True)
        print(text.finish(), flush=True)


if __name__ == "__main__":
    run(main)
