"""Converts models and adapters of Hugging Face's to work directories, and back; merges adapters.

    python -m experiments.convert --from_huggingface=downloads/gpt2 --workdir=runs/gpt2
    python -m experiments.convert --workdir=runs/gpt2 --to_huggingface=out --dtype=bfloat16
    python -m experiments.convert --workdir=runs/lora --merge=runs/merged
    python -m experiments.convert --workdir=runs/lora --to_peft=adapter
    python -m experiments.convert --from_peft=adapter --base=downloads/gpt2 --workdir=runs/lora

A model directory is what `save_pretrained` writes, or a download of a model's repository, of GPT-2,
GPT-1, BERT, ViT or CLIP, with its weights as safetensors; neither torch, transformers nor peft is
needed. What is written must be new or empty, and is there as a whole or not at all. A converted
model is sampled from (a BERT: `experiments.fill_mask`, a CLIP: `experiments.clip`) and evaluated by
`--workdir`, and trained on by `--config.checkpoint.init_from=` (which takes a model directory,
too). Of a run with LoRA a model directory has the adapters merged in. Models that `transformers`
cannot be, as those with sparse attention, are refused.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments.flags.command_line import run
from experiments.flags.paths import define_path
from gptjax.interop.choices import DTYPES

_WORKDIR = define_path("workdir", None, "Work directory that is made, or read. It must be given.")
_WAYS = [
    define_path(
        "from_huggingface",
        None,
        "Model directory of Hugging Face's that the work directory is made from.",
    ),
    define_path("to_huggingface", None, "Model directory that is made from the work directory."),
    define_path(
        "merge",
        None,
        "Work directory that is made from one with LoRA, with its adapters merged in.",
    ),
    define_path(
        "to_peft", None, "Directory of PEFT's that is made from the adapters of the work directory."
    ),
    define_path("from_peft", None, "Directory of PEFT's that the work directory is made from."),
]
_STEP = flags.DEFINE_integer(
    "restore_step", None, "Checkpoint to read. By default the run chooses."
)
_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", DTYPES, "Number format of the weights in the model directory."
)
_MAX_SHARD = flags.DEFINE_float(
    "max_shard_gib", 5.0, "Largest size of a file of weights, in GiB.", lower_bound=1e-6
)
_TOKENIZER = define_path(
    "tokenizer",
    None,
    "Tokenizer for a model directory without one, written like --config.data.tokenizer.",
)
_CORPUS = define_path(
    "corpus", None, "Corpus that later commands read by default, written like --config.data.corpus."
)
_BASE = define_path(
    "base",
    None,
    "Model directory or work directory that the adapters of --from_peft belong to. By default the "
    "directory that they name.",
)


def main(argv: Sequence[str]) -> None:
    """Converts one way."""
    from gptjax.interop.huggingface_directory import GIB, Pretrained
    from gptjax.runs import conversion
    from gptjax.runs.kind import kind_of
    from gptjax.runs.workdir import WorkDirectory

    del argv
    given = [flag for flag in _WAYS if flag.value is not None]
    if len(given) != 1:
        got = " and ".join(f"--{flag.name}" for flag in given) or "none of them"
        raise ValueError(
            f"{', '.join(f'--{flag.name}' for flag in _WAYS)}: got {got}, expected one"
        )
    way, place = given[0].name, Path(given[0].value or "")
    workdir, step = WorkDirectory(_WORKDIR.value), _STEP.value
    made = workdir.path if way.startswith("from_") else place
    if way == "from_huggingface":
        source = Pretrained(place)
        config = conversion.from_huggingface(source, made, _TOKENIZER.value, _CORPUS.value)
    elif way == "to_huggingface":
        max_shard = int(_MAX_SHARD.value * GIB)
        config = conversion.to_huggingface(workdir, made, step, _DTYPE.value, max_shard)
    elif way == "merge":
        config = conversion.merge(workdir, made, step)
    elif way == "to_peft":
        config = conversion.to_peft(workdir, made, step)
    else:
        config = conversion.from_peft(place, made, _BASE.value)
    what = (
        "adapters"
        if way.endswith("peft")
        else f"{kind_of(config).costs(config).parameters:,} parameters"
    )
    print(f"{made}: {what} are written")


if __name__ == "__main__":
    run(main)
