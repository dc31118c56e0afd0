"""Products in bfloat16: the nearest bfloat16 number to the exact product, forward and backward."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.ops import product
from tests.helpers import TOLERANCE

N, D, F = 5, 96, 40


def _arrays(dtype):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.standard_normal(shape), dtype) for shape in ((N, D), (D, F), (N, F))]


def _dense(x, kernel):
    return product.dense(x, kernel, (((1,), (0,)), ((), ())))


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_product_and_gradients(dtype):
    """Catches a sum that is rounded on the way, a transposed axis in the backward pass, and a type that changes."""
    x, kernel, cotangent = _arrays(dtype)
    out, back = jax.vjp(_dense, x, kernel)
    found = (out, *back(cotangent))
    wide = [np.asarray(a, np.float64) for a in (x, kernel, cotangent)]
    expected = (wide[0] @ wide[1], wide[2] @ wide[1].T, wide[0].T @ wide[2])
    for got, want in zip(found, expected, strict=True):
        assert got.dtype == dtype
        # Half a unit in the last place of bfloat16's eight bits, where one rounding is all that happens.
        limit = TOLERANCE["sum"] * np.abs(want).max() + (2.0**-8 * np.abs(want) if dtype == "bfloat16" else 0.0)
        assert (np.abs(np.asarray(got, np.float64) - want) <= limit).all()


def test_inside_a_layer_the_parameters_are_those_of_any_dense():
    """Catches a kernel of another shape or type, and a bias left out."""
    x, *_ = _arrays("bfloat16")
    plain = nn.Dense(F, dtype="bfloat16", param_dtype="float32", bias_init=nn.initializers.normal(1.0))
    ours = plain.clone(dot_general=product.dense)
    params = plain.init(jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, ours.init(jax.random.key(0), x)) == jax.tree.map(jnp.shape, params)
    got, want = (np.asarray(m.apply(params, x), np.float32) for m in (ours, plain))
    np.testing.assert_allclose(got, want, atol=TOLERANCE["bfloat16"] * np.abs(want).max(), rtol=0)


def test_the_program_holds_no_wide_operands():
    """Catches bfloat16 operands that are copied to float32 before the product, and the gradient's cotangent too."""
    x, kernel, cotangent = _arrays("bfloat16")
    text = jax.jit(lambda *a: jax.vjp(_dense, *a[:2])[1](a[2])).lower(x, kernel, cotangent).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert len(products) == 2
    for line in products:
        assert line.count("xbf16>") == 2
        assert line.count("xf32>") == 1


def test_other_platforms_keep_their_product(monkeypatch):
    """Catches a float32 result where rows or columns are split over devices, which would double what travels."""
    monkeypatch.setattr(product, "platform", functools.partial(str, "tpu"))
    x, kernel, _ = _arrays("bfloat16")
    assert "f32" not in jax.jit(_dense).lower(x, kernel).as_text()
