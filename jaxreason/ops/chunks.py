"""From tokens to the chunks they belong to, and back.

A token's chunk id is 0..K-1, and K where it belongs to no chunk. K, and not -1: a gather at -1 would read the last
chunk. This module must not know what a chunk is worth.
"""

import chex
import jax
import jax.numpy as jnp


def sum_by_chunk(x_PGT: jax.Array, chunk_id_PGT: jax.Array, num_chunks: int) -> jax.Array:
    """Add up the tokens of each chunk.

    Args:
      x_PGT: numbers, one a token.
      chunk_id_PGT: integers, 0..K; tokens of id K are left out.
      num_chunks: K.

    Returns:
      [P G K], of x's type; 0 for a chunk without tokens.
    """
    chex.assert_rank([x_PGT, chunk_id_PGT], 3)
    chex.assert_equal_shape([x_PGT, chunk_id_PGT])
    chex.assert_type(chunk_id_PGT, int)
    by_row = jax.vmap(lambda x_T, id_T: jax.ops.segment_sum(x_T, id_T, num_segments=num_chunks))
    return jax.vmap(by_row)(x_PGT, chunk_id_PGT)


def chunk_lengths(chunk_id_PGT: jax.Array, num_chunks: int) -> jax.Array:
    """Count the tokens of each chunk: int32 [P G K]; 0 for a chunk that does not occur.

    >>> chunk_lengths(jnp.array([[[0, 0, 1, 3, 3]]]), 3).tolist()
    [[[2, 1, 0]]]
    """
    return sum_by_chunk(jnp.ones(chunk_id_PGT.shape, jnp.int32), chunk_id_PGT, num_chunks)


def to_tokens(value_PGK: jax.Array, chunk_id_PGT: jax.Array) -> jax.Array:
    """Give every token its chunk's value: [P G T], of the values' type; 0 for a token of no chunk (id K)."""
    chex.assert_rank([value_PGK, chunk_id_PGT], 3)
    chex.assert_equal_shape_prefix([value_PGK, chunk_id_PGT], 2)
    chex.assert_type(chunk_id_PGT, int)
    return jnp.take_along_axis(value_PGK, chunk_id_PGT, axis=-1, mode="fill", fill_value=0)
