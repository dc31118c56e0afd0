"""How much better a completion is than the others of its group.

A group is the G completions one role gave for one problem. Rows that are not kept leave the statistics and get 0.
"""

from typing import Literal

import chex
import jax
import jax.numpy as jnp

from jaxreason.ops import chunks, masked

Scale = Literal["group", "batch", "none"]

SPREAD_TOLERANCE = 1e-6
"""Rewards that differ by less than this, relative to the largest of them, are the same reward rounded differently."""


def zero_spread(reward_PG: jax.Array, keep_PG: jax.Array, *, tol: float = SPREAD_TOLERANCE) -> jax.Array:
    """Which groups carry no signal: all kept rewards equal, or fewer than two kept; bool [P].

    The test is max - min against the size of the rewards. The standard deviation will not do: the mean of eight
    float32 rewards of 10.1 is not 10.1, and the deviations that are left, divided by their own root mean square, look
    like advantages.
    """
    chex.assert_rank([reward_PG, keep_PG], 2)
    chex.assert_equal_shape([reward_PG, keep_PG])
    chex.assert_type(keep_PG, bool)
    highest_P = masked.maximum(reward_PG, keep_PG, axis=1)
    lowest_P = masked.minimum(reward_PG, keep_PG, axis=1)
    size_P = jnp.maximum(jnp.abs(highest_P), jnp.abs(lowest_P))
    return (jnp.sum(keep_PG, axis=1) < 2) | (highest_P - lowest_P <= tol * size_P)


def group_relative(
    reward_PG: jax.Array, keep_PG: jax.Array, *, scale: Scale, eps: float = 1e-6, tol: float = SPREAD_TOLERANCE
) -> jax.Array:
    """Reward minus the group's mean, over a standard deviation; float32 [P G].

    Exactly 0 in groups without signal (see `zero_spread`) and for rows that are not kept.

    Args:
      reward_PG: float, any range.
      keep_PG: bool.
      scale: divide by the population standard deviation of the group, of all kept rewards of the batch, or not.
      eps: added to that deviation.
      tol: relative spread below which rewards count as equal.

    Source: arXiv:2402.03300 divides by the group's; arXiv:2503.20783 argues against dividing; `batch` as in TRL.

    >>> group_relative(jnp.array([[1.0, 0.0]]), jnp.ones((1, 2), bool), scale="none").tolist()
    [[0.5, -0.5]]
    """
    chex.assert_type(reward_PG, float)
    scale_P1 = _inverse_scale(reward_PG, keep_PG, scale, eps, tol)
    mean_P1 = masked.mean(reward_PG, keep_PG, axis=1, keepdims=True)
    return jnp.where(keep_PG & (scale_P1 > 0), (reward_PG - mean_P1) * scale_P1, 0.0)


def positionwise(
    reward_PG: jax.Array,
    needless_PG: jax.Array,
    needless_PGT: jax.Array,
    length_PG: jax.Array,
    keep_PG: jax.Array,
    *,
    scale: Scale,
) -> jax.Array:
    """`group_relative` at each position by itself, where some tokens earn less than others; float32 [P G T].

    At a position a completion's reward is `needless_PG` where `needless_PGT`, else `reward_PG`, which stays its reward
    behind its end too. Without needless tokens every position has the sequence-level advantage.

    Args:
      reward_PG, needless_PG: float.
      needless_PGT: bool.
      length_PG: int, tokens; behind them the advantage is 0.
      keep_PG: bool.
      scale: as in `group_relative`; `batch` is the deviation over all positions of all kept rows.

    Source: arXiv:2509.25827 and the authors' code, whose deviation is the sample's and not the population's.

    >>> positionwise(jnp.array([[1.1, 1.1]]), jnp.array([[1.0, 1.0]]), jnp.array([[[False, True], [False, False]]]),
    ...              jnp.array([[2, 2]]), jnp.ones((1, 2), bool), scale="group").round(2).tolist()
    [[[0.0, -1.0], [0.0, 1.0]]]
    """
    chex.assert_rank([reward_PG, needless_PG, length_PG, keep_PG, needless_PGT], [2, 2, 2, 2, 3])
    P, G, T = needless_PGT.shape
    reward_PGT = jnp.where(needless_PGT, needless_PG[..., None], reward_PG[..., None])
    apart = jnp.swapaxes(reward_PGT, 1, 2).reshape(P * T, G)
    advantage = group_relative(apart, jnp.repeat(keep_PG, T, axis=0), scale=scale)
    advantage_PGT = jnp.swapaxes(advantage.reshape(P, T, G), 1, 2)
    return jnp.where(_inside(length_PG, T), advantage_PGT, 0.0)


