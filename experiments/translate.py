"""Translates with a trained encoder and decoder: lines of a file or of standard input, or pairs.

echo "one hundred two" | python -m experiments.translate --workdir=runs/transformer
python -m experiments.translate --workdir=runs/base --input=test.en --output=test.de
python -m experiments.translate --workdir=runs/base --pairs=files:test.en,test.de   # with BLEU
python -m experiments.translate --workdir=runs/base --pairs=held_out --show=5

Each line becomes a line; an empty one stays empty. With --pairs it prints one JSON line: BLEU and
chrF by sacrebleu (extra `translation`), with their signatures, and the share of translations that
are their references.
"""

import contextlib
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, cast

from absl import flags

from experiments.flags.command_line import run
from experiments.flags.paths import define_path
from gptjax.atomic_files import replaced
from gptjax.data.corpora.pairs import load_pairs
from gptjax.data.corpora.text_files import open_text
from gptjax.runs.caches import enable_compilation_cache
from gptjax.tasks.configs.translation import TranslationConfig

_WORKDIR = define_path("workdir", None, "Work directory of the run. It must be given.")
_STEP = flags.DEFINE_integer(
    "restore_step", None, "Last checkpoint to read. By default the run chooses."
)
_INPUT = define_path("input", None, "File to translate. By default standard input is read.")
_OUTPUT = define_path("output", None, "File to write. By default it is standard output.")
_PAIRS = define_path(
    "pairs",
    None,
    "Pairs to translate and to score, written like --config.translation.pairs; held_out: those "
    "that the run held out.",
)
_SHOW = flags.DEFINE_integer(
    "show", 0, "Number of pairs whose translations are printed before the scores.", lower_bound=0
)
_AVERAGE = flags.DEFINE_integer(
    "average",
    None,
    "Number of last checkpoints to average. By default it is translation.average of the run.",
    lower_bound=1,
)
_BEAMS = flags.DEFINE_integer(
    "num_beams", None, "Number of beams. By default it is that of the run.", lower_bound=1
)

AT_ONCE = 256  # lines, of which those of about one length are translated together


def main(argv: Sequence[str]) -> None:
    """Writes translations, or their scores."""
    from gptjax.runs.workdir import WorkDirectory
    from gptjax.tasks.translated import Translations
    from gptjax.tasks.translation import held_out_pairs

    del argv
    if _PAIRS.value is not None and (_INPUT.value or _OUTPUT.value) is not None:
        raise ValueError("--pairs: got it with --input or --output, expected it alone")
    workdir = WorkDirectory(_WORKDIR.value)
    model, config = workdir.model("translation model"), cast(TranslationConfig, workdir.config())
    search = config.translation
    search.num_beams = _BEAMS.value or search.num_beams
    enable_compilation_cache()
    step = workdir.resolve_step(_STEP.value)
    params = workdir.restored(step, average=_AVERAGE.value)
    translate = Translations(model, params, workdir.tokenizer(), search)
    if _PAIRS.value is not None:
        of_run = _PAIRS.value == "held_out"
        pairs = held_out_pairs(config, workdir.tokenizer()) if of_run else load_pairs(_PAIRS.value)
        found, figures = translate.scored(pairs)
        for pair, text in itertools.islice(zip(pairs, found, strict=True), _SHOW.value):
            print(f"source       {pair.source}\ntranslation  {text}\nreference    {pair.target}\n")
        print(json.dumps({"step": step, "pairs": len(found), **figures}))
        return
    with _output() as file:
        lines = _lines()
        while some := list(itertools.islice(lines, AT_ONCE)):
            texts = iter(translate([line for line in some if line]))
            file.writelines((next(texts) if line else "") + "\n" for line in some)
            file.flush()


def _lines() -> Iterator[str]:
    given = contextlib.nullcontext(sys.stdin.buffer)
    with given if _INPUT.value is None else open_text(Path(_INPUT.value)) as file:
        for number, line in enumerate(file, start=1):
            try:
                yield line.decode().strip()
            except UnicodeDecodeError as error:
                name = _INPUT.value or "standard input"
                raise ValueError(f"{name}:{number}: got invalid UTF-8, expected UTF-8") from error


def _output() -> contextlib.AbstractContextManager[IO[str]]:
    if _OUTPUT.value is None:
        return contextlib.nullcontext(sys.stdout)
    return replaced(_OUTPUT.value)


if __name__ == "__main__":
    run(main)
