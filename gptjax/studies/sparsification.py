"""Loss of a trained model when its attention may reach fewer keys, before any training.

The share of attention that a pattern keeps follows from two log-sum-exps, those of a query's
scores over the keys of the model's own pattern and over those of both: exp(lse(both) - lse(own)).
No array of weights is made, so that it holds for every implementation and length.

    report = sparsify(config, params, "banded(window=64)", batches, bytes_per_target, mesh)
"""

import copy
import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from rich import box
from rich.table import Table

from gptjax import attention
from gptjax.attention.patterns import in_order
from gptjax.config import ExperimentConfig, ModelConfig, ParallelismConfig, resolve
from gptjax.data.batches.shards import PreparedCorpus
from gptjax.models.decoder import Decoder
from gptjax.models.gpt import GPT
from gptjax.models.transformer import attention_cycle
from gptjax.runs import inputs
from gptjax.runs.workdir import WorkDirectory
from gptjax.studies.equal_budget.plan import trial_config
from gptjax.studies.equal_budget.variants import ATTENTION, Variant
from gptjax.training.evaluation import language_model_evaluator
from gptjax.training.losses import Batch, Loss, counted_weights
from gptjax.training.partitioning import make_mesh, put_batch


def kept_attention(
    config: ModelConfig, specification: str, params: Any, batch: Batch
) -> tuple[jax.Array, jax.Array]:
    """The attention that `specification` keeps of the model's own, summed over queries.

    Args:
      config: of the model, resolved.
      specification: attention patterns, cycled over the layers.
      params: the model's.
      batch: as a loss takes it; queries count by `loss_weights`.

    Returns:
      (kept, queries): [L, H] float32, the sum over queries of the attention weights on keys that
      the specification allows too, and the number of queries that attend to anything.
    """
    own, others = attention_cycle(config), attention.parse(specification)
    layers: list[tuple[jax.Array, jax.Array]] = []

    def recording(q: Any, k: Any, v: Any, pattern: attention.Pattern, **options: Any) -> jax.Array:
        if q.shape[:2] != batch["tokens"].shape:  # Flax asks one token for the parameters' shapes
            return attention.attend(q, k, v, pattern, **options)
        other = others[len(layers) % len(others)]
        out, lse = attention.attend_with_lse(q, k, v, pattern, **options)
        both = in_order(pattern) & in_order(other)
        _, kept = attention.attend_with_lse(q, k, v, both, **options)
        weights = jnp.where(jnp.isneginf(lse), 0.0, batch["loss_weights"][..., None])
        share = jnp.where(weights > 0.0, jnp.exp(kept - lse), 0.0)
        layers.append(((weights * share).sum((0, 1)), weights.sum((0, 1))))
        return out

    # With more patterns than layers none is scanned, and what is recorded is of this very trace.
    patterns = [own[layer % len(own)] for layer in range(config.num_layers + 1)]
    unrolled = dataclasses.replace(
        config, attention=",".join(map(str, patterns)), attention_impl="auto", remat="none"
    )
    GPT(unrolled, attend=recording).apply(
        {"params": params},
        batch["tokens"],
        segment_ids=batch.get("segment_ids"),
        positions=batch.get("positions"),
        method="hidden",
    )
    kept, queries = zip(*layers, strict=True)
    return jnp.stack(kept), jnp.stack(queries)


def divergence_loss(own: Decoder, new: Decoder) -> Loss:
    """The loss of `new`; as metrics that of `own`, and KL(own || new) of their predictions, nats.

    Targets that either may see count nothing. The models share their parameters. Logits of both
    exist for one row of the batch at a time.
    """

    def loss(params: Any, batch: Batch, rng: jax.Array | None):
        del rng
        values, weights = {"params": params}, counted_weights(batch, own.config, new.config)
        context: Any = {name: batch.get(name) for name in ("segment_ids", "positions")}
        hiddens = [
            model.apply(values, batch["tokens"], **context, method="hidden")[0]
            for model in (own, new)
        ]

        def row(hiddens_and_targets: tuple[Any, jax.Array]):
            hiddens, targets = hiddens_and_targets

            def log_probabilities(hidden: jax.Array) -> jax.Array:
                logits: Any = own.apply(values, hidden[None], method="logits")
                return jax.nn.log_softmax(logits[0, :, : own.config.vocab_size])

            p, q = map(log_probabilities, hiddens)
            own_nats, nats = (-jnp.take_along_axis(x, targets[:, None], 1)[:, 0] for x in (p, q))
            return nats, own_nats, jnp.sum(jnp.exp(p) * (p - q), axis=1)

        nats, own_nats, kl = (
            jnp.sum(each * weights) for each in jax.lax.map(row, (hiddens, batch["targets"]))
        )
        return nats, jnp.sum(weights), {"own_loss": own_nats, "kl": kl}

    return loss


