"""The scorer's answers as they should have been: scores that contributions are worth, in place of those drawn.

A reward says how good a drawn score was; here the right score is known as well, so it is shown. Paid for drawn scores
alone, a scorer that had to begin from nothing learnt the mean of what chunks are worth and hardly which is which
(README, A scorer that is trained). The update stays what it is: an answer with a positive advantage on its scores.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.agents import constraints, prompts
from jaxreason.agents.episode import Episode
from jaxreason.agents.roles import ANNOTATE, SCORE
from jaxreason.config import ROLES
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.grpo import batch
from jaxreason.learning import Learner
from jaxreason.rewards import format as form
from jaxreason.types import Params

CLEARLY_OFF = 2.0
"""Points between a score and what its chunk is worth from which on it is corrected; a nearer one is shown as drawn. The
yardstick is noisy: corrected at every point, a scorer that knew the labels lost them within twenty steps."""


def corrected(
    episode: Episode,
    contribution_PGK: np.ndarray,
    scale: float,
    learner: Learner,
    params: Params,
    tokenizer: Tokenizer,
) -> Episode:
    """The episode with each clearly wrong score replaced by what its chunk is worth, and log-probabilities to match.

    Only where decoding was constrained: there it is known which token is which score. The others are left as they
    were, and learnt from by their reward.

    Args:
      contribution_PGK: nats, negative where not measured, see `agents.contribution`.
      scale: nats that are worth a 5, see `rewards.format.worth`; worths are rounded.
      learner: of the helpers.
      params: the learner's as they are before the update, so that the first ratio is 1.
    """
    role = SCORE.name if SCORE.name in episode.rollouts else ANNOTATE.name
    rollout = jax.tree.map(np.asarray, episode.rollouts[role])
    if rollout.candidates is None or episode.scoring is None:
        return episode
    worth_PGK = np.asarray(form.worth(jnp.asarray(contribution_PGK), scale=scale))
    value_PGK = np.asarray(episode.scoring.scores.value)
    off_PGK = np.abs(worth_PGK - value_PGK) >= CLEARLY_OFF
    right_PGK = np.where(off_PGK, np.rint(worth_PGK), value_PGK).astype(np.int32) * ((worth_PGK > 0) & (value_PGK > 0))
    at_PGT = constraints.score_places(rollout.candidates, right_PGK.shape[-1])
    right_PGT = np.take_along_axis(np.pad(right_PGK, ((0, 0), (0, 0), (0, 1))), at_PGT, axis=-1)
    digit_ids = np.array([0, *(ids[0] for ids in tokenizer.encode_batch(prompts.DIGITS))], np.int32)
    tokens_PGT = np.where(right_PGT > 0, digit_ids[right_PGT], rollout.tokens)
    shown = dataclasses.replace(rollout, tokens=tokens_PGT)
    there_PGT = (right_PGT > 0).astype(np.float32)
    items = batch.items(
        episode.prompts[role], shown, weight_PGT=there_PGT, advantage_PGT=there_PGT, role=ROLES.index(role)
    )
    packed = batch.pack(
        items, batch.shape_for(items, learner.packing.shapes), num_candidates=learner.packing.num_candidates
    )
    found = batch.unpack(items, np.asarray(learner.reference(params, packed)))
    logp_NT = np.array(shown.logp).reshape(len(items), -1)
    for row_T, logp_T in zip(logp_NT, found, strict=True):
        if logp_T is not None:
            row_T[: len(logp_T)] = logp_T
    shown = dataclasses.replace(shown, logp=logp_NT.reshape(tokens_PGT.shape))
    return dataclasses.replace(episode, rollouts=episode.rollouts | {role: shown})
