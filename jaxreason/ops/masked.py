"""Reductions over the part of an array that a mask selects.

What the mask leaves out may be anything, NaN included: it reaches neither the value nor the gradient. A reduction
over nothing is 0. This module must not know what the numbers mean.
"""

import chex
import jax
import jax.numpy as jnp

Axis = int | tuple[int, ...] | None


def sum_count(
    x: jax.Array, mask: jax.Array, axis: Axis = None, *, keepdims: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Sum of the selected entries and how many they are, both float32.

    Args:
      x: numbers of any type and shape.
      mask: bool, the shape of x.
      axis: axes to reduce; None for all.
      keepdims: whether reduced axes stay, with size 1.

    Returns:
      Sum and count; both 0 where nothing is selected. Divide once, after everything that belongs together is added.

    >>> total, count = sum_count(jnp.array([1.0, 2.0, jnp.nan]), jnp.array([True, True, False]))
    >>> float(total), float(count)
    (3.0, 2.0)
    """
    chex.assert_equal_shape([x, mask])
    chex.assert_type(mask, bool)
    chosen = jnp.where(mask, x.astype(jnp.float32), 0.0)
    return (
        jnp.sum(chosen, axis=axis, keepdims=keepdims),
        jnp.sum(mask, axis=axis, keepdims=keepdims, dtype=jnp.float32),
    )


def ratio(numerator: jax.Array, denominator: jax.Array, *, empty: float = 0.0) -> jax.Array:
    """Divide where the denominator is above 0, and give `empty` elsewhere, with a gradient of 0 there."""
    chex.assert_equal_shape([numerator, denominator])
    positive = denominator > 0
    return jnp.where(positive, numerator / jnp.where(positive, denominator, 1.0), empty)


def mean(x: jax.Array, mask: jax.Array, axis: Axis = None, *, keepdims: bool = False) -> jax.Array:
    """Mean of the selected entries, float32; 0 where nothing is selected."""
    return ratio(*sum_count(x, mask, axis, keepdims=keepdims))


def std(x: jax.Array, mask: jax.Array, axis: Axis = None, *, keepdims: bool = False) -> jax.Array:
    """Population standard deviation of the selected entries, float32; 0, with gradient 0, where they are all equal.

    The mean of equal numbers can differ from them in the last digit, so a tiny positive result does not prove a spread:
    compare `maximum` with `minimum` for that.
    """
    centre = mean(x, mask, axis, keepdims=True)
    variance = mean(jnp.square(x.astype(jnp.float32) - centre), mask, axis, keepdims=keepdims)
    # The root is taken of a harmless number where the variance is 0: its derivative there is infinite.
    positive = variance > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, variance, 1.0)), 0.0)


def minimum(x: jax.Array, mask: jax.Array, axis: Axis = None, *, keepdims: bool = False) -> jax.Array:
    """Least selected entry, float32; 0 where nothing is selected."""
    return -maximum(-x.astype(jnp.float32), mask, axis, keepdims=keepdims)


def maximum(x: jax.Array, mask: jax.Array, axis: Axis = None, *, keepdims: bool = False) -> jax.Array:
    """Greatest selected entry, float32; 0 where nothing is selected."""
    chex.assert_equal_shape([x, mask])
    chex.assert_type(mask, bool)
    greatest = jnp.max(jnp.where(mask, x.astype(jnp.float32), -jnp.inf), axis=axis, keepdims=keepdims)
    return jnp.where(jnp.any(mask, axis=axis, keepdims=keepdims), greatest, 0.0)
