"""What is done to logits before a token is drawn, as pure functions.

The trainer applies the same functions, so that the log-probability it assigns is that of the distribution sampled from.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxreason.ops import logprob
from jaxreason.sampling import border

BLOCK = 128
"""Columns of a block of the vocabulary, when one is drawn in two steps."""


@dataclasses.dataclass(frozen=True)
class Method:
    """Filters, in TRL's names. Static: a filter that is off costs nothing. Temperature is an argument elsewhere."""

    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0


class Kept(NamedTuple):
    """Which tokens filters leave: those above the border, and of those at it the first ones."""

    border_N1: jax.Array  # float32, a logit
    last_N1: jax.Array  # int32, the last token at the border that stays


def scale(logits: jax.Array, temperature: jax.Array | float) -> jax.Array:
    """Divide by the temperature; 0 (greedy) is left to `draw`."""
    return logits / jnp.where(jnp.asarray(temperature) > 0, temperature, 1.0)


def sample(
    uniform_N2: jax.Array, logits_NV: jax.Array, temperature: jax.Array, method: Method = Method()
) -> tuple[jax.Array, jax.Array]:
    """Draw a token a row from unscaled logits: temperature, filters, `draw`. At temperature 0 no filter is computed,
    since none can take away the largest logit.

    Returns:
      (token [N] int32, logp [N] float32).
    """
    logits_NV = scale(logits_NV, temperature)
    if method != Method():
        found = jax.lax.cond(temperature > 0, functools.partial(kept, method), _all, logits_NV)
        logits_NV = jnp.where(_stays(found, logits_NV), logits_NV, -jnp.inf)
    return draw(uniform_N2, logits_NV, temperature)


def filter_logits(method: Method, logits_NV: jax.Array, kept_N: jax.Array | None = None) -> jax.Array:
    """Set the logits of refused tokens to -inf. Gradients flow through the logits that stay, none through the choice.

    Args:
      method: top_k keeps the k likeliest (ties at the border all stay); top_p the smallest set of likeliest tokens that
        reaches the probability (of ties at the border the first ones); min_p those at least this fraction as likely as
        the likeliest. In this order, each on what the one before left.
      logits_NV: float32, already scaled by the temperature.
      kept_N: token that stays whatever the filters say: the trainer's way to score a token that the policy has
        since moved out of the kept set. None: no such token.
    """
    if method == Method():
        return logits_NV
    # Remembered, so that the trainer's backward pass does not search again.
    found = logprob.remembered(kept(method, jax.lax.stop_gradient(logits_NV)))
    stays_NV = _stays(found, logits_NV)
    if kept_N is not None:
        stays_NV |= jnp.arange(logits_NV.shape[1])[None] == kept_N[:, None]
    return jnp.where(stays_NV, logits_NV, -jnp.inf)


def transform(method: Method) -> logprob.Transform:
    """What a trainer does to scaled logits to score tokens drawn by `method`: its filters, the scored token kept."""
    if method == Method():
        return logprob.unchanged
    return functools.partial(filter_logits, method)


def kept(method: Method, logits_NV: jax.Array) -> Kept:
    """What `filter_logits` leaves of each row, found without a sort.

    Probabilities are sums in float32: where a set has the probability top_p to seven digits, the next token may go
    either way.
    """
    N, V = logits_NV.shape
    found, top_N1 = _all(logits_NV), logits_NV.max(1, keepdims=True)
    k = method.top_k if method.top_k < V else 0
    if k or method.top_p < 1:
        total_N1 = jnp.exp(logits_NV - top_N1).sum(1, keepdims=True)
        part_NA, bound_N1 = border.largest(logits_NV)
        weight_NA = jnp.where(part_NA > bound_N1, 1.0 if k else jnp.exp(part_NA - top_N1), 0.0)
        covered_N1 = weight_NA.sum(1, keepdims=True) >= (k or method.top_p * total_N1)
        border_N1, stay_N1, crowded = jax.lax.cond(
            (covered_N1 | jnp.isneginf(bound_N1)).all(),
            lambda: _borders(method.top_p, k, part_NA, bound_N1, top_N1, total_N1),
            lambda: _borders(method.top_p, k, logits_NV, jnp.full((N, 1), -jnp.inf), top_N1, total_N1),
        )
        last_N1 = jax.lax.cond(crowded, lambda: border.nth(logits_NV == border_N1, stay_N1), lambda: found.last_N1)
        found = Kept(border_N1, last_N1)
    if method.min_p > 0:
        floor_N1 = top_N1 + jnp.log(method.min_p)
        higher_N1 = floor_N1 > found.border_N1
        found = Kept(jnp.maximum(floor_N1, found.border_N1), jnp.where(higher_N1, V - 1, found.last_N1))
    return found


