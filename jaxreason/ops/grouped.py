"""One matrix a group of rows: the product that a mixture of experts is made of.

`jax.lax.ragged_dot` is it everywhere, but not its whole gradient on TPUs: libtpu 0.0.42 has kernels for the product and
for the gradient of the rows; that of the matrices it makes dense, every row times every group. There Pallas' `tgmm`
takes its place.
"""

import jax
import jax.numpy as jnp

from jaxreason.ops.attention_mesh import platform

TILE = 128
"""Rows of a step of the kernel. A group of r rows costs r/TILE + 1 steps at most."""
SIDE = 1024
"""The most rows and columns of a group's gradient that the kernel keeps at once in the fast memory of a TPU."""


@jax.custom_vjp
def dot(x_MD: jax.Array, w_GDF: jax.Array, rows_G: jax.Array) -> jax.Array:
    """Product of each row with its group's matrix.

    Args:
      x_MD: rows, those of one group side by side and groups in order; what follows the last group belongs to none.
      w_GDF: in x's type.
      rows_G: int32, rows of each group; their sum is at most M.

    Returns:
      [M F] in x's type. Rows of no group are exactly 0, whatever they hold, and so are their gradients.
    """
    return _owned(jax.lax.ragged_dot(x_MD, w_GDF, rows_G), rows_G)


def _dot_fwd(x_MD, w_GDF, rows_G):
    return dot(x_MD, w_GDF, rows_G), (x_MD, w_GDF, rows_G)


def _dot_bwd(saved, toward_MF):
    x_MD, w_GDF, rows_G = saved
    (toward_x_MD,) = jax.linear_transpose(lambda x: jax.lax.ragged_dot(x, w_GDF, rows_G), x_MD)(toward_MF)
    return _owned(toward_x_MD, rows_G), outer(x_MD, toward_MF, rows_G), None


dot.defvjp(_dot_fwd, _dot_bwd)


def outer(x_MD: jax.Array, y_MF: jax.Array, rows_G: jax.Array) -> jax.Array:
    """Sum over each group's rows of the outer products of x and y; [G D F] in x's type, 0 for a group without rows."""
    if platform() == "tpu":
        return outer_by_kernel(x_MD, y_MF, rows_G)
    w_GDF = jax.ShapeDtypeStruct((rows_G.shape[0], x_MD.shape[1], y_MF.shape[1]), x_MD.dtype)
    return jax.linear_transpose(lambda w: jax.lax.ragged_dot(x_MD, w, rows_G), w_GDF)(y_MF)[0]


def outer_by_kernel(x_MD: jax.Array, y_MF: jax.Array, rows_G: jax.Array, interpret: bool = False) -> jax.Array:
    """`outer` by a kernel for TPUs, which visits only the tiles of each group; interpret runs it anywhere, slowly."""
    from jax.experimental.pallas.ops.tpu.megablox.gmm import tgmm

    M, D = x_MD.shape
    more = ((0, -M % TILE), (0, 0))
    tiles = (TILE, min(D, SIDE), min(y_MF.shape[1], SIDE))
    return tgmm(
        jnp.pad(x_MD, more).T, jnp.pad(y_MF, more), rows_G, preferred_element_type=x_MD.dtype, tiling=tiles,
        interpret=interpret,
    )  # fmt: skip


def _owned(x_MF, rows_G):
    """Kernels leave rows of no group unwritten."""
    return jnp.where((jnp.arange(x_MF.shape[0]) < rows_G.sum())[:, None], x_MF, jnp.zeros((), x_MF.dtype))
