"""What a helper earns for its own answer: for its form, and for agreeing with a yardstick that it cannot move."""

import chex
import jax
import jax.numpy as jnp

from jaxreason.ops import masked

LARGEST_GAP = 4.0
"""Between a score of 1 and one of 5."""


def own_format(valid_PG: jax.Array, exists_PG: jax.Array, *, penalty: float) -> jax.Array:
    """0 for a valid answer, -penalty for an invalid one, 0 where the role had nothing to answer; float32 [P G].

    A penalty and no bonus: a bonus can be collected without doing anything useful.
    """
    chex.assert_rank([valid_PG, exists_PG], 2)
    chex.assert_equal_shape([valid_PG, exists_PG])
    return jnp.where(exists_PG & ~valid_PG, -jnp.float32(penalty), jnp.float32(0.0))


def worth(contribution_PGK: jax.Array, *, scale: float) -> jax.Array:
    """The score that a measured contribution is worth: float32 [P G K] in 1..5, 0 where none was measured.

    Args:
      contribution_PGK: nats; negative where not measured, see `agents.contribution`.
      scale: nats from which on a chunk is worth a 5; below, in proportion.

    >>> worth(jnp.array([[[0.0, 4.0, 20.0, -1.0]]]), scale=8.0).tolist()
    [[[1.0, 3.0, 5.0, 0.0]]]
    """
    chex.assert_rank(contribution_PGK, 3)
    chex.assert_type(contribution_PGK, float)
    worth_PGK = 1.0 + LARGEST_GAP * jnp.clip(contribution_PGK / scale, 0.0, 1.0)
    return jnp.where(contribution_PGK < 0, 0.0, worth_PGK)


def agreement(value_PGK: jax.Array, yardstick_PGK: jax.Array, length_PGK: jax.Array, valid_PG: jax.Array) -> jax.Array:
    """Minus the mean gap to a yardstick, each chunk weighted by its tokens, over 4: float32 [P G] in [-1, 0].

    The best answer to a noisy yardstick is its median, so nothing is won by scoring everything high, or low.

    Rows that are not valid get 0. That is also the best value, so an invalid answer must cost as much as the
    greatest disagreement: keep the format penalty at 1 or above.

    Args:
      value_PGK: int, live scores 1..5, 0 where there is none.
      yardstick_PGK: float, what the same chunks should be scored, in 1..5: the frozen scorer's expected score, or what
        the contribution is worth; 0 where there is none, and such chunks are left out.
      length_PGK: int, tokens.
      valid_PG: bool, rows whose live scores can be read.
    """
    chex.assert_rank([value_PGK, yardstick_PGK, length_PGK], 3)
    chex.assert_equal_shape([value_PGK, yardstick_PGK, length_PGK])
    both_PGK = (value_PGK > 0) & (yardstick_PGK > 0) & valid_PG[..., None]
    gap_PGK = jnp.abs(value_PGK.astype(jnp.float32) - yardstick_PGK.astype(jnp.float32))
    tokens_PGK = length_PGK.astype(jnp.float32)
    gap_PG, _ = masked.sum_count(gap_PGK * tokens_PGK, both_PGK, axis=-1)
    tokens_PG, _ = masked.sum_count(tokens_PGK, both_PGK, axis=-1)
    return -masked.ratio(gap_PG, tokens_PG) / LARGEST_GAP
