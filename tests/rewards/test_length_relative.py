"""Methods that compare within the group, by numbers worked on paper."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.grpo.advantage import group_relative
from jaxreason.rewards import length_relative as relative
from tests.helpers import TOLERANCE
from tests.rewards.test_length import seen


def near(got, expected):
    np.testing.assert_allclose(got, expected, rtol=TOLERANCE["sum"], atol=TOLERANCE["sum"])


def test_tlmre():
    """Right answers of 10 and 30 tokens are one deviation (10) below and above their mean: 1 - sigmoid(-1), ..."""
    step = seen([[True, True, False]], [[10, 30, 50]], max_length=60)
    sigmoid = 1 / (1 + np.exp(-1))
    near(relative.tlmre(step, weight=1.0).reward, [[sigmoid, 1 - sigmoid, 0.0]])
    near(relative.tlmre(seen([[True, False]], [[10, 50]], max_length=60)).reward, [[0.95, 0.0]])


def test_group_zscore():
    """Catches a z-score over all answers: the wrong one's 50 tokens would move it."""
    step = seen([[True, True, False]], [[10, 30, 50]], max_length=60)
    near(relative.group_zscore(step, weight=0.5).reward, [[np.exp(0.5), np.exp(-0.5), -1.0]])


def test_o1_pruner():
    """Mean 20, half right: 20/10 - 1 + 2 * 0.5 = 2 and 20/30 - 1 - 1 = -4/3; the clip holds a length of 1."""
    near(relative.o1_pruner(seen([[True, False]], [[10, 30]], max_length=60)).reward, [[2.0, -4 / 3]])
    near(relative.o1_pruner(seen([[True, False]], [[1, 59]], max_length=60)).reward, [[4.0, 30 / 59 - 2]])


def test_shorter_better():
    """Catches the shortest answer, right or wrong, taken for the shortest right one; none right: the mean, 20."""
    step = seen([[True, True, False]], [[20, 50, 10]], max_length=60)
    near(relative.shorter_better(step, weight=0.01).reward, [[2.0, 1.7, -0.1]])
    none = seen([[False, False]], [[10, 30]], max_length=60)
    near(relative.shorter_better(none, weight=0.01).reward, [[-0.1, -0.1]])


def test_dast():
    """Half right with mean 20 of 100: B = 60. 30 tokens: x = -1/2; 90: x = 1/2; right and wrong each."""
    step = seen([[True, True, False, False]], [[30, 10, 30, 90]], max_length=100)
    near(relative.dast(step).reward, [[0.75, 0.5 + 5 / 12, -0.55, -0.1]])


def test_alp():
    """Catches pressure that vanishes where nothing is right: the least rate is 1 / G."""
    step = seen([[True, True, True, False], [False] * 4], [[20, 40, 60, 100]] * 2, max_length=100)
    found = relative.alp(step)
    near(found.cost, [[0.15, 0.3, 0.45, 0.75], [0.05, 0.1, 0.15, 0.25]])
    near(found.reward, [[1, 1, 1, 0], [0, 0, 0, 0]])


def test_linear_pass_rate():
    """Catches the share of the limit for the share of the group's longest, 40."""
    step = seen([[True, True, False, False]], [[20, 40, 40, 10]], max_length=100)
    near(relative.linear_pass_rate(step, weight=0.4).reward, [[0.9, 0.8, -0.2, -0.05]])


def test_gr3():
    """A right answer that is long keeps a positive advantage: with the mean of raw rewards, 0.75, two would lose."""
    step = seen([[True, True, True, False]], [[100, 200, 300, 200]], max_length=400)
    reward = relative.gr3(step, weight=0.33).reward
    near(reward, [[1 / 1.165, 1 / 1.33, 1 / 1.495, 0.0]])
    advantage = np.asarray(group_relative(reward, step.keep, scale="none"))
    assert (advantage[0, :3] > 0).all()
    assert (np.asarray(reward)[0, 2] - 0.75) < 0


def test_drpo():
    """Lengths that differ by 0.1 ln 3 of the limit: weights 3/4 and 1/4, times the group's 4 rows."""
    step = seen([[True, True, False, False]], [[1000, 1000, 3000, 9]], max_length=10000)
    near(relative.drpo(step).reward, [[2.0, 2.0, -2.0, -2.0]])
    step = seen([[True, True, False, False]], [[10000, 20986, 3000, 9]], max_length=100000)
    np.testing.assert_allclose(relative.drpo(step).reward, [[3.0, 1.0, -2.0, -2.0]], rtol=1e-4)
    assert relative.drpo(seen([[True, True]], [[3, 9]])).reward.tolist() == [[1.0, 1.0]]
    assert relative.drpo(seen([[False, False]], [[3, 9]])).reward.tolist() == [[0.0, 0.0]]


def test_a_right_answer_never_loses_under_drpo_and_smart_thinker():
    """Catches a long right answer with a negative advantage, which pushes the policy away from being right."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        step = seen(rng.random((4, 8)) < 0.6, rng.integers(1, 100, (4, 8)), max_length=100)
        for method, scale in ((relative.drpo, "none"), (relative.smart_thinker, "group")):
            advantage = np.asarray(group_relative(method(step).reward, step.keep, scale=scale))
            assert (advantage[np.asarray(step.right)] > -1e-4).all()


def test_smart_thinker():
    """All lengths: mean 5, variance 9; right ones: mean 3, variance 1. L_opt = (9*3 - 1*5) / (9 - 1) = 2.75.

    The right answer of 4 tokens costs 1.25, the mean cost is 0.3125 and half are wrong: lambda = 0.5 / 0.9375.
    """
    step = seen([[True, True, False, False]], [[2, 4, 4, 10]], max_length=20)
    near(relative.smart_thinker(step).reward, [[1.0, 1.0 - 1.25 * 0.5 / 0.9375, 0.0, 0.0]])
    near(relative.smart_thinker(seen([[True, True]], [[2, 9]])).reward, [[1.0, 1.0]])


def test_smart_thinker_where_right_answers_spread_more():
    """Catches the minimum of the ratio taken for its maximum: all right answers above the shortest pay."""
    step = seen([[True, True, False, False]], [[1, 19, 10, 10]], max_length=20)
    reward = np.asarray(relative.smart_thinker(step).reward)[0]
    assert reward[0] == 1.0
    near(reward[1], 1.0 - 0.5 / (18 * 3 / 4) * 18)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1, 0, 1, 0]),
        ({"share": 0.75}, [1, 1, 1, 0]),
        ({"share": 0.01}, [1, 0, 1, 0]),
        ({"by_efficiency": True}, [0, 1, 0, 1]),
    ],
)
def test_gfpo_keeps_the_shortest(options, expected):
    """Catches a filter on the longest, a single row that has no group, and efficiency that rewards short wrong ones."""
    step = seen([[False, True, False, True]], [[4, 6, 5, 9]])
    found = relative.gfpo(step, **options)
    assert np.asarray(found.keep).astype(int).tolist() == [expected]
    assert found.reward.tolist() == [[0.0, 1.0, 0.0, 1.0]]


def test_gfpo_counts_kept_rows_and_keeps_ties():
    """Catches half of a group that is half ungradable, and a tie decided by place."""
    step = dataclasses.replace(seen([[True] * 4], [[5, 5, 5, 1]]), keep=jnp.array([[True, True, True, False]]))
    assert relative.gfpo(step).keep.tolist() == [[True, True, True, False]]
    with pytest.raises(ValueError, match=r"reward.options.share: expected a number in \(0, 1\], got 0"):
        relative.gfpo(step, share=0)
