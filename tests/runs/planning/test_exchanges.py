"""What compiled steps exchange on eight devices, beside what the formulas say they have to.

The compiler is a CPU's. What it exchanges besides is named and counted here, to a few numbers such
as losses and norms:

- a tied table has two gradients, of its lookup and of the logits, which are summed apart;
- the gradients of queries, keys and values are summed over `tensor` before they are added up;
- a table of positions has its gradient gathered over `sequence`, and summed over all axes at once
  where several divide the batch;
- the ring's keys go round once: the compiler keeps those of the forward pass for the backward one.
"""

import pytest

from gptjax.config import (
    ExperimentConfig,
    ModelConfig,
    ParallelismConfig,
    TrainingConfig,
    resolve,
)
from gptjax.runs.kind import kind_of
from gptjax.runs.planning.collectives import collectives
from gptjax.runs.planning.exchanges import exchange_lines, exchanges
from gptjax.training.partitioning import make_mesh

WIDTH, LENGTH, VOCAB, ROWS = 64, 128, 512, 8
TABLE, POSITIONS = 4 * VOCAB * WIDTH, 4 * LENGTH * WIDTH
ACTIVATION = 4 * ROWS * LENGTH * WIDTH
FEW = 1024  # bytes of losses, norms and numbers of positions


def config(accumulate=1, model=(), **axes):
    shape = {"num_layers": 2, "num_heads": 8, "d_model": WIDTH}
    return resolve(
        ExperimentConfig(
            model=ModelConfig(vocab_size=VOCAB, context_length=LENGTH, **(shape | dict(model))),
            training=TrainingConfig(batch_size=ROWS * accumulate, accumulate=accumulate),
            parallelism=ParallelismConfig(strategy="mesh", **axes),
        )
    )


def counted(given):
    mesh, kind = make_mesh(given.parallelism), kind_of(given)
    wanted = kind.expected_exchanges(given, kind.plan(given, mesh), mesh, itemsize=4)
    text = kind.largest_program(given, mesh).compiled.as_text()
    return exchanges(collectives(text, mesh.shape), wanted)


CASES = [
    ({"data": 8}, {"gradients": TABLE}),
    ({"data": 8, "accumulate": 2}, {"gradients": 2 * TABLE}),
    ({"fsdp": 8}, {"parameters": 0, "gradients": TABLE}),
    ({"fsdp": 8, "model": {"remat": "block"}}, {"parameters": 0, "gradients": TABLE}),
    ({"fsdp": 8, "model": {"num_layers": 10}}, {"parameters": 0, "gradients": TABLE}),
    ({"tensor": 8}, {"activations": 2 * 2 * ACTIVATION}),
    (
        {"tensor": 8, "model": {"num_layers": 10, "remat": "block"}},
        {"activations": 10 * 2 * ACTIVATION},
    ),
    (
        {"sequence": 8},
        {"gradients": TABLE - POSITIONS, "keys and values": POSITIONS},
    ),
    (
        {"sequence": 8, "sequence_attention": "ring"},
        {
            "gradients": TABLE - POSITIONS,
            "keys and values": POSITIONS - 2 * 2 * 7 * ACTIVATION / 8,
        },
    ),
    (
        {"data": 2, "fsdp": 2, "tensor": 2},
        {
            "parameters": TABLE / 2,  # once more for the logits
            "gradients": TABLE / 2 - POSITIONS / 2,
            "activations": 2 * 2 * ACTIVATION / 4,
        },
    ),
]


@pytest.mark.parametrize(
    ("given", "besides"),
    [
        pytest.param(*case, id=str(case[0]), marks=() if len(case[0]) == 3 else pytest.mark.slow)
        for case in CASES
    ],
)
def test_a_step_exchanges_what_it_has_to_and_what_is_named_besides(given, besides):
    rows = {row["what"]: row for row in counted(config(**given))}
    assert set(rows) == set(besides)
    for what, more in besides.items():
        row = rows[what]
        assert 0 <= row["bytes"] - row["expected_bytes"] - more < FEW, what


def test_the_formulas_are_those_of_the_papers():
    """GPT-2 small on 2 x 4 devices, by hand; no program is compiled."""
    model = {"num_layers": 12, "num_heads": 12, "d_model": 768, "remat": "block"}
    given = config(model=model, fsdp=2, tensor=4)
    mesh, kind = make_mesh(given.parallelism), kind_of(given)
    made = kind.expected_exchanges(given, kind.plan(given, mesh), mesh, itemsize=2)
    sizes = {row.what: row.bytes for row in made}
    kernels, table, positions = 12 * 12 * 768**2, VOCAB * 768, LENGTH * 768
    # Kernels in bfloat16 forward and backward; the table once in float32 and once in bfloat16.
    assert sizes["parameters"] == 2 * 2 * kernels / 4 + (4 + 2) * table / 4 + 4 * positions
    divided, whole = 7 * 12 * 768 / 4, 6 * 12 * 768 + 2 * 768  # biases and norms
    assert sizes["gradients"] == 4 * ((kernels + table) / 4 + positions + divided + whole)
    tokens = ROWS * LENGTH / 2
    assert sizes["activations"] == tokens * (2 * 768 * (12 * (4 + 1) + 2) + 12)
    shown = "\n".join(exchange_lines(exchanges((), made)))
    assert "activations (0 x none)" in shown and "unknown" not in shown
    assert "unknown" in "\n".join(
        exchange_lines([exchanges((), made)[0] | {"expected_bytes": None}])
    )
