"""Keys and values of what was read and written, one pair of arrays a layer.

Layers are separate arrays, not a stacked axis: indexing a stacked cache inside a scan makes XLA copy each layer's part
before every product.
"""

import jax
import jax.numpy as jnp

from jaxreason.parallel.rules import shard
from jaxreason.types import pytree


@pytree
class LayerCache:
    """One layer's keys and values. The prompt's stand once a group, the completion's once a rollout."""

    prefix_k: jax.Array  # [P J C L], keys with places innermost: the product with a query runs along them
    prefix_v: jax.Array  # [P J L C]
    k: jax.Array  # [P G J C T]
    v: jax.Array  # [P G J T C]


@pytree
class Cache:
    """What decoding step t needs of everything before it."""

    layers: tuple[LayerCache, ...]
    prefix_length: jax.Array  # int32 [P]

    @property
    def num_places(self) -> int:
        """L + T."""
        return self.layers[0].prefix_v.shape[2] + self.layers[0].v.shape[3]


def after_prompt(k_PLJC: jax.Array, v_PLJC: jax.Array, G: int, T: int) -> LayerCache:
    """A layer's cache once the prompt is read, with room for T tokens of G completions a prompt."""
    P, _, J, C = k_PLJC.shape
    return LayerCache(
        prefix_k=shard(k_PLJC.transpose(0, 2, 3, 1), "batch", "kv_heads", None, None),
        prefix_v=shard(v_PLJC.transpose(0, 2, 1, 3), "batch", "kv_heads", None, None),
        k=shard(jnp.zeros((P, G, J, C, T), k_PLJC.dtype), "batch", None, "kv_heads", None, None),
        v=shard(jnp.zeros((P, G, J, T, C), v_PLJC.dtype), "batch", None, "kv_heads", None, None),
    )


def write(cache: LayerCache, k_PGJC: jax.Array, v_PGJC: jax.Array, step: jax.Array) -> LayerCache:
    """Put the keys and values of completion token `step`, the same place in every row."""
    return LayerCache(
        prefix_k=cache.prefix_k,
        prefix_v=cache.prefix_v,
        k=jax.lax.dynamic_update_slice_in_dim(cache.k, k_PGJC[..., None], step, axis=4),
        v=jax.lax.dynamic_update_slice_in_dim(cache.v, v_PGJC[:, :, :, None], step, axis=3),
    )
