"""Length methods that compare a completion with the others of its group.

Statistics are over the rows that are kept; rows that are left out get a finite number that nobody reads. L is the
length of the whole completion, c is 1 for a right answer, p the share of right answers in the group.
"""

import jax
import jax.numpy as jnp

from jaxreason.ops import masked
from jaxreason.rewards.length import Completions, LengthReward


def tlmre(seen: Completions, *, weight: float = 0.1) -> LengthReward:
    """A right answer earns 1 - weight sigmoid(z), z its length standardised over the group's right answers.

    z is 0 where the right answers are equally long, or there is one. A wrong answer earns 0.

    Source: Arora and Zanette, arXiv:2502.04463, whose script has 0.1 (the paper sweeps it) and RLOO in place of
    division by a spread: the same advantage up to G / (G - 1).
    """
    return LengthReward(jnp.where(seen.right, 1.0 - weight * jax.nn.sigmoid(_z_among_right(seen)), 0.0))


def group_zscore(seen: Completions, *, weight: float = 0.5, wrong: float = -1.0) -> LengthReward:
    """A right answer earns exp(-weight z), z its length standardised over the group's right answers; a wrong one -1.

    z is 0 where the right answers are equally long, or there is one.

    Source: GRPO-LEAD, arXiv:2504.09696, read in TRL's proposal (#6221), whose weight this is; the paper's was not
    found. Its reweighting of advantages by difficulty is not part of this.
    """
    return LengthReward(jnp.where(seen.right, jnp.exp(-weight * _z_among_right(seen)), wrong))


def o1_pruner(seen: Completions, *, weight: float = 2.0, low: float = -2.0, high: float = 4.0) -> LengthReward:
    """mean L / L - 1 + weight (c - p), clipped to low..high: shorter than the reference at no lower accuracy.

    Lengths below 1 count as 1. The online form: the reference samples are the group itself, which the paper draws once
    from the starting policy.

    Source: arXiv:2501.12570; the clip is in the authors' script, which divides by the spread of the whole batch. Their
    weight is 2 to 5 by model.
    """
    length_PG = jnp.maximum(_length(seen), 1.0)
    gain_PG = _mean(length_PG, seen.keep) / length_PG - 1.0
    lead_PG = seen.right.astype(jnp.float32) - _pass_rate(seen)
    return LengthReward(jnp.clip(gain_PG + weight * lead_PG, low, high))


def shorter_better(seen: Completions, *, right: float = 2.0, weight: float = 0.001) -> LengthReward:
    """right c - weight |L - L*|: L* is the group's shortest right answer, or its mean length where none is right.

    Source: arXiv:2504.21370 and the authors' script (2.0 and 0.001 a token).
    """
    right_PG = seen.right & seen.keep
    shortest_P1 = masked.minimum(_length(seen), right_PG, axis=1, keepdims=True)
    best_P1 = jnp.where(jnp.any(right_PG, axis=1, keepdims=True), shortest_P1, _mean(_length(seen), seen.keep))
    return LengthReward(right * seen.right.astype(jnp.float32) - weight * jnp.abs(_length(seen) - best_P1))


def dast(seen: Completions) -> LengthReward:
    """Length against a budget that grows with difficulty: B = p mean right L + (1 - p) L_max, x = L / B - 1.

    Right: max(0.5 - 0.5 x, 0.1), wrong: min(0.9 x - 0.1, -0.1): a right answer over budget and a wrong one under it
    lose. Where none is right, B is L_max.

    Source: arXiv:2503.04472, which ranks pairs for SimPO by it; here it is the reward itself. Read in a description
    that quotes the formula.
    """
    right_PG, p_P1 = seen.right & seen.keep, _pass_rate(seen)
    budget_P1 = p_P1 * _mean(_length(seen), right_PG) + (1.0 - p_P1) * seen.max_length
    excess_PG = _length(seen) / jnp.maximum(budget_P1, 1.0) - 1.0
    right = jnp.maximum(0.5 - 0.5 * excess_PG, 0.1)
    return LengthReward(jnp.where(seen.right, right, jnp.minimum(0.9 * excess_PG - 0.1, -0.1)))


