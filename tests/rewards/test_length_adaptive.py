"""Methods whose target moves, and what they remember, by numbers worked on paper."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.rewards import length_adaptive as adaptive
from jaxreason.rewards.length import Moment
from tests.helpers import TOLERANCE
from tests.rewards.test_length import seen


def at(step, **moment):
    return dataclasses.replace(step, moment=Moment(**{name: jnp.asarray(value) for name, value in moment.items()}))


@pytest.mark.parametrize(
    ("progress", "limit"),
    [(0.0, 100), (0.33, 100), (0.34, 75), (0.67, 50), (0.99, 50), (1.0, 50)],
)
def test_think_prune_comes_down_in_stages(progress, limit):
    """Catches a limit that falls at once or only at the end, and a last stage that never comes."""
    step = at(seen([[True, True, True, True]], [[50, 51, 75, 100]], max_length=100), progress=np.float32(progress))
    assert adaptive.think_prune(step).reward.tolist() == [[float(n <= limit) for n in (50, 51, 75, 100)]]


def test_think_prune_to_a_target_in_other_stages():
    """Catches a target that is passed over: from 100 to 20 in two stages; one stage is truncation."""
    step = at(seen([[True, True]], [[20, 60]], max_length=100), progress=np.float32(0.5))
    assert adaptive.think_prune(step, target_length=20, stages=2).reward.tolist() == [[1.0, 0.0]]
    assert adaptive.think_prune(step, target_length=20, stages=1).reward.tolist() == [[1.0, 0.0]]
    assert adaptive.think_prune(step, target_length=20).reward.tolist() == [[1.0, 1.0]]
    with pytest.raises(ValueError, match=r"reward.options.stages: expected at least 1, got 0"):
        adaptive.think_prune(step, stages=0)
    with pytest.raises(ValueError, match=r"moment.progress: expected an array for this method, got None"):
        adaptive.think_prune(seen())


def table(hard: float, medium: float, easy: float) -> np.ndarray:
    """Coverage that is complete from these shares of the limit on, and a half before."""
    share = np.arange(1, 17) / 16
    return np.stack([np.where(share >= border, 1.0, 0.5) for border in (hard, medium, easy)]).astype(np.float32)


def test_laser_d_dynamic_has_a_target_for_each_band():
    """Of six: 1 right is hard (coverage must be 1), 2 medium (2 expected: a half will do), 4 easy (a half as well).

    So 0.75 of 160 tokens for hard problems, and for the others the least that is allowed, a quarter.
    """
    right = [[True] + [False] * 5, [True] * 2 + [False] * 4, [True] * 4 + [False] * 2]
    step = at(seen(right, [[120, 40, 41, 121, 1, 1]] * 3, max_length=160), memory=table(0.75, 0.75, 0.75))
    reward = adaptive.laser_d_dynamic(step).reward
    assert reward.tolist() == [
        [1.5, -0.5, -0.5, -0.5, -0.5, -0.5],
        [1.0, 1.5, -0.5, -0.5, -0.5, -0.5],
        [1.0, 1.5, 1.0, 1.0, -0.5, -0.5],
    ]
    assert adaptive.laser_d_dynamic(step, lowest=0.75).reward[1].tolist() == [1.5, 1.5, -0.5, -0.5, -0.5, -0.5]
    new = at(step, memory=adaptive.coverage({}, ["a", "b", "c"]))
    assert adaptive.laser_d_dynamic(new).reward[2].tolist() == [1.5, 1.5, 1.5, 1.5, -0.5, -0.5]


def test_laser_de_pays_long_wrong_answers_that_do_not_repeat():
    """Catches payment for a loop, and for a short wrong answer."""
    step = seen([[True, False, False, False]], [[100, 100, 101, 102]], max_length=160)
    step = at(step, memory=table(0.625, 1, 1), repeats=[[False, False, False, True]])
    assert adaptive.laser_de(step).reward.tolist() == [[1.5, -0.5, 0.0, -0.5]]


def test_hapo():
    """h = 20: a right answer of 10 gains cos 45, of 20 cos 90, of 40 is held at -0.7; a wrong one gains nothing."""
    step = at(seen([[True] * 3 + [False] * 2], [[10, 20, 40, 10, 30]], max_length=60), memory=np.float32([20]))
    root = np.sqrt(0.5)
    expected = [[1 + root, 1.0, 0.3, 0.0, -root]]
    np.testing.assert_allclose(adaptive.hapo(step).reward, expected, atol=TOLERANCE["sum"])
    new = at(step, memory=np.float32([0]))
    assert adaptive.hapo(new).reward.tolist() == [[1.0, 1.0, 1.0, 0.0, 0.0]]


def test_the_history_keeps_the_shortest_right_answer():
    """Catches a wrong answer's length kept, a longer one that replaces a shorter, and a memory that JSON changes."""
    right, length = np.array([[True, False], [False, False]]), np.array([[30, 10], [5, 6]])
    memory = adaptive.keep_shortest({}, ["a", "b"], right, length, 60)
    assert memory == {"a": 30}
    assert adaptive.keep_shortest(memory, ["a", "c"], right, length + 5, 60) == {"a": 30}
    memory = adaptive.keep_shortest(memory, ["b", "a"], right, length - 9, 60)
    assert json.loads(json.dumps(memory)) == memory == {"a": 30, "b": 21}
    assert adaptive.shortest_right(memory, ["b", "x", "a"]).tolist() == [21, 0, 30]


def test_coverage_counts_by_band_and_forgets():
    """Catches a band's answers counted for another, and a table that never forgets its start."""
    right = np.array([[False, False, False], [True, False, False], [True, True, True]])
    length = np.array([[16, 16, 16], [1, 8, 16], [4, 4, 4]])
    memory = adaptive.count_coverage({}, ["a", "b", "c"], right, length, 16)
    found = adaptive.coverage(memory, [])
    assert memory["count"] == [3, 3, 3]
    assert found[0].tolist() == [0.0] * 15 + [1.0]
    np.testing.assert_allclose(found[1, [0, 6, 7, 14, 15]], [1 / 3, 1 / 3, 2 / 3, 2 / 3, 1])
    assert found[2].tolist() == [0.0] * 3 + [1.0] * 13
    for _ in range(200):
        memory = adaptive.count_coverage(memory, ["a"], right[2:], np.full((1, 3), 16), 16)
    assert json.loads(json.dumps(memory)) == memory
    np.testing.assert_allclose(adaptive.coverage(memory, [])[2, :15], 0, atol=1e-3)
    np.testing.assert_allclose(memory["count"][2], 3 * adaptive.REFRESH, rtol=1e-3)
