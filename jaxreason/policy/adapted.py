"""Parameters of a policy with low-rank adapters (LoRA, arXiv:2106.09685): frozen ones, and small ones beside them.

A kernel here is [in out], so an adapted one is W + scale * A B with lora_A [in r] and lora_B [r out] (PEFT stores both
turned). The functions of `api` take such parameters as they take others: training goes through x W + (x A) B, which
makes no array of W's size and no gradient of W; decoding goes through merged layers, cut apart before its loop anyway.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxreason.types import Params, pytree, static

A, B = "lora_A", "lora_B"
"""The two factors, beside the kernel that they belong to."""


@pytree
class Adapted:
    """Parameters in two trees. `adapters` has the keys of `base` down to a linear layer, and there its two factors."""

    base: Params
    adapters: Params
    scale: float = static()  # alpha / r


def joined(params: Params | Adapted) -> Params:
    """One tree, in which the factors stand beside their kernel and B carries the scale; others as they are."""
    if not isinstance(params, Adapted):
        return params
    return _beside(params.base, params.adapters, params.scale)


def _beside(base: Params, adapters: Params, scale: float) -> Params:
    if A in adapters:
        return {**base, A: adapters[A], B: adapters[B] * scale}
    return {**base, **{key: _beside(base[key], adapters[key], scale) for key in adapters}}


def merged(tree: Params) -> Params:
    """A tree of `joined`, or a part of it, with W + A B in place of each W; others as they are.

    Summed in float32 and rounded once to the kernel's type.
    """
    if not isinstance(tree, dict):
        return tree
    if A not in tree:
        return {key: merged(value) for key, value in tree.items()}
    rest = {key: value for key, value in tree.items() if key not in (A, B)}
    product = jnp.matmul(tree[A].astype(jnp.float32), tree[B].astype(jnp.float32), precision=jax.lax.Precision.HIGHEST)
    kernel = tree["kernel"]
    return {**rest, "kernel": (kernel.astype(jnp.float32) + product).astype(kernel.dtype)}


def added(x_ND: jax.Array, factors: tuple[Any, Any], dot: Any) -> jax.Array:
    """(x A) B [N F], in the type of x.

    Args:
      factors: lora_A [D r] and lora_B [r F].
      dot: a product like `jax.lax.dot_general`.
    """
    for factor in factors:
        x_ND = dot(x_ND, factor.astype(x_ND.dtype), (((1,), (0,)), ((), ())))
    return x_ND
