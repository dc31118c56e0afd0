"""Keys and values of what was read and written, one pair of arrays a layer.

Layers are separate arrays, not a stacked axis: indexing a stacked cache inside a scan makes XLA copy each layer's part
before every product. Axes X, Q, E, Z, W as in `ops.attention_paged`.
"""

import jax
import jax.numpy as jnp

from jaxreason.config import ModelConfig
from jaxreason.ops.attention_paged import Places
from jaxreason.parallel.rules import shard
from jaxreason.types import pytree


@pytree
class LayerCache:
    """One layer's keys and values: of prompts, which groups share, and of pages, which rows fill as they grow."""

    prompt_k: jax.Array  # [X Q J C L], keys with places innermost: the product with a query runs along them
    prompt_v: jax.Array  # [X Q J L C]
    k: tuple[jax.Array, ...]  # [X E J C Z], the pool in ARRAYS of equal size
    v: tuple[jax.Array, ...]  # [X E J Z C]


Cache = tuple[LayerCache, ...]

ARRAYS, LEAST = 4, 16
"""Arrays that the pool comes in, and the fewest pages of one. An array is read only where one of its pages is taken."""


def page_size(cache: Cache) -> int:
    """Tokens of a page."""
    return cache[0].v[0].shape[3]


def pool_size(pages: int) -> int:
    """The next number of pages that makes whole arrays.

    >>> pool_size(5), pool_size(65)
    (5, 68)
    """
    return pages if pages < ARRAYS * LEAST else -(-pages // ARRAYS) * ARRAYS


def empty(config: ModelConfig, *, parts: int, prompts: int, length: int, pages: int, page: int) -> Cache:
    """Room for Q prompts of L tokens and for E pages (see `pool_size`) of Z tokens, in each of X parts."""
    arrays = ARRAYS if pages >= ARRAYS * LEAST else 1
    J, C = config.num_key_value_heads, config.head_dim

    def zeros(*shape):
        return shard(jnp.zeros((parts, *shape), config.dtype), "batch", None, "kv_heads", None, None)

    return tuple(
        LayerCache(
            prompt_k=zeros(prompts, J, C, length),
            prompt_v=zeros(prompts, J, length, C),
            k=tuple(zeros(pages // arrays, J, C, page) for _ in range(arrays)),
            v=tuple(zeros(pages // arrays, J, page, C) for _ in range(arrays)),
        )
        for _ in range(config.num_hidden_layers)
    )


def hold(cache: LayerCache, k_XNLJC: jax.Array, v_XNLJC: jax.Array, at_XNS: jax.Array) -> LayerCache:
    """Put the keys and values of prompts at all the places that `at` says; a number out of range puts nothing."""

    def put(into, at_NS, new):
        return into.at[at_NS].set(new[:, None], mode="drop")

    return LayerCache(
        prompt_k=jax.vmap(put)(cache.prompt_k, at_XNS, k_XNLJC.transpose(0, 1, 3, 4, 2)),
        prompt_v=jax.vmap(put)(cache.prompt_v, at_XNS, v_XNLJC.transpose(0, 1, 3, 2, 4)),
        k=cache.k,
        v=cache.v,
    )


def write(cache: LayerCache, k_XBWJC: jax.Array, v_XBWJC: jax.Array, at: tuple[jax.Array, jax.Array]) -> LayerCache:
    """Put the keys and values of a pass; `at` is from `written`."""

    def put(k_EJCZ, v_EJZC, page_BW, place_BW, k_BWJC, v_BWJC):
        return (
            k_EJCZ.at[page_BW, :, :, place_BW].set(k_BWJC, mode="drop"),
            v_EJZC.at[page_BW, :, place_BW].set(v_BWJC, mode="drop"),
        )

    page_XBW, place_XBW = at
    ks, vs = [], []
    for i, (k, v) in enumerate(zip(cache.k, cache.v, strict=True)):
        size = k.shape[1]
        mine_XBW = jnp.where(page_XBW >= i * size, page_XBW - i * size, size)
        k, v = jax.vmap(put)(k, v, mine_XBW, place_XBW, k_XBWJC, v_XBWJC)
        ks.append(k)
        vs.append(v)
    return LayerCache(prompt_k=cache.prompt_k, prompt_v=cache.prompt_v, k=tuple(ks), v=tuple(vs))


def written(places: Places, W: int, Z: int) -> tuple[jax.Array, jax.Array]:
    """Page and place in it [X B W] of the tokens of a pass; a page out of range where the slot has no such page."""
    place_XBW = places.start[..., None] + jnp.arange(W)[None, None]
    nobody = places.owner.shape[1]

    def page_of(table_BO, number_BW):
        at = jnp.arange(table_BO.shape[0])[:, None], number_BW
        return table_BO.at[at].get(mode="fill", fill_value=nobody)

    return jax.vmap(page_of)(places.table, place_XBW // Z), place_XBW % Z
