"""Products of rows with a weight matrix, in the way that the platform multiplies them fastest."""

import jax
import jax.numpy as jnp

from jaxreason.ops.attention_mesh import platform


def dense(x: jax.Array, kernel: jax.Array, dimension_numbers, precision=None, **more) -> jax.Array:
    """`jax.lax.dot_general` for `nn.Dense`, of the same meaning.

    In bfloat16 on CPU, XLA first copies both sides to float32, which takes longer than the product; asked for a float32
    result it multiplies bfloat16 as the processor does, and rounding that result is what the other way ends with too.
    Elsewhere a float32 result would travel between devices at twice the size, so the product is left as it is.
    """
    if x.dtype == kernel.dtype == jnp.bfloat16 and x.ndim == 2 and platform() == "cpu":
        return _rounded(x, kernel)
    return jax.lax.dot_general(x, kernel, dimension_numbers, precision=precision, **more)


@jax.custom_vjp
def _rounded(x_ND: jax.Array, kernel_DF: jax.Array) -> jax.Array:
    return _narrow(x_ND, kernel_DF, 1, 0)


def _forward(x_ND, kernel_DF):
    return _rounded(x_ND, kernel_DF), (x_ND, kernel_DF)


def _backward(held, cotangent_NF):
    # The transposed products by hand: those JAX makes of a float32 result would take a float32 cotangent.
    x_ND, kernel_DF = held
    return _narrow(cotangent_NF, kernel_DF, 1, 1), _narrow(x_ND, cotangent_NF, 0, 0)


_rounded.defvjp(_forward, _backward)


def _narrow(a: jax.Array, b: jax.Array, axis_a: int, axis_b: int) -> jax.Array:
    """The product over one axis of each, summed in float32 and rounded once."""
    wide = jax.lax.dot_general(a, b, (((axis_a,), (axis_b,)), ((), ())), preferred_element_type=jnp.float32)
    return wide.astype(a.dtype)
