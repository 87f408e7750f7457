"""What the kinds of run share that train BERT: its tokenizer, its costs, and their start from it.

tokenizer = wordpiece_of(config)
params = adopt_bert(KIND, config, read, target)
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

from gptjax.config import ExperimentConfig
from gptjax.models.bert import Bert
from gptjax.models.costs import bert_parameter_count
from gptjax.models.parameter_shapes import parameter_shapes
from gptjax.runs import inputs
from gptjax.runs.kind import Kind
from gptjax.runs.planning.costs import Costs, Shapes, costs_of_model
from gptjax.settings import Check
from gptjax.tokenization import WordPiece
from gptjax.tokenization.wordpiece import MASK, PADDING, SEPARATOR, START
from gptjax.training.partitioning import placed
from gptjax.training.state import rng


def wordpiece_of(config: ExperimentConfig) -> WordPiece:
    """The tokenizer of a run; ValueError if it is not BERT's, with all its special tokens."""
    tokenizer = inputs.load_model_tokenizer(config)
    names = tokenizer.special_tokens
    missing = [name for name in (MASK, START, SEPARATOR, PADDING) if name not in names]
    if not isinstance(tokenizer, WordPiece) or missing:
        raise ValueError(
            f"config.data.tokenizer: got {config.data.tokenizer!r} without "
            f"{' and '.join(missing) or 'word pieces'}, expected wordpiece:DIR with the vocab.txt "
            "of a BERT, or a directory made by `python -m experiments.train_tokenizer "
            "--kind=wordpiece`"
        )
    return tokenizer


def checks_of_bert(config: Any) -> Iterator[Check]:
    """What a run of `BertConfig` can have that starts from a pretrained BERT."""
    new_pooler = config.model.heads == "masked_lm"
    fits = config.lora.rank is None or not new_pooler
    yield "lora.rank", fits, "none with model.heads=masked_lm, whose pooler is new"
    tied = config.model.tied_embeddings
    yield "model.tied_embeddings", tied, f"True for the kind of run {config.kind}"


def costs_of_bert(
    kind: Kind[Any], config: Any, num_outputs: int, *, has_pooler: bool = True
) -> Costs:
    """The costs of an encoder with a new head of `num_outputs`, whatever `model.heads` says.

    Of FLOPs, those of the pooler and of the head are left out but for one number a token.
    """
    adapters = kind.adapter_parameters(config)
    computed = costs_of_model(config.model, scalar_head=True, causal=False, adapters=adapters)
    encoder = bert_parameter_count(dataclasses.replace(config.model, heads="encoder"))
    width = config.model.d_model
    head, pooler = num_outputs * (width + 1), width * (width + 1)
    absent = 0 if has_pooler else pooler
    return dataclasses.replace(computed, parameters=encoder + head - absent)


def attention_calls_of_bert(batch: Shapes) -> Sequence[Mapping[str, Any]]:
    """As `Kind.attention_calls`; segments hide the padding."""
    length = batch["tokens"].shape[-1]
    return [{"num_queries": length, "num_keys": length, "segments": True}]


def adopt_bert(
    kind: Kind[Any], config: Any, read: Callable[[Any], Any], target: Any
) -> dict[str, Any]:
    """The parameters of a run that starts from a pretrained BERT; arguments are `Kind.adopt`'s.

    The masked-LM and the next-sentence head are dropped. What the source has not is drawn: the head
    of the task, and the pooler where `model.heads` is masked_lm.
    """
    mesh = jax.tree.leaves(target)[0].sharding.mesh
    source = read(placed(parameter_shapes(Bert(config.model)), mesh))
    new = target.keys() - source.keys()

    def drawn(key: jax.Array) -> dict[str, Any]:
        params = kind.init(config, key)
        return {name: params[name] for name in new}

    places = {name: jax.tree.map(lambda leaf: leaf.sharding, target[name]) for name in new}
    fresh = jax.jit(drawn, out_shardings=places)(rng(config.training.seed, "task_head"))
    return {name: fresh[name] if name in new else source[name] for name in target}
