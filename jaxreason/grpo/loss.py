"""The clipped policy loss, as a weighted sum over tokens.

The weights carry the whole aggregation, so parts of a batch add up to the batch whatever the split.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import chex
import jax
import jax.numpy as jnp

from jaxreason.config import GRPOConfig, of_each_role
from jaxreason.grpo import mismatch
from jaxreason.types import Array, Metrics, UpdateBatch, pytree

LossType = Literal["grpo", "dapo", "dr_grpo", "cispo"]


@pytree
class TokenDiagnostics:
    """What the loss saw at each token; no gradient flows through it."""

    log_ratio: jax.Array  # float32 [B S], logp - old_logp
    clipped_low: jax.Array  # bool [B S], ratio below 1 - epsilon with a negative advantage: no gradient
    clipped_high: jax.Array  # bool [B S], ratio above 1 + epsilon_high with a positive advantage: no gradient;
    # under cispo with any advantage, and a bounded weight
    kl: jax.Array | None  # float32 [B S], k3 estimate to the reference


def normalised_role_weights(role_weight: Mapping[str, float], keep: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Role weights over their sum, taken over the roles that have a row to learn from; role -> float32 [].

    So the loss is a weighted mean over roles: a step in which a helper has no row, or a method without helpers, keeps
    the size of its loss, and the gradient clip means the same everywhere. All 0 where no role has a row.
    """
    present = {role: jnp.any(keep[role]).astype(jnp.float32) * role_weight[role] for role in keep}
    total = sum(present.values(), jnp.float32(0.0))
    divisor = jnp.where(total > 0, total, 1.0)
    return {role: value / divisor for role, value in present.items()}


def token_weights(
    length_PG: Array,
    keep_PG: jax.Array,
    *,
    role_weight: jax.Array | float,
    loss_type: LossType,
    max_completion_length: int,
    num_tokens: int,
) -> jax.Array:
    """Weights of one role's tokens such that its loss is sum(weight * per-token loss); float32 [P G T].

    Within the role, over the rows given here (all rows that share an optimiser step):

    - grpo: mean over kept rows of their token means: 1 / (kept rows * |o|);
    - dapo, cispo: mean over the tokens of kept rows: 1 / (kept tokens);
    - dr_grpo: sum over kept rows over the limit: 1 / (kept rows * max_completion_length).

    TRL's aggregations, one role at a time: under one token mean over all roles the scorer, who writes a few tokens,
    would have almost no weight. A row of length 0 counts as a row and weighs nothing.

    Args:
      length_PG: int, tokens.
      keep_PG: bool.
      role_weight: see `normalised_role_weights`.
      loss_type: see above.
      max_completion_length: this role's token limit.
      num_tokens: T.

    >>> weight = token_weights(jnp.array([[1, 2]]), jnp.ones((1, 2), bool), role_weight=1.0, loss_type="grpo",
    ...                        max_completion_length=4, num_tokens=2)
    >>> weight.tolist()
    [[[0.5, 0.0], [0.25, 0.25]]]
    """
    chex.assert_rank([length_PG, keep_PG], 2)
    chex.assert_equal_shape([length_PG, keep_PG])
    chex.assert_type([length_PG, keep_PG], [int, bool])
    length_PG = length_PG.astype(jnp.float32)
    rows = jnp.sum(keep_PG, dtype=jnp.float32)
    if loss_type == "grpo":
        divisor_PG = rows * length_PG
    elif loss_type in ("dapo", "cispo"):
        divisor_PG = jnp.broadcast_to(jnp.sum(jnp.where(keep_PG, length_PG, 0.0)), length_PG.shape)
    else:
        assert loss_type == "dr_grpo"
        divisor_PG = jnp.broadcast_to(rows * max_completion_length, length_PG.shape)
    row_weight_PG = jnp.where(keep_PG & (divisor_PG > 0), role_weight / jnp.maximum(divisor_PG, 1.0), 0.0)
    inside_PGT = jnp.arange(num_tokens, dtype=jnp.float32)[None, None] < length_PG[..., None]
    return jnp.where(inside_PGT, row_weight_PG[..., None], 0.0)


