"""Masked reductions against NumPy on the subset, with garbage under the mask."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.ops import masked
from tests.helpers import TOLERANCE

REDUCTIONS = {
    "mean": (masked.mean, np.mean),
    "std": (masked.std, np.std),
    "minimum": (masked.minimum, np.min),
    "maximum": (masked.maximum, np.max),
}


@pytest.mark.parametrize("name", REDUCTIONS)
@given(seed=st.integers(0, 2**31), empty_row=st.booleans())
def test_masked_equals_the_subset(name, seed, empty_row):
    """Catches a denominator that counts masked entries, and NaN leaking from under the mask."""
    ours, numpys = REDUCTIONS[name]
    rng = np.random.default_rng(seed)
    x, mask = rng.normal(size=(3, 5)).astype(np.float32), rng.random((3, 5)) < 0.6
    mask[0] = not empty_row
    expected = [numpys(row[m]) if m.any() else 0.0 for row, m in zip(x, mask, strict=True)]
    dirty = np.where(mask, x, np.nan)
    with jax.numpy_dtype_promotion("strict"):
        np.testing.assert_allclose(ours(jnp.asarray(dirty), jnp.asarray(mask), 1), expected, atol=TOLERANCE["sum"])


def test_sum_count_by_hand():
    """Catches a count of integers, which strict promotion would refuse to divide by."""
    total, count = masked.sum_count(jnp.array([[1, 2], [3, 4]]), jnp.array([[True, False], [True, True]]), 1)
    assert total.tolist() == [1.0, 7.0]
    assert count.tolist() == [1.0, 2.0]
    assert count.dtype == jnp.float32


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("mask", [[True, True, True], [False, False, False], [True, False, False]])
def test_gradients_are_finite(name, mask):
    """Catches the root of a zero variance: right values, NaN gradients."""
    ours, _ = REDUCTIONS[name]
    x = jnp.array([2.0, 2.0, 2.0])
    grad = jax.grad(lambda v: ours(v, jnp.array(mask)))(x)
    assert np.isfinite(grad).all()
    assert not np.asarray(grad)[~np.array(mask)].any()


def test_ratio_of_nothing():
    """Catches 0/0, in the value and behind `where` in the gradient."""
    assert masked.ratio(jnp.array([3.0, 0.0]), jnp.array([2.0, 0.0]), empty=1.0).tolist() == [1.5, 1.0]
    grads = jax.grad(lambda n, d: masked.ratio(n, d).sum(), argnums=(0, 1))(jnp.zeros(2), jnp.zeros(2))
    assert np.isfinite(grads).all()


def test_refuses_a_mask_of_another_shape_or_type():
    """Catches silent broadcasting of a mask, and a float mask taken for a weight."""
    with pytest.raises(AssertionError):
        masked.mean(jnp.ones((2, 3)), jnp.ones((3,), bool))
    with pytest.raises(AssertionError):
        masked.mean(jnp.ones((2, 3)), jnp.ones((2, 3)))
