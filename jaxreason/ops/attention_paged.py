"""Attention of decoding: each slot's new queries against its group's prompt, and against pages of its own.

Pages lie in one pool, in any order. What is read is the pool itself, front to back: every page meets the queries of the
slot that owns it, and the parts of a slot are joined afterwards, in the order of its pages. So keys and values are read
where they lie, once, and a slot costs as many pages as it has filled; gathering pages slot by slot would copy them all
first. The pool comes in a few arrays; one in which no page is taken is not read: pages are handed out from the front,
so what is read follows what is alive. A part depends on one page and its owner's queries only, and a join on one slot:
neither neighbours nor the size of the pool change a bit of it.

Axes besides those of `types`:

    X parts that slots are split into, one a device    B slots of a part          W tokens of a slot that a pass feeds
    Q prompts held at a time    E pages of the pool    Z places of a page         O most pages of a slot
"""

import functools
from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from jaxreason.ops.attention import NEGATIVE
from jaxreason.types import pytree


@pytree
class Places:
    """Which keys belong to whom. A number that is out of range belongs to nobody."""

    start: jax.Array  # int32 [X B], place of the first query of the pass among the slot's own; those before are read
    seat: jax.Array  # int32 [X B], q * G + g: the prompt that the slot reads, and which of its readers the slot is
    reader: jax.Array  # int32 [X Q G], the slot on each seat
    held: jax.Array  # int32 [X Q], tokens of each prompt that are held: the last ones of its L places
    table: jax.Array  # int32 [X B O], pages of each slot in order
    owner: jax.Array  # int32 [X E], slot that each page belongs to
    number: jax.Array  # int32 [X E], which of its owner's pages it is