def sparsify(
    config: ExperimentConfig,
    params: Any,
    specification: str,
    batches: Callable[[], Iterable[Mapping[str, np.ndarray]]],
    bytes_per_target: float,
    mesh: Mesh,
    bytes_of: str = "documents",
) -> dict[str, Any]:
    """Judges a trained model under another attention on held-out text.

    Args:
      config: of the run, resolved.
      params: the trained parameters; they load under any specification.
      specification: the attention to judge.
      batches: makes the batches anew at each call.
      bytes_per_target: bytes of the text over targets in it.
      mesh: where batches go.
      bytes_of: the text whose bytes are counted, see `TokenizedSplit.bytes_of`.

    Returns:
      JSON values: `attention`, `loss` (nats a token) and `bits_per_byte`, each of the run's `own`
      and of the `new` attention; `bytes_of` as given; `kl`, the mean over tokens of
      KL(own || new) of the predictions (nats); `kept` [L][H], the share of the run's own attention
      that the new one keeps, the mean over queries.
    """
    new = copy.deepcopy(config.model)
    new.attention = specification
    loss = divergence_loss(GPT(config.model), GPT(new))
    figures = language_model_evaluator(loss, batches, bytes_per_target, mesh, bytes_of)(params)

    measure = jax.jit(functools.partial(kept_attention, config.model, specification))
    parts = [jax.device_get(measure(params, put_batch(batch, mesh))) for batch in batches()]
    kept, queries = (np.sum(part, axis=0) for part in zip(*parts, strict=True))
    bits = figures["bits_per_byte"] / figures["loss"]
    return {
        "attention": {"own": config.model.attention, "new": specification},
        "loss": {"own": figures["own_loss"], "new": figures["loss"]},
        "bits_per_byte": {"own": bits * figures["own_loss"], "new": figures["bits_per_byte"]},
        "bytes_of": figures["bytes_of"],
        "kl": figures["kl"],
        "kept": (kept / np.maximum(queries, 1)).tolist(),
    }


def judged_run(
    workdir: WorkDirectory,
    config: ExperimentConfig,
    step: int,
    specification: str,
    text: PreparedCorpus,
) -> dict[str, Any]:
    """As `sparsify`, of a run's checkpoint on its held-out text; `config` says how much of it."""
    report = sparsify(
        config,
        workdir.params(step),
        specification,
        inputs.validation_batches(config, text.validation),
        text.validation.bytes_per_target,
        make_mesh(ParallelismConfig()),
        text.validation.bytes_of,
    )
    return report | {"workdir": str(workdir.path), "step": step}


def figure_lines(report: dict[str, Any]) -> Iterator[str]:
    """The figures of a report, a line each."""
    for name in ("loss", "bits_per_byte"):
        own, new = report[name]["own"], report[name]["new"]
        yield f"{name}: {own:.4f}, under the new attention {new:.4f} ({new - own:+.4f})"
    yield f"KL(own || new): {report['kl']:.4f} nats a token"


def continued_line(report: dict[str, Any]) -> str:
    """What training on came to, where the report has its figures as `continued`."""
    after, loss = report["continued"], report["loss"]
    return (
        f"loss after {after['step']} steps: {after['loss']:.4f}, from {loss['new']:.4f}; "
        f"{loss['own']:.4f} before the change"
    )


def kept_attention_table(report: dict[str, Any]) -> Table:
    """The kept shares of attention, a row a layer."""
    names, kept = report["attention"], np.array(report["kept"])
    title = f"share of the attention of {names['own']} that {names['new']} keeps"
    made = Table("layer", title=title, box=box.SIMPLE_HEAD)
    for heading in ("mean", *(f"head {head}" for head in range(kept.shape[1]))):
        made.add_column(heading, justify="right")
    for layer, shares in enumerate(kept):
        made.add_row(str(layer), *(f"{share:.3f}" for share in (shares.mean(), *shares)))
    return made


def plot(report: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Draws the kept shares of attention, layers by heads, as a heat map."""
    # Takes 1 s, and more where its font cache is built.
    from matplotlib.figure import Figure

    names, kept = report["attention"], np.array(report["kept"])
    layers, heads = kept.shape
    size = (max(6.4, 2.4 + 0.5 * heads), max(3.2, 1.6 + 0.3 * layers))
    figure = Figure(figsize=size, dpi=160, layout="constrained")
    axes = figure.add_subplot()
    picture = axes.imshow(kept, vmin=0.0, vmax=1.0, cmap="viridis", aspect="auto")
    figure.colorbar(picture, label="share of attention kept")
    for layer, head in np.ndindex(layers, heads):
        share = kept[layer, head]
        color = "black" if share > 0.6 else "white"
        axes.text(head, layer, f"{share:.2f}", ha="center", va="center", color=color, fontsize=8)
    axes.set(xlabel="head", ylabel="layer", xticks=range(heads), yticks=range(layers))
    axes.set_title(f"{names['new']}\nof the attention of {names['own']}", fontsize=10)
    figure.savefig(path)


def continued(
    workdir: WorkDirectory, specification: str, num_steps: int, learning_rate: float | None
) -> ExperimentConfig:
    """The configuration that trains on from the run in `workdir` under another attention."""
    own = workdir.config()
    variant = Variant(specification, {ATTENTION: specification})
    config = trial_config(own, variant, num_steps, own.training.seed + 1)
    config.checkpoint.init_from = str(workdir.path)
    config.data.tokenizer = str(workdir.path / "tokenizer")
    config.training.batch_ramp_start = config.training.batch_ramp_tokens = None
    if learning_rate is not None:
        config.optimizer.learning_rate = learning_rate
    return resolve(config)
