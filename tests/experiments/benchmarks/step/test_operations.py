import pytest

from experiments.benchmarks.step.operations import Operation, Product, operations

TEXT = """
HloModule jit_train_step, is_scheduled=true

%fused_computation (p.0: f32[64,8], p.1: f32[8,32]) -> f32[64,32] {
  %p.0 = f32[64,8]{1,0} parameter(0)
  %p.1 = f32[8,32]{1,0} parameter(1)
  ROOT %dot.1 = f32[64,32]{1,0} dot(%p.0, %p.1), lhs_contracting_dims={1}, \
rhs_contracting_dims={0}, metadata={op_name="jit(train_step)/jvp(GPT)/feed_forward/up/dot_general"}
}

%fused_computation.1 (p.2: f32[64,32]) -> f32[64,32] {
  %p.2 = f32[64,32]{1,0} parameter(0)
  ROOT %tanh.1 = f32[64,32]{1,0} tanh(%p.2), metadata={op_name="GPT/feed_forward/tanh"}
}

ENTRY %main (x.1: f32[64,8], w.1: f32[8,32]) -> (f32[64,32]) {
  %x.1 = f32[64,8]{1,0} parameter(0)
  %w.1 = f32[8,32]{1,0} parameter(1)
  %ynn_fusion.7 = f32[64,32]{1,0} fusion(%x.1, %w.1), kind=kCustom, calls=%fused_computation
  %tanh_fusion = f32[64,32]{1,0} fusion(%ynn_fusion.7), kind=kLoop, calls=%fused_computation.1
  %dot.2 = f32[8,32]{1,0} dot(%x.1, %tanh_fusion), lhs_contracting_dims={0}, \
rhs_contracting_dims={0}, metadata={op_name="transpose(jvp(GPT))/feed_forward/up/transpose"}
  %dot.3 = f32[64,8]{1,0} dot(%tanh_fusion, %w.1), lhs_contracting_dims={1}, \
rhs_contracting_dims={1}, metadata={op_name="transpose(jvp(GPT))/feed_forward/up/dot_general"}
  %r.1 = f32[2,32,8]{2,1,0} reshape(%x.1)
  %dot.4 = f32[2,32,32]{2,1,0} dot(%r.1, %r.1), lhs_batch_dims={0}, lhs_contracting_dims={2}, \
rhs_batch_dims={0}, rhs_contracting_dims={2}, metadata={op_name="GPT/attention/dot_general"}
  %copy_bitcast_fusion.2 = f32[8,64]{1,0} fusion(%x.1), kind=kLoop, calls=%fused_computation.1
  %while.3 = (f32[64,32]{1,0}, /*index=1*/s32[]) while(%tuple.1), condition=%cond, body=%body
  ROOT %tuple.2 = (f32[64,32]{1,0}) tuple(%tanh_fusion)
}
"""


@pytest.fixture(scope="module")
def known():
    return operations(TEXT, tokens=64)


def test_products_by_shape_and_role(known):
    assert known["ynn_fusion.7"].product == Product(1, 64, 8, 32, "forward")
    assert known["dot.2"].product == Product(1, 8, 64, 32, "kernel gradient")
    assert known["dot.3"].product == Product(1, 64, 32, 8, "input gradient")
    assert known["dot.3"].product.flop == 2 * 64 * 32 * 8
    assert known["dot.2"].product.name == "kernel gradient [8,64] x [64,32]"


def test_parts(known):
    assert known["dot.4"] == Operation("attention")
    assert known["tanh_fusion"] == Operation("activation")
    assert known["copy_bitcast_fusion.2"] == Operation("copies")
    assert known["while.3"] == Operation("other", calls=True)
    assert "dot.1" not in known and "tanh.1" not in known  # they are inside of fusions
