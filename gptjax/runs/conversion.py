"""Conversion of runs: from and to directories of Hugging Face's, and adapters merged.

from_huggingface(Pretrained(Path("gpt2")), Path("runs/gpt2"), tokenizer=None, corpus=None)
merge(WorkDirectory("runs/lora"), Path("runs/merged"), step=None)
"""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from absl import logging
from flax import traverse_util

from gptjax.config import (
    CheckpointConfig,
    DataConfig,
    ExperimentConfig,
    LoRAConfig,
    resolve,
)
from gptjax.data.corpora.text import load_corpus
from gptjax.interop.families import FAMILIES
from gptjax.interop.huggingface_directory import Pretrained, is_pretrained, write_pretrained
from gptjax.interop.new_directory import new_directory, refuse_used
from gptjax.interop.peft import peft_settings, read_peft, write_peft
from gptjax.registry import with_home
from gptjax.runs.initial.params import find_initial_checkpoint
from gptjax.runs.initial.stored import deferred_params
from gptjax.runs.inputs import tokenizer_named
from gptjax.runs.kind import kind_of, kinds
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import to_dict
from gptjax.tokenization import Tokenizer
from gptjax.training.checkpoints.parameter_files import (
    Deferred,
    StoredParameters,
    write_parameters,
)


def from_huggingface(
    source: Pretrained, path: Path, tokenizer: str | None, corpus: str | None
) -> ExperimentConfig:
    """Makes the work directory `path`, with the model as its checkpoint 0.

    Args:
      source: the model directory.
      path: new or empty.
      tokenizer: as `data.tokenizer`; None: the one in the model directory.
      corpus: as `data.corpus`, what later commands are to take for its data.

    Returns:
      The configuration of what is made, as all functions here do.

    Raises:
      ValueError: `path` is in use, or parts of the model are missing, damaged, or disagree.
    """
    refuse_used(path)
    kept, rows = _tokenizer_of(source, tokenizer), source.model.vocab_size
    model = source.fitted(kept)
    if model.vocab_size < rows:
        logging.warning(
            "%s: got %d rows in the tables of tokens, of which the %d of the tokenizer are kept",
            *(source.path, rows, model.vocab_size),
        )
    params = source.params(model)
    kind = next(each for each in kinds() if each.makes == each.takes == source.makes)
    config = resolve(kind.config(model=model, data=DataConfig(corpus=corpus)))
    record = {}
    if corpus is not None:
        record["corpus_hash"] = load_corpus(corpus).content_hash()
    with new_directory(path) as unfinished:
        made = WorkDirectory(str(unfinished))
        made.begin(source.kind, config, {"tokenizer_hash": kept.content_hash(), **record})
        made.keep_tokenizer(kept)
        write_parameters(unfinished / "checkpoints", 0, params, to_dict(config))
    return config


def _tokenizer_of(source: Pretrained, named: str | None) -> Tokenizer:
    """The tokenizer of a model directory, or one that is named for it and may be meant for it."""
    if named is None:
        return source.tokenizer()
    tokenizer, rows = tokenizer_named(named), source.model.vocab_size
    if 2 * tokenizer.vocab_size <= rows:  # more than what pads a table
        raise ValueError(
            f"--tokenizer: got a tokenizer of {tokenizer.vocab_size} tokens, expected the model's "
            f"{rows}, less those that pad its tables"
        )
    return tokenizer


def to_huggingface(
    workdir: WorkDirectory, path: Path, step: int | None, dtype: str, max_shard_bytes: int
) -> ExperimentConfig:
    """Makes the model directory `path` of a checkpoint, with adapters merged into their base."""
    refuse_used(path)
    config = workdir.config()
    makes = kind_of(config).makes
    workdir.model(makes if makes in FAMILIES else "language model")  # refuses what is neither
    params = deferred_params(workdir.path, workdir.resolve_step(step))
    leaves: dict[str, Any] = traverse_util.flatten_dict(params, sep="/")
    write_pretrained(
        path,
        config.model,
        lambda name: leaves[name].read(),
        workdir.tokenizer(),
        makes=makes,
        dtype=dtype,
        max_shard_bytes=max_shard_bytes,
    )
    return config


