"""Causal attention over packed rows by cuDNN's flash attention, through `jax.nn.dot_product_attention`.

cuDNN has no segment ids, and its own form for packed rows (offsets of sequences) is neither in JAX's public interface
nor for chips before Hopper. So which tokens belong together is a mask: one of two bytes for each pair of places of a
row, the same for all heads. The kernel still skips what is not causal, and keeps scores out of memory. Its own sliding
window is not used beside a mask; the mask says that too.

Knows nothing of meshes: on several devices it is called once a device, on that device's rows and heads.
"""

from typing import Literal

import jax
import jax.extend.backend
import jax.numpy as jnp

MULTIPLE = 64
"""Rows are padded to a multiple of this; cuDNN's backward pass with a mask asks for an even length."""

MASK_BYTES = 2**32
"""Above this, blocks of queries through XLA need less memory than the mask alone."""


def refusal(platform: str, q_BSHC: jax.Array) -> str:
    """Why the kernel cannot run, or "" if it can."""
    if platform != "gpu" or "cuda" not in jax.extend.backend.get_backend().platform_version:
        return f"needs an NVIDIA GPU, got platform {platform}"
    if q_BSHC.dtype not in (jnp.float16, jnp.bfloat16):
        return f"needs bfloat16 or float16, got {q_BSHC.dtype}"
    if q_BSHC.shape[3] % 8 or q_BSHC.shape[3] > 128:
        return f"needs a head size that is a multiple of 8 up to 128, got {q_BSHC.shape[3]}"
    return ""


def mask_bytes(rows: int, length: int) -> int:
    """Bytes of the mask of so many rows of so many tokens each.

    >>> mask_bytes(2, 4096) == 2 * 4096 * 4096 * 2
    True
    """
    padded = -(-length // MULTIPLE) * MULTIPLE
    return 2 * rows * padded * padded


def seen(segments_BS: jax.Array, window: int) -> jax.Array:
    """bool [B 1 S S]: whether query s may see key t, but for t > s, which is left to the kernel's causal mask."""
    seen_BST = segments_BS[:, :, None] == segments_BS[:, None, :]
    if window:
        place_S = jnp.arange(segments_BS.shape[1])
        seen_BST &= (place_S[:, None] - place_S[None, :] < window)[None]
    return seen_BST[:, None]


def causal(
    q_BSHC: jax.Array,
    k_BSJC: jax.Array,
    v_BSJC: jax.Array,
    segments_BS: jax.Array,
    window: int = 0,
    kernel: Literal["cudnn", "xla"] = "cudnn",
) -> jax.Array:
    """What `attention.causal` says, by the kernel.

    Args:
      kernel: of `jax.nn.dot_product_attention`; "xla" is the same call on any platform, for tests.
    """
    S = q_BSHC.shape[1]
    # What is appended stands behind every query, so whatever its segment, no query that is returned sees it.
    q, k, v, segments = (
        jnp.pad(x, [(0, -S % MULTIPLE if axis == 1 else 0) for axis in range(x.ndim)])
        for x in (q_BSHC, k_BSJC, v_BSJC, segments_BS)
    )
    out = jax.nn.dot_product_attention(q, k, v, mask=seen(segments, window), is_causal=True, implementation=kernel)
    return out[:, :S]
