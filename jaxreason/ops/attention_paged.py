"""Attention of decoding: each slot's new queries against its group's prompt, and against pages of its own.

Pages lie in one pool, in any order. What is read is the pool itself, front to back: every page meets the queries of the
slot that owns it, and the parts of a slot are joined afterwards, in the order of its pages. So keys and values are read
where they lie, once, and a slot costs as many pages as it has filled; gathering pages slot by slot would copy them all
first. The pool comes in a few arrays, and one in which no page is taken is not read: pages are handed out from the
front, so what is read follows what is alive. A part depends on one page and its owner's queries only, and a join on one
slot: neither neighbours nor the size of the pool change a bit of it.

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
    shared = jax.vmap(functools.partial(_of_prompts, W=W, window=window))(q, prompt_k_XQJCL, prompt_v_XQJLC, places)
    taken = [(owner_XE < B).any() for owner_XE in jnp.split(places.owner, len(k_XEJCZ), axis=1)]
    own = _of_pages(q, k_XEJCZ, v_XEJZC, places, taken, W, window)
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


def _of_pages(q_XBJFC, ks, vs, places: Places, taken, W: int, window: int):
    """Parts [X E J F ...] of all pages."""
    F, size = q_XBJFC.shape[3], places.owner.shape[1] // len(ks)

    def of_array(q_BJFC, start_B, k_EJCZ, v_EJZC, owner_E, number_E):
        Z = k_EJCZ.shape[3]
        key_EZ = number_E[:, None] * Z + jnp.arange(Z)[None]
        query_EW = start_B.at[owner_E].get(mode="fill", fill_value=-1)[:, None] + jnp.arange(W)[None]
        seen_EWZ = key_EZ[:, None] <= query_EW[:, :, None]
        if window:
            seen_EWZ &= key_EZ[:, None] > query_EW[:, :, None] - window
        q_EJFC = q_BJFC.at[owner_E].get(mode="fill", fill_value=0)
        return _part(q_EJFC, k_EJCZ, v_EJZC, jnp.repeat(seen_EWZ, F // W, axis=1))

    parts = []
    for i, (k, v, is_taken) in enumerate(zip(ks, vs, taken, strict=True)):
        mine = slice(i * size, (i + 1) * size)
        given = q_XBJFC, places.start, k, v, places.owner[:, mine], places.number[:, mine]
        if len(ks) == 1:
            return jax.vmap(of_array)(*given)
        shapes = jax.eval_shape(jax.vmap(of_array), *given)
        nothing = functools.partial(jax.tree.map, lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        parts.append(jax.lax.cond(is_taken, lambda given=given: jax.vmap(of_array)(*given), nothing))
    return jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *parts)


def _of_prompts(q_BJFC, k_QJCL, v_QJLC, places: Places, W: int, window: int):
    """Parts [B J F ...] of each slot's prompt, which is read once for all its readers."""
    (Q, _, _, L), G = k_QJCL.shape, places.reader.shape[1]
    _, J, F, C = q_BJFC.shape
    q_QGJFC = q_BJFC.at[places.reader].get(mode="fill", fill_value=0)
    seen_QL = jnp.arange(L)[None] >= L - places.held[:, None]
    seen_QGFL = jnp.broadcast_to(seen_QL[:, None, None], (Q, G, F, L))
    if window:
        start_QG = places.start.at[places.reader].get(mode="fill", fill_value=0)
        # Own place 0 follows on place L-1.
        oldest_QGW = L + start_QG[:, :, None] + jnp.arange(W)[None, None] - window
        near_QGWL = jnp.arange(L)[None, None, None] > oldest_QGW[..., None]
        seen_QGFL &= jnp.repeat(near_QGWL, F // W, axis=2)
    q_QJMC = q_QGJFC.transpose(0, 2, 1, 3, 4).reshape(Q, J, G * F, C)
    parts = _part(q_QJMC, k_QJCL, v_QJLC, seen_QGFL.reshape(Q, G * F, L))

    def of_slots(x_QJMC):
        x_QGJFC = x_QJMC.reshape(Q, J, G, F, -1).transpose(0, 2, 1, 3, 4)
        x_SJFC = x_QGJFC.reshape(Q * G, J, F, -1)  # S seats
        return x_SJFC.at[places.seat].get(mode="fill", fill_value=0)

    out, total, top = map(of_slots, parts)
    held_B = places.held.at[places.seat // G].get(mode="fill", fill_value=0)
    return out, total, jnp.where(held_B[:, None, None, None] > 0, top, NEGATIVE)


def _joined(shared, own, table_BO, E: int):
    """One softmax [B J F C] from each slot's prompt and its pages; those it has not are masked."""
    out_0, total_0, top_0 = shared
    out_O, total_O, top_O = (x.at[table_BO].get(mode="fill", fill_value=0) for x in own)
    top_O = jnp.where((table_BO < E)[:, :, None, None, None], top_O, NEGATIVE)
    top = jnp.maximum(top_0, top_O.max(1))
    scale_0, scale_O = jnp.exp(top_0 - top), jnp.exp(top_O - top[:, None])
    total = total_0 * scale_0 + (total_O * scale_O).sum(1)
    return (out_0 * scale_0 + (out_O * scale_O).sum(1)) / jnp.maximum(total, jnp.finfo(jnp.float32).tiny)
