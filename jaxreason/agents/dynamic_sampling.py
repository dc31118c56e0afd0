"""Dynamic sampling: groups whose answers are all right or all wrong are replaced by those of further problems.

From DAPO (arXiv:2503.14476), which samples until its batch is full of groups with 0 < right < G. Spread is looked for
in what is right and not in the reward: with a price on length no group is exactly constant.

Whatever is sampled is a function of the step, the place in the data and the policy alone, the same on every host. The
first batch is that of a step without dynamic sampling, draw for draw.
"""

from collections.abc import Sequence

import jax
import numpy as np

from jaxreason.agents.episode import Answer, Episode, Fill, Sampled
from jaxreason.agents.roles import REASON
from jaxreason.agents.rows import counted_right
from jaxreason.config import Config
from jaxreason.data.dataset import ProblemStream
from jaxreason.grading.pool import Grades


def filler(stream: ProblemStream, position: int, config: Config, easy: float = 0.0) -> Fill | None:
    """What fills a step's batch up with groups that have spread; None where that is off.

    Args:
      stream: the training problems. No step samples more than one pass through them.
      position: the place at which the step's first batch begins.
      easy: the share of a batch that may be groups whose answers are all right, rounded down; a curriculum's.
    """
    if not config.grpo.dynamic_sampling:
        return None

    def fill(episode: Episode, answer: Answer) -> Episode:
        P, size = len(episode.problems), stream.num_problems
        played, solved = [episode], all_right(episode, config)
        has = spread(episode, config) | first(solved, int(easy * P))
        while has.sum() < P and len(played) < config.grpo.max_num_gen_batches and len(has) < size:
            count = min(wanted(P, int(has.sum()), len(has)), size - len(has))
            further = answer(stream.rows(position + len(has), count), len(has))
            played.append(further)
            solved = np.concatenate([solved, all_right(further, config)])
            varied = np.concatenate([spread(one, config) for one in played])
            has = varied | first(solved, int(easy * P))
        taken = selected(has, P)
        seen = taken[-1] + 1 if has.sum() >= P else len(has)
        right_PG, gradable_PG = (np.concatenate(x) for x in zip(*(_judged(one, config) for one in played), strict=True))
        tokens_P = np.concatenate([one.rollouts[REASON.name].length.sum(1) for one in played])
        return joined(
            played,
            taken,
            Sampled(
                batches=len(played),
                groups=len(has),
                replaced=int(seen) - P,
                without_spread=int(P - has[taken].sum()),
                all_right=int(solved[taken].sum()),
                easy_share=easy,
                accuracy=float(right_PG[gradable_PG].mean()) if gradable_PG.any() else None,
                tokens_left_out=int(tokens_P.sum() - tokens_P[taken].sum()),
            ),
        )

    return fill


def spread(episode: Episode, config: Config) -> np.ndarray:
    """Bool [P]: whether some answer of a group is right and some wrong, among those that count.

    What can't be graded does not count, nor what was cut at the limit under grpo.mask_truncated_completions.
    """
    right_PG, counted_PG = _judged(episode, config)
    if config.grpo.mask_truncated_completions:
        counted_PG = counted_PG & episode.rollouts[REASON.name].finished
    return np.asarray((right_PG & counted_PG).any(1) & (~right_PG & counted_PG).any(1))


def all_right(episode: Episode, config: Config) -> np.ndarray:
    """Bool [P]: whether all answers of a group are right, among those that count."""
    right_PG, counted_PG = _judged(episode, config)
    if config.grpo.mask_truncated_completions:
        counted_PG = counted_PG & episode.rollouts[REASON.name].finished
    return np.asarray((right_PG | ~counted_PG).all(1) & counted_PG.any(1))


def first(marked: np.ndarray, count: int) -> np.ndarray:
    """The first so many of those that are marked.

    >>> first(np.array([False, True, True, True]), 2).tolist()
    [False, True, True, False]
    """
    return marked & (np.cumsum(marked) <= count)


def _judged(episode: Episode, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Bool [P G] twice: which answers are right, and which could be graded."""
    require_eos = config.reward.require_eos
    right_PG = counted_right(episode.rollouts[REASON.name], episode.grades, require_eos=require_eos)
    return right_PG, episode.grades.gradable.reshape(episode.shape)


def wanted(P: int, found: int, sampled: int) -> int:
    """How many further groups are expected to fill a batch of P, going by the share with spread so far; at most P.

    >>> wanted(16, 8, 16), wanted(16, 15, 16), wanted(16, 0, 16)
    (16, 2, 16)
    """
    return min(P, -(-(P - found) * sampled // max(1, found)))


def selected(has: np.ndarray, P: int) -> np.ndarray:
    """The places of the first P groups with spread; where there are fewer, the first without make up for them. In the
    order they were sampled in.

    >>> selected(np.array([True, False, False, True, True, True]), 3)
    array([0, 3, 4])
    >>> selected(np.array([False, False, True, False]), 2)
    array([0, 2])
    """
    return np.sort(np.argsort(~has, kind="stable")[:P])


def joined(played: Sequence[Episode], taken: np.ndarray, sampled: Sampled) -> Episode:
    """One episode of the groups `taken` from several, in which no helper was asked yet."""
    G = played[0].shape[1]
    rows = [int(p) * G + g for p in taken for g in range(G)]

    def arrays(some):
        return jax.tree.map(lambda *x: np.concatenate(x)[taken], *some)

    def listed(name: str, places: Sequence[int]) -> list:
        every = [one for episode in played for one in getattr(episode, name)]
        return [every[n] for n in places]

    status = [word for episode in played for word in episode.grades.status]
    correct, gradable = (
        np.concatenate([getattr(episode.grades, name) for episode in played])[rows] for name in ("correct", "gradable")
    )
    return Episode(
        problems=listed("problems", taken.tolist()),
        prompts={REASON.name: arrays([episode.prompts[REASON.name] for episode in played])},
        rollouts={REASON.name: arrays([episode.rollouts[REASON.name] for episode in played])},
        reasonings=listed("reasonings", rows),
        grades=Grades(correct, gradable, [status[n] for n in rows]),
        labels=listed("labels", rows),
        seconds=played[0].seconds,
        sampled=sampled,
    )


def metrics(sampled: Sampled | None) -> dict[str, float | None]:
    """What dynamic sampling did in a step; empty where it is off."""
    if sampled is None:
        return {}
    return {
        "reason/num_gen_batches": float(sampled.batches),
        "reason/groups_sampled": float(sampled.groups),
        "reason/groups_replaced": float(sampled.replaced),
        "reason/groups_without_spread": float(sampled.without_spread),
        "reason/groups_all_right": float(sampled.all_right),
        "reason/easy_share": sampled.easy_share,
        "reason/sampled_accuracy": sampled.accuracy,
    }