def merge(workdir: WorkDirectory, path: Path, step: int | None) -> ExperimentConfig:
    """Makes the work directory `path` of a run with LoRA: its adapters merged into their base.

    It keeps the record of what the run started from, which is the reference of DPO's figures.

    Raises:
      ValueError: a run without adapters, no such checkpoint, a reward model without the result of
        that step, or `path` is in use.
    """
    refuse_used(path)
    adapted, step = _adapted(workdir), workdir.resolve_step(step)
    config = dataclasses.replace(adapted, lora=LoRAConfig())
    has_result = workdir.has_result() and workdir.result().get("step") == step
    if kind_of(config).makes == "reward model" and not has_result:
        raise ValueError(
            f"--merge: {workdir.path} has no result.json of step {step}, expected the last step of "
            "a run that has ended: the result says what its rewards are shifted by"
        )
    with new_directory(path) as unfinished:
        made = WorkDirectory(str(unfinished))
        made.begin("merged", config, workdir.record(), workdir.initial_checkpoint)
        made.keep_tokenizer(workdir.tokenizer())
        params = deferred_params(workdir.path, step)
        write_parameters(unfinished / "checkpoints", step, params, to_dict(config))
        if has_result:
            shutil.copy(workdir.path / "result.json", unfinished)
    return config


def to_peft(workdir: WorkDirectory, path: Path, step: int | None) -> ExperimentConfig:
    """Makes a directory of `peft`'s of the adapters of a run, which is to be a language model's.

    Raises:
      ValueError: a run without adapters or a model that `transformers` has not, or `path` is in
        use.
    """
    refuse_used(path)
    workdir.model()  # refuses what is none of language
    config = _adapted(workdir)
    stored = StoredParameters(workdir.path / "checkpoints", workdir.resolve_step(step))
    leaves = {name: stored.read(name) for name in stored.shapes}
    write_peft(path, leaves, config.model, config.lora, workdir.initial_checkpoint().path)
    return config


def from_peft(source: Path, path: Path, base: str | None) -> ExperimentConfig:
    """Makes the work directory `path` of a run with LoRA, with the adapters as its checkpoint 0.

    Args:
      source: directory of `peft`'s.
      path: new or empty.
      base: model directory or work directory that they are of; None: the one that `source` names.

    Raises:
      ValueError: `path` is in use; the adapters are missing, damaged, or of another model.
    """
    refuse_used(path)
    base = base or _named_base(source)
    if is_pretrained(Path(base)):
        pretrained = Pretrained(Path(base))
        if pretrained.makes != "language model":
            raise ValueError(
                f"--base: got {base}, which holds a {pretrained.makes}, expected a language model"
            )
        tokenizer = pretrained.tokenizer()
        config = ExperimentConfig(model=pretrained.fitted(tokenizer))
    else:
        whole = WorkDirectory(base)
        whole.model()  # refuses what is none of language
        config = ExperimentConfig(model=whole.config().model, data=whole.config().data)
        tokenizer = whole.tokenizer()
    adapter = read_peft(source, config.model)
    config.lora, config.checkpoint = adapter.lora, CheckpointConfig(init_from=base)
    config = resolve(config)
    leaves = {
        name: Deferred(leaf.shape, lambda leaf=leaf: leaf) for name, leaf in adapter.leaves.items()
    }
    with new_directory(path) as unfinished:
        made, record = WorkDirectory(str(unfinished)), {"tokenizer_hash": tokenizer.content_hash()}
        made.begin("peft", config, record, lambda: find_initial_checkpoint(config))
        made.keep_tokenizer(tokenizer)
        params = traverse_util.unflatten_dict(leaves, sep="/")
        write_parameters(unfinished / "checkpoints", 0, params, to_dict(config))
    return config


def _named_base(source: Path) -> str:
    named = peft_settings(source).get("base_model_name_or_path")
    if not named or not Path(with_home(named)).is_dir():
        raise ValueError(
            f"--base: got none, and {source} names {named!r}, which is no directory here, expected "
            "the model directory or work directory that the adapters are of"
        )
    return with_home(named)


def _adapted(workdir: WorkDirectory) -> ExperimentConfig:
    """The configuration of a run that has adapters; ValueError where it has none."""
    config = workdir.config()
    if config.lora.rank is None:
        raise ValueError(
            f"--workdir: got {workdir.path}, a run without adapters, expected one with "
            "config.lora.rank"
        )
    return config
