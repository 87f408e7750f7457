r"""What a table costs before anything is trained, in both forms.

print("\n".join(plan_lines(table, experiment_named)))
"""

from collections.abc import Iterator

import jax

from gptjax.config import batch_schedule
from gptjax.runs.kind import kind_of
from gptjax.studies.choices import FORMS
from gptjax.studies.paper_tables.reproduce import (
    MakerOf,
    config_of,
    models_of,
    studies_of,
    training_flops,
)
from gptjax.studies.paper_tables.table import OfRun, StepTime, Table

_STATE = 3  # parameters and Adam's two moments
_GIB = 2**30


def plan_lines(table: Table, experiment: MakerOf) -> Iterator[str]:
    """A line for each model and form: parameters, tokens, FLOPs of training, bytes of its state.

    The bytes are those of parameters and optimizer; activations are left to `--dry_run` of
    experiments.train, whose command is named.
    """
    for form in FORMS:
        yield f"{table.name}, {form} form, each seed:"
        total, trained = 0.0, models_of(table, form, OfRun | StepTime)
        for key in (key for key in table.models if key in trained):
            model = table.models[key]
            config = config_of(model, form, experiment)
            if config is None:
                yield f"  {key}: none"
                continue
            shapes = kind_of(config).shapes(config)
            state = _STATE * sum(
                leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes)
            )
            flops = training_flops(config)
            total += flops
            tokens = batch_schedule(config).tokens(config.training.num_steps)
            yield (
                f"  {key}: {kind_of(config).costs(config).parameters:,} parameters, {tokens:.3g} "
                f"tokens, {flops:.3g} FLOPs, {state / _GIB:.3g} GiB of parameters and optimizer"
            )
            if form == "full":
                yield f"    {model.command()}"
        for key in studies_of(table, form):
            yield f"  {key}: {table.studies[key].cost}; by itself: {table.studies[key].command}"
        yield f"  together {total:.3g} FLOPs{' and the studies' if studies_of(table, form) else ''}"
