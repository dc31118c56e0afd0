"""Forward passes over a packed batch with other parameters: a reference's log-probabilities, a frozen scorer."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxreason.types import Params, UpdateBatch

TokenFn = Callable[..., jax.Array]
"""(params, tokens, positions, segments, candidates, lift) -> a number a token, [B S]."""


def make_reference(token_fn: TokenFn, *, out_sharding: Any = None) -> Callable[[Params, UpdateBatch], jax.Array]:
    """Build a jitted pass over the micro-batches that hold anything: float32 [M B S], 0 in the others.

    Args:
      out_sharding: where the numbers go; None leaves it to the compiler.
    """

    @functools.partial(jax.jit, out_shardings=out_sharding)
    def reference(params: Params, batch: UpdateBatch) -> jax.Array:
        def body(m, out_MBS):
            micro = [
                None if x is None else jax.lax.dynamic_index_in_dim(x, m, keepdims=False)
                for x in (batch.tokens, batch.positions, batch.segments, batch.candidates)
            ]
            value_BS = token_fn(params, *micro, batch.lift).astype(jnp.float32)
            return jax.lax.dynamic_update_index_in_dim(out_MBS, value_BS, m, axis=0)

        return jax.lax.fori_loop(0, batch.num_micro, body, jnp.zeros(batch.tokens.shape, jnp.float32))

    return reference
