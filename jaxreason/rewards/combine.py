"""One step's rewards for every role that is trained, and which rows count.

Pure, and made to be jitted with `config`, `method` and `max_length` static.
"""

import chex
import jax
import jax.numpy as jnp

from jaxreason.config import RewardConfig
from jaxreason.rewards import format as form
from jaxreason.rewards import importance, length
from jaxreason.rewards.length import Completions
from jaxreason.rewards.methods import Method, Terms
from jaxreason.rewards.outcome import Outcome
from jaxreason.types import Rewards, pytree

Parts = dict[str, jax.Array]
"""Name -> float32 [P G]."""


@pytree
class Price:
    """The two numbers of a reward that a sweep varies, as arrays, so that one program serves them all."""

    alpha: jax.Array  # float32 [], the weight of the length's cost now
    phi: jax.Array  # float32 [5], the penalty weight of importance 1 to 5


def price(alpha: float | jax.Array, config: RewardConfig) -> Price:
    """The price at an alpha, with the configuration's phi."""
    return Price(alpha=jnp.float32(alpha), phi=jnp.asarray(config.phi, jnp.float32))


def score(
    seen: Outcome,
    price: Price,
    ratio: importance.RatioState,
    key: jax.Array | None,
    *,
    config: RewardConfig,
    method: Method,
    max_length: int,
) -> tuple[Rewards, importance.RatioState, dict[str, jax.Array]]:
    """Combine the outcome, the length's cost, the formats and the agreement as the method says.

    Helpers are asked only about a y that is finished, gradable and not empty, and the scorer only where the split is
    valid. A role's row is kept where the role was asked; the reasoner's where the answer could be graded, and the
    method and `reward.masking` let it stay (under `config.mask_in_stats` it stays, and is `masked`); that of whoever is
    paid by contributions only where they were measured. A cut y pays for all of |y|, whatever the chunks say, and
    counts as wrong under `config.require_eos`.

    Args:
      ratio: running state for rows whose helpers failed.
      key: for a method that shuffles scores; None otherwise.
      config: without its alpha and phi, which are the price's (`RewardConfig.shape`).
      max_length: the reasoner's limit in tokens, L_max.

    Returns:
      Rewards (totals for the roles in `method.terms`; parts: accuracy, outcome, and, where the method has them,
      penalty, weighted_length, format_segment, format_score, agreement, contribution, functions; charged where chunks
      are), the new ratio state, and role -> keep [P G]. A part is 0 where it does not apply. `penalty` is f, before
      alpha.

    Raises:
      ValueError: a method that needs helpers, frozen scores or a key, and did not get them.

    Source: R = R_acc - alpha f(sum phi(w_i) |s_i|), arXiv:2601.21919.
    """
    finished_PG, length_PG = seen.finished["reason"], seen.length["reason"]
    arrays = [seen.correct, seen.gradable, seen.length_y, length_PG, finished_PG]
    chex.assert_rank(arrays, 2)
    chex.assert_equal_shape(arrays)
    chex.assert_type(arrays, [bool, bool, int, int, bool])
    chex.assert_rank(price.alpha, 0)
    _refuse_missing(method, seen, key)

    right_PG = seen.correct & seen.gradable
    if config.require_eos:
        right_PG = right_PG & finished_PG
    y_PG = seen.length_y.astype(jnp.float32)
    charged_PG, charged_PGK = y_PG, None
    if method.charged == "chunks":
        charged_PG, y_PG, charged_PGK, ratio = _charge(seen, price.phi, ratio, key, config, method)
    completions = Completions(
        right=right_PG, length=length_PG, length_y=y_PG, charged=charged_PG, finished=finished_PG, keep=seen.gradable,
        max_length=max_length, moment=seen.moment,
    )  # fmt: skip
    judged = method.judge(completions, config)
    parts = {"accuracy": right_PG.astype(jnp.float32), "outcome": judged.reward}
    if judged.cost is not None:
        cost_PG = judged.cost if config.gate == "none" else judged.cost * parts["accuracy"]
        parts |= {"weighted_length": charged_PG, "penalty": cost_PG}
    masked_PG, keep = None, {"reason": seen.gradable if judged.keep is None else seen.gradable & judged.keep}
    if config.masking != "all":
        target = config.target_length if seen.moment.target is None else seen.moment.target
        stays_PG = length.masking(completions, config.masking, target_length=target)
        if config.mask_in_stats:
            masked_PG = ~stays_PG
        else:
            keep["reason"] &= stays_PG
    if seen.functions is not None:
        parts["functions"] = seen.functions
        assert seen.functions_apply is not None  # they come together
        if config.outcome_weight == 0:
            keep["reason"] &= seen.functions_apply
    if method.helpers != "none":
        helper_parts, helper_keep = _helpers(seen, config, method)
        parts, keep = parts | helper_parts, keep | helper_keep
    total = {role: _total(role, terms, parts, price.alpha, config) for role, terms in method.terms.items()}
    needless_PG = None
    if judged.needless is not None:
        weight = method.terms["reason"].outcome * config.outcome_weight
        needless_PG = total["reason"] + weight * (judged.needless - judged.reward)
    return (
        Rewards(
            total=total,
            parts=parts,
            charged=charged_PGK,
            closing=judged.closing,
            needless=needless_PG,
            token=judged.token,
            masked=masked_PG,
        ),
        ratio,
        {role: keep[role] for role in total},
    )