def alp(seen: Completions) -> LengthReward:
    """1 for a right answer; the cost is max(p, 1/G) L / L_max, so that easy problems pay most for length.

    G counts the rows that are kept. Alpha is the paper's beta.

    Source: arXiv:2506.05256. Its constant N, here L_max, and its beta are not in what was read.
    """
    least_P1 = 1.0 / jnp.maximum(_count(seen.keep), 1.0)
    cost_PG = jnp.maximum(_pass_rate(seen), least_P1) * _length(seen) / seen.max_length
    return LengthReward(seen.right.astype(jnp.float32), cost_PG)


def linear_pass_rate(seen: Completions, *, weight: float = 0.25) -> LengthReward:
    """c - weight p L / the group's greatest L: no pressure where nothing is right.

    Source: prime-rl, `length_penalty.type = linear` (#2901) with its completion term; it subtracts the mean only.
    """
    longest_P1 = jnp.maximum(masked.maximum(_length(seen), seen.keep, axis=1, keepdims=True), 1.0)
    share_PG = jnp.minimum(_length(seen) / longest_P1, 1.0)
    return LengthReward(seen.right.astype(jnp.float32) - weight * _pass_rate(seen) * share_PG)


def gr3(seen: Completions, *, weight: float = 0.33) -> LengthReward:
    """c / (1 + weight L / mean L): the reward rescaled, not lowered, so that a wrong answer gains nothing by length.

    The baseline comes from the rescaled rewards, as everywhere here. A group of empty completions is rescaled by 1.

    Source: arXiv:2603.10535 and prime-rl, where it was read (0.33; #2040 is what a baseline of raw rewards does).
    """
    mean_PG = jnp.broadcast_to(_mean(_length(seen), seen.keep), seen.length.shape)
    return LengthReward(seen.right.astype(jnp.float32) / (1.0 + weight * masked.ratio(_length(seen), mean_PG)))


def drpo(seen: Completions, *, temperature: float = 0.1) -> LengthReward:
    """Right answers weighted among themselves by exp((1 - L / L_max) / temperature), wrong ones alike.

    With n kept rows, a right answer gets n w_i with the weights w_i summing to 1 over the group's right answers, a
    wrong one -n / number of wrong ones: their mean is 0, so without a scale these are the advantages. A long right
    answer gains little and never loses. A group that is all right earns 1 each, one that is all wrong 0: nothing to
    learn from.

    Source: arXiv:2510.04474 and the authors' code, whose score is the mean log-probability of a completion
    (grpo.loss_type=grpo). Two parts are left out: the log-sum-exp over wrong answers, which at their temperature of 10
    weighs them almost alike, and the KL constraint, in whose place stands the clip.
    """
    right_PG, wrong_PG = seen.right & seen.keep, ~seen.right & seen.keep
    brief_PG = -_length(seen) / (seen.max_length * temperature)
    brief_PG = jnp.where(right_PG, jnp.exp(brief_PG - masked.maximum(brief_PG, right_PG, axis=1, keepdims=True)), 0.0)
    whole_PG = jnp.broadcast_to(jnp.sum(brief_PG, axis=1, keepdims=True), brief_PG.shape)
    wrongs_PG = jnp.broadcast_to(_count(wrong_PG), brief_PG.shape)
    count_P1 = _count(seen.keep)
    mixed_PG = seen.keep & (whole_PG > 0) & (wrongs_PG > 0)
    share_PG = masked.ratio(brief_PG, whole_PG) - masked.ratio(wrong_PG.astype(jnp.float32), wrongs_PG)
    return LengthReward(jnp.where(mixed_PG, count_P1 * share_PG, right_PG.astype(jnp.float32)))


