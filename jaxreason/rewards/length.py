"""Rewards that look at the length of the whole completion and at nothing inside it.

Formulas as used in arXiv:2602.20945, section 2 (Kimi k1.5: arXiv:2501.12599; Laser: arXiv:2505.15612), and DAPO's
overlong term (arXiv:2503.14476). `correct` is bool, `length` an integer number of tokens, both [P G].
"""

from typing import Literal

import chex
import jax
import jax.numpy as jnp

Masking = Literal["all", "-I", "-L&C", "-L&C-S&I", "-L&C-L&I"]


def truncation(
    correct_PG: jax.Array, length_PG: jax.Array, finished_PG: jax.Array, *, target_length: int, require_eos: bool
) -> jax.Array:
    """1 for a right answer of at most `target_length` tokens, else 0; float32. Eq. 2.

    With `require_eos` a completion cut at the limit counts as wrong; the paper probably counted it by its text.
    """
    right_PG = _accepted(correct_PG, length_PG, finished_PG, require_eos)
    return (right_PG & (length_PG <= target_length)).astype(jnp.float32)


def kimi(correct_PG: jax.Array, length_PG: jax.Array, *, weight: float = 0.4) -> jax.Array:
    """Bonus for being short within the group; a wrong answer can lose by it but not gain. Eq. 3-4.

    A group of equal lengths gets no bonus.
    """
    _check(correct_PG, length_PG)
    length_PG = length_PG.astype(jnp.float32)
    least_P1 = jnp.min(length_PG, axis=1, keepdims=True)
    spread_P1 = jnp.max(length_PG, axis=1, keepdims=True) - least_P1
    place_PG = jnp.where(spread_P1 > 0, (length_PG - least_P1) / jnp.where(spread_P1 > 0, spread_P1, 1.0), 0.5)
    bonus_PG = weight * (0.5 - place_PG)
    return jnp.where(correct_PG, 1.0 + bonus_PG, jnp.minimum(0.0, bonus_PG))


def laser(correct_PG: jax.Array, length_PG: jax.Array, *, target_length: int, weight: float = 0.4) -> jax.Array:
    """A right answer gets 1, and `weight` more below the target (strictly). Eq. 5."""
    _check(correct_PG, length_PG)
    return jnp.where(correct_PG, 1.0 + weight * (length_PG < target_length), 0.0)


def laser_d(correct_PG: jax.Array, length_PG: jax.Array, *, target_length: int, weight: float = 0.4) -> jax.Array:
    """Laser, and a wrong answer gets `weight` at or above the target, for exploring. Eq. 6.

    This is what arXiv:2602.20945 calls Laser-D: a static target, not the dynamic one of the original.
    """
    long_PG = weight * (length_PG >= target_length)
    return jnp.where(correct_PG, laser(correct_PG, length_PG, target_length=target_length, weight=weight), long_PG)


def overlong(length_PG: jax.Array, *, max_length: int, buffer: int, weight: float = 1.0) -> jax.Array:
    """DAPO's soft penalty, to be added: 0 up to max_length - buffer, then falling linearly to -weight at max_length.

    Raises:
      ValueError: a buffer outside 1..max_length.
    """
    if not 1 <= buffer <= max_length:
        raise ValueError(f"buffer: expected 1..max_length={max_length}, got {buffer!r}")
    excess_PG = length_PG.astype(jnp.float32) - (max_length - buffer)
    return jnp.minimum(0.0, -excess_PG / buffer * weight)


def masking(
    correct_PG: jax.Array,
    length_PG: jax.Array,
    finished_PG: jax.Array,
    *,
    target_length: int,
    require_eos: bool,
    strategy: Masking,
) -> jax.Array:
    """Which completions stay, bool [P G], under one row of the masking ablation (Table 1).

    S and L mean at most and above `target_length`, C and I right and wrong; `-` names what is left out. A completion
    left out leaves the group's statistics as well as the loss.
    """
    right_PG = _accepted(correct_PG, length_PG, finished_PG, require_eos)
    short_PG = length_PG <= target_length
    long_right_PG, short_wrong_PG = right_PG & ~short_PG, ~right_PG & short_PG
    return {
        "all": jnp.ones_like(right_PG),
        "-I": right_PG,
        "-L&C": ~long_right_PG,
        "-L&C-S&I": ~long_right_PG & ~short_wrong_PG,
        "-L&C-L&I": short_PG,
    }[strategy]


def _accepted(correct_PG, length_PG, finished_PG, require_eos):
    _check(correct_PG, length_PG)
    chex.assert_equal_shape([correct_PG, finished_PG])
    return correct_PG & finished_PG if require_eos else correct_PG


def _check(correct_PG, length_PG):
    chex.assert_rank([correct_PG, length_PG], 2)
    chex.assert_equal_shape([correct_PG, length_PG])
    chex.assert_type([correct_PG, length_PG], [bool, int])
