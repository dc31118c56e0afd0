"""Attention against plain loops."""

import functools
from types import SimpleNamespace

import jax
import jax.extend.backend
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.ops import attention
from tests.helpers import TOLERANCE
from tests.reference import transformer as reference

RNG = np.random.default_rng(0)


def _inputs(B, S, H, J, C):
    q, k, v = (RNG.standard_normal((B, S, n, C), np.float32) for n in (H, J, J))
    segments_BS = np.sort(RNG.integers(0, 3, (B, S)), axis=1).astype(np.int32)
    return q, k, v, segments_BS


@pytest.mark.parametrize(("H", "J"), [(4, 2), (3, 3), (4, 1)])
def test_causal_is_the_loop_over_queries(H, J):
    """Catches a query head paired with the wrong key head, a wrong scale, and a look at the future or next door."""
    q, k, v, segments_BS = _inputs(2, 11, H, J, 8)
    got = jax.jit(attention.causal)(q, k, v, segments_BS)
    for b in range(2):
        want = reference.attend(*(x[b].astype(np.float64) for x in (q, k, v)), segments_BS[b])
        np.testing.assert_allclose(got[b], want, atol=TOLERANCE["sum"])


@pytest.mark.parametrize("window", [1, 3, 4, 11, 12])
@pytest.mark.parametrize("block", [4, 5, 12])
def test_window_is_that_of_the_loop(monkeypatch, block, window):
    """Catches a window off by one, also where it begins inside, at the border of, or before a block of keys."""
    monkeypatch.setattr(attention, "BLOCK", block)
    q, k, v, segments_BS = _inputs(2, 12, 4, 2, 8)
    segments_BS[0] = 0
    got = jax.jit(functools.partial(attention.causal, window=window))(q, k, v, segments_BS)
    for b in range(2):
        want = reference.attend(*(x[b].astype(np.float64) for x in (q, k, v)), segments_BS[b], window)
        np.testing.assert_allclose(got[b], want, atol=TOLERANCE["sum"])


def test_keys_outside_the_window_are_not_read(monkeypatch):
    """Catches a window that is only a mask, whose work grows with the square of the row: 0 times NaN is NaN."""
    monkeypatch.setattr(attention, "BLOCK", 8)
    q, k, v, segments_BS = _inputs(1, 32, 2, 1, 4)
    v[:, :16] = np.nan

    def attend(window):
        return jax.jit(functools.partial(attention.causal, window=window))(q, k, v, segments_BS * 0)

    assert np.isnan(attend(0)[:, 16:]).all()
    assert np.isnan(attend(5)[:, 16:20]).all()
    assert np.isfinite(attend(5)[:, 24:]).all()


@pytest.mark.parametrize(("block", "S"), [(4, 12), (5, 12), (11, 12)])
def test_blocks_of_queries_change_neither_value_nor_gradient(monkeypatch, block, S):
    """Catches a border off by one, and a last block that is shorter than the rest."""
    q, k, v, segments_BS = _inputs(2, S, 4, 2, 8)
    direction = RNG.standard_normal(q.shape, np.float32)

    def both():
        def total(q, k, v):
            out = attention.causal(q, k, v, segments_BS)
            return (out * direction).sum(), out

        gradient, out = jax.jit(jax.grad(total, (0, 1, 2), has_aux=True))(q, k, v)
        return out, *gradient

    whole = both()
    monkeypatch.setattr(attention, "BLOCK", block)
    for a, b in zip(both(), whole, strict=True):
        np.testing.assert_allclose(a, b, atol=TOLERANCE["sum"])


