"""Chunk sums and gathers against loops; the id K of a token without a chunk."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.ops import chunks
from tests.helpers import TOLERANCE


def test_by_hand():
    """Catches pad tokens read as the last chunk: they must add nothing and receive 0."""
    chunk_id = jnp.array([[[0, 0, 2, 3, 3]]])
    assert chunks.chunk_lengths(chunk_id, 3).tolist() == [[[2, 0, 1]]]
    assert chunks.sum_by_chunk(jnp.array([[[1, 2, 4, 8, 16]]]), chunk_id, 3).tolist() == [[[3, 0, 4]]]
    assert chunks.to_tokens(jnp.array([[[5.0, 6.0, 7.0]]]), chunk_id).tolist() == [[[5.0, 5.0, 7.0, 0.0, 0.0]]]


@given(seed=st.integers(0, 2**31), num_chunks=st.integers(1, 4))
def test_against_loops_and_under_padding(seed, num_chunks):
    """Catches rows mixed up by the flattening; a longer T or K must change nothing."""
    rng = np.random.default_rng(seed)
    chunk_id = rng.integers(0, num_chunks + 1, size=(2, 3, 7))
    x = rng.normal(size=chunk_id.shape).astype(np.float32)
    expected = np.zeros((2, 3, num_chunks))
    for i in np.ndindex(*chunk_id.shape):
        if chunk_id[i] < num_chunks:
            expected[(*i[:2], chunk_id[i])] += x[i]
    got = chunks.sum_by_chunk(jnp.asarray(x), jnp.asarray(chunk_id), num_chunks)
    np.testing.assert_allclose(got, expected, atol=TOLERANCE["sum"])

    longer_id = np.concatenate([chunk_id, np.full((2, 3, 2), num_chunks)], -1)
    assert np.array_equal(
        chunks.chunk_lengths(jnp.asarray(longer_id), num_chunks),
        chunks.chunk_lengths(jnp.asarray(chunk_id), num_chunks),
    )
    more_id = np.where(chunk_id == num_chunks, num_chunks + 2, chunk_id)
    more = chunks.chunk_lengths(jnp.asarray(more_id), num_chunks + 2)
    assert np.array_equal(more[..., :num_chunks], chunks.chunk_lengths(jnp.asarray(chunk_id), num_chunks))
    assert not np.asarray(more[..., num_chunks:]).any()

    value = jnp.asarray(rng.normal(size=(2, 3, num_chunks)).astype(np.float32))
    got = chunks.to_tokens(value, jnp.asarray(chunk_id))
    padded = np.concatenate([value, np.zeros((2, 3, 1))], -1)
    np.testing.assert_array_equal(got, np.take_along_axis(padded, chunk_id, -1).astype(np.float32))
