"""Products by groups of rows against loops; on TPUs, what the compiler makes of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxreason.ops import grouped
from tests.helpers import TOLERANCE
from tests.topology import tpu_mesh

M, D, F = 23, 6, 5
ROWS = [4, 0, 9, 1]
"""Rows of each group: one has none, and the last rows belong to no group."""


def _inputs():
    rng = np.random.default_rng(0)
    x_MD, w_GDF, y_MF = (rng.standard_normal(s).astype(np.float32) for s in ((M, D), (len(ROWS), D, F), (M, F)))
    return x_MD, w_GDF, y_MF


def _groups(rows_G):
    ends = np.cumsum(rows_G)
    return [slice(end - rows, end) for end, rows in zip(ends, rows_G, strict=True)]


def _outer(x_MD, y_MF, rows_G):
    return np.stack([x_MD[rows].T.astype(np.float64) @ y_MF[rows] for rows in _groups(rows_G)])


def test_each_row_meets_its_groups_matrix():
    """Catches rows of no group that keep what memory held: on TPUs the product's kernel does not write them."""
    x_MD, w_GDF, _ = _inputs()
    x_MD[sum(ROWS) :] = np.nan
    got = grouped.dot(x_MD, w_GDF, jnp.array(ROWS))
    want = np.zeros((M, F))
    for g, rows in enumerate(_groups(ROWS)):
        want[rows] = x_MD[rows].astype(np.float64) @ w_GDF[g]
    np.testing.assert_allclose(got, want, rtol=TOLERANCE["sum"], atol=TOLERANCE["sum"])


def test_gradients_are_those_of_loops():
    """Catches a gradient that leaks from rows of no group, or into the matrix of a group without rows."""
    x_MD, w_GDF, y_MF = _inputs()
    _, back = jax.vjp(lambda x, w: grouped.dot(x, w, jnp.array(ROWS)), jnp.asarray(x_MD), jnp.asarray(w_GDF))
    toward_x, toward_w = back(jnp.asarray(y_MF))
    want_x = np.zeros((M, D))
    for g, rows in enumerate(_groups(ROWS)):
        want_x[rows] = y_MF[rows].astype(np.float64) @ w_GDF[g].T
    np.testing.assert_allclose(toward_x, want_x, rtol=TOLERANCE["sum"], atol=TOLERANCE["sum"])
    np.testing.assert_allclose(toward_w, _outer(x_MD, y_MF, ROWS), rtol=TOLERANCE["sum"], atol=TOLERANCE["sum"])


@pytest.mark.parametrize("rows", [ROWS, [0, 0, 0, 0], [130, 0, 200, 7]], ids=["some", "none", "tiles"])
def test_the_kernel_for_tpus_is_the_same_sum(rows):
    """The kernel interpreted; catches tiles that two groups share, a last tile that is not full, and groups without
    rows whose gradient is not written."""
    rng = np.random.default_rng(1)
    x_MD, y_MF = (rng.standard_normal((sum(rows) + 9, side)).astype(np.float32) for side in (D, F))
    got = grouped.outer_by_kernel(jnp.asarray(x_MD), jnp.asarray(y_MF), jnp.array(rows), interpret=True)
    np.testing.assert_allclose(got, _outer(x_MD, y_MF, rows), rtol=TOLERANCE["sum"], atol=TOLERANCE["sum"])


@pytest.mark.tpu_aot
@pytest.mark.parametrize("topology", ["v5e:2x2", "v5p:2x2x1", "v6e:2x2", "tpu7x:2x2x1"])
def test_no_product_is_dense_over_groups_on_a_tpu(topology):
    """Catches a gradient of the matrices that multiplies all rows by all groups, which libtpu makes of `ragged_dot`'s
    own, and tiles that do not fit the chip at the widths of Qwen3-30B-A3B."""
    with tpu_mesh(topology, (1, 1, 1)) as mesh:
        place = NamedSharding(mesh, PartitionSpec())
        x, w = (jax.ShapeDtypeStruct(s, jnp.bfloat16, sharding=place) for s in ((4096, 2048), (4, 2048, 768)))
        rows = jax.ShapeDtypeStruct((4,), jnp.int32, sharding=place)

        def gradients(x_MD, w_GDF, rows_G):
            return jax.grad(lambda x, w: grouped.dot(x, w, rows_G).astype(jnp.float32).sum(), (0, 1))(x_MD, w_GDF)

        text = jax.jit(gradients).lower(x, w, rows).compile().as_text()
    assert text is not None
    assert " convolution(" not in text
    assert " dot(" not in text
    assert text.count('custom_call_target="tpu_custom_call"') >= 2
