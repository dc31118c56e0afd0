"""An episode as the arrays that a reward looks at."""

from typing import Any

import numpy as np

from jaxreason.agents import constraints
from jaxreason.agents.episode import Episode
from jaxreason.agents.roles import ANNOTATE, SCORE
from jaxreason.parallel.rules import place
from jaxreason.rewards.length import Moment
from jaxreason.rewards.outcome import Outcome
from jaxreason.types import Chunks, Scores, on_host


def outcome(
    episode: Episode,
    *,
    frozen_PGK: np.ndarray | None = None,
    truth: tuple[Chunks, Scores] | None = None,
    contribution_PGK: np.ndarray | None = None,
    digit_ids: np.ndarray | None = None,
    teacher_PGT: np.ndarray | None = None,
) -> Outcome:
    """The arrays of an episode, problems split over the mesh: a group's statistics need no communication.

    Args:
      frozen_PGK: expected scores of the frozen scorer.
      truth: stands in for the helpers' answers, see `tasks.oracle`.
      contribution_PGK: nats, negative where not measured; where the scorer decodes under a constraint, the places of
        its scores come along, found by `digit_ids`.
      teacher_PGT: see `agents.teacher`.
    """
    shape = episode.shape
    chunks = None if episode.segmentation is None else episode.segmentation.chunks
    scores = None if episode.scoring is None else episode.scoring.scores
    if truth is not None:
        chunks, scores = truth
    seen: dict[str, Any] = {
        "correct": episode.grades.correct.reshape(shape),
        "gradable": episode.grades.gradable.reshape(shape),
        "length_y": np.array([len(r.ids) for r in episode.reasonings], np.int32).reshape(shape),
        "length": {role: rollout.length for role, rollout in episode.rollouts.items()},
        "finished": {role: rollout.finished for role, rollout in episode.rollouts.items()},
        "chunks": chunks,
        "scores": scores,
        "frozen_value": frozen_PGK,
        "contribution": contribution_PGK,
        "moment": on_host(Moment, teacher=teacher_PGT),
        "widths": tuple((role, rollout.tokens.shape[2]) for role, rollout in episode.rollouts.items()),
    }
    if contribution_PGK is not None:
        scorer = scoring_role(episode)
        candidates = episode.rollouts[scorer].candidates
        if candidates is not None:
            assert digit_ids is not None  # the constraint was made of them
            seen["score_at"] = constraints.score_places(np.asarray(candidates), digit_ids, contribution_PGK.shape[-1])
    return place(Outcome(**seen), "batch")


def scoring_role(episode: Episode) -> str:
    """Who wrote the scores: the scorer, or the helper that segments as well."""
    return SCORE.name if SCORE.name in episode.rollouts else ANNOTATE.name
