"""Continues a prompt with a trained model, or answers it; text streams as it comes.

python -m experiments.sample --workdir=runs/demo --prompt="The function"
echo "The function" | python -m experiments.sample --workdir=runs/demo --temperature=0
python -m experiments.sample --workdir=runs/demo --prompt= --num_samples=3   # from nothing
python -m experiments.sample --workdir=runs/demo --prompt="A list" --num_beams=4
python -m experiments.sample --workdir=runs/sft --prompt="copy: fox jar"   # answers a user's turn
python -m experiments.sample --workdir=runs/kosmos --prompt="<image> is" --image=seven.png --shots=4

With a chat tokenizer the prompt is a user's turn, and the text ends with the assistant's; with
--nochat it is text like any other.
"""

import itertools
import sys
from collections.abc import Sequence

from absl import flags

from experiments.flags.command_line import run
from experiments.flags.paths import define_path
from experiments.flags.processes import connect
from experiments.flags.prompt import prompt_of_flags
from experiments.flags.sampling import sampler_of_flags
from gptjax.inference.text import whole_text
from gptjax.runs.caches import enable_compilation_cache

_WORKDIR = define_path("workdir", None, "Work directory of the run. It must be given.")
_STEP = flags.DEFINE_integer("restore_step", None, "Checkpoint. By default the run chooses.")
_MAX_NEW_TOKENS = flags.DEFINE_integer(
    "max_new_tokens", None, "Most tokens to write. By default the context is filled.", lower_bound=1
)
_STOP = flags.DEFINE_multi_string("stop", [], "Text that ends a sample. It may be given again.")
_SLIDING_WINDOW = flags.DEFINE_bool(
    "sliding_window", False, "Whether a prompt that is too long is cut to its last tokens."
)
_NUM_SAMPLES = flags.DEFINE_integer("num_samples", 1, "Number of samples.", lower_bound=1)
_BEST_OF = flags.DEFINE_integer(
    "best_of", None, "Number of draws, of which the most probable is written.", lower_bound=1
)
_NUM_BEAMS = flags.DEFINE_integer(
    "num_beams", None, "Number of beams to search with. By default tokens are drawn.", lower_bound=1
)
_LENGTH_PENALTY = flags.DEFINE_float(
    "length_penalty", 1.0, "Exponent of a beam's length in its score. Above 0 favours long texts."
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the draws.", lower_bound=0, upper_bound=2**31 - 1)


def main(argv: Sequence[str]) -> None:
    """Prints prompt and continuation, `--num_samples` times."""
    import jax

    from gptjax.inference.generate import Generator
    from gptjax.inference.requests import make_order
    from gptjax.runs.workdir import WorkDirectory
    from gptjax.training.partitioning import make_mesh

    del argv
    if _BEST_OF.value is not None and (_NUM_SAMPLES.value > 1 or _NUM_BEAMS.value is not None):
        raise ValueError("--best_of: got it with --num_samples or --num_beams, expected it alone")
    workdir = WorkDirectory(_WORKDIR.value)
    connect(lambda: workdir.config().parallelism)
    tokenizer, model = workdir.tokenizer(), workdir.model()
    asked = prompt_of_flags(tokenizer, workdir.config(), _SEED.value)
    sampler = sampler_of_flags(model.config.vocab_size, _NUM_BEAMS.value is not None, asked.banned)
    options = {
        "max_new_tokens": _MAX_NEW_TOKENS.value,
        "sampler": sampler,
        "seed": _SEED.value,
        "stop_token": asked.stop_token,
        "stop": _STOP.value,
        "sliding_window": _SLIDING_WINDOW.value,
        "images": asked.images,
    }
    order = make_order(model.config, asked.tokens, **options)
    room = order.limit - order.prompt.size
    if (_MAX_NEW_TOKENS.value or 1) > room:
        fits = f"{room} new tokens fit in the context after the prompt's {order.prompt.size}"
        print(f"note: only {fits}", file=sys.stderr)
    enable_compilation_cache()
    mesh = make_mesh(workdir.config().parallelism) if jax.process_count() > 1 else None
    params = workdir.params(workdir.resolve_step(_STEP.value), mesh)
    if _NUM_BEAMS.value is not None:
        from gptjax.inference.beam import BeamSearch

        (found,) = BeamSearch(model, params, tokenizer)(
            [order.prompt],
            num_beams=_NUM_BEAMS.value,
            num_best=_NUM_SAMPLES.value,
            max_new_tokens=_MAX_NEW_TOKENS.value,
            stop_token=asked.stop_token,
            stop=_STOP.value,
            length_penalty=_LENGTH_PENALTY.value,
            sampler=sampler,
            images=[asked.images],
        )
        stops = _STOP.value, asked.stop_token
        texts = [[whole_text(tokenizer, text.tokens, *stops)] for text in found]
    else:
        generator = Generator(model, params, tokenizer)
        if _BEST_OF.value is not None:
            texts = [generator.best_of(order.prompt, _BEST_OF.value, **options).text()]
        else:
            requests = [
                generator.submit(order.prompt, sample_index=index, **options)
                for index in range(_NUM_SAMPLES.value)
            ]
            texts = [request.text() for request in requests]
    read = whole_text(tokenizer, order.prompt) if asked.said is None else f"{asked.said}\n"
    for number, text in enumerate(texts, start=1):
        if _NUM_SAMPLES.value > 1:
            print(f"======== sample {number} of {_NUM_SAMPLES.value} ========")
        for piece in itertools.chain([read], text, ["\n"]):
            print(piece, end="", flush=True)


if __name__ == "__main__":
    run(main)
