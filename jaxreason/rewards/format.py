"""What a helper earns for its own answer: for its form, and for agreeing with the frozen scorer."""

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


def agreement(
    value_PGK: jax.Array, frozen_value_PGK: jax.Array, length_PGK: jax.Array, valid_PG: jax.Array
) -> jax.Array:
    """Minus the mean gap to the frozen scorer, each chunk weighted by its tokens, over 4: float32 [P G] in [-1, 0].

    Rows that are not valid get 0. That is also the best value, so an invalid answer must cost as much as the
    greatest disagreement: keep the format penalty at 1 or above.

    Args:
      value_PGK: int, live scores 1..5, 0 where there is none.
      frozen_value_PGK: float, the frozen scorer's expected score of the same chunk, in 1..5; 0 where there is none,
        and such chunks are left out.
      length_PGK: int, tokens.
      valid_PG: bool, rows whose live scores can be read.
    """
    chex.assert_rank([value_PGK, frozen_value_PGK, length_PGK], 3)
    chex.assert_equal_shape([value_PGK, frozen_value_PGK, length_PGK])
    both_PGK = (value_PGK > 0) & (frozen_value_PGK > 0) & valid_PG[..., None]
    gap_PGK = jnp.abs(value_PGK.astype(jnp.float32) - frozen_value_PGK.astype(jnp.float32))
    tokens_PGK = length_PGK.astype(jnp.float32)
    gap_PG, _ = masked.sum_count(gap_PGK * tokens_PGK, both_PGK, axis=-1)
    tokens_PG, _ = masked.sum_count(tokens_PGK, both_PGK, axis=-1)
    return -masked.ratio(gap_PG, tokens_PG) / LARGEST_GAP
