"""One step's rewards for every role that is trained, and which rows count.

Pure, and made to be jitted with `config`, `preset` and `max_length` static.
"""

import chex
import jax
import jax.numpy as jnp

from jaxreason.config import RewardConfig
from jaxreason.rewards import format as form
from jaxreason.rewards import importance, length
from jaxreason.rewards.methods import PresetSpec, Terms
from jaxreason.types import Chunks, Rewards, Scores


def score(
    *,
    correct_PG: jax.Array,
    gradable_PG: jax.Array,
    length_y_PG: jax.Array,
    length_PG: jax.Array,
    finished_PG: jax.Array,
    chunks: Chunks | None,
    scores: Scores | None,
    frozen_value_PGK: jax.Array | None,
    alpha: jax.Array,
    ratio: importance.RatioState,
    config: RewardConfig,
    preset: PresetSpec,
    max_length: int,
    key: jax.Array | None = None,
    phi: jax.Array | None = None,
    contribution_PGK: jax.Array | None = None,
) -> tuple[Rewards, importance.RatioState, dict[str, jax.Array]]:
    """Combine the outcome, the length penalty, the formats and the agreement as the preset says.

    Helpers are asked only about a y that is finished, gradable and not empty, and the scorer only where the split is
    valid. A role's row is kept where the role was asked; the reasoner's where the answer could be graded; that of
    whoever is paid by contributions only where they were measured.

    Args:
      correct_PG: bool, the answer is right; ignored where not gradable.
      gradable_PG: bool, False where the grader itself failed.
      length_y_PG: int, tokens of the reasoning text y.
      length_PG: int, tokens of the whole completion.
      finished_PG: bool, the reasoner ended by itself. A cut y pays for all of |y|, whatever the chunks say, and counts
        as wrong under `config.require_eos`.
      chunks, scores: the helpers' answers; None for a preset without helpers.
      frozen_value_PGK: float, expected scores of the frozen scorer on the same chunks, where a term reads them.
      alpha: float32 [], the weight of the penalty now.
      ratio: running state for rows whose helpers failed.
      config, preset, max_length: static; max_length is the reasoner's limit in tokens, L_max.
      key: for a preset that shuffles scores.
      phi: float32 [5], in place of the configuration's, so that one program serves them all.
      contribution_PGK: float32, nats, negative where not measured, where a term reads them.

    Returns:
      Rewards (totals for the roles in `preset.terms`; parts: accuracy, and, where the preset has them, penalty,
      weighted_length, within_target, format_segment, format_score, agreement, contribution; charged where chunks are),
      the new ratio state, and role -> keep [P G]. A part is 0 where it does not apply. `penalty` is f, before alpha.

    Raises:
      ValueError: a preset that needs helpers, frozen scores or a key, and did not get them.

    Source: R = R_acc - alpha f(sum phi(w_i) |s_i|), arXiv:2601.21919.
    """
    chex.assert_rank([correct_PG, gradable_PG, length_y_PG, length_PG, finished_PG], 2)
    chex.assert_equal_shape([correct_PG, gradable_PG, length_y_PG, length_PG, finished_PG])
    chex.assert_type([correct_PG, gradable_PG, length_y_PG, length_PG, finished_PG], [bool, bool, int, int, bool])
    chex.assert_rank(alpha, 0)
    _refuse_missing(preset, chunks, scores, frozen_value_PGK, contribution_PGK, key)

    right_PG = correct_PG & gradable_PG
    if config.require_eos:
        right_PG = right_PG & finished_PG
    parts = {"accuracy": right_PG.astype(jnp.float32)}
    outcome_PG = parts["accuracy"]
    keep = {"reason": gradable_PG}
    charged_PGK = None
    y_PG = length_y_PG.astype(jnp.float32)

    if preset.helpers != "none":
        assert chunks is not None
        assert scores is not None
        keep["segment"] = gradable_PG & finished_PG & (length_y_PG > 0)
        keep["score"] = keep["segment"] & chunks.valid
        parts["format_segment"] = form.own_format(chunks.valid, keep["segment"], penalty=config.format_penalty)
        parts["format_score"] = form.own_format(scores.valid, keep["score"], penalty=config.format_penalty)
        # One answer for both: it is at fault for the split, or else for the scores.
        keep["annotate"] = keep["segment"]
        if "annotate" in preset.terms:
            parts["format_annotate"] = parts["format_segment"] + parts["format_score"]
        readable_PG = keep["score"] & scores.valid
        if frozen_value_PGK is not None:
            parts["agreement"] = form.agreement(scores.value, frozen_value_PGK, chunks.length, readable_PG)
        if contribution_PGK is not None:
            worth_PGK = form.worth(contribution_PGK, scale=config.contribution_scale)
            parts["contribution"] = form.agreement(scores.value, worth_PGK, chunks.length, readable_PG)
            for role in ("score", "annotate"):
                if role in preset.terms and preset.terms[role].contribution:
                    keep[role] = keep[role] & jnp.any(worth_PGK > 0, axis=-1)

    if preset.penalty == "truncation":
        outcome_PG = length.truncation(
            correct_PG & gradable_PG,
            length_PG,
            finished_PG,
            target_length=config.target_length or max_length,
            require_eos=config.require_eos,
        )
        parts["within_target"] = outcome_PG
    elif preset.penalty != "none":
        charged_PG = y_PG
        if preset.penalty == "chunks":
            assert chunks is not None
            assert scores is not None
            usable_PG = chunks.valid & scores.valid & finished_PG
            value_PGK = jnp.where(usable_PG[..., None], scores.value, 0)
            if preset.shuffle_scores:
                assert key is not None
                value_PGK = importance.shuffle_scores(key, value_PGK, value_PGK > 0)
            phi_PGK = importance.phi_of(value_PGK, config.phi if phi is None else phi, centred=config.centred_phi)
            chunk_length_PGK, y_PG = importance.measure(chunks, length_y_PG, usable_PG, config.unit)
            charged_PGK = chunk_length_PGK * phi_PGK
            weighted_PG = importance.weighted_length(chunk_length_PGK, phi_PGK)
            charged_PG, ratio = importance.charged_length(
                weighted_PG, y_PG, usable_PG, finished_PG, ratio, invalid=config.invalid_helper
            )
        penalty_PG = importance.penalty(charged_PG, y_PG, max_length=max_length, normalize=config.normalize_length)
        if config.gate != "none":
            penalty_PG = penalty_PG * parts["accuracy"]
        parts["weighted_length"], parts["penalty"] = charged_PG, penalty_PG

    total = {
        role: _total(role, terms, outcome_PG, parts, alpha, config.share_format) for role, terms in preset.terms.items()
    }
    return Rewards(total=total, parts=parts, charged=charged_PGK), ratio, {role: keep[role] for role in total}