def _charge(seen: Outcome, phi, ratio: importance.RatioState, key, config: RewardConfig, method: Method):
    """The importance-weighted length that each row is charged, |y| in the same unit, and its share by chunk."""
    assert seen.chunks is not None  # `_refuse_missing` came before
    assert seen.scores is not None
    finished_PG = seen.finished["reason"]
    usable_PG = seen.chunks.valid & seen.scores.valid & finished_PG
    value_PGK = jnp.where(usable_PG[..., None], seen.scores.value, 0)
    if method.shuffle_scores:
        assert key is not None
        value_PGK = importance.shuffle_scores(key, value_PGK, value_PGK > 0)
    phi_PGK = importance.phi_of(value_PGK, phi, centred=config.centred_phi)
    chunk_length_PGK, y_PG = importance.measure(seen.chunks, seen.length_y, usable_PG, config.unit)
    weighted_PG = importance.weighted_length(chunk_length_PGK, phi_PGK)
    charged_PG, ratio = importance.charged_length(
        weighted_PG, y_PG, usable_PG, finished_PG, ratio, invalid=config.invalid_helper
    )
    return charged_PG, y_PG, chunk_length_PGK * phi_PGK, ratio


def _helpers(seen: Outcome, config: RewardConfig, method: Method) -> tuple[Parts, dict[str, jax.Array]]:
    """What the helpers' own answers are worth, and the rows in which each was asked."""
    chunks, scores = seen.chunks, seen.scores
    assert chunks is not None  # `_refuse_missing` came before
    assert scores is not None
    keep = {"segment": seen.gradable & seen.finished["reason"] & (seen.length_y > 0)}
    keep["score"] = keep["segment"] & chunks.valid
    keep["annotate"] = keep["segment"]
    parts = {
        "format_segment": form.own_format(chunks.valid, keep["segment"], penalty=config.format_penalty),
        "format_score": form.own_format(scores.valid, keep["score"], penalty=config.format_penalty),
    }
    if "annotate" in method.terms:  # one answer for both: it is at fault for the split, or else for the scores
        parts["format_annotate"] = parts["format_segment"] + parts["format_score"]
    readable_PG = keep["score"] & scores.valid
    if seen.frozen_value is not None:
        parts["agreement"] = form.agreement(scores.value, seen.frozen_value, chunks.length, readable_PG)
    if seen.contribution is not None:
        worth_PGK = form.worth(seen.contribution, scale=config.contribution_scale)
        parts["contribution"] = form.agreement(scores.value, worth_PGK, chunks.length, readable_PG)
        for role, terms in method.terms.items():
            if terms.contribution:
                keep[role] = keep[role] & jnp.any(worth_PGK > 0, axis=-1)
    return parts, keep


def _total(role: str, terms: Terms, parts: Parts, alpha: jax.Array, config: RewardConfig) -> jax.Array:
    """One role's reward. A term of weight 0 is left out, so methods that differ elsewhere run the same arithmetic."""
    outcome = terms.outcome * config.outcome_weight
    total_PG = outcome * parts["outcome"]
    if terms.penalty and "penalty" in parts:
        total_PG = total_PG - terms.penalty * alpha * parts["penalty"]
    if terms.outcome and "functions" in parts:
        total_PG = total_PG + terms.outcome * parts["functions"]
    if config.share_format and "format_segment" in parts:
        total_PG = total_PG + parts["format_segment"] + parts["format_score"]
    elif terms.format:
        total_PG = total_PG + terms.format * parts[f"format_{role}"]
    for name in ("agreement", "contribution"):
        if weight := getattr(terms, name):
            total_PG = total_PG + weight * parts[name]
    return total_PG


def _refuse_missing(method: Method, seen: Outcome, key: jax.Array | None) -> None:
    helped = method.helpers != "none" or method.charged == "chunks"
    if helped and (seen.chunks is None or seen.scores is None):
        raise ValueError("chunks, scores: expected both helpers' answers for a method with helpers, got None")
    if seen.frozen_value is None and any(terms.agreement for terms in method.terms.values()):
        raise ValueError(
            "frozen_value: expected the frozen scorer's expected scores, since a role is paid for agreement,"
            " got None; score the chunks with the starting policy as well"
        )
    if seen.contribution is None and method.measured:
        raise ValueError(
            "contribution: expected what the chunks contribute, since a role is paid by it, got None; measure it"
            " with agents.contribution"
        )
    if method.shuffle_scores and key is None:
        raise ValueError("key: expected a random key for a method that shuffles scores, got None")
