"""Length methods whose target moves: with the step, or with what was seen in earlier steps.

What a method remembers is plain JSON on the host, the same on every one, and stands in every checkpoint. `recall` makes
the arrays of a step from it, `record` takes the step's outcome in.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.ops import masked
from jaxreason.rewards.length import Completions, LengthReward, known, target_or

BINS = 16
"""Lengths of the coverage table: sixteenths of the token limit."""
BANDS = (1 / 3, 2 / 3)
"""Pass rates from which on a problem is of medium difficulty, and easy."""
REFRESH = 20
"""Steps that the coverage table looks back, on average."""


@dataclasses.dataclass(frozen=True)
class Memory:
    """What a method remembers between steps."""

    recall: Callable[[dict[str, Any], Sequence[str]], np.ndarray]
    """(memory, ids of the step's problems) -> `Moment.memory`; {} at the start of a run"""
    record: Callable[[dict[str, Any], Sequence[str], np.ndarray, np.ndarray, int], dict[str, Any]]
    """(memory, ids, right bool [P G], length int [P G], token limit) -> the memory after the step"""


def think_prune(seen: Completions, *, target_length: int | jax.Array = 0, stages: int = 3) -> LengthReward:
    """1 for a right answer within a limit that falls in equal steps: L_max in the first stage, the target in the last.

    The stages are equal shares of run.max_steps. A target of 0 is half of L_max.

    Raises:
      ValueError: fewer than one stage, or a step whose place in the run is not known.

    Source: arXiv:2504.01296, whose scripts go from 4000 over 3000 to 2000 tokens. There the limit is that of sampling;
    here longer answers are sampled and count as wrong, which teaches the same and costs their tokens.
    """
    if stages < 1:
        raise ValueError(f"reward.options.stages: expected at least 1, got {stages!r}")
    progress = known(seen.moment.progress, "progress")
    last = jnp.asarray(target_or(target_length, seen.max_length / 2), jnp.float32)
    stage = jnp.minimum(jnp.floor(progress * stages), stages - 1)
    limit = last if stages == 1 else seen.max_length + (last - seen.max_length) * stage / (stages - 1)
    return LengthReward((seen.right & (seen.length.astype(jnp.float32) <= limit)).astype(jnp.float32))


def laser_d_dynamic(
    seen: Completions, *, lowest: float = 0.25, weight: float = 0.5, wrong: float = -0.5
) -> LengthReward:
    """A right answer earns 1, and `weight` more within its difficulty's target; a wrong one -0.5.

    Problems are hard, medium or easy by the group's pass rate. A band's target is the shortest length, of the
    sixteenths of L_max from `lowest` on, that still leaves one right answer to be expected of a group: coverage n >= 1,
    with the share of the band's recent answers that are no longer, and n the right answers that a group of the band has
    at least, G/3 or 2G/3 rounded down, and 1 for the hard ones. L_max where there is none, or nothing was seen yet.

    Source: LASER-D, arXiv:2505.15612, and the authors' code: base rewards, bands, and coverage over all answers of a
    band. There it is measured on 500 problems every 20 steps, here on the answers that are trained on, over a moving
    average as long.
    """
    within_PG = seen.length.astype(jnp.float32) <= _dynamic_target(seen, lowest)
    return LengthReward(jnp.where(seen.right, 1.0 + weight * within_PG.astype(jnp.float32), wrong))


def laser_de(seen: Completions, *, lowest: float = 0.25, weight: float = 0.5, wrong: float = -0.5) -> LengthReward:
    """`laser_d_dynamic`, and a wrong answer beyond its target earns `weight` more, for exploring, unless it repeats.

    Source: LASER-DE, arXiv:2505.15612. What counts as repeating is this project's, see `agents.moment.goes_round`; the
    authors' rule, an n-gram of 4 tokens three times, holds for most long texts.
    """
    beyond_PG = seen.length.astype(jnp.float32) > _dynamic_target(seen, lowest)
    paid_PG = (beyond_PG & ~known(seen.moment.repeats, "repeats")).astype(jnp.float32)
    found = laser_d_dynamic(seen, lowest=lowest, weight=weight, wrong=wrong).reward
    return LengthReward(jnp.where(seen.right, found, wrong + weight * paid_PG))


def hapo(seen: Completions, *, weight: float = 1.0, floor: float = -0.7) -> LengthReward:
    """c + weight r, against h, the shortest right answer that the problem had in earlier steps.

    r = cos(pi/2 min(L / h, 2)); a right answer gets at least `floor` of it, a wrong one at most 0. r is 0 for a problem
    that was never solved.

    Source: arXiv:2505.11225 and the authors' code.
    """
    history_P1 = known(seen.moment.memory, "memory")[:, None]
    history_PG = jnp.broadcast_to(history_P1, seen.length.shape)
    ratio_PG = masked.ratio(seen.length.astype(jnp.float32), history_PG)
    gain_PG = jnp.cos(0.5 * jnp.pi * jnp.minimum(ratio_PG, 2.0))
    gain_PG = jnp.where(seen.right, jnp.maximum(gain_PG, floor), jnp.minimum(gain_PG, 0.0))
    return LengthReward(seen.right.astype(jnp.float32) + weight * jnp.where(history_PG > 0, gain_PG, 0.0))


def shortest_right(memory: dict[str, Any], ids: Sequence[str]) -> np.ndarray:
    """HAPO's h of each problem, float32 [P] tokens; 0 for one that was never solved."""
    return np.array([memory.get(name, 0) for name in ids], np.float32)


def keep_shortest(
    memory: dict[str, Any], ids: Sequence[str], right_PG: np.ndarray, length_PG: np.ndarray, limit: int
) -> dict[str, Any]:
    """Problem id -> tokens of its shortest right answer so far."""
    after = dict(memory)
    for name, right_G, length_G in zip(ids, right_PG, length_PG, strict=True):
        if right_G.any():
            after[name] = min(after.get(name, limit), int(length_G[right_G].min()))
    return after


def coverage(memory: dict[str, Any], ids: Sequence[str]) -> np.ndarray:
    """Share of recent answers of at most each sixteenth of the limit, float32 [3 BINS], hard, medium, easy; 0 where
    nothing was seen."""
    covered = np.array(memory.get("covered", np.zeros((3, BINS))), np.float32)
    count_3 = np.array(memory.get("count", np.zeros(3)), np.float32)
    return np.where(count_3[:, None] > 0, covered / np.maximum(count_3[:, None], 1e-9), 0.0).astype(np.float32)


def count_coverage(
    memory: dict[str, Any], ids: Sequence[str], right_PG: np.ndarray, length_PG: np.ndarray, limit: int
) -> dict[str, Any]:
    """The table after a step: decaying counts of answers by band, all of them and those within each sixteenth."""
    covered, count = np.array(memory.get("covered", np.zeros((3, BINS)))), np.array(memory.get("count", np.zeros(3)))
    border = limit * np.arange(1, BINS + 1) / BINS
    band_P = np.digitize(right_PG.mean(1), BANDS)
    for band in range(3):
        lengths = length_PG[band_P == band].reshape(-1, 1)
        covered[band] = (1 - 1 / REFRESH) * covered[band] + (lengths <= border).sum(0)
        count[band] = (1 - 1 / REFRESH) * count[band] + len(lengths)
    return {"covered": covered.tolist(), "count": count.tolist()}


HISTORY = Memory(shortest_right, keep_shortest)
COVERAGE = Memory(coverage, count_coverage)


def _dynamic_target(seen: Completions, lowest: float) -> jax.Array:
    """The target of each problem's band, float32 [P 1] tokens.

    Raises:
      ValueError: lowest is not in (0, 1], or nobody gave the coverage table.
    """
    if not 0 < lowest <= 1:
        raise ValueError(f"reward.options.lowest: expected a number in (0, 1], got {lowest!r}")
    table = known(seen.moment.memory, "memory")
    G = seen.length.shape[1]
    least_31 = jnp.array([[1], [max(1, G // 3)], [max(1, 2 * G // 3)]], jnp.float32)
    share = jnp.arange(1, BINS + 1, dtype=jnp.float32) / BINS
    enough = (table * least_31 >= 1.0) & (share >= lowest)[None]
    target_3 = jnp.where(jnp.any(enough, axis=1), share[jnp.argmax(enough, axis=1)], 1.0) * seen.max_length
    rate_P = masked.mean(seen.right.astype(jnp.float32), seen.keep, axis=1)
    band_P = jnp.sum(rate_P[:, None] >= jnp.array([BANDS], jnp.float32) - 1e-6, axis=1)
    return target_3[band_P][:, None]
