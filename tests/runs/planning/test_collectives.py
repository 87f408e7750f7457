"""Collectives are read off programs as XLA writes them."""
# ruff: noqa: E501  lines of a program

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from gptjax.runs.planning.collectives import Collective, collectives

MESH = {"data": 2, "fsdp": 1, "sequence": 2, "tensor": 2}
PROGRAM = """\
HloModule jit_step, entry_computation_layout={(f32[4]{0})->f32[4]{0}}

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %sum = f32[] add(%x, %y)
}

%body (state: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %one = f32[4,8]{1,0} all-reduce(%x), replica_groups=GROUPS, to_apply=%add
  ROOT %two = (s32[], f32[4,8]{1,0}) tuple(%i, %one)
}

%all-reduce-scatter.1 (z: bf16[8]) -> bf16[4] {
  %all = bf16[8]{0} all-reduce(%z), channel_id=7, replica_groups=[4,2]<=[8], to_apply=%add
  ROOT %mine = bf16[4]{0} dynamic-slice(%all, %i), dynamic_slice_sizes={4}
}

%beside.1 (p: bf16[2,8]) -> bf16[4,8] {
  ROOT %part.1 = bf16[4,8]{1,0} all-gather(%p), channel_id=9, replica_groups=[4,2]<=[8]
}

%beside.2 (p: bf16[2,8]) -> bf16[4,8] {
  ROOT %part.2 = bf16[4,8]{1,0} all-gather(%p), channel_id=9, replica_groups=[4,2]<=[8]
}

ENTRY %main (p: f32[4,8]) -> f32[4,8] {
  %loop = (s32[], f32[4,8]) while(%init), condition=%c, body=%body, backend_config={"known_trip_count":{"n":"5"}}
  %gathered = (bf16[2,8]{1,0:T(8,128)(2,1)}, bf16[4,8]{1,0}) all-gather-start(%p), replica_groups=[4,2]<=[8]
  %done = bf16[4,8]{1,0} all-gather-done(%gathered)
  %scattered = f32[2,8]{1,0} reduce-scatter(%q), channel_id=7, replica_groups={{0,4},{1,5},{2,6},{3,7}}, to_apply=%add
  %further = f32[2,8]{1,0} reduce-scatter(%q), channel_id=7, replica_groups={{0,4},{1,5},{2,6},{3,7}}, to_apply=%add
  %first = bf16[4,8]{1,0} fusion(%p), kind=kCustom, calls=%beside.1
  %second = bf16[4,8]{1,0} fusion(%p), kind=kCustom, calls=%beside.2
  %fused = bf16[4]{0} fusion(%z), kind=kCustom, calls=%all-reduce-scatter.1
  %sent = (f32[3]{0}, s8[5]{0}, /*index=2*/pred[]) all-reduce(%r, %s, %t), replica_groups={}
  %alone = f32[4,8]{1,0} all-reduce(%p), replica_groups={{0},{1},{2},{3},{4},{5},{6},{7}}, to_apply=%add
  ROOT %ring = f32[6]{0} collective-permute(%u), source_target_pairs={{0,2},{2,0},{1,3},{3,1},{4,6},{6,4},{5,7},{7,5}}
}

%c (state: (s32[], f32[4,8])) -> pred[] {
  ROOT %less = pred[] compare(%i, %n), direction=LT
}
"""


@pytest.mark.parametrize(
    ("groups", "axes"),
    [
        ("{{0,2},{1,3},{4,6},{5,7}}", "sequence"),
        ("[4,2]<=[2,2,2]T(0,2,1)", "sequence"),
        ("mesh['a'=2,'b'=2,'c'=2] {'b'}", "sequence"),
        ("mesh['a'=2,'b'=4], device_ids=([2,2,2]T(1,0,2)) {'a'}", "sequence"),
        ("mesh['a'=2,'b'=2,'c'=2] {'b','c'}", "sequence,tensor"),
        ("{{0,3},{1,2},{4,7},{5,6}}", "?"),
    ],
)
def test_each_is_counted_as_often_as_it_runs_over_the_axes_of_its_groups(groups, axes):
    found = collectives(PROGRAM.replace("GROUPS", groups), MESH)
    size = 4 if axes == "sequence,tensor" else 2
    assert sorted(found) == sorted(
        [
            Collective(axes, "all-reduce", 5, 5 * 4 * 8 * 4, size),
            Collective("tensor", "all-gather", 2, 2 * (4 * 8 * 2), 2),
            Collective("tensor", "reduce-scatter", 1, 8 * 2, 2),
            Collective("data", "reduce-scatter", 2, 2 * 2 * (2 * 8 * 4), 2),
            Collective("data,sequence,tensor", "all-reduce", 1, 3 * 4 + 5 + 1, 8),
            Collective("sequence", "collective-permute", 1, 6 * 4, 2),
        ]
    )
    sent = {(row.kind, row.bytes): row.sent_bytes for row in found}
    assert sent["all-gather", 128] == 64 and sent["reduce-scatter", 256] == 128
    assert sent["all-reduce", 18] == 2 * 18 * 7 / 8 and sent["collective-permute", 24] == 24


def test_a_program_of_this_compiler_is_read():
    """Partial sums over one axis, then a copy of all over the other."""
    mesh = jax.make_mesh((2, 4), ("a", "b"), axis_types=(AxisType.Auto,) * 2)
    x = jax.ShapeDtypeStruct((8, 16), jnp.float32, sharding=NamedSharding(mesh, P("a", "b")))

    def summed(x):
        return jax.lax.with_sharding_constraint(x.sum(1), NamedSharding(mesh, P()))

    found = collectives(jax.jit(summed).lower(x).compile().as_text(), {"a": 2, "b": 4})
    assert Collective("b", "all-reduce", 1, 4 * 4, 4) in found
    assert Collective("a", "all-gather", 1, 8 * 4, 2) in found and len(found) == 2