def attend(
    q_XBWHC: jax.Array,
    prompt_k_XQJCL: jax.Array,
    prompt_v_XQJLC: jax.Array,
    k_XEJCZ: Sequence[jax.Array],
    v_XEJZC: Sequence[jax.Array],
    places: Places,
    *,
    window: int = 0,
) -> jax.Array:
    """Attend to the prompt and to own places up to the query's.

    A slot that owns no page and reads no prompt gets finite numbers without meaning.

    Args:
      q_XBWHC: queries, of consecutive places from `places.start` on. Scaled here by C**-0.5.
      prompt_k_XQJCL, prompt_v_XQJLC: prompts, the last `places.held` places of each real.
      k_XEJCZ, v_XEJZC: the pool in arrays of equal size, with the keys of this pass already in it.
      window: tokens; a key is seen at a distance of 0..window-1 from the query, own places following directly on the
        prompt's last. 0: at any distance.

    Returns:
      [X B W H C] in q's type; the softmax is taken in float32.

    Raises:
      ValueError: a negative window.
    """
    chex.assert_rank([q_XBWHC, prompt_k_XQJCL, k_XEJCZ[0], places.start, places.reader], [5, 5, 5, 2, 3])
    if window < 0:
        raise ValueError(f"attention: window must be at least 0 tokens (0: no limit), got {window}")

    (X, B, W, H, C), J = q_XBWHC.shape, k_XEJCZ[0].shape[2]
    # F = W H / J queries of a slot meet each key head.
    q = (q_XBWHC * C**-0.5).reshape(X, B, W, J, H // J, C).transpose(0, 1, 3, 2, 4, 5).reshape(X, B, J, -1, C)
    shared = _of_prompts(q, prompt_k_XQJCL, prompt_v_XQJLC, places, W, window)
    own = _of_pages(q, k_XEJCZ, v_XEJZC, places, W, window)
    out = jax.vmap(functools.partial(_joined, E=places.owner.shape[1]))(shared, own, places.table)
    out = out.astype(q_XBWHC.dtype).reshape(X, B, J, W, H // J, C).transpose(0, 1, 3, 2, 4, 5)
    return out.reshape(X, B, W, H, C)


def _part(q_NJFC, k_NJCS, v_NJSC, seen_NFS):
    """Of one softmax, what some of its keys add: (sum of weighted values, sum of weights, largest score), float32."""
    score_NJFS = jnp.einsum("njfc,njcs->njfs", q_NJFC, k_NJCS, preferred_element_type=jnp.float32)
    score_NJFS = jnp.where(seen_NFS[:, None], score_NJFS, NEGATIVE)
    top_NJF1 = score_NJFS.max(-1, keepdims=True)
    weight_NJFS = jnp.exp(score_NJFS - top_NJF1)
    out_NJFC = jnp.einsum(
        "njfs,njsc->njfc", weight_NJFS.astype(v_NJSC.dtype), v_NJSC, preferred_element_type=jnp.float32
    )
    return out_NJFC, weight_NJFS.sum(-1, keepdims=True), top_NJF1


def _of_pages(q_XBJFC, ks, vs, places: Places, W: int, window: int):
    """Parts [X E J F ...] of all pages."""
    B, F = q_XBJFC.shape[1], q_XBJFC.shape[3]

    def of_array(q_BJFC, start_B, k_EJCZ, v_EJZC, owner_E, number_E):
        Z = k_EJCZ.shape[3]
        key_EZ = number_E[:, None] * Z + jnp.arange(Z)[None]
        query_EW = start_B.at[owner_E].get(mode="fill", fill_value=-1)[:, None] + jnp.arange(W)[None]
        seen_EWZ = key_EZ[:, None] <= query_EW[:, :, None]
        if window:
            seen_EWZ &= key_EZ[:, None] > query_EW[:, :, None] - window
        q_EJFC = q_BJFC.at[owner_E].get(mode="fill", fill_value=0)
        return _part(q_EJFC, k_EJCZ, v_EJZC, jnp.repeat(seen_EWZ, F // W, axis=1))

    owners, numbers = (jnp.split(x_XE, len(ks), axis=1) for x_XE in (places.owner, places.number))
    given = [(q_XBJFC, places.start, *array) for array in zip(ks, vs, owners, numbers, strict=True)]
    return _of_arrays(of_array, given, [(owner_XE < B).any() for owner_XE in owners])


def _of_arrays(part, given, is_read):
    """What `part` gives of each array of the pool, one behind the other along axis 1; zeros of one that nobody reads.

    Args:
      given: the arguments for each array.
      is_read: bool [] for each.
    """
    if len(given) == 1:
        return jax.vmap(part)(*given[0])
    shapes = jax.eval_shape(jax.vmap(part), *given[0])
    nothing = functools.partial(jax.tree.map, lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    parts = [
        jax.lax.cond(read, lambda some=some: jax.vmap(part)(*some), nothing)
        for some, read in zip(given, is_read, strict=True)
    ]
    return jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *parts)


def _of_prompts(q_XBJFC, k_XQJCL, v_XQJLC, places: Places, W: int, window: int):
    """Parts [X B J F ...] of each slot's prompt, which is read once for all its readers."""
    return jax.vmap(functools.partial(_of_prompt, W=W, window=window))(
        q_XBJFC, k_XQJCL, v_XQJLC, places.start, places.reader, places.held, places.seat
    )


def _of_prompt(q_BJFC, k_QJCL, v_QJLC, start_B, reader_QG, held_Q, seat_B, *, W: int, window: int):
    (_, J, F, C), (Q, G), L = q_BJFC.shape, reader_QG.shape, k_QJCL.shape[3]
    q_QGJFC = q_BJFC.at[reader_QG].get(mode="fill", fill_value=0)
    seen_QL = jnp.arange(L)[None] >= L - held_Q[:, None]
    seen_QGFL = jnp.broadcast_to(seen_QL[:, None, None], (Q, G, F, L))
    if window:
        start_QG = start_B.at[reader_QG].get(mode="fill", fill_value=0)
        # Own place 0 follows on place L-1.
        oldest_QGW = L + start_QG[:, :, None] + jnp.arange(W)[None, None] - window
        near_QGWL = jnp.arange(L)[None, None, None] > oldest_QGW[..., None]
        seen_QGFL &= jnp.repeat(near_QGWL, F // W, axis=2)
    q_QJMC = q_QGJFC.transpose(0, 2, 1, 3, 4).reshape(Q, J, G * F, C)
    parts = _part(q_QJMC, k_QJCL, v_QJLC, seen_QGFL.reshape(Q, G * F, L))

    def of_slots(x_QJMC):
        x_SJFC = x_QJMC.reshape(Q, J, G, F, -1).transpose(0, 2, 1, 3, 4).reshape(Q * G, J, F, -1)
        return x_SJFC.at[seat_B].get(mode="fill", fill_value=0)

    out, total, top = jax.tree.map(of_slots, parts)
    held_B = held_Q.at[seat_B // G].get(mode="fill", fill_value=0)
    return out, total, jnp.where(held_B[:, None, None, None] > 0, top, NEGATIVE)


def _joined(shared, own, table_BO, E: int):
    """One softmax [B J F C] from each slot's prompt and its pages; those it has not are masked."""
    out_0, total_0, top_0 = shared
    out_O, total_O, top_O = (x.at[table_BO].get(mode="fill", fill_value=0) for x in own)
    there_O = (table_BO < E)[:, :, None, None, None]
    top_O = jnp.where(there_O, top_O, NEGATIVE)
    top = jnp.maximum(top_0, top_O.max(1))
    scale_0, scale_O = jnp.exp(top_0 - top), jnp.exp(top_O - top[:, None])

    def over_pages(x_O):
        # Selected, not scaled to 0: a bare sum of products is what XLA's CPU backend (YNN) draws into the product with
        # o_proj that follows, and is eight times slower at.
        return jnp.where(there_O, x_O * scale_O, 0).sum(1)

    total = total_0 * scale_0 + over_pages(total_O)
    return (out_0 * scale_0 + over_pages(out_O)) / jnp.maximum(total, jnp.finfo(jnp.float32).tiny)
