"""Converts a model directory of Hugging Face's to a work directory, and back.

    python -m experiments.convert --from_huggingface=gpt2 --workdir=runs/gpt2
    python -m experiments.convert --workdir=runs/gpt2 --to_huggingface=out --dtype=bfloat16

A model directory is what `save_pretrained` writes, or a download of a model's repository, of GPT-2
or GPT-1, with its weights as safetensors; neither torch nor transformers is needed. What is written
must be new or empty, and is there as a whole or not at all. A converted model is sampled from and
evaluated by `--workdir`, and trained on by `--config.checkpoint.init_from=` (which takes a model
directory, too). Models that `transformers` cannot be, as those with sparse attention, are refused.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments.flags.command_line import run
from gptjax.config import DataConfig, ExperimentConfig, resolve
from gptjax.data.corpora.text import load_corpus
from gptjax.interop.huggingface_directory import DTYPES, GIB, Pretrained, write_pretrained
from gptjax.interop.new_directory import new_directory, refuse_used
from gptjax.models.costs import parameter_count
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import to_dict
from gptjax.tokenization import load_tokenizer
from gptjax.training.checkpoints.parameter_files import StoredParameters, write_parameters

_WORKDIR = flags.DEFINE_string("workdir", None, "The work directory, made or read.")
_FROM = flags.DEFINE_string("from_huggingface", None, "A model directory to make it from.")
_TO = flags.DEFINE_string("to_huggingface", None, "A model directory to make of it.")
_STEP = flags.DEFINE_integer("restore_step", None, "The checkpoint; by default the run's choice.")
_DTYPE = flags.DEFINE_enum("dtype", "float32", DTYPES, "Of the weights that are written there.")
_MAX_SHARD = flags.DEFINE_float(
    "max_shard_gib", 5.0, "The most weights in one file.", lower_bound=1e-6
)
_TOKENIZER = flags.DEFINE_string(
    "tokenizer", None, "As --config.data.tokenizer, for a model directory without one."
)
_CORPUS = flags.DEFINE_string(
    "corpus", None, "As --config.data.corpus: what later commands are to take for its data."
)


def from_huggingface(source: Pretrained, path: Path) -> None:
    """Makes the work directory `path`, with the model as its checkpoint 0.

    Raises:
      ValueError: `path` is in use, or parts of the model are missing, damaged, or disagree.
    """
    refuse_used(path)
    params = source.params()
    tokenizer = load_tokenizer(_TOKENIZER.value) if _TOKENIZER.value else source.tokenizer()
    if tokenizer.vocab_size != source.model.vocab_size:
        raise ValueError(
            f"{source.path}: got a tokenizer of {tokenizer.vocab_size} tokens, expected the "
            f"model's {source.model.vocab_size}"
        )
    config = resolve(ExperimentConfig(model=source.model, data=DataConfig(corpus=_CORPUS.value)))
    record = {"tokenizer_hash": tokenizer.content_hash()}
    if _CORPUS.value is not None:
        record["corpus_hash"] = load_corpus(_CORPUS.value).content_hash()
    with new_directory(path) as unfinished:
        made = WorkDirectory(str(unfinished))
        made.begin(source.kind, config, record)
        made.keep_tokenizer(tokenizer)
        write_parameters(unfinished / "checkpoints", 0, params, to_dict(config))


def to_huggingface(workdir: WorkDirectory, path: Path) -> None:
    """Makes the model directory `path` of a checkpoint, or of the average that its run keeps."""
    refuse_used(path)
    workdir.model()  # refuses what is none of language
    config, step = workdir.config(), workdir.resolve_step(_STEP.value)
    write_pretrained(
        path,
        config.model,
        StoredParameters(workdir.path / "checkpoints", step).read,
        workdir.tokenizer(),
        dtype=_DTYPE.value,
        max_shard_bytes=int(_MAX_SHARD.value * GIB),
    )


def main(argv: Sequence[str]) -> None:
    """Converts one way or the other."""
    del argv
    source, target = _FROM.value, _TO.value
    if (source is None) == (target is None):
        raise ValueError("expected one of --from_huggingface=DIR and --to_huggingface=DIR")
    workdir = WorkDirectory(_WORKDIR.value)
    if source is not None:
        pretrained, made = Pretrained(Path(source)), workdir.path
        from_huggingface(pretrained, made)
        model = pretrained.model
    else:
        assert target is not None
        model, made = workdir.config().model, Path(target)
        to_huggingface(workdir, made)
    print(f"{made}: {parameter_count(model):,} parameters are written")


if __name__ == "__main__":
    run(main)
