"""Prompts and pages, in any order in memory, against plain loops over a row."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.ops import attention_paged
from jaxreason.ops.attention_paged import Places
from tests.helpers import TOLERANCE
from tests.reference import transformer as reference

RNG = np.random.default_rng(0)
P, G, H, J, C, L, Z, W = 2, 3, 4, 2, 8, 5, 4, 3
HELD = np.array([5, 2])
ROWS = 14  # own places of a row


def _scattered(start, arrays=1, front=False):
    """Rows of two groups in 8 slots of which two are idle, their pages shuffled in a pool with room to spare, or at its
    front.

    Returns:
      What `attend` is given, X = 1, and the rows: queries, keys and values [P G L+ROWS n C].
    """
    q, k, v = (RNG.standard_normal((P, G, L + ROWS, n, C), np.float32) for n in (H, J, J))
    k[:, 1:, :L], v[:, 1:, :L] = k[:, :1, :L], v[:, :1, :L]  # a group's prompt is one
    B, E, Q, most = 8, 40, 4, 4
    slot_of = RNG.permutation(B)[: P * G]
    held_at = np.arange(P) if front else RNG.permutation(Q)[:P]
    pool_k = RNG.standard_normal((E, J, C, Z)).astype(np.float32)  # what nobody owns is no zero
    pool_v = RNG.standard_normal((E, J, Z, C)).astype(np.float32)
    prompt_k = RNG.standard_normal((Q, J, C, L)).astype(np.float32)
    prompt_v = RNG.standard_normal((Q, J, L, C)).astype(np.float32)
    starts, seat = np.zeros(B, np.int32), np.full(B, Q * G, np.int32)
    reader, held = np.full((Q, G), B, np.int32), np.zeros(Q, np.int32)
    table, owner, number = np.full((B, most), E, np.int32), np.full(E, B, np.int32), np.zeros(E, np.int32)
    queries = np.zeros((B, W, H, C), np.float32)
    pages = iter(range(E) if front else RNG.permutation(E))
    for p in range(P):
        at = held_at[p]
        held[at] = HELD[p]
        prompt_k[at], prompt_v[at] = k[p, 0, :L].transpose(1, 2, 0), v[p, 0, :L].transpose(1, 0, 2)
        for g in range(G):
            b, first = slot_of[p * G + g], start[p, g]
            starts[b], seat[b], reader[at, g] = first, at * G + g, b
            queries[b] = q[p, g, L + first : L + first + W]
            for o in range(-(-(first + W) // Z)):
                e = next(pages)
                table[b, o], owner[e], number[e] = e, b, o
                own = slice(L + o * Z, min(L + (o + 1) * Z, L + ROWS))
                n = own.stop - own.start
                pool_k[e, :, :, :n], pool_v[e, :, :n] = k[p, g, own].transpose(1, 2, 0), v[p, g, own].transpose(1, 0, 2)
    places = Places(start=starts, seat=seat, reader=reader, held=held, table=table, owner=owner, number=number)
    pool = [tuple(np.split(x, arrays)) for x in (pool_k, pool_v)]
    given = jax.tree.map(lambda x: jnp.asarray(x)[None], (queries, prompt_k, prompt_v, *pool, places))
    return given, slot_of, (q, k, v)


@pytest.mark.parametrize("window", [0, 1, 3, 6, 9])
@pytest.mark.parametrize(("arrays", "front"), [(1, False), (4, False), (4, True)])
def test_it_is_causal_attention_over_prompt_and_completion(arrays, front, window):
    """Catches keys behind the query, padding and pages of others that are seen, pages joined in another order, groups
    that read each other's prompt, and a sliding window that counts the prompt's padding or forgets it too early."""
    start = RNG.integers(0, ROWS - W + 1, (P, G))
    start[0] = 0, 3, 4
    given, slot_of, rows = _scattered(start, arrays, front)
    got = jax.jit(functools.partial(attention_paged.attend, window=window))(*given)[0]
    for p in range(P):
        for g in range(G):
            for w in range(W):
                own = slice(L - HELD[p], L + start[p, g] + w + 1)
                parts = (x[p, g, own].astype(np.float64) for x in rows)
                want = reference.attend(*parts, np.ones(L + ROWS), window)[-1]
                np.testing.assert_allclose(got[slot_of[p * G + g], w], want, atol=TOLERANCE["sum"])
    assert np.isfinite(got).all()


def test_a_slot_depends_on_no_other():
    """Bit for bit: catches a sum over the pool."""
    given, slot_of, _ = _scattered(np.full((P, G), 6))
    *arrays, places = given
    b = slot_of[0]
    attend = jax.jit(attention_paged.attend)
    queries, prompt_k, prompt_v, k, v = arrays
    mine_E = (places.owner == b)[:, :, None, None, None]
    others = jnp.where(jnp.arange(8)[None, :, None, None, None] == b, queries, 7.0)
    changed = attend(
        others, prompt_k, prompt_v, (jnp.where(mine_E, k[0], 3.0),), (jnp.where(mine_E, v[0], -5.0),), places
    )
    np.testing.assert_array_equal(changed[0, b], attend(*given)[0, b])
    assert (changed[0] != attend(*given)[0]).any()


def test_what_nobody_has_taken_is_not_read():
    """0 times NaN is NaN: catches an empty array of the pool that is only masked."""
    given, slot_of, _ = _scattered(np.full((P, G), 3), arrays=4, front=True)
    queries, prompt_k, prompt_v, k, v, places = given
    spoilt = (*v[:2], v[2] * np.nan, v[3] * np.nan)
    got = jax.jit(attention_paged.attend)(queries, prompt_k, prompt_v, k, spoilt, places)
    assert np.isfinite(got[0, slot_of]).all()


def test_a_negative_window_is_refused():
    """Catches a window that sees nothing."""
    given, _, _ = _scattered(np.zeros((P, G), int))
    with pytest.raises(ValueError, match=r"window must be at least 0 .* got -1"):
        attention_paged.attend(*given, window=-1)
