"""The signal of one step: outcome -> rewards -> advantages, one jitted function of arrays that a notebook can call."""

import functools

import jax
import jax.numpy as jnp

from jaxreason.config import GRPOConfig, RewardConfig
from jaxreason.grpo import advantage
from jaxreason.grpo.advantage import Scale
from jaxreason.ops.chunks import to_tokens
from jaxreason.parallel.rules import everywhere
from jaxreason.rewards import combine
from jaxreason.rewards.importance import RatioState
from jaxreason.rewards.length import Moment, known
from jaxreason.rewards.methods import Method, scale_of
from jaxreason.rewards.outcome import Outcome
from jaxreason.types import Advantages, Rewards

LESSON = 0.01
"""Advantage on a score token of the answer that the scorer is shown, see `agents.lessons`. At 1, a scorer that is sure
of itself is corrected so hard wherever the yardstick sees a little differently that the policy, which it shares, forgot
how to reason within thirty steps."""


def signal(
    seen: Outcome,
    alpha: jax.Array,
    ratio: RatioState,
    key: jax.Array,
    *,
    reward: RewardConfig,
    grpo: GRPOConfig,
    method: Method,
    max_length: int,
) -> tuple[Rewards, Advantages, RatioState]:
    """Rewards and advantages of one step, for every role that is updated.

    Args:
      alpha: float32 scalar, weight of the length's cost now.
      ratio: running share of |y| that is penalised.
      key: for methods that shuffle scores.
      max_length: the reasoner's token limit.
    """
    return compiled(
        seen, combine.price(alpha, reward), ratio, key,
        reward=reward.shape, grpo=grpo, method=method, max_length=max_length,
    )  # fmt: skip


@functools.partial(jax.jit, static_argnames=("reward", "grpo", "method", "max_length"))
def compiled(
    seen: Outcome,
    price: combine.Price,
    ratio: RatioState,
    key: jax.Array,
    *,
    reward: RewardConfig,
    grpo: GRPOConfig,
    method: Method,
    max_length: int,
) -> tuple[Rewards, Advantages, RatioState]:
    """`signal` at a price: compiled once for all alphas and phis."""
    scale = scale_of(method, grpo)
    rewards, ratio, keep = combine.score(seen, price, ratio, key, config=reward, method=method, max_length=max_length)
    # Whoever was asked wrote something; a helper whose prompt was too long was not asked.
    keep = {role: kept & (seen.length[role] > 0) for role, kept in keep.items()}
    if grpo.mask_truncated_completions:
        keep = {role: kept & seen.finished[role] for role, kept in keep.items()}
    token = {}
    for role, terms in method.terms.items():
        if terms.penalty and "penalty" in rewards.parts:
            cost_PG = terms.penalty * price.alpha * rewards.parts["penalty"]
            token[role] = _priced(role, seen, rewards, cost_PG, keep[role], reward.gate, grpo.credit, scale)
        elif terms.contribution and seen.score_at is not None:
            token[role] = _taught(role, terms.contribution, seen, rewards, keep[role], scale)
        elif role == "reason" and rewards.token is not None:
            token[role] = jnp.where(keep[role][..., None], rewards.token, 0.0)
        elif role == "reason" and rewards.needless is not None:
            token[role] = _by_position(seen, rewards.total[role], rewards.needless, keep[role], scale)
        else:
            token[role] = _plain(role, seen, rewards.total[role], keep[role], scale)
    if rewards.closing is not None:
        closing_PG = jnp.where(keep["reason"], rewards.closing, 0.0)
        token["reason"] = token["reason"] + _closing(closing_PG, seen.moment, token["reason"].shape[-1])
    if rewards.masked is not None:
        keep["reason"] &= ~rewards.masked
        token["reason"] = jnp.where(keep["reason"][..., None], token["reason"], 0.0)
    return everywhere((rewards, Advantages(token=token, keep=keep), ratio))


def _plain(role: str, seen: Outcome, total_PG: jax.Array, keep_PG: jax.Array, scale: Scale) -> jax.Array:
    """The group-relative advantage on every token of a completion."""
    advantage_PG = advantage.group_relative(total_PG, keep_PG, scale=scale)
    return advantage.broadcast(advantage_PG, seen.length[role], dict(seen.widths)[role])


def _priced(
    role: str, seen: Outcome, rewards: Rewards, cost_PG, keep_PG, gate: str, credit: str, scale: Scale
) -> jax.Array:
    """The advantage where length costs something: the cost by chunk (grpo.credit), or among right answers only
    (reward.gate), or as a part of the reward like any other."""
    total_PG = rewards.total[role]
    among = gate == "among_correct"
    paying_PG = rewards.parts["accuracy"] > 0 if among else keep_PG
    if role == "reason" and credit == "chunk" and rewards.charged is not None:
        assert seen.chunks is not None  # what is charged are their scored chunks
        assert seen.scores is not None
        return advantage.chunk_credit(
            total_PG + cost_PG,
            cost_PG,
            jnp.maximum(rewards.charged, 0.0),  # centred weights can be negative
            seen.chunks.valid & seen.scores.valid & seen.finished[role],
            seen.chunks.chunk_id,
            seen.length[role],
            keep_PG,
            paying_PG,
            scale=scale,
        )
    if not among:
        return _plain(role, seen, total_PG, keep_PG, scale)
    advantage_PG = advantage.length_relative(total_PG + cost_PG, cost_PG, keep_PG, paying_PG, scale=scale)
    return advantage.broadcast(advantage_PG, seen.length[role], dict(seen.widths)[role])


def _by_position(seen: Outcome, total_PG: jax.Array, needless_PG: jax.Array, keep_PG: jax.Array, scale: Scale):
    """The advantage where tokens of y behind its necessary prefix, up to where the thought closes, earn less."""
    begin_PG, end_PG = known(seen.moment.prefix_end, "prefix_end"), known(seen.moment.closes_at, "closes_at")
    place_11T = jnp.arange(dict(seen.widths)["reason"])[None, None]
    needless_PGT = (begin_PG[..., None] >= 0) & (place_11T >= begin_PG[..., None])
    needless_PGT = needless_PGT & ((place_11T < end_PG[..., None]) | (end_PG[..., None] < 0))
    return advantage.positionwise(total_PG, needless_PG, needless_PGT, seen.length["reason"], keep_PG, scale=scale)


def _closing(closing_PG: jax.Array, moment: Moment, num_tokens: int) -> jax.Array:
    """An advantage of its own on the token behind y, float32 [P G T]; 0 where there is none."""
    place_PG = known(moment.closes_at, "closes_at")
    return jnp.where(jnp.arange(num_tokens)[None, None] == place_PG[..., None], closing_PG[..., None], 0.0)


def _taught(role: str, weight: float, seen: Outcome, rewards: Rewards, keep_PG, scale: Scale) -> jax.Array:
    """The advantage of a scorer that is shown the right scores: its form as for anybody, and every score that was
    judged made likelier, since it is the right ones that the update sees (`agents.lessons`)."""
    assert seen.scores is not None  # they were judged
    assert seen.contribution is not None
    assert seen.score_at is not None
    form_PG = rewards.total[role] - weight * rewards.parts["contribution"]
    judged_PGK = (seen.scores.value > 0) & (seen.contribution >= 0) & keep_PG[..., None]
    shown_PGT = to_tokens(jnp.where(judged_PGK, weight * LESSON, 0.0), seen.score_at)
    return _plain(role, seen, form_PG, keep_PG, scale) + shown_PGT
