"""Causal attention over packed rows, by what the platform has for it.

Which key a query may see follows from two integers a token: its place in the row, and the segment it belongs to. No
mask is ever made from a token's value. Knows nothing of layers, caches or parameters.
"""

import functools
from typing import Literal

import chex
import jax
import jax.numpy as jnp

from jaxreason.ops import attention_cudnn, attention_mesh, attention_splash

Implementation = Literal["auto", "xla", "cudnn", "splash"]

BLOCK, BLOCKS, LARGEST = 96, 16, 512
"""Queries at a time in the blockwise form: few enough that their scores stay in a core's cache; more where that would
make more than so many blocks, each of which is compiled; but never more than the last, since scores are memory."""

NEGATIVE = -1e30
"""Finite stand-in for -inf: a row of the softmax that sees nothing stays finite, and so does its gradient."""


def causal(
    q_BSHC: jax.Array,
    k_BSJC: jax.Array,
    v_BSJC: jax.Array,
    segments_BS: jax.Array,
    *,
    window: int = 0,
    implementation: Implementation = "auto",
    batch: attention_mesh.Axes = ("replica", "fsdp"),
    heads: attention_mesh.Axes = ("tensor",),
) -> jax.Array:
    """Attend to earlier tokens of the same segment, with H/J query heads sharing each key head.

    Args:
      q_BSHC, k_BSJC, v_BSJC: queries, keys and values; H is a multiple of J. Queries are scaled here by C**-0.5.
      segments_BS: int32; a token sees those of its own segment at its own place or before. Every token sees itself.
      window: tokens; a key is seen at a distance of 0..window-1 places. 0: at any distance.
      implementation: "xla" runs anywhere and builds scores for a block of queries at a time; "splash" is a kernel for
        TPUs, "cudnn" one for NVIDIA GPUs. "auto" takes the kernel of the platform where it can run, else "xla".
      batch, heads: axes of the mesh in force (`jax.set_mesh`) over which a kernel's rows and heads are split.

    Returns:
      [B S H C] in q's type; the softmax is taken in float32.

    Raises:
      ValueError: an implementation that does not exist or cannot run here, or a negative window.
    """
    chex.assert_rank([q_BSHC, k_BSJC, v_BSJC, segments_BS], [4, 4, 4, 2])
    chex.assert_equal_shape([k_BSJC, v_BSJC])
    if window < 0:
        raise ValueError(f"attention: window must be at least 0 tokens (0: no limit), got {window}")
    chosen = choose(implementation, q_BSHC, batch)
    if chosen == "xla":
        return _blockwise(q_BSHC, k_BSJC, v_BSJC, segments_BS, window)
    kernel = {"splash": attention_splash.causal, "cudnn": attention_cudnn.causal}[chosen]
    attend = functools.partial(kernel, window=window)
    return attention_mesh.per_device(attend, q_BSHC, k_BSJC, v_BSJC, segments_BS, batch=batch, heads=heads)


def choose(
    implementation: Implementation, q_BSHC: jax.Array, batch: attention_mesh.Axes
) -> Literal["xla", "cudnn", "splash"]:
    """Which implementation `causal` takes on the platform in force.

    Raises:
      ValueError: one that does not exist, or that was asked for and cannot run.
    """
    if implementation == "xla":
        return implementation
    platform = attention_mesh.platform()
    if implementation == "auto":
        if not attention_splash.refusal(platform, q_BSHC):
            return "splash"
        devices = attention_mesh.count(attention_mesh.split(batch, q_BSHC.shape[0]))
        small = attention_cudnn.mask_bytes(q_BSHC.shape[0] // devices, q_BSHC.shape[1]) <= attention_cudnn.MASK_BYTES
        return "cudnn" if small and not attention_cudnn.refusal(platform, q_BSHC) else "xla"
    if implementation not in ("cudnn", "splash"):
        raise ValueError(
            f"model.attention_implementation: must be auto, xla, cudnn or splash, got {implementation!r}; choose auto"
        )
    refusal = {"cudnn": attention_cudnn.refusal, "splash": attention_splash.refusal}[implementation]
    if reason := refusal(platform, q_BSHC):
        raise ValueError(f"model.attention_implementation: {implementation} {reason}; choose auto or xla")
    return implementation


def _blockwise(q_BSHC, k_BSJC, v_BSJC, segments_BS, window):
    S = q_BSHC.shape[1]
    size = min(LARGEST, max(BLOCK, -(-S // BLOCKS)))
    if S <= size:
        return _attend(q_BSHC, k_BSJC, v_BSJC, segments_BS, segments_BS, first=0, window=window)
    # Blocks of queries against the keys that any of them may see: scores never exist for more than one block, and
    # checkpoint makes the backward pass rebuild them block by block too.
    attend = jax.checkpoint(_attend, static_argnums=(5, 6))
    blocks = []
    for first in range(0, S, size):
        end = min(first + size, S)
        start = max(first - window + 1, 0) if window else 0
        blocks.append(
            attend(
                q_BSHC[:, first:end],
                k_BSJC[:, start:end],
                v_BSJC[:, start:end],
                segments_BS[:, first:end],
                segments_BS[:, start:end],
                first - start,
                window,
            )
        )
    return jnp.concatenate(blocks, axis=1)


def _attend(q_BSHC, k_BTJC, v_BTJC, query_segment_BS, key_segment_BT, first, window):
    """Queries against keys, of which number `first` stands at the place of the first query."""
    B, S, H, C = q_BSHC.shape
    T, J = k_BTJC.shape[1:3]
    # The query heads of one key head stand below each other: one matrix product a key head, leading batch axes.
    q_BJSHC = (q_BSHC * C**-0.5).reshape(B, S, J, H // J, C).transpose(0, 2, 3, 1, 4).reshape(B, J, H // J * S, C)
    k_BJTC, v_BJTC = k_BTJC.transpose(0, 2, 1, 3), v_BTJC.transpose(0, 2, 1, 3)
    score = jnp.einsum("bjsc,bjtc->bjst", q_BJSHC, k_BJTC, preferred_element_type=jnp.float32)
    seen_ST = jnp.arange(T)[None, :] <= first + jnp.arange(S)[:, None]
    if window:
        seen_ST &= jnp.arange(T)[None, :] > first - window + jnp.arange(S)[:, None]
    seen_BST = seen_ST[None] & (query_segment_BS[:, :, None] == key_segment_BT[:, None, :])
    score_BJHST = score.reshape(B, J, H // J, S, T) + jnp.where(seen_BST, 0.0, NEGATIVE)[:, None, None]
    # Normalising after the product with the values divides [S C] instead of [S T] numbers.
    top_BJHS1 = jax.lax.stop_gradient(score_BJHST.max(-1, keepdims=True))
    weight_BJHST = jnp.exp(score_BJHST - top_BJHS1)
    total_BJHS1 = weight_BJHST.sum(-1, keepdims=True)
    weight = weight_BJHST.reshape(B, J, H // J * S, T).astype(v_BJTC.dtype)
    out = jnp.einsum("bjst,bjtc->bjsc", weight, v_BJTC, preferred_element_type=jnp.float32)
    out_BJHSC = (out.reshape(B, J, H // J, S, C) / total_BJHS1).astype(q_BSHC.dtype)
    return out_BJHSC.transpose(0, 3, 1, 2, 4).reshape(B, S, H, C)
