"""Measures of efficiency, by numbers worked on paper and by simulation."""

import numpy as np
import pytest

from jaxreason.evaluation import efficiency, metrics
from tests.helpers import TOLERANCE


def near(value):
    return pytest.approx(value, rel=TOLERANCE["elementwise"])


def test_the_efficiency_score_by_hand():
    """Catches absolute for relative changes, and a loss of accuracy weighed like a gain. 40 % saved; 10 % up, down."""
    assert efficiency.efficiency_score((0.5, 100), (0.55, 60)) == near(0.4 + 0.3)
    assert efficiency.efficiency_score((0.5, 100), (0.45, 60)) == near(0.4 - 0.5)
    assert efficiency.efficiency_score((0.5, 100), (0.45, 120), (1, 5, 10)) == near(-0.2 - 1.0)
    assert efficiency.efficiency_score((0.5, 100), (0.5, 100)) == 0
    assert efficiency.efficiency_score((0.0, 100), (0.5, 60)) is None


def test_the_area_is_the_mean_over_all_budgets():
    """Catches a sum over a few budgets taken for the integral: against a fine grid, and 2.5 + 0 of 8 by hand."""
    correct = np.array([[True, True], [True, False]])
    length = np.array([[25, 75], [50, 10]])
    assert efficiency.area_under_budgets(correct, length, 100) == near((0.75 + 0.25 + 0.5 + 0.0) / 4)
    grid = [np.mean(correct & (length <= t)) for t in np.arange(0.5, 60, 1)]
    assert efficiency.area_under_budgets(correct, length, 60) == pytest.approx(np.mean(grid), abs=5e-3)
    with pytest.raises(ValueError, match="limit: expected above 0 tokens, got 0"):
        efficiency.area_under_budgets(correct, length, 0)
    assert efficiency.f1(0.5, 1.0) == near(2 / 3)
    assert efficiency.f1(0.0, 1.0) == 0


def test_majority_votes_ties_and_silence():
    """Catches a tie decided by place, a vote of those who said nothing, and a cut answer that makes others wrong."""
    right = np.array([[True, True, False, False], [True, False, False, False], [False] * 4, [True, False, True, False]])
    said = [["7", "7", "8", "8"], ["1", "2", "2", "3"], [None] * 4, ["5", "5", "5", "4"]]
    assert efficiency.majority(said, right).tolist() == [0.5, 0, 0, 1]


def test_majority_of_one_sample_is_that_sample():
    rng = np.random.default_rng(0)
    right = rng.random((50, 1)) < 0.4
    said = [["right" if c else "wrong"] for (c,) in right]
    assert efficiency.majority(said, right).tolist() == right[:, 0].tolist()


def test_hypervolume_by_hand_and_by_counting():
    """Catches dominated points counted twice, and one beyond the reference that counts: 40*0.9 + 20*0.5 of 100."""
    points = [(60, 0.9), (40, 0.5), (80, 0.4), (60, 0.2), (120, 1.0)]
    assert efficiency.hypervolume(points, 100) == near(0.4 * 0.9 + 0.2 * 0.5)
    assert efficiency.hypervolume([(100, 1.0)], 100) == 0
    assert efficiency.hypervolume([], 100) == 0
    rng = np.random.default_rng(1)
    for _ in range(5):
        points = list(zip(rng.uniform(0, 120, 6), rng.random(6), strict=True))
        at = np.arange(0.5, 100) / 100
        covered = [max((a for t, a in points if t <= 100 * x), default=0.0) for x in at]
        assert efficiency.hypervolume(points, 100) == pytest.approx(np.mean(covered), abs=0.02)
    with pytest.raises(ValueError, match="tokens: expected a reference above 0, got 0"):
        efficiency.hypervolume(points, 0)


def difference(accuracy0, tokens0, accuracy, tokens):
    return accuracy - accuracy0


def test_the_bootstrap_agrees_with_the_normal_interval():
    """Catches draws that differ between the two policies, whose interval would be several times as wide."""
    rng = np.random.default_rng(2)
    hard = rng.random((300, 1))
    base = (rng.random((300, 4)) < hard, rng.integers(1, 100, (300, 4)))
    trained = (rng.random((300, 4)) < np.minimum(hard + 0.05, 1), rng.integers(1, 90, (300, 4)))
    expected = metrics.compare(base, trained)["accuracy"]
    found = efficiency.paired_bootstrap(base, trained, difference)
    assert found.value == near(expected.value)
    assert found.stderr == pytest.approx(expected.stderr, rel=0.1)
    assert found.low == pytest.approx(expected.low, abs=0.1 * expected.stderr * 2)
    assert found.high == pytest.approx(expected.high, abs=0.1 * expected.stderr * 2)
    assert found == efficiency.paired_bootstrap(base, trained, difference)


def test_the_bootstrap_of_the_same_policy_is_a_point():
    same = (np.array([[True], [False], [True]]), np.array([[5], [6], [9]]))
    assert efficiency.paired_bootstrap(same, same, difference) == metrics.Estimate(0.0, 0.0, 0.0, 0.0)
    one = (same[0][:1], same[1][:1])
    assert efficiency.paired_bootstrap(one, one, difference) == metrics.Estimate(0.0, None, None, None)
    with pytest.raises(ValueError, match="paired_bootstrap: expected the same problems, got 3 and 1"):
        efficiency.paired_bootstrap(same, one, difference)


def test_the_score_of_a_training():
    """Catches a score that forgets the pairs; and a start without a right answer, or with some that a draw can miss."""
    base = (np.array([[True, False]] * 20), np.full((20, 2), 100))
    trained = (np.array([[True, True]] * 20), np.full((20, 2), 40))
    found = efficiency.score_of_change(base, trained)
    assert (found.value, found.low, found.high) == (near(0.6 + 3), near(3.6), near(3.6))
    assert found.value == near(efficiency.efficiency_score((0.5, 100), (1.0, 40)))
    assert efficiency.score_of_change((np.zeros((20, 2), bool), base[1]), trained) is None
    few = (np.arange(40).reshape(20, 2) == 0, base[1])
    assert efficiency.score_of_change(few, trained).low is None
