"""What makes up for a sampler that is not quite the trainer: another number type, kernel or filter, an older step.

Tokens are drawn by the sampler's distribution q and learnt under the trainer's p. The ratio p / q, from before the
update, weighs a token's loss; it is bounded, or left out where it is beyond a bound. Named as in TRL.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.config import GRPOConfig
from jaxreason.types import UpdateBatch

MAX_LOG_RATIO = 20.0
"""Log-ratios stop here, where exp is still far from overflow; beyond it a token has no gradient."""


def limited(log_BS: jax.Array) -> jax.Array:
    """Within MAX_LOG_RATIO on either side."""
    return jnp.clip(log_BS, -MAX_LOG_RATIO, MAX_LOG_RATIO)


def sum_of_sequence(values_BS: jax.Array, segments_BS: jax.Array) -> jax.Array:
    """At each token the sum over the tokens of its segment, and of a row's unused tail over the tail."""

    def of_row(values_S, segments_S):
        return jax.ops.segment_sum(values_S, segments_S, num_segments=len(values_S) + 1)[segments_S]

    return jax.vmap(of_row)(values_BS, segments_BS)


def mean_of_sequence(values_BS: jax.Array, counted_BS: jax.Array, segments_BS: jax.Array) -> jax.Array:
    """At each token the mean over the counted tokens of its segment; 0 where none counts."""
    count_BS = sum_of_sequence(counted_BS.astype(jnp.float32), segments_BS)
    return sum_of_sequence(jnp.where(counted_BS, values_BS, 0.0), segments_BS) / jnp.maximum(count_BS, 1.0)


def correction(log_BS: jax.Array, counted_BS: jax.Array, segments_BS: jax.Array, grpo: GRPOConfig) -> jax.Array:
    """The weight of each token's loss, float32 [B S]; no gradient flows through it.

    Args:
      log_BS: log p - log q, nats; p by the trainer before the update, q as sampled.
      counted_BS: bool, the tokens that have a loss.
      segments_BS: int, which sequence of its row a token belongs to.
      grpo: importance_sampling_correction, which is not `none`: token_... takes a token's own ratio, sequence_... the
        product over its sequence; ..._truncate bounds it, ..._mask takes 0 for one outside the bounds.

    Source: truncation, Yao et al. 2025, "Your Efficient RL Framework Secretly Brings You Off-Policy RL Training";
    masking, IcePop of arXiv:2510.18855.
    """
    level, _, bound = grpo.importance_sampling_correction.partition("_")
    low, high = grpo.importance_sampling_clip_min, grpo.importance_sampling_clip_max
    log_BS = jnp.where(counted_BS, log_BS, 0.0)
    if level == "sequence":
        log_BS = sum_of_sequence(log_BS, segments_BS)
    ratio_BS = jnp.exp(limited(log_BS))
    if bound == "truncate":
        return jax.lax.stop_gradient(jnp.clip(ratio_BS, low, high))
    assert bound == "mask"
    return jax.lax.stop_gradient(jnp.where((ratio_BS >= low) & (ratio_BS <= high), ratio_BS, 0.0))


def metrics(batches: Sequence[UpdateBatch], roles: Sequence[str], grpo: GRPOConfig) -> dict[str, float]:
    """How far sampler and trainer are apart, over the tokens of each role that have a loss; host NumPy.

    `<role>/sampling/importance_sampling_ratio/min`, `mean` and `max` of p / q before any bound, each token's or under
    a sequence correction each sequence's; `<role>/sampling/sampling_logp_difference/mean` and `max`, nats a token; and
    `<role>/sampling/effective_sample_size`, (sum w)^2 / (n sum w^2) of the weights as they are used: 1 where all are
    equal, 0 where all are masked. A role without such tokens has none of them.
    """
    rows = [_flat(batch, grpo) for batch in batches if batch.trainer_logp is not None]
    found: dict[str, float] = {}
    for index, role in enumerate(roles):
        parts = [x[:, x[0] == index] for x in rows]
        _, log_N, ratio_N, weight_N = np.concatenate(parts, axis=1) if parts else np.zeros((4, 0))
        if not len(log_N):
            continue
        name, difference = f"{role}/sampling/importance_sampling_ratio", np.abs(log_N)
        square = float(np.mean(weight_N**2))
        found |= {
            f"{name}/min": float(ratio_N.min()),
            f"{name}/mean": float(ratio_N.mean()),
            f"{name}/max": float(ratio_N.max()),
            f"{role}/sampling/sampling_logp_difference/mean": float(difference.mean()),
            f"{role}/sampling/sampling_logp_difference/max": float(difference.max()),
            f"{role}/sampling/effective_sample_size": float(weight_N.mean()) ** 2 / square if square else 0.0,
        }
    return found


def _flat(batch: UpdateBatch, grpo: GRPOConfig) -> np.ndarray:
    """Of the tokens of a packed batch that have a loss: role, log-ratio, the ratio before any bound, weight; [4 N]."""
    arrays = (batch.role, batch.segments, batch.weight, batch.old_logp, batch.trainer_logp)
    role_BS, segments_BS, weight_BS, old_BS, trainer_BS = (
        np.asarray(x).reshape(-1, batch.role.shape[-1]) for x in arrays
    )
    counted_BS = weight_BS > 0
    log_BS = np.where(counted_BS, trainer_BS - old_BS, np.float32(0.0))
    whole_BS = log_BS
    if grpo.importance_sampling_correction.startswith("sequence"):
        whole_BS = np.asarray(sum_of_sequence(jnp.asarray(log_BS), jnp.asarray(segments_BS)))
    used_BS = np.asarray(correction(jnp.asarray(log_BS), jnp.asarray(counted_BS), jnp.asarray(segments_BS), grpo))
    ratio_BS = np.exp(np.clip(whole_BS, -MAX_LOG_RATIO, MAX_LOG_RATIO))
    return np.stack([x_BS[counted_BS] for x_BS in (role_BS, log_BS, ratio_BS, used_BS)])
