"""Both counts of FLOPs against products counted by hand."""

import jax
import jax.numpy as jnp
import pytest

from jaxreason.plan import flops


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