def length_relative(
    outcome_PG: jax.Array,
    cost_PG: jax.Array,
    keep_PG: jax.Array,
    paying_PG: jax.Array,
    *,
    scale: Scale,
    eps: float = 1e-6,
) -> jax.Array:
    """Outcome against the group's, cost against that of the group's paying rows; float32 [P G].

    With everybody paying this is `group_relative` of outcome - cost. With only right answers paying, what they lose by
    length sums to 0 over them: no price makes being wrong pay. In a group compared as a whole a wrong answer, which
    costs nothing, gains the mean cost, and beyond a price of 1 / mean cost it ranks above a right one.

    What it climbs, without division: the terms are the gradients of P(right) and of -P(right) E[cost | right], the
    latter with P(right) held fixed, since the mean over the right answers is the baseline that makes
    E[(cost - baseline) grad log pi | right] the gradient of E[cost | right].

    Args:
      outcome_PG: float, the reward without its length term.
      cost_PG: float, alpha times the penalty; read where paying.
      keep_PG: bool.
      paying_PG: bool, rows whose cost counts; a row that is not kept does not pay.
      scale, eps: as in `group_relative`, of outcome - cost.

    >>> right = jnp.array([[True, True, False, False]])
    >>> length_relative(right.astype(float), jnp.array([[0.75, 0.25, 0.0, 0.0]]), jnp.ones((1, 4), bool), right,
    ...                 scale="none").tolist()
    [[0.25, 0.75, -0.5, -0.5]]
    """
    chex.assert_rank([outcome_PG, cost_PG, keep_PG, paying_PG], 2)
    chex.assert_equal_shape([outcome_PG, cost_PG, keep_PG, paying_PG])
    chex.assert_type([outcome_PG, cost_PG, keep_PG, paying_PG], [float, float, bool, bool])
    paying_PG = paying_PG & keep_PG
    scale_P1 = _inverse_scale(outcome_PG - cost_PG, keep_PG, scale, eps, SPREAD_TOLERANCE)
    outcome_PG = outcome_PG - masked.mean(outcome_PG, keep_PG, axis=1, keepdims=True)
    return jnp.where(keep_PG & (scale_P1 > 0), (outcome_PG - _excess(cost_PG, paying_PG)) * scale_P1, 0.0)


def _excess(cost_PG: jax.Array, paying_PG: jax.Array) -> jax.Array:
    """Cost over the mean of the group's paying rows; 0 for a row that does not pay."""
    return jnp.where(paying_PG, cost_PG - masked.mean(cost_PG, paying_PG, axis=1, keepdims=True), 0.0)


def broadcast(advantage_PG: jax.Array, length_PG: jax.Array, num_tokens: int) -> jax.Array:
    """The same advantage on every token of a completion, 0 past its length: [P G T] with T = num_tokens."""
    chex.assert_rank([advantage_PG, length_PG], 2)
    chex.assert_equal_shape([advantage_PG, length_PG])
    return jnp.where(_inside(length_PG, num_tokens), advantage_PG[..., None], 0.0)


