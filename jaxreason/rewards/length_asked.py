"""Length methods that depend on what the prompt asks for, or on where the answer stands in the text."""

import jax
import jax.numpy as jnp

from jaxreason.ops import masked
from jaxreason.rewards.length import Completions, LengthReward, known

CONCISE = "Be concise: write only the steps that lead to the answer, and nothing twice."
"""What a teacher is told; wording is ours."""


def l1_exact(seen: Completions, *, weight: float = 3e-4) -> LengthReward:
    """c - weight |n - L| for a prompt that asks for n tokens; c where it asks for none.

    Source: LCPO-Exact, arXiv:2503.04697: 3e-4 a token, n uniform in 100..4000.
    """
    asked_P1 = _asked(seen)
    off_PG = jnp.where(asked_P1 > 0, jnp.abs(asked_P1 - _length(seen)), 0.0)
    return LengthReward(_right(seen) - weight * off_PG)


def l1_max(seen: Completions, *, weight: float = 3e-4, offset: float = 0.5) -> LengthReward:
    """c clip(weight (n - L) + offset, 0, 1) for a prompt that asks for at most n tokens; c where it asks for none.

    Source: LCPO-Max, arXiv:2503.04697, where it goes on from a policy of `l1_exact`. The authors' code has a variant
    that clips at -1 and 1 and halves; this is the paper's.
    """
    asked_P1 = _asked(seen)
    within_PG = jnp.clip(weight * (asked_P1 - _length(seen)) + offset, 0.0, 1.0)
    return LengthReward(_right(seen) * jnp.where(asked_P1 > 0, within_PG, 1.0))


def lc_r1(seen: Completions, *, weight: float = 1.0, closing_weight: float = 1.0) -> LengthReward:
    """c + weight (1 - L / longest right L) in a group with a right answer; and, on the token behind y, for a right
    answer closing_weight (1 - tokens of y up to the answer / |y|), or -closing_weight where y does not hold it.

    The first term reaches wrong answers too, and is 0 where none is right. The second is an advantage of its own. Both
    are 0 for an empty y.

    Source: LC-R1, arXiv:2506.14755, and the authors' code, without a spread. There a trained extractor finds what of
    the thought is needed and the loss is that of the trimmed text; here it is what stands before the first place of the
    answer, and the text stays whole. Their format term is left out: an answer that cannot be read is wrong.
    """
    right_PG = seen.right & seen.keep
    longest_P1 = masked.maximum(_length(seen), right_PG, axis=1, keepdims=True)
    brief_PG = jnp.where(longest_P1 > 0, 1.0 - _length(seen) / jnp.maximum(longest_P1, 1.0), 0.0)
    at_PG = known(seen.moment.answer_at, "answer_at").astype(jnp.float32)
    saved_PG = jnp.where(at_PG > 0, 1.0 - at_PG / jnp.maximum(seen.length_y, 1.0), -1.0)
    closing_PG = jnp.where(seen.right & (seen.length_y > 0), closing_weight * saved_PG, 0.0)
    return LengthReward(_right(seen) + weight * brief_PG, closing=closing_PG)


def decs(seen: Completions, *, weight: float = 0.1) -> LengthReward:
    """A right answer earns 1 + weight on its necessary tokens, and 1 + weight (1 - L / L_max) on those of y behind the
    first chunk that holds the answer, by the moment's `prefix_end`. A wrong one earns 0 everywhere.

    The two are compared position by position over the group (`grpo.advantage.positionwise`), so a needless token has a
    negative advantage beside right answers that are still, or already, doing something else, and the necessary ones
    never have.

    Source: DeCS, arXiv:2509.25827, and the authors' code. There a judge model finds the chunk; here it is found by the
    answer's text, see `tasks.prefix`. Their curriculum is `Method.curriculum`.
    """
    known(seen.moment.prefix_end, "prefix_end")
    brief_PG = 1.0 - _length(seen) / seen.max_length
    return LengthReward(_right(seen) * (1.0 + weight), needless=_right(seen) * (1.0 + weight * brief_PG))


def crisp(seen: Completions, *, instruction: str = CONCISE, refresh: int = 50) -> LengthReward:
    """The advantage of a token is log pi_teacher - log pi: the policy learns to write without being told what the
    teacher, which is itself of earlier, writes when told to be concise. Right or wrong, a completion is learnt from
    alike, and no answer is needed; whether it is right is only counted. Every `refresh` steps the teacher becomes the
    policy; with 0 it stays as at the start.

    That is the gradient of the reverse KL divergence at every token: the expectation over the token that was sampled
    of grad log pi times this advantage is minus the gradient of KL(pi || pi_teacher) with the text before it held.

    Source: CRISP, arXiv:2603.05433, and the authors' code. There the divergence is summed over the whole vocabulary,
    which has less noise.
    """
    del instruction, refresh  # who the teacher is, and what it reads: see `Method.reads`
    return LengthReward(_right(seen), token=known(seen.moment.teacher, "teacher"))


def _right(seen: Completions) -> jax.Array:
    return seen.right.astype(jnp.float32)


def _length(seen: Completions) -> jax.Array:
    return seen.length.astype(jnp.float32)


def _asked(seen: Completions) -> jax.Array:
    return known(seen.moment.asked, "asked").astype(jnp.float32)[:, None]
