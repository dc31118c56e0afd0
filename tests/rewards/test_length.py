"""The other length rewards, by the numbers of their formulas."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.rewards import length
from tests.helpers import TOLERANCE

CORRECT = jnp.array([[True, True, True, False, False]])
LENGTH = jnp.array([[4, 5, 6, 4, 8]])
FINISHED = jnp.array([[True, True, True, True, False]])


def test_truncation_at_the_target():
    """Catches `<` for `<=`, and a right answer that was cut counted as right."""
    got = length.truncation(CORRECT, LENGTH, FINISHED, target_length=5, require_eos=True)
    assert got.tolist() == [[1.0, 1.0, 0.0, 0.0, 0.0]]
    cut = jnp.array([[False, True, True, True, True]])
    assert length.truncation(CORRECT, LENGTH, cut, target_length=5, require_eos=True)[0, 0] == 0
    assert length.truncation(CORRECT, LENGTH, cut, target_length=5, require_eos=False)[0, 0] == 1


def test_kimi():
    """Catches a bonus for short wrong answers, and 0/0 in a group of equal lengths."""
    np.testing.assert_allclose(
        length.kimi(CORRECT, LENGTH), [[1.2, 1.1, 1.0, 0.0, -0.2]], atol=TOLERANCE["elementwise"]
    )
    assert length.kimi(CORRECT, jnp.full((1, 5), 7)).tolist() == [[1.0, 1.0, 1.0, 0.0, 0.0]]


def test_laser():
    """Catches `<=` for `<`, and wrong answers paid by the plain form."""
    laser = length.laser(CORRECT, LENGTH, target_length=5)
    np.testing.assert_allclose(laser, [[1.4, 1.0, 1.0, 0.0, 0.0]], rtol=TOLERANCE["elementwise"])
    laser_d = length.laser_d(CORRECT, LENGTH, target_length=5)
    np.testing.assert_allclose(laser_d, [[1.4, 1.0, 1.0, 0.0, 0.4]], rtol=TOLERANCE["elementwise"])


def test_overlong():
    """Catches a penalty that starts at the limit rather than a buffer before it."""
    got = length.overlong(jnp.array([[80, 90, 100]]), max_length=100, buffer=20, weight=0.5)
    np.testing.assert_allclose(got, [[0.0, -0.25, -0.5]], atol=TOLERANCE["elementwise"])
    with pytest.raises(ValueError, match=r"buffer: expected 1\.\.max_length=100, got 0"):
        length.overlong(LENGTH, max_length=100, buffer=0)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [  # short right, long right, short wrong, long wrong
        ("all", [1, 1, 1, 1]),
        ("-I", [1, 1, 0, 0]),
        ("-L&C", [1, 0, 1, 1]),
        ("-L&C-S&I", [1, 0, 0, 1]),
        ("-L&C-L&I", [1, 0, 1, 0]),
    ],
)
def test_masking_table(strategy, expected):
    """Catches a cell of Table 1 masked under the wrong name."""
    got = length.masking(
        jnp.array([[True, True, False, False]]),
        jnp.array([[5, 6, 5, 6]]),
        jnp.ones((1, 4), bool),
        target_length=5,
        require_eos=True,
        strategy=strategy,
    )
    assert got.astype(int).tolist() == [expected]


def test_refuses_a_length_in_floats():
    """Catches characters or fractions handed in for tokens."""
    with pytest.raises(AssertionError):
        length.kimi(CORRECT, LENGTH.astype(jnp.float32))
