"""Both counts of FLOPs against products counted by hand."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import pytest

from jaxreason.config import Config, MeshConfig, ModelConfig
from jaxreason.ops import attention_splash
from jaxreason.parallel.mesh import on_mesh
from jaxreason.plan import flops, show
from jaxreason.policy import moe


def _loops(x, w, n):
    """3 products in a scan, n in a loop whose length is data, 2 in one that the program knows, 1 or 0 by a branch."""
    x, _ = jax.lax.scan(lambda c, _: (c @ w, None), x, None, length=3)
    x = jax.lax.fori_loop(0, n, lambda _, c: jnp.tanh(c @ w), x)
    x = jax.lax.fori_loop(0, 2, lambda _, c: jnp.sin(c @ w), x)
    return jax.lax.cond(x.sum() > 0, lambda c: c @ w, lambda c: c, x)


def test_products_are_counted_as_often_as_they_run():
    """Catches a loop's body counted once, as XLA's own cost analysis does, and branches that add up."""
    traced = jax.jit(_loops).trace(jnp.ones((4, 8)), jnp.ones((8, 8)), jnp.int32(5))
    one = 2 * 4 * 8 * 8
    assert flops.traced(traced.jaxpr.jaxpr, trips=5) == (3 + 5 + 2 + 1) * one
    compiled = flops.Compiled(traced.lower().compile().as_text(), trips=5)
    assert compiled.flops == pytest.approx((3 + 5 + 2 + 1) * one)


def test_collectives_of_a_loop_are_counted_as_often_as_they_run():
    mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("x")

    def total(x):
        def body(_, c):
            return c + jax.lax.psum(c, "x")

        return jax.lax.fori_loop(0, 6, body, x)

    split = jax.jit(jax.shard_map(total, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False))
    text = split.lower(jax.ShapeDtypeStruct((8, 16), jnp.float32)).compile().as_text()
    assert flops.Compiled(text, trips=1).collectives == {"all-reduce": (6.0, 6 * 16 * 4.0)}


def _attention(q, k, v, segments):
    attend = jax.checkpoint(lambda q, k, v: attention_splash.causal(q, k, v, segments).astype(jnp.float32))
    return attend(q, k, v).sum()


def test_attention_inside_a_kernel_is_counted():
    """By hand: forward 2 products of the scores' size, again under remat 2, keys' and values' gradients 4, queries' 3,
    each over half of the 512 x 512 scores of 4 heads; outside of the kernels a sum over C for each query. Catches a
    pallas_call that counts as nothing."""
    S, H, J, C = 512, 4, 2, 128
    q, k = jnp.zeros((3, S, H, C), jnp.bfloat16), jnp.zeros((3, S, J, C), jnp.bfloat16)
    jaxpr = jax.make_jaxpr(jax.grad(_attention, (0, 1, 2)))(q, k, k, jnp.zeros((3, S), jnp.int32)).jaxpr
    assert flops.traced(jaxpr, trips=1) == 3 * (2 * H * S * C + (2 + 2 + 4 + 3) * 2 * H * S * S * C / 2)


def test_experts_are_counted_once_however_they_are_split():
    """By hand: three products forward and six backward, N k rows each. Catches rows of other devices' experts that
    count, and a gradient that counts for every expert."""
    N, k, D, F = 16, 2, 8, 12
    model = ModelConfig(hidden_size=D, num_experts=8, num_experts_per_tok=k, moe_intermediate_size=F)
    shapes = {"gate_proj": (8, D, F), "up_proj": (8, D, F), "down_proj": (8, F, D)}
    params = {name: jnp.zeros(shape) for name, shape in shapes.items()}

    def total(params, x_ND, weight_Nk, expert_Nk):
        return moe.Experts(model).apply({"params": params}, x_ND, weight_Nk, expert_Nk).sum()

    inputs = (params, jnp.zeros((N, D)), jnp.zeros((N, k)), jnp.zeros((N, k), jnp.int32))
    weighing = 3 * 2 * N * k * D  # by the router's weights, on every device that has the token
    split = functools.partial(MeshConfig, fsdp=4, tensor=2)
    for sizes, devices in (
        (split(experts=()), 2),
        (split(experts=("tensor",)), 2),
        (split(experts=("fsdp",)), 8),
        (split(experts=("fsdp", "tensor")), 8),
    ):
        with on_mesh(dataclasses.replace(Config(), mesh=sizes)):
            jaxpr = jax.make_jaxpr(jax.grad(total, (0, 1, 2)))(*inputs).jaxpr
        got = flops.traced(jaxpr, 1, flops.expert_share(sizes))
        assert got == 9 * 2 * N * k * D * F + devices * weighing, sizes.experts


COMPILED = """
HloModule jit_update, is_scheduled=true