def chunk_credit(
    outcome_PG: jax.Array,
    cost_PG: jax.Array,
    share_PGK: jax.Array,
    split_PG: jax.Array,
    chunk_id_PGT: jax.Array,
    length_PG: jax.Array,
    keep_PG: jax.Array,
    paying_PG: jax.Array,
    *,
    scale: Scale,
    eps: float = 1e-6,
) -> jax.Array:
    """The outcome's advantage on every token, the length term's on the tokens that caused it; float32 [P G T].

    Derivation. The reward is outcome_i - cost_i, and the cost splits over the chunks: c_ik = cost_i share_ik /
    sum_k share_ik, 0 for a chunk the row does not have. Let b_k be the mean of c_ik over the group's paying and split
    rows. A token of chunk k gets -(c_ik - b_k): what this chunk cost, against what the group spends at this place. A
    token of no chunk (the answer, the end of the sequence) gets the sum of b_k over the chunks the row does not
    have: what stopping here saved. Over its chunks and its end a row's advantages add up to -(cost_i - mean cost),
    the sequence-level value, so credit is moved and none is made; a chunk that is free, next to others' costly ones,
    gets a positive advantage, which sequence-level credit never tells it.

    Bias. b_k depends on the group and on k, which the text up to chunk k fixes, so as a baseline it costs only the
    usual 1/G of including the row itself. What is left out is later cost: a token is not charged for chunks it
    leads to, other than through the decision to stop, so the expected update differs from the policy gradient of the
    penalty wherever a chunk changes what follows. The exact reward-to-go would charge chunk k with all later ones as
    well, at a higher variance. The split itself is taken as given, though a helper chose it.

    Degenerate cases: rows that were not split get -(cost_i - mean cost of the paying rows) on every token, rows that do
    not pay no length term at all; groups whose outcome - cost has no spread get exactly 0; a split row whose shares are
    all 0 has no cost to place.

    Args:
      outcome_PG: float, the reward without its length term.
      cost_PG: float, at least 0: alpha times the penalty.
      share_PGK: float, at least 0: phi |s|, in any unit; 0 where there is no chunk.
      split_PG: bool, rows whose chunks can be read.
      chunk_id_PGT: int, 0..K, K for a token of no chunk.
      length_PG: int, tokens.
      keep_PG: bool.
      paying_PG: bool, as in `length_relative`.
      scale, eps: as in `group_relative`, of outcome - cost, so that both terms are divided by the same number.
    """
    chex.assert_rank([outcome_PG, cost_PG, split_PG, length_PG, keep_PG, paying_PG], 2)
    chex.assert_equal_shape([outcome_PG, cost_PG, split_PG, length_PG, keep_PG, paying_PG])
    chex.assert_rank([share_PGK, chunk_id_PGT], 3)
    num_chunks, num_tokens = share_PGK.shape[-1], chunk_id_PGT.shape[-1]
    scale_P1 = _inverse_scale(outcome_PG - cost_PG, keep_PG, scale, eps, SPREAD_TOLERANCE)

    outcome_PG = outcome_PG - masked.mean(outcome_PG, keep_PG, axis=1, keepdims=True)
    paying_PG = paying_PG & keep_PG

    whole_PGK = jnp.broadcast_to(jnp.sum(share_PGK, axis=-1, keepdims=True), share_PGK.shape)
    cost_PGK = cost_PG[..., None] * masked.ratio(share_PGK, whole_PGK)
    counted_PGK = jnp.broadcast_to((paying_PG & split_PG)[..., None], share_PGK.shape)
    base_PGK = jnp.broadcast_to(masked.mean(cost_PGK, counted_PGK, axis=1, keepdims=True), share_PGK.shape)
    inside_PGT = _inside(length_PG, num_tokens)
    used_PGT = jnp.where(inside_PGT, chunk_id_PGT, num_chunks)
    absent_PGK = chunks.chunk_lengths(used_PGT, num_chunks) == 0
    saved_PG = jnp.sum(jnp.where(absent_PGK, base_PGK, 0.0), axis=-1)

    placed_PGT = jnp.where(used_PGT < num_chunks, chunks.to_tokens(base_PGK - cost_PGK, used_PGT), saved_PG[..., None])
    length_term_PGT = jnp.where(split_PG[..., None], placed_PGT, -_excess(cost_PG, paying_PG)[..., None])
    length_term_PGT = jnp.where(paying_PG[..., None], length_term_PGT, 0.0)
    counted_PGT = inside_PGT & (keep_PG & (scale_P1 > 0))[..., None]
    return jnp.where(counted_PGT, (outcome_PG[..., None] + length_term_PGT) * scale_P1[..., None], 0.0)


def _inverse_scale(reward_PG, keep_PG, scale: Scale, eps: float, tol: float) -> jax.Array:
    """What a centred reward is multiplied by, float32 [P 1]; 0 for a group without signal."""
    if scale == "group":
        deviation_P1 = masked.std(reward_PG, keep_PG, axis=1, keepdims=True) + eps
    elif scale == "batch":
        deviation_P1 = jnp.broadcast_to(masked.std(reward_PG, keep_PG, keepdims=True) + eps, (len(reward_PG), 1))
    else:
        deviation_P1 = jnp.ones((len(reward_PG), 1), jnp.float32)
    return jnp.where(zero_spread(reward_PG, keep_PG, tol=tol)[:, None], 0.0, 1.0 / deviation_P1)


def _inside(length_PG: jax.Array, num_tokens: int) -> jax.Array:
    return jnp.arange(num_tokens)[None, None] < length_PG[..., None]