def _borders(top_p: float, k: int, logits_NA, low_N1, top_N1, total_N1) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Of top-k, then top-p: the border, how many of the tokens at it stay, and whether there are more in any row.

    Args:
      k: 0 for no top-k.
      logits_NA: all logits above `low_N1`, which the border is not below.
      total_N1: sum over all tokens of exp(logit - top).
    """

    def summed(weight_NA, border_N1):
        return jnp.where(logits_NA >= border_N1, weight_NA, 0).sum(1, keepdims=True)

    border_N1, stay_N1 = low_N1, jnp.full_like(low_N1, jnp.inf)
    if k:
        border_N1 = border.search(lambda border_N1: summed(1, border_N1) >= k, low_N1, top_N1)
    if top_p < 1:
        weight_NA = jnp.exp(logits_NA - top_N1)
        reached_N1 = top_p * (summed(weight_NA, border_N1) if k else total_N1)
        border_N1 = border.search(lambda border_N1: summed(weight_NA, border_N1) >= reached_N1, border_N1, top_N1)
        above_N1 = jnp.where(logits_NA > border_N1, weight_NA, 0.0).sum(1, keepdims=True)
        # Of ties a token stays while those before it have not reached top_p, so the first always does.
        stay_N1 = jnp.maximum(jnp.ceil((reached_N1 - above_N1) / jnp.exp(border_N1 - top_N1)), 1.0)
    tied_N1 = (logits_NA == border_N1).sum(1, keepdims=True)
    crowded = ((tied_N1 > stay_N1) & (border_N1 > -jnp.inf)).any()
    return border_N1, stay_N1, crowded


def _all(logits_NV: jax.Array) -> Kept:
    """Nothing is refused."""
    N, V = logits_NV.shape
    return Kept(jnp.full((N, 1), -jnp.inf), jnp.full((N, 1), V - 1, jnp.int32))


def _stays(found: Kept, logits_NV: jax.Array) -> jax.Array:
    first_NV = jnp.arange(logits_NV.shape[1])[None] <= found.last_N1
    return (logits_NV > found.border_N1) | ((logits_NV == found.border_N1) & first_NV)


def uniforms(key: jax.Array) -> jax.Array:
    """The random numbers in [0, 1) that one draw takes, float32 [2]."""
    return jax.random.uniform(key, (2,))


def draw(uniform_N2: jax.Array, logits_NA: jax.Array, temperature: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Draw one index a row and its log-probability: first a block of BLOCK columns, then a column of it.

    Two random numbers a row where Gumbel noise takes one a column, and running sums short enough to stay exact. At
    temperature 0 the largest logit is taken (the first of equals), whatever the random numbers, and the log-probability
    is that of the unscaled distribution.

    Args:
      uniform_N2: of `uniforms`, a key for each row.
      logits_NA: at least one above -inf in each row; one of -inf is never drawn.

    Returns:
      (index [N] int32, logp [N] float32).
    """
    N, A = logits_NA.shape
    size = min(A, BLOCK)
    top_N11 = logits_NA.max(1)[:, None, None]
    greedy = temperature <= 0
    # Among the largest logits alone, a number of 0 takes the first: the greedy choice is a draw too.
    uniform_N2 = jnp.where(greedy, 0.0, uniform_N2)
    logits_NKB = jnp.pad(logits_NA, ((0, 0), (0, -A % size)), constant_values=-jnp.inf).reshape(N, -1, size)
    weight_NK = jnp.exp(logits_NKB - top_N11).sum(2)
    top_NK = (logits_NKB.max(2) == top_N11[:, 0]).astype(jnp.float32)
    block_N = _first_past(uniform_N2[:, 0], jnp.where(greedy, top_NK, weight_NK))
    logits_NB = jnp.take_along_axis(logits_NKB, block_N[:, None, None], axis=1)[:, 0]
    weight_NB = jnp.exp(logits_NB - top_N11[:, 0])
    column_N = _first_past(
        uniform_N2[:, 1 if A > size else 0],
        jnp.where(greedy, (logits_NB == top_N11[:, 0]).astype(jnp.float32), weight_NB),
    )
    logit_N1 = jnp.take_along_axis(logits_NB, column_N[:, None], axis=1) - top_N11[:, 0]
    return block_N * size + column_N, logit_N1[:, 0] - jnp.log(weight_NK.sum(1))


def _first_past(uniform_N: jax.Array, weight_NA: jax.Array) -> jax.Array:
    """The first place whose running sum is past `uniform` of the total; never one of weight 0, however sums round."""
    sum_NA = jnp.cumsum(weight_NA, axis=-1)
    past_NA = sum_NA > uniform_N[:, None] * sum_NA[:, -1:]
    return jnp.argmax(jnp.where(weight_NA > 0, 1 + past_NA, 0), axis=-1).astype(jnp.int32)
