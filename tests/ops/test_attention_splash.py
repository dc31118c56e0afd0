"""Splash attention against the loop and the blockwise form, interpreted: its values, not its tiles."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, PartitionSpec

from jaxreason.ops import attention, attention_mesh, attention_splash
from tests.helpers import TOLERANCE
from tests.reference import transformer as reference

RNG = np.random.default_rng(0)


def _inputs(B, S, H, J, C):
    """Rows of two or three sequences and an unused tail, whose segment is 0."""
    q, k, v = (RNG.standard_normal((B, S, n, C), np.float32) for n in (H, J, J))
    segments_BS = np.zeros((B, S), np.int32)
    for row in segments_BS:
        ends = np.sort(RNG.choice(np.arange(1, S), 3, replace=False))
        for segment, (start, end) in enumerate(zip([0, *ends], ends, strict=False), start=1):
            row[start:end] = segment
    return q, k, v, segments_BS


@pytest.mark.parametrize("window", [0, 1, 70, 130])
def test_splash_is_the_loop_over_queries(monkeypatch, window):
    """Catches queries scaled twice or not at all, a window off by one, and padding of the row that is seen."""
    monkeypatch.setattr(attention_splash, "BLOCK", 128)
    q, k, v, segments_BS = _inputs(2, 200, 4, 2, 64)
    segments_BS[1, :150] = 1
    got = attention_splash.causal(q, k, v, segments_BS, window, interpret=True)
    for b in range(2):
        want = reference.attend(*(x[b].astype(np.float64) for x in (q, k, v)), segments_BS[b], window)
        np.testing.assert_allclose(got[b], want, atol=TOLERANCE["sum"])


@pytest.mark.parametrize("window", [0, 70])
def test_gradients_of_splash_are_those_of_the_blockwise_form(monkeypatch, window):
    """Catches a backward pass without segments or window, and one that misses a block."""
    monkeypatch.setattr(attention_splash, "BLOCK", 128)
    q, k, v, segments_BS = _inputs(1, 200, 2, 1, 64)
    direction = RNG.standard_normal(q.shape, np.float32)

    def gradient(attend):
        return jax.jit(jax.grad(lambda *qkv: (attend(*qkv, segments_BS, window=window) * direction).sum(), (0, 1, 2)))

    got = gradient(functools.partial(attention_splash.causal, interpret=True))(q, k, v)
    want = gradient(functools.partial(attention.causal, implementation="xla"))(q, k, v)
    for a, b in zip(got, want, strict=True):
        scale = np.abs(b).max()
        np.testing.assert_allclose(a / scale, b / scale, atol=TOLERANCE["sum"])


@pytest.mark.parametrize("B", [4, 3])
def test_a_kernel_on_several_devices_is_the_kernel_on_one(B):
    """Catches heads that meet other heads' keys, segments of other rows, gradients summed over devices that hold the
    same, and rows that do not divide evenly."""
    q, k, v, segments_BS = _inputs(B, 100, 4, 2, 64)
    direction = RNG.standard_normal(q.shape, np.float32)
    kernel = functools.partial(attention_splash.causal, interpret=True)

    def total(attend, q, k, v):
        out = attend(q, k, v, segments_BS)
        return (out * direction).sum(), out

    def both(attend):
        gradient, out = jax.jit(jax.grad(functools.partial(total, attend), (0, 1, 2), has_aux=True))(q, k, v)
        return out, *gradient

    axes = ("replica", "fsdp", "tensor")
    mesh = Mesh(np.array(jax.devices()[:8]).reshape(2, 2, 2), axes, axis_types=(AxisType.Auto,) * 3)
    with jax.set_mesh(mesh):
        spread = functools.partial(attention_mesh.per_device, kernel, batch=axes[:2], heads=axes[2:])
        got = both(spread)
    rows = ("replica", "fsdp") if B == 4 else None
    assert got[0].sharding.is_equivalent_to(
        jax.sharding.NamedSharding(mesh, PartitionSpec(rows, None, "tensor", None)), 4
    )
    for a, b in zip(got, both(kernel), strict=True):
        np.testing.assert_allclose(a, jnp.asarray(b), atol=TOLERANCE["sum"])