def test_gradient_is_the_central_difference_of_the_loop():
    """Catches a gradient that forgets the softmax's normalisation, which is divided out after the product."""
    q, k, v, segments_BS = _inputs(1, 5, 2, 1, 4)
    weight = RNG.standard_normal(q.shape)

    def loop(*args):
        return (reference.attend(*(x[0] for x in args), segments_BS[0]) * weight[0]).sum()

    def total(*args):
        return (attention.causal(*args, segments_BS) * weight.astype(np.float32)).sum()

    got = jax.jit(jax.grad(total, (0, 1, 2)))(q, k, v)
    args = [x.astype(np.float64) for x in (q, k, v)]
    for n in range(3):
        direction = RNG.standard_normal(args[n].shape)
        ahead, behind = list(args), list(args)
        ahead[n], behind[n] = args[n] + 1e-5 * direction, args[n] - 1e-5 * direction
        want = (loop(*ahead) - loop(*behind)) / 2e-5
        np.testing.assert_allclose((got[n] * direction).sum(), want, rtol=TOLERANCE["logits"], atol=TOLERANCE["sum"])


def test_a_token_alone_in_its_segment_sees_itself():
    """Catches a mask that leaves a row of the softmax empty: the answer would be an average over strangers, or NaN."""
    q, k, v, _ = _inputs(1, 6, 2, 1, 4)
    segments_BS = np.arange(6, dtype=np.int32)[None]
    got = attention.causal(q, k, v, segments_BS)
    np.testing.assert_allclose(got, np.repeat(v, 2, axis=2), atol=TOLERANCE["elementwise"])


def test_causal_refuses_what_does_not_exist_or_cannot_run():
    """Catches a misspelt implementation, or one for another machine, that silently runs as another."""
    q, k, v, segments_BS = _inputs(1, 4, 2, 1, 4)
    with pytest.raises(ValueError, match=r"must be auto, xla, cudnn or splash, got 'flash'"):
        attention.causal(q, k, v, segments_BS, implementation="flash")
    for name in ("splash", "cudnn"):
        with pytest.raises(
            ValueError, match=rf"^model.attention_implementation: {name} needs .*, got platform cpu; cho"
        ):
            attention.causal(q, k, v, segments_BS, implementation=name)
    with pytest.raises(ValueError, match=r"window must be at least 0 .* got -1"):
        attention.causal(q, k, v, segments_BS, window=-1)


def _on(platform):
    """The mesh in force is of one device of that platform, of which nothing is here."""
    device = jax.sharding.AbstractDevice(device_kind="a chip", num_cores=1, platform=platform)
    axes = ("replica", "fsdp", "tensor")
    return jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((1, 1, 1), axes, abstract_device=device))


@pytest.mark.parametrize(
    ("platform", "dtype", "C", "S", "want"),
    [
        ("cpu", "bfloat16", 128, 256, "xla"),
        ("tpu", "bfloat16", 128, 100, "splash"),
        ("tpu", "float32", 64, 256, "splash"),
        ("tpu", "float32", 80, 256, "xla"),
        ("tpu", "float16", 128, 256, "xla"),
        ("gpu", "bfloat16", 128, 256, "cudnn"),
        ("gpu", "float16", 80, 255, "cudnn"),
        ("gpu", "float32", 128, 256, "xla"),
        ("gpu", "bfloat16", 84, 256, "xla"),
        ("gpu", "bfloat16", 256, 256, "xla"),
        ("gpu", "bfloat16", 128, 65536, "xla"),  # its mask has 8 GiB
    ],
)
def test_auto_takes_the_kernel_of_the_platform_where_it_can_run(monkeypatch, platform, dtype, C, S, want):
    """Catches a kernel that is given a type, a head size or a length it refuses, and one that is never used."""
    monkeypatch.setattr(jax.extend.backend, "get_backend", lambda: SimpleNamespace(platform_version="cuda 13000"))
    q = jax.ShapeDtypeStruct((1, S, 2, C), jnp.dtype(dtype))
    with _on(platform):
        assert attention.choose("auto", q, ("replica",)) == want
        if want != "xla":
            assert attention.choose(want, q, ("replica",)) == want
        elif platform == "tpu":
            with pytest.raises(ValueError, match="splash needs"):
                attention.choose("splash", q, ("replica",))
