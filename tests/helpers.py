"""What every test shares: the one table of tolerances. A test takes its entry from here and never loosens it."""

import numpy as np

TOLERANCE = {
    "elementwise": 1e-6,  # float32, one operation an element
    "sum": 1e-5,  # float32, after a reduction or a matrix product
    "mesh": 1e-6,  # float32, the same program on another arrangement of devices; arrays by `assert_same_array`
    "logits": 1e-4,  # float32, through a whole model, against another implementation
    "bfloat16": 2e-2,  # of the largest number, after a few roundings to bfloat16's eight bits
}
"""Relative or absolute tolerance by the kind of arithmetic compared."""


def assert_same_array(got, expected, what: str = "") -> None:
    """An array that another arrangement of devices made: the difference is small beside the array, by their norms."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype), what
    if not np.issubdtype(got.dtype, np.floating):
        np.testing.assert_array_equal(got, expected, err_msg=what)
        return
    apart = np.linalg.norm(got.astype(np.float64) - expected)
    assert apart <= TOLERANCE["mesh"] * np.linalg.norm(expected.astype(np.float64)), f"{what}: apart by {apart}"
