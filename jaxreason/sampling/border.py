"""Where a row's likeliest values end, found without sorting it.

A border is a value of the row itself: the largest one at which the values from it upward are many enough, or weigh
enough. It is searched for by bisection over the float32 numbers in their order, so it is exact, and the compiled
program holds comparisons and sums only. Most borders lie among the few largest values, so the search first looks at a
fifth of a long row that is sure to hold these, and at the whole row only where that was not enough.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

LONG = 4096
"""Values of a row from which looking at a part of it first is worthwhile."""
COLUMN, BEST = 16, 3
"""A long row is dealt out into columns of COLUMN values, and the BEST largest of each are looked at. The likeliest
tokens, some hundred of them anywhere in the vocabulary, seldom put a fourth one into a column."""
BLOCK = 128
"""Values that are counted together before one of them is looked for."""


def largest(x_NV: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A part of each row that holds all its values above a bound.

    Returns:
      (part [N A], bound [N 1]). -inf is added where V is no multiple; a row shorter than LONG is returned whole, with
      the bound -inf.
    """
    N, V = x_NV.shape
    if V < LONG:
        return x_NV, jnp.full((N, 1), -jnp.inf, x_NV.dtype)
    x_NRK = jnp.pad(x_NV, ((0, 0), (0, -V % COLUMN)), constant_values=-jnp.inf).reshape(N, COLUMN, -1)
    best: list[jax.Array] = []
    for r in range(COLUMN):
        new_NK = x_NRK[:, r]
        for i, old_NK in enumerate(best):
            best[i], new_NK = jnp.maximum(old_NK, new_NK), jnp.minimum(old_NK, new_NK)
        best += [new_NK] if len(best) < BEST else []
    return jnp.concatenate(best, axis=1), best[-1].max(1, keepdims=True)


def search(enough: Callable[[jax.Array], jax.Array], low_N1: jax.Array, high_N1: jax.Array) -> jax.Array:
    """The largest float32 number at which `enough` holds, at most 32 questions away.

    Args:
      enough: border [N 1] -> bool [N 1]; where it holds, it holds for all numbers below.
      low_N1: a border that is enough, or the answer where none is.
      high_N1: from `low_N1` on; no number above it is enough.
    """

    def open_(bracket):
        low, high = bracket
        return (low + 1 < high).any()

    def halve(bracket):
        low, high = bracket
        middle = (low & high) + ((low ^ high) >> 1)  # their mean; the sum of both may not fit
        holds = enough(_number(middle))
        return jnp.where(holds, middle, low), jnp.where(holds, high, middle)

    return _number(jax.lax.while_loop(open_, halve, (_order(low_N1), _order(high_N1) + 1))[0])


def _order(x: jax.Array) -> jax.Array:
    """Place of a float32 number among all of them in ascending order, int32."""
    bits = jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.int32)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def _number(place: jax.Array) -> jax.Array:
    """The float32 number at a place."""
    return jax.lax.bitcast_convert_type(place ^ ((place >> 31) & 0x7FFFFFFF), jnp.float32)


def nth(marked_NV: jax.Array, n_N1: jax.Array) -> jax.Array:
    """Place of the n-th marked value of each row, n from 1, int32 [N 1]; the row's last place where there is none."""
    N, V = marked_NV.shape
    marked_NKB = jnp.pad(marked_NV, ((0, 0), (0, -V % BLOCK))).reshape(N, -1, BLOCK)
    until_NK = jnp.cumsum(marked_NKB.sum(2), axis=1)
    block_N1 = (until_NK < n_N1).sum(1, keepdims=True)
    block_N1 = jnp.minimum(block_N1, until_NK.shape[1] - 1)
    before_NK = until_NK - marked_NKB.sum(2)
    inside_N1 = n_N1 - jnp.take_along_axis(before_NK, block_N1, axis=1)
    marked_NB = jnp.take_along_axis(marked_NKB, block_N1[:, :, None], axis=1)[:, 0]
    column_N1 = (jnp.cumsum(marked_NB, axis=1) < inside_N1).sum(1, keepdims=True)
    return jnp.minimum(block_N1 * BLOCK + column_N1, V - 1)
