"""Attention compiled for TPUs: interpretation shows values, only the compiler sees tiles, memory and devices."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxreason.ops import attention
from tests.topology import tpu_mesh

COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "collective-permute", "all-to-all")


@pytest.mark.tpu_aot
@pytest.mark.parametrize(
    ("topology", "window"),
    [("v5e:2x2", 0), ("v5e:2x2", 300), ("v5p:2x2x1", 0), ("v6e:2x2", 0), ("tpu7x:2x2x1", 0)],
)
def test_auto_compiles_to_splash_on_each_device(topology, window):
    """Catches a tile that the chip refuses, a kernel that is not chosen when only the mesh says TPU, rows or heads
    that travel between devices, and scores that exist in memory after all."""
    B, S, H, J, C = 4, 1500, 4, 2, 128

    def gradients(q, k, v, segments):
        attend = functools.partial(attention.causal, segments_BS=segments, window=window)
        return jax.grad(lambda *qkv: attend(*qkv).astype(jnp.float32).sum(), (0, 1, 2))(q, k, v)

    with tpu_mesh(topology, (1, 2, 2)) as mesh:

        def array(shape, dtype, *names):
            return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, PartitionSpec(*names)))

        q, k = (array((B, S, n, C), jnp.bfloat16, ("replica", "fsdp"), None, "tensor") for n in (H, J))
        segments = array((B, S), jnp.int32, ("replica", "fsdp"))
        compiled = jax.jit(gradients).lower(q, k, k, segments).compile()
    text = compiled.as_text()
    assert text is not None
    assert text.count('custom_call_target="tpu_custom_call"') == 3  # forward, and the gradients of q and of k and v
    assert not [name for name in COLLECTIVES if f" {name}" in text]
    scores = (B // 2) * (H // 2) * S * S * 4
    assert compiled.memory_analysis().temp_size_in_bytes < scores / 2
