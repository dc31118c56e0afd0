"""Length methods: from what became of a group's completions to what each earns, and what its length costs.

Each is a pure function of `Completions` and of its own fields, which are its keyword-only parameters. A parameter that
has the name of a field of `RewardConfig` (target_length, normalize_length) gets that field; any other is set by
`reward.options`. A target length that follows the policy is an int32 array, and never 0.
Formulas as in arXiv:2602.20945, section 2; each function names its own source.

Here are the types, and the methods that look at one completion alone. Beside it: `length_relative.py`, methods that
compare a completion with its group; `length_adaptive.py`, those that depend on the step or on what was seen before;
`length_asked.py`, those that depend on the prompt or on the text.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, assert_never

import chex
import jax
import jax.numpy as jnp

from jaxreason.config.learning import Masking
from jaxreason.ops import masked
from jaxreason.types import pytree, static


@pytree
class Moment:
    """What a step is beside its completions, for the methods that ask (`Method.reads`); None where nobody does."""

    progress: jax.Array | None = None  # float32 [], share of run.max_steps done before this step, 0..1
    asked: jax.Array | None = None  # int32 [P], tokens that each prompt asks for; 0: none
    answer_at: jax.Array | None = None  # int32 [P G], tokens of y up to the end of the answer's first place in it, or 0
    closes_at: jax.Array | None = None  # int32 [P G], place of the token behind y; -1 where there is none
    prefix_end: jax.Array | None = None  # int32 [P G], place behind the first chunk of y that holds the answer, or -1
    repeats: jax.Array | None = None  # bool [P G], the completion goes round in circles
    teacher: jax.Array | None = None  # float32 [P G T], log pi_teacher - log pi of each token, see `agents.teacher`
    target: jax.Array | None = None  # int32 [], L_T of this step where it follows the policy (reward.target_quantile)
    memory: jax.Array | None = None  # what the method remembers of earlier steps, see its `Memory`


@pytree
class Completions:
    """What a length method sees: P problems with G completions each. Lengths are tokens."""

    right: jax.Array  # bool [P G], the answer is right; under reward.require_eos only where the completion ended
    length: jax.Array  # int32 [P G], the whole completion, its end token included
    length_y: jax.Array  # float32 [P G], |y|, the reasoning text, in the unit of `charged`
    charged: jax.Array  # float32 [P G], sum phi(w_i) |s_i| for methods with chunks, else |y|
    finished: jax.Array  # bool [P G], the completion ended by itself
    keep: jax.Array  # bool [P G], False for a row that is left out of statistics
    max_length: int = static()  # the reasoner's token limit, L_max
    moment: Moment = dataclasses.field(default_factory=Moment)


class LengthReward(NamedTuple):
    """What a length method gives: R = reward - alpha * cost."""

    reward: jax.Array  # float32 [P G], earned whatever alpha is
    cost: jax.Array | None = None  # float32 [P G]; None: alpha plays no part
    keep: jax.Array | None = None  # bool [P G], False leaves a row out of statistics and loss; None: all stay
    closing: jax.Array | None = None  # float32 [P G], added to the advantage of the token behind y; None: nothing
    needless: jax.Array | None = None  # float32 [P G], earned by the tokens of y behind its necessary prefix in place
    # of reward, and then advantages are by position; None: all tokens earn the reward
    token: jax.Array | None = None  # float32 [P G T], the advantage of each token, which nothing is compared with; the
    # reward is then for the log alone. None: advantages come from rewards


LengthMethod = Callable[..., LengthReward | jax.Array]
"""(seen, *, own fields) -> LengthReward, or the reward alone."""


def outcome(seen: Completions) -> LengthReward:
    """1 for a right answer, whatever its length: plain GRPO."""
    return LengthReward(seen.right.astype(jnp.float32))


def penalty(seen: Completions, *, normalize_length: Literal["limit", "group_mean"] = "limit") -> LengthReward:
    """1 for a right answer; the cost is f(L), L being the charged length.

    `limit` is min(1, L / max_length). `group_mean` is L over the mean |y| of the group; 0 for a group of empty texts.
    It is never L over that rollout's own |y|: that measures the redundant share only, and leaves text that is longer
    throughout free of charge.

    Source: R = R_acc - alpha f(sum phi(w_i) |s_i|), arXiv:2601.21919.
    """
    chex.assert_rank([seen.charged, seen.length_y], 2)
    chex.assert_equal_shape([seen.charged, seen.length_y])
    match normalize_length:
        case "limit":
            cost_PG = jnp.minimum(seen.charged / seen.max_length, 1.0)
        case "group_mean":
            mean_P1 = masked.mean(seen.length_y, seen.keep, axis=1, keepdims=True)
            cost_PG = masked.ratio(seen.charged, jnp.broadcast_to(mean_P1, seen.length_y.shape))
        case _:
            assert_never(normalize_length)
    return LengthReward(seen.right.astype(jnp.float32), cost_PG)


def truncation(seen: Completions, *, target_length: int | jax.Array = 0) -> LengthReward:
    """1 for a right answer of at most `target_length` tokens, else 0. Source: arXiv:2602.20945, eq. 2."""
    return LengthReward((seen.right & ~_long(seen, target_length)).astype(jnp.float32))


def kimi(seen: Completions, *, weight: float = 0.4) -> LengthReward:
    """Bonus for being short within the group; a wrong answer can lose by it but not gain.

    A group of equal lengths gets no bonus. Source: Kimi k1.5, arXiv:2501.12599; arXiv:2602.20945, eq. 3-4.
    """
    length_PG = seen.length.astype(jnp.float32)
    least_P1 = masked.minimum(length_PG, seen.keep, axis=1, keepdims=True)
    spread_P1 = masked.maximum(length_PG, seen.keep, axis=1, keepdims=True) - least_P1
    place_PG = jnp.where(spread_P1 > 0, (length_PG - least_P1) / jnp.where(spread_P1 > 0, spread_P1, 1.0), 0.5)
    bonus_PG = weight * (0.5 - place_PG)
    return LengthReward(jnp.where(seen.right, 1.0 + bonus_PG, jnp.minimum(0.0, bonus_PG)))


def laser(seen: Completions, *, target_length: int | jax.Array = 0, weight: float = 0.4) -> LengthReward:
    """A right answer gets 1, and `weight` more below the target (strictly).

    Source: arXiv:2505.15612; arXiv:2602.20945, eq. 5.
    """
    short_PG = seen.length < target_or(target_length, seen.max_length)
    return LengthReward(jnp.where(seen.right, jnp.where(short_PG, 1.0 + weight, 1.0), 0.0))


def laser_d(seen: Completions, *, target_length: int | jax.Array = 0, weight: float = 0.4) -> LengthReward:
    """Laser, and a wrong answer gets `weight` at or above the target, for exploring.

    This is what arXiv:2602.20945, eq. 6, calls Laser-D: a static target. `laser_d_dynamic` is that of arXiv:2505.15612.
    """
    right_PG = laser(seen, target_length=target_length, weight=weight).reward
    long_PG = seen.length >= target_or(target_length, seen.max_length)
    return LengthReward(jnp.where(seen.right, right_PG, jnp.where(long_PG, weight, 0.0)))


def overlong(seen: Completions, *, buffer: int = 0, weight: float = 1.0) -> LengthReward:
    """1 for a right answer, plus DAPO's soft penalty: 0 up to max_length - buffer, then falling linearly to -weight.

    Args:
      buffer: tokens, 1..max_length; 0: a fifth of max_length, DAPO's 4096 of 20480.

    Raises:
      ValueError: a buffer outside 0..max_length.

    Source: arXiv:2503.14476, eq. 13.
    """
    if not 0 <= buffer <= seen.max_length:
        raise ValueError(f"reward.options.buffer: expected 0..max_completion_length={seen.max_length}, got {buffer!r}")
    buffer = buffer or max(1, seen.max_length // 5)
    excess_PG = seen.length.astype(jnp.float32) - (seen.max_length - buffer)
    return LengthReward(seen.right.astype(jnp.float32) + jnp.minimum(0.0, -excess_PG / buffer * weight))


def cosine(
    seen: Completions,
    *,
    right_short: float = 2.0,
    right_long: float = 1.0,
    wrong_short: float = -10.0,
    wrong_long: float = 0.0,
    exceed: float = -10.0,
) -> LengthReward:
    """From the value of a short answer to that of a long one along half a cosine; right: less, wrong: more for length.

    R = long + (short - long) (1 + cos(pi L / L_max)) / 2, and `exceed` for a completion that was cut at the limit.
    Lengths beyond the limit count as the limit.

    Source: arXiv:2502.03373, equation of the cosine reward and its table of defaults.
    """
    share_PG = jnp.minimum(seen.length.astype(jnp.float32) / seen.max_length, 1.0)
    bend_PG = 0.5 * (1.0 + jnp.cos(jnp.pi * share_PG))
    right_PG = right_long + (right_short - right_long) * bend_PG
    wrong_PG = wrong_long + (wrong_short - wrong_long) * bend_PG
    return LengthReward(jnp.where(seen.finished, jnp.where(seen.right, right_PG, wrong_PG), exceed))


def known(value: jax.Array | None, name: str) -> jax.Array:
    """A part of `Moment` that a method reads.

    Raises:
      ValueError: nobody gave it.
    """
    if value is None:
        raise ValueError(f"moment.{name}: expected an array for this method, got None; see `Method.reads`")
    return value


def target_or(target_length: int | jax.Array, otherwise: float) -> float | jax.Array:
    """The target length, and `otherwise` for the 0 that stands for none."""
    return otherwise if isinstance(target_length, int) and target_length == 0 else target_length


def masking(seen: Completions, strategy: Masking, *, target_length: int | jax.Array = 0) -> jax.Array:
    """Which completions stay, bool [P G], under one row of the masking ablation of arXiv:2602.20945, Table 1.

    S and L mean at most and above `target_length`, C and I right and wrong; `-` names what is left out. A completion
    left out leaves the group's statistics as well as the loss.
    """
    long_PG, right_PG = _long(seen, target_length), seen.right
    out: dict[str, Any] = {"L&C": long_PG & right_PG, "S&I": ~long_PG & ~right_PG, "L&I": long_PG & ~right_PG}
    out["I"] = ~right_PG
    stays_PG = jnp.ones_like(right_PG)
    for name in strategy.removeprefix("all").split("-")[1:]:
        stays_PG = stays_PG & ~out[name]
    return stays_PG


RISKS: dict[Masking, str] = {
    "-I": "with no wrong answer to learn from, short ones are preferred whether right or not, and accuracy collapsed",
    "-L&C-S&I": "with no short wrong answer to learn from, being short is always better, and accuracy collapsed",
    "-L&C-L&I": "with nothing long to learn from, wrong answers ran to the token limit",
}
"""What came of a choice of `masking` in arXiv:2602.20945, Figures 5 and 6; those that are not here did no harm."""


def _long(seen: Completions, target_length: int | jax.Array) -> jax.Array:
    chex.assert_rank([seen.right, seen.length], 2)
    chex.assert_equal_shape([seen.right, seen.length])
    chex.assert_type([seen.right, seen.length], [bool, int])
    return seen.length > target_or(target_length, seen.max_length)
