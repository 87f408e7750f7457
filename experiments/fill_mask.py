"""Shows the most probable tokens of each [MASK] in a text, by a trained BERT.

    python -m experiments.fill_mask --workdir=runs/bert --text="The [MASK] is returned."

It prints the text, and below it a line for each mask: tokens with their probabilities, the most
probable first. Each mask is filled as if it were the only one. A [SEP] in the text begins its
second part.
"""

from collections.abc import Sequence

from absl import flags

from experiments.flags.command_line import run
from experiments.flags.paths import define_path
from gptjax.runs.caches import enable_compilation_cache
from gptjax.tokenization import WordPiece

_WORKDIR = define_path("workdir", None, "Work directory of the run. It must be given.")
_STEP = flags.DEFINE_integer(
    "restore_step", None, "Checkpoint to read. By default the run chooses."
)
_TEXT = flags.DEFINE_string("text", None, "Text with one [MASK] or more. It must be given.")
_TOP = flags.DEFINE_integer("top", 5, "Number of tokens shown for each mask.", lower_bound=1)


def main(argv: Sequence[str]) -> None:
    """Prints the text, and a line for each mask."""
    from gptjax.finite import NotFinite
    from gptjax.inference.fill_mask import fill_mask
    from gptjax.runs.workdir import WorkDirectory

    del argv
    workdir = WorkDirectory(_WORKDIR.value)
    model, tokenizer = workdir.model("masked language model"), workdir.tokenizer()
    assert isinstance(tokenizer, WordPiece)
    if _TEXT.value is None:
        raise ValueError("--text: got none, expected a text with [MASK] in it")
    enable_compilation_cache()
    params = workdir.restored(workdir.resolve_step(_STEP.value))
    try:
        found = fill_mask(model, params, tokenizer, _TEXT.value, _TOP.value)
    except NotFinite:
        raise
    except ValueError as error:
        raise ValueError(f"--{error}") from error
    print(_TEXT.value)
    for number, tokens in enumerate(found, start=1):
        shown = "  ".join(f"{token} {probability:.3f}" for token, probability in tokens)
        print(f"[MASK] {number}: {shown}")


if __name__ == "__main__":
    run(main)
