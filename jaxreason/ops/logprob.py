"""Log-probabilities of given tokens, without ever holding [N, S, V] in float32.

Knows nothing of parameters, roles or rewards: hidden states and a head come in, numbers come out.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from jaxreason.ops.attention_mesh import platform
from jaxreason.types import Lift

Transform = Callable[[jax.Array, jax.Array], jax.Array]
"""(logits [N V], kept token [N]) -> logits [N V] of the distribution sampled from."""

IMPOSSIBLE = -1e30
"""Finite stand-in for the log-probability of what could not be drawn."""


_REMEMBERED = "remembered"


def remembered(tree: Any) -> Any:
    """Arrays of a transform that the backward pass of `token_logp` keeps, where it computes everything else again."""
    return jax.tree.map(lambda x: checkpoint_name(x, _REMEMBERED), tree)


def unchanged(logits_NV: jax.Array, kept_N: jax.Array) -> jax.Array:
    """The transform that changes nothing."""
    del kept_N
    return logits_NV


def head_logits(hidden: jax.Array, head_VD: jax.Array) -> jax.Array:
    """Logits [..., V] in float32 of hidden states [..., D], whatever the type of the computation."""
    if hidden.size == hidden.shape[-1] and hidden.dtype == jnp.bfloat16 and platform() == "cpu":
        # With a single row XLA's CPU backend multiplies number by number, nine times slower than with two.
        twice = jnp.repeat(hidden.reshape(1, -1), 2, axis=0)
        return head_logits(twice, head_VD)[0].reshape(*hidden.shape[:-1], -1)
    return jnp.einsum("...d,vd->...v", hidden, head_VD, preferred_element_type=jnp.float32)


def candidate_logits(
    hidden: jax.Array, head_VD: jax.Array, candidates: jax.Array, lift: Lift | None = None
) -> jax.Array:
    """Logits [..., A] of few tokens a place; -inf where the candidate is -1. The rest of V is never computed.

    Args:
      lift: of the places, see `lifted`.
    """
    column = head_VD[jnp.maximum(candidates, 0)]
    logits = jnp.einsum("...d,...ad->...a", hidden, column, preferred_element_type=jnp.float32)
    return jnp.where(candidates >= 0, lifted(logits, candidates, lift), -jnp.inf)


def lifted(logits: jax.Array, candidates: jax.Array, lift: Lift | None, temperature: float = 1.0) -> jax.Array:
    """Logits [..., A] with the lift of one token added, over the temperature that has divided them.

    Where the token is the only candidate this changes nothing: it is certain either way.

    Args:
      lift: its arrays have the shape of the places [...], or none; None changes nothing.
    """
    if lift is None:
        return logits
    token, added = (jnp.broadcast_to(x, candidates.shape[:-1])[..., None] for x in (lift.token, lift.logit))
    return jnp.where(candidates == token, logits + added / temperature, logits)


def token_logp(
    hidden_ND: jax.Array,
    head_VD: jax.Array,
    target_N: jax.Array,
    candidates_NA: jax.Array | None,
    *,
    chunk: int,
    temperature: float = 1.0,
    transform: Transform = unchanged,
    lift: Lift | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Log-probability of each target, and the entropy of the distribution it was drawn from.

    Args:
      hidden_ND: final hidden states.
      head_VD: output embedding.
      target_N: int32 tokens.
      candidates_NA: int32 tokens the draw was restricted to, -1 filled; a row of -1 was free. None: all were free.
        A target that is not among its candidates gets the log-probability IMPOSSIBLE.
      chunk: rows whose logits exist at one time; each chunk is recomputed in the backward pass.
      temperature: divides the logits.
      transform: what the sampler did to free logits besides (top-p and the like); must keep the target.
      lift: what it added to one candidate's logit, [] each.

    Returns:
      (logp_N, entropy_N), float32, nats. The entropy is for the log: no gradient flows through it.
    """
    chex.assert_rank([hidden_ND, head_VD, target_N], [2, 2, 1])
    N, A = hidden_ND.shape[0], 0 if candidates_NA is None else candidates_NA.shape[1]

    def one(args):
        hidden, target, candidates = args
        target_N1 = target[:, None]
        logits_NV = head_logits(hidden, head_VD) / temperature
        free = _pick(transform(logits_NV, target), jnp.arange(head_VD.shape[0])[None] == target_N1)
        if not A:
            return free
        # A constrained draw is a draw among a few columns, which no filter touched.
        few_NA = jnp.take_along_axis(logits_NV, jnp.maximum(candidates, 0), axis=1)
        few_NA = lifted(few_NA, candidates, lift, temperature)
        is_target_NA = candidates == target_N1
        logp_N, entropy_N = _pick(jnp.where(candidates >= 0, few_NA, IMPOSSIBLE), is_target_NA)
        few = jnp.where(is_target_NA.any(1), logp_N, IMPOSSIBLE), entropy_N
        free_N = (candidates < 0).all(1)
        return jax.tree.map(lambda a, b: jnp.where(free_N, a, b), free, few)

    candidates_NA = jnp.zeros((N, 0), jnp.int32) if candidates_NA is None else candidates_NA
    if N <= chunk:
        return one((hidden_ND, target_N, candidates_NA))
    steps = -(-N // chunk)
    pad = steps * chunk - N

    def split(x):
        # Chunk i takes rows i, i + steps, ...: rows that are split over devices stay so in every chunk.
        x = jnp.pad(x, [(0, pad)] + [(0, 0)] * (x.ndim - 1))
        return x.reshape(chunk, steps, *x.shape[1:]).swapaxes(0, 1)

    again = jax.checkpoint(one, policy=jax.checkpoint_policies.save_only_these_names(_REMEMBERED))
    logp, entropy = jax.lax.map(again, jax.tree.map(split, (hidden_ND, target_N, candidates_NA)))
    return logp.T.reshape(-1)[:N], entropy.T.reshape(-1)[:N]


def expected_candidate(
    hidden_ND: jax.Array, head_VD: jax.Array, candidates_NA: jax.Array, temperature: float = 1.0
) -> jax.Array:
    """Expected index into each row's candidates, float32 [N] in 0..A-1; 0 for a row without candidates.

    With the digits 1 to 5 as candidates, one more than this is the score a model would give on average.
    """
    logits_NA = candidate_logits(hidden_ND, head_VD, candidates_NA) / temperature
    there_N1 = (candidates_NA >= 0).any(1, keepdims=True)
    p_NA = jax.nn.softmax(jnp.where(there_N1, logits_NA, 0.0), axis=1)
    return jnp.where(there_N1[:, 0], (p_NA * jnp.arange(candidates_NA.shape[1])[None]).sum(1), 0.0)


def _pick(logits_NV: jax.Array, is_target_NV: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Log-probability of the target and entropy of one distribution a row; -inf is fine anywhere but at the target."""
    top_N1 = jax.lax.stop_gradient(logits_NV.max(1, keepdims=True))
    total_N1 = top_N1 + jnp.log(jnp.exp(logits_NV - top_N1).sum(1, keepdims=True))
    # A masked sum, not a gather: its gradient is a select that joins the softmax's, where a gather's is a scatter.
    logp_N = jnp.where(is_target_NV, logits_NV - total_N1, 0.0).sum(1)
    logp_NV = jax.lax.stop_gradient(logits_NV - total_N1)
    p_NV = jnp.exp(logp_NV)
    return logp_N, -jnp.where(p_NV > 0, p_NV * logp_NV, 0.0).sum(1)