def _total(role: str, terms: Terms, outcome_PG, parts, alpha, share_format: bool):
    """One role's reward. A term of weight 0 is left out, so presets that differ elsewhere run the same arithmetic."""
    total_PG = terms.accuracy * outcome_PG
    if terms.penalty:
        total_PG = total_PG - terms.penalty * alpha * parts["penalty"]
    if share_format and "format_segment" in parts:
        total_PG = total_PG + parts["format_segment"] + parts["format_score"]
    elif terms.format:
        total_PG = total_PG + terms.format * parts[f"format_{role}"]
    if terms.agreement:
        total_PG = total_PG + terms.agreement * parts["agreement"]
    if terms.contribution:
        total_PG = total_PG + terms.contribution * parts["contribution"]
    return total_PG


def _refuse_missing(preset: PresetSpec, chunks, scores, frozen_value_PGK, contribution_PGK, key) -> None:
    helped = preset.helpers != "none" or preset.penalty == "chunks"
    if helped and (chunks is None or scores is None):
        raise ValueError("chunks, scores: expected both helpers' answers for a preset with helpers, got None")
    if frozen_value_PGK is None and any(terms.agreement for terms in preset.terms.values()):
        raise ValueError(
            "frozen_value_PGK: expected the frozen scorer's expected scores, since a role is paid for agreement,"
            " got None; score the chunks with the starting policy as well"
        )
    if contribution_PGK is None and preset.measured:
        raise ValueError(
            "contribution_PGK: expected what the chunks contribute, since a role is paid by it, got None; measure it"
            " with agents.contribution"
        )
    if preset.shuffle_scores and key is None:
        raise ValueError("key: expected a random key for a preset that shuffles scores, got None")
