"""One row of numbers a step, and the texts worth keeping: what a person looks at, from what a step produced.

Names are TRL's behind the role's. Host NumPy on small arrays.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.agents import alignment, dynamic_sampling, rows
from jaxreason.agents.episode import Episode
from jaxreason.agents.roles import REASON
from jaxreason.config import ROLES, RewardConfig
from jaxreason.grpo import mismatch
from jaxreason.grpo.advantage import zero_spread
from jaxreason.parallel.rules import everywhere
from jaxreason.rewards import format as form
from jaxreason.rewards.outcome import Outcome
from jaxreason.run.setup import Experiment
from jaxreason.tasks import labels
from jaxreason.tasks.base import Task
from jaxreason.tasks.prefix import prefix_share
from jaxreason.types import Advantages, Rewards, UpdateBatch

_whole = jax.jit(everywhere)
Row = dict[str, float | None]
"""Metric name -> number; None where nothing was counted."""


def divide(sums: dict[str, Any]) -> Row:
    """(sum, count) -> mean; None where the count is 0."""
    fetched = jax.device_get(sums)
    return {name: float(total / count) if count else None for name, (total, count) in fetched.items()}


def _mean(values: jax.typing.ArrayLike, mask: jax.typing.ArrayLike | None = None) -> float | None:
    counted = np.asarray(values, np.float64)
    if mask is not None:
        counted = counted[np.asarray(mask)]
    return float(counted.mean()) if counted.size else None


def row_of(
    episode: Episode,
    rewards: Rewards,
    advantages: Advantages,
    seen: Outcome,
    packed: Sequence[UpdateBatch],
    total: dict[str, Any],
    seconds: dict[str, float],
    exp: Experiment,
) -> Row:
    """All numbers of a step but those of alpha and of the user's own functions.

    Args:
      packed: the batches that the update saw.
      total: its metrics, as (sum, count).
      seconds: phase -> wall time, beside the episode's own.
    """
    config = exp.config
    row = step_row(episode, rewards, advantages, seen, config.reward) | divide(total)
    row |= mismatch.metrics(packed, ROLES, config.grpo)
    row |= dynamic_sampling.metrics(episode.sampled)
    if seen.moment.target is not None:
        row["reason/target_length"] = float(jax.device_get(seen.moment.target))
    if seen.moment.teacher is not None:
        tokens = episode.rollouts[REASON.name].length.sum()
        row["reason/teacher_kl"] = -float(jax.device_get(_whole(seen.moment.teacher)).sum() / tokens)
    return row | label_row(episode, exp.task) | time_row(episode, seconds)


def step_row(
    episode: Episode,
    rewards: Rewards,
    advantages: Advantages,
    seen: Outcome,
    config: RewardConfig,
) -> Row:
    """Everything about rollouts, rewards and helpers; the update's own metrics are `divide`d apart.

    Args:
      seen: its frozen scores and contributions, which are split over the mesh, are read too.
      config: its phi, to say what the frozen scorer would have charged, and its scale of contributions.
    """
    frozen_PGK, contribution_PGK = jax.device_get(_whole((seen.frozen_value, seen.contribution)))
    rewards, advantages = jax.device_get((rewards, advantages))
    row: Row = {}
    for role, rollout in episode.rollouts.items():
        row |= _completions(role, rollout.length, rollout.finished)
    for role, total_PG in rewards.total.items():
        keep_PG = advantages.keep[role]
        kept = keep_PG.sum(1) >= 2
        spread = np.array([total[keep].std() for total, keep in zip(total_PG[kept], keep_PG[kept], strict=True)])
        row[f"{role}/reward"] = _mean(total_PG, keep_PG)
        row[f"{role}/reward_std"] = _mean(spread)
        row[f"{role}/frac_reward_zero_std"] = _mean(zero_spread(total_PG, keep_PG))
    for name, part_PG in rewards.parts.items():
        row[f"reason/rewards/{name}/mean"] = _mean(part_PG)
    return row | _reasoner(episode, rewards) | _helpers(episode, rewards, frozen_PGK, contribution_PGK, config)


def _completions(role: str, length_PG: np.ndarray, finished_PG: np.ndarray) -> Row:
    asked = length_PG > 0
    length = length_PG[asked]
    return {
        f"{role}/completions/mean_length": _mean(length),
        f"{role}/completions/min_length": float(length.min()) if length.size else None,
        f"{role}/completions/max_length": float(length.max()) if length.size else None,
        f"{role}/completions/clipped_ratio": _mean(~finished_PG, asked),
        f"{role}/completions/mean_terminated_length": _mean(length_PG, asked & finished_PG),
    }


def _reasoner(episode: Episode, rewards: Rewards) -> Row:
    right_PG = np.asarray(rewards.parts["accuracy"]) > 0
    length_PG = episode.rollouts[REASON.name].length
    gradable_PG = episode.grades.gradable.reshape(episode.shape)
    y_PG = np.array([len(r.ids) for r in episode.reasonings]).reshape(episode.shape)
    positive_PG = np.asarray(rewards.parts["outcome"]) > 0
    return {
        "reason/accuracy": _mean(right_PG, gradable_PG),
        # What the outcome rewards; the total of a right answer can be below 0 where the penalty is strong. Of all
        # completions: without those that a mask leaves out, it would rise to 1 as a policy unlearns to be right.
        "reason/reward/positive_share": _mean(positive_PG, gradable_PG),
        "reason/frac_all_correct": _mean(right_PG.all(1)),
        "reason/completions/mean_length_right": _mean(length_PG, right_PG),
        "reason/completions/mean_length_wrong": _mean(length_PG, ~right_PG),
        "reason/completions/mean_length_positive": _mean(length_PG, gradable_PG & positive_PG),
        "reason/completions/mean_length_not_positive": _mean(length_PG, gradable_PG & ~positive_PG),
        "reason/completions/mean_length_y": _mean(y_PG),
        "reason/no_answer": _mean(np.array([r.answer is None for r in episode.reasonings])),
        "reason/ungradable": _mean(~gradable_PG),
        "reason/grader_timeouts": float(sum(status == "timeout" for status in episode.grades.status)),
    }


def _helpers(
    episode: Episode,
    rewards: Rewards,
    frozen_PGK: np.ndarray | None,
    contribution_PGK: np.ndarray | None,
    config: RewardConfig,
) -> Row:
    if episode.segmentation is None or episode.scoring is None:
        return {}
    chunks, value = episode.segmentation.chunks, np.asarray(episode.scoring.scores.value)
    scored = value > 0
    row = divide(alignment.segment_metrics(episode.segmentation) | alignment.score_metrics(episode.scoring))
    row["segment/valid"], row["score/valid"] = row.pop("segment/ok"), row.pop("score/ok")
    count = np.asarray(chunks.mask).sum(-1)
    row["segment/chunks"] = _mean(count, np.asarray(chunks.valid))
    if episode.lift is not None:
        row["segment/lift"] = float(episode.lift.logit)
    row["segment/one_chunk"] = _mean(count == 1, np.asarray(chunks.valid))
    row["segment/chunk_length"] = _mean(chunks.length, np.asarray(chunks.mask))
    row["score/mean"] = _mean(value, scored)
    row |= {f"score/share_{s}": _mean(value == s, scored) for s in range(1, 6)}
    row["segment/necessary_prefix"] = _necessary_prefix(episode, np.asarray(rewards.parts["accuracy"]) > 0)
    length = np.asarray(chunks.length)[scored]
    row["score/length_correlation"] = _correlation(value[scored], length)
    row |= _score_spread(value, scored)
    if frozen_PGK is not None:
        row["score/frozen_mean"] = _mean(frozen_PGK, scored)
        row["score/live_minus_frozen"] = _mean(value - frozen_PGK, scored)
        # Between whole scores phi is taken as straight lines; both shares are over the same text.
        places = np.arange(1, 6)
        lengths = np.asarray(chunks.length) * scored
        for name, scores in (("live", value), ("frozen", frozen_PGK)):
            charged = (np.interp(scores, places, config.phi) * lengths).sum()
            row[f"score/{name}_penalised_share"] = float(charged / lengths.sum()) if lengths.any() else None
    if contribution_PGK is not None:
        measured = scored & (contribution_PGK >= 0)
        worth = np.asarray(form.worth(jnp.asarray(contribution_PGK), scale=config.contribution_scale))[measured]
        row["score/worth_mean"] = _mean(worth)
        row["score/live_minus_worth"] = _mean(value[measured] - worth)
        row["score/worth_correlation"] = _correlation(value[measured], worth)
    if "weighted_length" in rewards.parts:
        y = np.array([len(r.ids) for r in episode.reasonings]).reshape(episode.shape)
        row["reason/penalised_share"] = _mean((rewards.parts["weighted_length"] / np.maximum(y, 1))[y > 0])
    return row


def _necessary_prefix(episode: Episode, right_PG: np.ndarray) -> float | None:
    """PNRP over right answers that were split and whose y holds the answer."""
    assert episode.segmentation is not None  # its chunks are asked about
    lengths = np.asarray(episode.segmentation.chunks.length).reshape(right_PG.size, -1).tolist()
    rows = zip(right_PG.flat, episode.segmentation.texts, lengths, episode.reasonings, strict=True)
    found = [prefix_share(texts, some[: len(texts)], y.answer) for right, texts, some, y in rows if right]
    return _mean(np.array([share for share in found if share is not None]))


def _score_spread(value_PGK: np.ndarray, scored_PGK: np.ndarray) -> Row:
    """How much scores vary inside a completion, and how much of that is the place in the list. Completions of one chunk
    say nothing of either."""
    number_PG1 = scored_PGK.sum(-1, keepdims=True)
    several_PGK = scored_PGK & (number_PG1 > 1)
    mean_PG1 = (value_PGK * scored_PGK).sum(-1, keepdims=True) / np.maximum(number_PG1, 1)
    off_PGK = value_PGK - mean_PG1
    variance_PG = (off_PGK**2 * scored_PGK).sum(-1) / np.maximum(number_PG1[..., 0], 1)
    place_PGK = (np.cumsum(scored_PGK, axis=-1) - 1) / np.maximum(number_PG1 - 1, 1)
    return {
        "score/spread": _mean(np.sqrt(variance_PG), several_PGK.any(-1)),
        "score/place_correlation": _correlation(off_PGK[several_PGK], place_PGK[several_PGK]),
    }


def _correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """None where one of them does not vary."""
    both = len(a) > 1 and a.std() > 0 and b.std() > 0
    return float(np.corrcoef(a, b)[0, 1]) if both else None


def time_row(episode: Episode, seconds: dict[str, float]) -> Row:
    """Wall time by phase, and tokens of all roles.

    Args:
      seconds: by phase; the episode has its own.
    """
    seconds = {phase: s for phase, s in seconds.items() if phase != "episode"} | episode.seconds
    left_out = episode.sampled.tokens_left_out if episode.sampled else 0
    tokens = float(left_out + sum(int(rollout.length.sum()) for rollout in episode.rollouts.values()))
    whole = sum(seconds.values())
    row: Row = {f"time/{phase}": s for phase, s in seconds.items()}
    return row | {"step_time": whole, "num_tokens": tokens, "tokens_per_second": tokens / whole}


def label_row(episode: Episode, task: Task) -> Row:
    """Diagnostics that only a task with labels can give; empty for others."""
    sums = labels.line_metrics(task, episode.labels)
    if episode.segmentation is not None and episode.scoring is not None:
        sums |= labels.score_metrics(task, episode.labels, episode.segmentation.chunks, episode.scoring.scores)
    return divide(sums)


def samples(episode: Episode, rewards: Rewards, exp: Experiment) -> list[dict]:
    """The completions of the first problems, a row a rollout, with chunks and scores."""
    G, config, tokenizer = episode.shape[1], exp.config, exp.tokenizer
    few = episode.problems[: config.run.log_completions]
    rollout, read = episode.rollouts[REASON.name], episode.reasonings
    require_eos = config.reward.require_eos
    found = rows.completion_rows(few, rollout, read, episode.grades, tokenizer, require_eos=require_eos)
    helpers = {
        role: tokenizer.decode_batch(rollout.completion_ids[: len(found)])
        for role, rollout in episode.rollouts.items()
        if role != REASON.name
    }
    for n, row in enumerate(found):
        row["rewards"] = {role: float(total[n // G, n % G]) for role, total in rewards.total.items()}
        if episode.segmentation is not None and episode.scoring is not None:
            row |= {role: texts[n] for role, texts in helpers.items()}
            row |= rows.chunk_fields(episode.segmentation, episode.scoring, n)
    return found


def note(row: Row) -> str:
    """What matters, behind the progress bar."""
    parts = [f"tokens {row['reason/completions/mean_length']:.0f}"]
    if row["reason/accuracy"] is not None:
        parts.insert(0, f"acc {row['reason/accuracy']:.2f}")
    if row.get("score/mean") is not None:
        parts.append(f"score {row['score/mean']:.1f}")
    if row.get("score/live_minus_frozen") is not None:
        parts.append(f"({row['score/live_minus_frozen']:+.1f} live-frozen)")
    return "  ".join([*parts, f"{row['tokens_per_second']:.0f} tok/s"])
