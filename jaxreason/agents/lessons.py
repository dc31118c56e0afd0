"""The scorer's answers as they should have been: scores that contributions are worth, in place of those sampled.

A reward says how good a sampled score was; here the right score is known as well, so it is shown. Paid for sampled
scores alone, a scorer that had to begin from nothing learnt the mean of what chunks are worth and hardly which is which
(docs/results, A scorer that is trained). What is shown is a batch of its own, with a positive advantage on its scores;
the episode stays as it was sampled.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from jaxreason.agents import constraints
from jaxreason.agents.episode import Episode
from jaxreason.agents.outcome import scoring_role
from jaxreason.config import ROLES
from jaxreason.grpo import batch
from jaxreason.grpo.learner import Answers, Learner
from jaxreason.rewards import format as form
from jaxreason.types import Params

CLEARLY_OFF = 2.0
"""Scores at least this far from the target, in points, are replaced; others stay as sampled. The yardstick is noisy:
corrected at every point, a scorer that knew the labels lost them within twenty steps."""


def corrected(
    episode: Episode,
    contribution_PGK: np.ndarray,
    scale: float,
    learner: Learner,
    params: Params,
    digit_ids: np.ndarray,
) -> dict[str, Answers]:
    """The scoring role's answers with each clearly wrong score replaced by what its chunk is worth, by role.

    Only where decoding was constrained: there it is known which token is which score. Empty elsewhere: the sampled
    answers are learnt from by their reward.

    Args:
      contribution_PGK: nats, negative where not measured, see `agents.contribution`.
      scale: nats that are worth a 5, see `rewards.format.worth`; worths are rounded.
      learner: of the helpers.
      params: the learner's as they are before the update: old_logp is theirs, so that the first ratio is 1.
      digit_ids: the tokens of the scores, see `constraints.digit_tokens`.
    """
    role = scoring_role(episode)
    rollout = episode.rollouts[role]
    if rollout.candidates is None or episode.scoring is None:
        return {}
    worth_PGK = np.asarray(form.worth(jnp.asarray(contribution_PGK), scale=scale))
    value_PGK = np.asarray(episode.scoring.scores.value)
    off_PGK = np.abs(worth_PGK - value_PGK) >= CLEARLY_OFF
    right_PGK = np.where(off_PGK, np.rint(worth_PGK), value_PGK).astype(np.int32) * ((worth_PGK > 0) & (value_PGK > 0))
    at_PGT = constraints.score_places(rollout.candidates, digit_ids, right_PGK.shape[-1])
    right_PGT = np.take_along_axis(np.pad(right_PGK, ((0, 0), (0, 0), (0, 1))), at_PGT, axis=-1)
    tokens_PGT = np.where(right_PGT > 0, np.append(0, digit_ids)[right_PGT], rollout.tokens)
    shown = dataclasses.replace(rollout, tokens=tokens_PGT)
    there_PGT = (right_PGT > 0).astype(np.float32)
    items = batch.items(
        episode.prompts[role], shown, weight_PGT=there_PGT, advantage_PGT=there_PGT, role=ROLES.index(role)
    )
    packed = batch.pack(
        items,
        batch.shape_for(items, learner.packing.shapes),
        num_candidates=learner.packing.num_candidates,
        lift=episode.lift,
    )
    found = batch.unpack(items, np.asarray(learner.reference(params, packed)))
    logp_NT = np.array(shown.logp).reshape(len(items), -1)
    for row_T, logp_T in zip(logp_NT, found, strict=True):
        if logp_T is not None:
            row_T[: len(logp_T)] = logp_T
    shown = dataclasses.replace(shown, logp=logp_NT.reshape(tokens_PGT.shape))
    return {role: Answers(episode.prompts[role], shown)}
