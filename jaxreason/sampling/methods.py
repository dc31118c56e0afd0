"""What is done to logits before a token is drawn, as pure functions.

The trainer applies the same functions, so that the log-probability it assigns is that of the distribution sampled from.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from jaxreason.ops import logprob

BLOCK = 128
"""Columns of a block of the vocabulary, when one is drawn in two steps."""


@dataclasses.dataclass(frozen=True)
class Method:
    """Filters, in TRL's names. Static: a filter that is off costs nothing. Temperature is an argument elsewhere."""

    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0


def scale(logits: jax.Array, temperature: jax.Array | float) -> jax.Array:
    """Divide by the temperature; 0 (greedy) is left to `draw`."""
    return logits / jnp.where(jnp.asarray(temperature) > 0, temperature, 1.0)


def filter_logits(method: Method, logits_NV: jax.Array, kept_N: jax.Array | None = None) -> jax.Array:
    """Set the logits of refused tokens to -inf.

    Args:
      method: top_k keeps the k likeliest (ties at the border all stay); top_p the smallest set of likeliest tokens that
        reaches the probability; min_p those at least this fraction as likely as the likeliest. In this order, each
        on what the one before left.
      logits_NV: already scaled by the temperature.
      kept_N: token that stays whatever the filters say: the trainer's way to score a token that the policy has
        since moved out of the kept set. None: no such token.
    """
    original_NV, V = logits_NV, logits_NV.shape[-1]
    if 0 < method.top_k < V:
        border_N1 = jax.lax.top_k(logits_NV, method.top_k)[0][:, -1:]
        logits_NV = jnp.where(logits_NV >= border_N1, logits_NV, -jnp.inf)
    if method.top_p < 1:
        order_NV = jnp.argsort(-logits_NV, axis=-1)
        p_NV = jax.nn.softmax(jnp.take_along_axis(logits_NV, order_NV, axis=-1), axis=-1)
        # A token stays while those before it have not reached top_p, so the first always does.
        stays_NV = jnp.cumsum(p_NV, axis=-1) - p_NV < method.top_p
        stays_NV = jnp.take_along_axis(stays_NV, jnp.argsort(order_NV, axis=-1), axis=-1)
        logits_NV = jnp.where(stays_NV, logits_NV, -jnp.inf)
    if method.min_p > 0:
        floor_N1 = logits_NV.max(-1, keepdims=True) + jnp.log(method.min_p)
        logits_NV = jnp.where(logits_NV >= floor_N1, logits_NV, -jnp.inf)
    if kept_N is not None and logits_NV is not original_NV:
        logits_NV = jnp.where(jnp.arange(V)[None] == kept_N[:, None], original_NV, logits_NV)
    return logits_NV


def transform(method: Method) -> logprob.Transform:
    """What a trainer does to scaled logits to score tokens drawn by `method`: its filters, the scored token kept."""
    if method == Method():
        return logprob.unchanged
    return functools.partial(filter_logits, method)


def uniforms(key: jax.Array) -> jax.Array:
    """The random numbers in [0, 1) that one draw takes, float32 [2]."""
    return jax.random.uniform(key, (2,))


def draw(uniform_N2: jax.Array, logits_NA: jax.Array, temperature: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Draw one index a row and its log-probability.

    At temperature 0 the largest logit is taken (the first of equals), whatever the random numbers, and the
    log-probability is that of the unscaled distribution.

    Args:
      uniform_N2: of `uniforms`, a key for each row.
      logits_NA: at least one above -inf in each row; one of -inf is never drawn.

    Returns:
      (index [N] int32, logp [N] float32).
    """
    top_N1 = logits_NA.max(-1, keepdims=True)
    weight_NA = jnp.exp(logits_NA - top_N1)
    index_N = jax.lax.cond(
        temperature > 0,
        lambda: _categorical(uniform_N2, weight_NA),
        lambda: jnp.argmax(logits_NA, axis=-1).astype(jnp.int32),
    )
    logp_N1 = jnp.take_along_axis(logits_NA, index_N[:, None], axis=-1) - top_N1
    return index_N, logp_N1[:, 0] - jnp.log(weight_NA.sum(-1))


def _categorical(uniform_N2: jax.Array, weight_NA: jax.Array) -> jax.Array:
    """Draw in proportion to weights: first a block of BLOCK columns, then a column of it.

    Two random numbers a row where Gumbel noise takes one a column, and running sums short enough to stay exact.
    """
    N, A = weight_NA.shape
    if A <= BLOCK:
        return _first_past(uniform_N2[:, 0], weight_NA)
    weight_NKB = jnp.pad(weight_NA, ((0, 0), (0, -A % BLOCK))).reshape(N, -1, BLOCK)
    block_N = _first_past(uniform_N2[:, 0], weight_NKB.sum(-1))
    weight_NB = jnp.take_along_axis(weight_NKB, block_N[:, None, None], axis=1)[:, 0]
    return block_N * BLOCK + _first_past(uniform_N2[:, 1], weight_NB)


def _first_past(uniform_N: jax.Array, weight_NA: jax.Array) -> jax.Array:
    """The first place whose running sum is past `uniform` of the total; never one of weight 0, however sums round."""
    sum_NA = jnp.cumsum(weight_NA, axis=-1)
    past_NA = sum_NA > uniform_N[:, None] * sum_NA[:, -1:]
    return jnp.argmax(jnp.where(weight_NA > 0, 1 + past_NA, 0), axis=-1).astype(jnp.int32)
