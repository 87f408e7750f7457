"""Memory of a compiled program, as XLA plans it.

planned_bytes(jax.jit(f).lower(x).compile())
"""

import jax


def planned_bytes(compiled: jax.stages.Compiled) -> int:
    """On each device: arguments, results, temporaries, less what results take from arguments."""
    planned = compiled.memory_analysis()
    assert planned is not None
    return (
        planned.argument_size_in_bytes
        + planned.output_size_in_bytes
        + planned.temp_size_in_bytes
        - planned.alias_size_in_bytes
    )
