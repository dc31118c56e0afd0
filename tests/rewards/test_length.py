"""The length methods, by the numbers of their formulas."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.rewards import length
from jaxreason.rewards.length import Completions
from tests.helpers import TOLERANCE

RIGHT = [[True, True, True, False, False]]
LENGTH = [[4, 5, 6, 4, 8]]


def seen(right=RIGHT, tokens=LENGTH, *, max_length=10, charged=None, y=None) -> Completions:
    tokens = jnp.asarray(tokens)
    flat = jnp.ones(tokens.shape, bool)
    y = tokens.astype(jnp.float32) if y is None else jnp.asarray(y)
    return Completions(
        right=jnp.asarray(right), length=tokens, length_y=y, charged=y if charged is None else jnp.asarray(charged),
        finished=flat, keep=flat, max_length=max_length,
    )  # fmt: skip


def test_penalty_by_hand():
    """Catches division by the rollout's own length, and a cost above 1."""
    of = {"right": [[True, False]], "tokens": [[61, 181]], "max_length": 100, "y": [[60.0, 180.0]]}
    step = seen(**of, charged=[[30.0, 150.0]])
    limit = length.penalty(step)
    np.testing.assert_allclose(limit.cost, [[0.3, 1.0]], rtol=TOLERANCE["elementwise"])
    assert limit.reward.tolist() == [[1.0, 0.0]]
    mean = length.penalty(step, normalize_length="group_mean")
    np.testing.assert_allclose(mean.cost, [[0.25, 1.25]], rtol=TOLERANCE["elementwise"])
    empty = seen(**(of | {"y": [[0.0, 0.0]]}))
    assert length.penalty(empty, normalize_length="group_mean").cost.tolist() == [[0.0, 0.0]]


def test_truncation_at_the_target():
    """Catches `<` for `<=`, and a target of 0 taken literally."""
    assert length.truncation(seen(), target_length=5).reward.tolist() == [[1.0, 1.0, 0.0, 0.0, 0.0]]
    assert length.truncation(seen()).reward.tolist() == [[1.0, 1.0, 1.0, 0.0, 0.0]]


def test_kimi():
    """Catches a bonus for short wrong answers, and 0/0 in a group of equal lengths."""
    np.testing.assert_allclose(length.kimi(seen()).reward, [[1.2, 1.1, 1.0, 0.0, -0.2]], atol=TOLERANCE["elementwise"])
    assert length.kimi(seen(tokens=[[7] * 5])).reward.tolist() == [[1.0, 1.0, 1.0, 0.0, 0.0]]


def test_laser():
    """Catches `<=` for `<`, and wrong answers paid by the plain form."""
    laser = length.laser(seen(), target_length=5).reward
    np.testing.assert_allclose(laser, [[1.4, 1.0, 1.0, 0.0, 0.0]], rtol=TOLERANCE["elementwise"])
    laser_d = length.laser_d(seen(), target_length=5, weight=0.2).reward
    np.testing.assert_allclose(laser_d, [[1.2, 1.0, 1.0, 0.0, 0.2]], rtol=TOLERANCE["elementwise"])


def test_overlong():
    """Catches a penalty that starts at the limit rather than a buffer before it."""
    of = seen([[True, True, False]], [[80, 90, 100]], max_length=100)
    got = length.overlong(of, buffer=20, weight=0.5).reward
    np.testing.assert_allclose(got, [[1.0, 0.75, -0.5]], atol=TOLERANCE["elementwise"])
    np.testing.assert_allclose(length.overlong(of).reward, [[1.0, 0.5, -1.0]], atol=TOLERANCE["elementwise"])
    with pytest.raises(ValueError, match=r"reward.options.buffer: expected 0..max_completion_length=100, got 101"):
        length.overlong(of, buffer=101)


def test_cosine():
    """Catches right and wrong exchanged, and a cut answer paid like a finished one: cos of 0, 60, 90, 180 degrees."""
    step = seen([[True, True, False, False, True]], [[0, 40, 60, 120, 120]], max_length=120)
    step = dataclasses.replace(step, finished=jnp.array([[True, True, True, True, False]]))
    expected = [[2.0, 1.75, -5.0, 0.0, -10.0]]
    np.testing.assert_allclose(length.cosine(step).reward, expected, atol=TOLERANCE["sum"])


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [  # short right, long right, short wrong, long wrong
        ("all", [1, 1, 1, 1]),
        ("-I", [1, 1, 0, 0]),
        ("-L&C", [1, 0, 1, 1]),
        ("-S&I", [1, 1, 0, 1]),
        ("-L&I", [1, 1, 1, 0]),
        ("-L&C-S&I", [1, 0, 0, 1]),
        ("-L&C-L&I", [1, 0, 1, 0]),
        ("-S&I-L&I", [1, 1, 0, 0]),
    ],
)
def test_masking_table(strategy, expected):
    """Catches a cell of Table 1 masked under the wrong name."""
    step = seen([[True, True, False, False]], [[5, 6, 5, 6]])
    assert length.masking(step, strategy, target_length=5).astype(int).tolist() == [expected]


def test_refuses_a_length_in_floats():
    """Catches characters or fractions handed in for tokens."""
    with pytest.raises(AssertionError):
        length.truncation(seen(tokens=[[4.0, 5.0, 6.0, 4.0, 8.0]]))