def policy_loss(logp_BS: jax.Array, micro: UpdateBatch, grpo: GRPOConfig) -> tuple[jax.Array, TokenDiagnostics]:
    """sum weight (-w min(r A, clip(r, 1 - epsilon, 1 + epsilon_high) A) + beta k3), r = exp(logp - old_logp).

    In float32. Tokens of weight 0 may hold anything. Value and gradient are finite for any finite log-probabilities.

    - r is the token's, or under importance_sampling_level=sequence the geometric mean over its sequence's tokens that
      count (GSPO, arXiv:2507.18071, eq. 5 to 7).
    - Under loss_type=cispo the term is -w c A logp with c = min(r, 1 + epsilon_high) held constant, so that every token
      keeps a gradient (arXiv:2506.13585, eq. 4; no lower bound, as there). Written such that its value is that of the
      others at ratio 1.
    - w corrects a sampler that differs from the trainer, see `mismatch.correction`; then r is held against the
      trainer's own log-probabilities before the update. Otherwise 1.
    - k3 = exp(d) - d - 1 with d = ref_logp - logp, whose gradient pulls towards the reference (that of d alone does
      not).

    Args:
      logp_BS: nats, now.
      micro: one micro-batch, arrays [B S]: log-probabilities as sampled (old_logp), by the trainer (trainer_logp) and
        of the reference (ref_logp); advantage, any range; weight, at least 0, see `token_weights`; role and segments.
      grpo: its clips, loss type, level, correction and beta.

    Returns:
      The loss, float32 [], and what it saw.

    Source: arXiv:2402.03300, with the asymmetric clip of arXiv:2503.14476.
    """
    arrays = [logp_BS, micro.old_logp, micro.advantage, micro.weight]
    arrays += [x for x in (micro.trainer_logp, micro.ref_logp) if x is not None]
    chex.assert_rank(arrays, 2)
    chex.assert_equal_shape(arrays)
    chex.assert_type(arrays, float)
    counted_BS = micro.weight > 0

    def counted(values_BS):
        return jnp.where(counted_BS, values_BS.astype(jnp.float32), 0.0)

    logp_BS, advantage_BS, sampled_BS = counted(logp_BS), counted(micro.advantage), counted(micro.old_logp)
    old_BS = sampled_BS if micro.trainer_logp is None else counted(micro.trainer_logp)
    log_ratio_BS = logp_BS - old_BS
    if grpo.importance_sampling_level == "sequence":
        log_ratio_BS = mismatch.mean_of_sequence(log_ratio_BS, counted_BS, micro.segments)
    ratio_BS = jnp.exp(mismatch.limited(log_ratio_BS))
    high_BS = counted_BS & (ratio_BS > 1.0 + grpo.epsilon_high)
    if grpo.loss_type == "cispo":
        low_BS = jnp.zeros_like(high_BS)
        held_BS = jax.lax.stop_gradient(jnp.minimum(ratio_BS, 1.0 + grpo.epsilon_high))
        loss_BS = -held_BS * advantage_BS * (1.0 + logp_BS - jax.lax.stop_gradient(logp_BS))
    else:
        low_BS = counted_BS & (ratio_BS < 1.0 - grpo.epsilon) & (advantage_BS < 0)
        high_BS = high_BS & (advantage_BS > 0)
        # The minimum of the two surrogates, written by cases: at a tie, as at ratio 1, all of the gradient must pass.
        bound_BS = jnp.where(low_BS, 1.0 - grpo.epsilon, jnp.where(high_BS, 1.0 + grpo.epsilon_high, ratio_BS))
        loss_BS = -bound_BS * advantage_BS
    if micro.trainer_logp is not None:
        loss_BS = loss_BS * mismatch.correction(old_BS - sampled_BS, counted_BS, micro.segments, grpo)

    kl_BS = None
    if micro.ref_logp is not None:
        gap_BS = jnp.minimum(counted(micro.ref_logp) - logp_BS, mismatch.MAX_LOG_RATIO)
        kl_BS = jnp.expm1(gap_BS) - gap_BS
        loss_BS = loss_BS + counted(jnp.asarray(of_each_role(grpo.beta), jnp.float32)[micro.role]) * kl_BS
    loss = jnp.sum(counted(micro.weight) * loss_BS)
    seen = TokenDiagnostics(log_ratio=log_ratio_BS, clipped_low=low_BS, clipped_high=high_BS, kl=kl_BS)
    return loss, jax.lax.stop_gradient(seen)


def token_metrics(
    seen: TokenDiagnostics,
    entropy_BS: jax.Array,
    role_BS: jax.Array,
    weight_BS: jax.Array,
    roles: Sequence[str],
) -> Metrics:
    """Sums and counts over the tokens of each role, in TRL's names behind the role's.

    `<role>/clip_ratio/low_mean`, `high_mean`, `region_mean`: shares of tokens whose gradient the clip removed;
    `<role>/entropy`, nats; `<role>/kl` where there is a reference; `<role>/ratio/mean`, which is 1 on average while the
    sampler and the trainer agree, and `<role>/ratio/log_abs_mean`, 0 then. A token counts where its weight is above 0:
    the trainer leaves out rows without advantage where there is no KL, so these are figures of what was learnt from.
    """
    chex.assert_equal_shape([seen.log_ratio, entropy_BS, role_BS, weight_BS])
    values = {
        "clip_ratio/low_mean": seen.clipped_low,
        "clip_ratio/high_mean": seen.clipped_high,
        "clip_ratio/region_mean": seen.clipped_low | seen.clipped_high,
        "entropy": jax.lax.stop_gradient(entropy_BS),
        "ratio/mean": jnp.exp(mismatch.limited(seen.log_ratio)),
        "ratio/log_abs_mean": jnp.abs(seen.log_ratio),
    }
    if seen.kl is not None:
        values["kl"] = seen.kl
    result = {}
    for index, role in enumerate(roles):
        mask_BS = (role_BS == index) & (weight_BS > 0)
        count = jnp.sum(mask_BS, dtype=jnp.float32)
        for name, value_BS in values.items():
            result[f"{role}/{name}"] = (jnp.sum(jnp.where(mask_BS, value_BS.astype(jnp.float32), 0.0)), count)
    return result