%windowed (p: (u32[], bf16[8,4])) -> (u32[], bf16[8,4]) {
  %two = u32[]{:T(128)} constant(2)
  %one = u32[]{:T(128)} constant(1)
  %p = (u32[], bf16[8,4]) parameter(0)
  %i = u32[] get-tuple-element(%p), index=0
  %next = u32[] add(%i, %one)
  %x = bf16[8,4] get-tuple-element(%p), index=1
  %part = bf16[8,4] dot(%x, %x), lhs_contracting_dims={1}, rhs_contracting_dims={1}
  %run = bf16[8,4] fusion(%part), kind=kOutput, calls=%async_collective_fusion.1
  %after = u32[] add(%i, %two)
  ROOT %t = (u32[], bf16[8,4]) tuple(%after, %run)
}

%below (p.1: (u32[], bf16[8,4])) -> pred[] {
  %limit = u32[] constant(8)
  %p.1 = (u32[], bf16[8,4]) parameter(0)
  %i.1 = u32[] get-tuple-element(%p.1), index=0
  ROOT %c = pred[] compare(%i.1, %limit), direction=LT
}

%start (a: bf16[1,4]) -> (bf16[8,4]) {
  %a = bf16[1,4] parameter(0)
  %gather = bf16[8,4] all-gather(%a), dimensions={0}, frontend_attributes={chain_id="0"}
  ROOT %s = (bf16[8,4]) custom-call(%gather), custom_call_target="AsyncCollectiveStart"
}

%async_collective_fusion.1 (b: bf16[8,4]) -> bf16[8,4] {
  %b = bf16[8,4] parameter(0)
  ROOT %again = bf16[8,4] all-gather(%b), dimensions={0}, frontend_attributes={chain_id="0"}
}

ENTRY %main (a.1: bf16[1,4], q: bf16[4,512,128], k: bf16[2,512,128]) -> bf16[8,4] {
  %zero = u32[] constant(0)
  %a.1 = bf16[1,4] parameter(0)
  %begun = (bf16[8,4]) fusion(%a.1), kind=kCustom, calls=%start
  %x.1 = bf16[8,4] get-tuple-element(%begun), index=0
  %splash_mha_fwd_segmented.2 = bf16[4,512,128] custom-call(%m, %m, %q, %k, %k), KERNEL={kernel_metadata={
  }}
  %given = (u32[], bf16[8,4]) tuple(%zero, %x.1)
  %loop = (u32[], bf16[8,4]) while(%given), condition=%below, body=%windowed
  ROOT %out = bf16[8,4] get-tuple-element(%loop), index=1
}
""".replace(
    "KERNEL",
    'custom_call_target="tpu_custom_call", operand_layout_constraints={s8[1,1,1]{2,1,0}, s8[1,1,1]{2,1,0}, '
    "bf16[4,512,128]{2,1,0}, bf16[2,512,128]{2,1,0}, bf16[2,512,128]{2,1,0}}, frontend_attributes",
)
"""As libtpu writes it, shortened: a windowed product that counts by two, an all-gather that runs beside it."""


def test_a_compiled_loop_is_counted_by_its_own_step():
    """Four rounds of a loop to 8 by 2, though a 1 stands in it too; a collective once, not wherever its text stands;
    a kernel by its name and operands."""
    found = flops.Compiled(COMPILED, trips=99)
    assert found.flops == 4 * 2 * 8 * 4 * 4 + 2 * 2 * 4 * 512 * 512 * 128 / 2
    assert found.collectives == {"all-gather": (1.0, 8 * 4 * 2.0)}


def test_a_repeated_product_is_said():
    """Both directions, and silence within the tolerance."""
    assert "several devices repeat" in show.repeated({"flops": 1.0, "flops_compiled": 1.03})
    assert "in kernels" in show.repeated({"flops": 1.0, "flops_compiled": 0.9})
    assert not show.repeated({"flops": 1.0, "flops_compiled": 1.019})