def smart_thinker(seen: Completions) -> LengthReward:
    """c - lambda max(0, L - L_opt) c: only right answers above the most promising length pay, and none drops below
    the group's mean.

    L_opt is where, with normal lengths, the chance of being right is greatest: (s1^2 m2 - s2^2 m1) / (s1^2 - s2^2),
    clipped to the group's range, m1, s1^2 of all lengths and m2, s2^2 of the right answers'. Where s2 > s1 that is a
    minimum, and L_opt is the group's least length; where s2 = s1, the end that m2 - m1 points to. lambda is (1 - p) /
    (greatest - mean cost): the costliest right answer has advantage 0. lambda is 0 where all or none are right.

    Source: arXiv:2603.08000 and the authors' code (which takes the other end where s1 = s2).
    """
    length_PG, right_PG, p_P1 = _length(seen), seen.right & seen.keep, _pass_rate(seen)
    least_P1 = masked.minimum(length_PG, seen.keep, axis=1, keepdims=True)
    most_P1 = masked.maximum(length_PG, seen.keep, axis=1, keepdims=True)
    m1_P1, m2_P1 = _mean(length_PG, seen.keep), _mean(length_PG, right_PG)
    v1_P1 = jnp.square(masked.std(length_PG, seen.keep, axis=1, keepdims=True))
    v2_P1 = jnp.square(masked.std(length_PG, right_PG, axis=1, keepdims=True))
    narrower_P1 = v1_P1 - v2_P1
    alike_P1 = jnp.abs(narrower_P1) <= ALIKE * jnp.maximum(v1_P1, 1.0)
    best_P1 = (v1_P1 * m2_P1 - v2_P1 * m1_P1) / jnp.where(alike_P1, 1.0, narrower_P1)
    best_P1 = jnp.clip(jnp.where(narrower_P1 < 0, least_P1, best_P1), least_P1, most_P1)
    best_P1 = jnp.where(alike_P1, jnp.where(m2_P1 > m1_P1, most_P1, least_P1), best_P1)
    cost_PG = jnp.where(right_PG, jnp.maximum(length_PG - best_P1, 0.0), 0.0)
    above_P1 = masked.maximum(cost_PG, right_PG, axis=1, keepdims=True) - _mean(cost_PG, seen.keep)
    price_P1 = jnp.where(jnp.any(right_PG, axis=1, keepdims=True), masked.ratio(1.0 - p_P1, above_P1), 0.0)
    return LengthReward(right_PG.astype(jnp.float32) - price_P1 * cost_PG)


ALIKE = 1e-4
"""Variances of length that differ by less than this share are the same one rounded differently."""


def gfpo(seen: Completions, *, share: float = 0.5, by_efficiency: bool = False) -> LengthReward:
    """1 for a right answer; of each group only the shortest completions stay, out of statistics and loss the others.

    `share` of the kept rows stay, at least two, and those as long as the longest of them. `by_efficiency`: the ones of
    most reward a token instead, that is right answers before wrong ones, the shorter before the longer.

    Raises:
      ValueError: a share that is not in (0, 1].

    Source: arXiv:2508.09726, which keeps 8 of 16 or 24.
    """
    if not 0 < share <= 1:
        raise ValueError(f"reward.options.share: expected a number in (0, 1], got {share!r}")
    rank_PG = _length(seen)
    if by_efficiency:
        rank_PG = rank_PG + jnp.where(seen.right, 0.0, 1.0 + seen.max_length)
    rank_PG = jnp.where(seen.keep, rank_PG, jnp.inf)
    stay_P1 = jnp.round(share * _count(seen.keep))
    last_P1 = jnp.clip(stay_P1, 2, seen.length.shape[1]).astype(jnp.int32) - 1
    border_P1 = jnp.take_along_axis(jnp.sort(rank_PG, axis=1), last_P1, axis=1)
    return LengthReward(seen.right.astype(jnp.float32), keep=seen.keep & (rank_PG <= border_P1))


def _length(seen: Completions) -> jax.Array:
    return seen.length.astype(jnp.float32)


def _mean(value_PG: jax.Array, mask_PG: jax.Array) -> jax.Array:
    return masked.mean(value_PG, mask_PG, axis=1, keepdims=True)


def _count(mask_PG: jax.Array) -> jax.Array:
    return jnp.sum(mask_PG, axis=1, keepdims=True, dtype=jnp.float32)


def _pass_rate(seen: Completions) -> jax.Array:
    """Share of right answers among the kept rows, float32 [P 1]."""
    return _mean(seen.right.astype(jnp.float32), seen.keep)


def _z_among_right(seen: Completions) -> jax.Array:
    """Length standardised over the group's right answers, float32 [P G]; 0 where they have no spread."""
    right_PG, length_PG = seen.right & seen.keep, _length(seen)
    spread_P1 = masked.std(length_PG, right_PG, axis=1, keepdims=True)
    apart_PG = jnp.where(right_PG, length_PG - _mean(length_PG, right_PG), 0.0)
    flat_P1 = masked.maximum(length_PG, right_PG, axis=1, keepdims=True) == masked.minimum(
        length_PG, right_PG, axis=1, keepdims=True
    )
    return jnp.where(flat_P1, 0.0, apart_PG / jnp.where(flat_P1, 1.0, spread_P1))
