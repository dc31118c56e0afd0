"""Causal attention over packed rows by splash attention, the Pallas kernel for TPUs that JAX brings along.

Knows nothing of meshes: on several devices it is called once a device, on that device's rows and heads.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu import splash_attention as splash
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as splash_mask

LANES = 128
"""Rows are padded to a multiple of this."""

BLOCK = 512
"""Queries, and keys, that the kernel holds at a time."""


def refusal(platform: str, q_BSHC: jax.Array) -> str:
    """Why the kernel cannot run, or "" if it can."""
    if platform != "tpu":
        return f"needs a TPU, got platform {platform}"
    if q_BSHC.dtype not in (jnp.float32, jnp.bfloat16):
        return f"needs float32 or bfloat16, got {q_BSHC.dtype}"
    if q_BSHC.shape[3] % 64:
        return f"needs a head size that is a multiple of 64, got {q_BSHC.shape[3]}"
    return ""


def causal(
    q_BSHC: jax.Array,
    k_BSJC: jax.Array,
    v_BSJC: jax.Array,
    segments_BS: jax.Array,
    window: int = 0,
    interpret: bool = False,
) -> jax.Array:
    """What `attention.causal` says, by the kernel.

    The backward pass is the unfused one: the fused one keeps a part of the queries' gradient for every block of keys,
    so its memory grows with the square of the row.

    Args:
      interpret: run the kernel's steps as ordinary operations, on any platform. It is slow, and for tests.
    """
    S, H = q_BSHC.shape[1:3]
    block = min(-(-S // LANES) * LANES, BLOCK)
    padding = -S % block
    # What is appended stands behind every query, so whatever its segment, no query that is returned sees it.
    q, k, v, segments = (
        jnp.pad(x, [(0, padding if axis == 1 else 0) for axis in range(x.ndim)])
        for x in (q_BSHC * q_BSHC.shape[3] ** -0.5, k_BSJC, v_BSJC, segments_BS)
    )
    shape = (S + padding, S + padding)
    seen = splash.LocalMask(shape, (window - 1, 0), 0) if window else splash.CausalMask(shape)
    sizes = splash.BlockSizes(
        block_q=block,
        block_kv=block,
        block_q_dkv=block,
        block_kv_dkv=block,
        block_q_dq=block,
        block_kv_dq=block,
        use_fused_bwd_kernel=False,
    )
    kernel = splash.make_splash_mha(
        splash_mask.MultiHeadMask([seen] * H), block_sizes=sizes, head_shards=1, q_seq_shards=1, interpret=interpret
    )

    def row(q_SHC, k_SJC, v_SJC, segments_S):
        heads_first = (x.swapaxes(0, 1) for x in (q_SHC, k_SJC, v_SJC))
        out_HSC: Any = kernel(*heads_first, splash.SegmentIds(segments_S, segments_S))
        return out_HSC.swapaxes(0, 1)

    return jax.vmap(row)(q, k, v, segments)[:, :S]
