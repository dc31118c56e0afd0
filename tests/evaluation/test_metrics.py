"""Figures of an evaluation, against numbers worked by hand, enumeration and simulation."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.evaluation import metrics
from tests.helpers import TOLERANCE

CORRECT_Qk = np.array([[1, 1, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0]], dtype=bool)
LENGTH_Qk = np.array([[10, 20, 30, 100], [100, 100, 50, 60], [40, 80, 20, 100]])
FINISHED_Qk = LENGTH_Qk < 100


def test_a_small_evaluation_worked_by_hand():
    row = metrics.summarize(CORRECT_Qk, LENGTH_Qk, FINISHED_Qk)
    # shares of right samples 3/4, 0, 1/2: mean 5/12; deviations 1/3, -5/12, 1/12
    stderr = np.sqrt(((1 / 3) ** 2 + (5 / 12) ** 2 + (1 / 12) ** 2) / 2 / 3)
    expected = {
        "problems": 3,
        "samples": 4,
        "accuracy": 5 / 12,
        "accuracy_stderr": stderr,
        "pass_at_1": 5 / 12,
        "pass_at_2": (1 + 0 + 5 / 6) / 3,  # 1 - C(1,2)/C(4,2) = 1; 0; 1 - C(2,2)/C(4,2) = 5/6
        "pass_at_4": 2 / 3,
        "mean_tokens": 710 / 12,
        "mean_tokens_correct": (10 + 20 + 30 + 40 + 20) / 5,
        "mean_tokens_wrong": 590 / 7,
        "truncation_rate": 4 / 12,
    }
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=TOLERANCE["elementwise"]), name
    assert 0 <= row["accuracy_low"] < row["accuracy"] < row["accuracy_high"] <= 1


@given(st.integers(1, 6).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_choices_that_hold_a_right_one(case):
    n, right, k = case
    samples = [True] * right + [False] * (n - right)
    choices = list(itertools.combinations(samples, k))
    expected = sum(any(choice) for choice in choices) / len(choices)
    assert metrics.pass_at(np.array([samples]), k) == pytest.approx(expected, rel=TOLERANCE["elementwise"])


def test_pass_at_k_of_many_samples_does_not_overflow():
    correct_Qk = np.zeros((1, 3000), bool)
    correct_Qk[0, 0] = True
    assert metrics.pass_at(correct_Qk, 1500) == pytest.approx(0.5, rel=TOLERANCE["sum"])


def test_the_error_is_of_problems_and_not_of_samples():
    """Ten equal samples of a problem tell no more than one; over Q k the error would be three times too small."""
    rng = np.random.default_rng(0)
    one_Q1 = rng.random((200, 1)) < 0.6
    ten_Qk = np.repeat(one_Q1, 10, axis=1)
    assert metrics.accuracy(ten_Qk) == metrics.accuracy(one_Q1)
    assert metrics.accuracy(one_Q1).stderr == pytest.approx(np.sqrt(0.6 * 0.4 / 200), rel=0.05)


def test_the_interval_covers_the_truth_95_times_in_100():
    """Problems of differing difficulty, four samples each; an interval that ignores clustering covers about 80."""
    rng = np.random.default_rng(1)
    covered, trials = 0, 600
    for _ in range(trials):
        difficulty_Q1 = rng.beta(0.5, 0.5, size=(60, 1))
        estimate = metrics.accuracy(rng.random((60, 4)) < difficulty_Q1)
        covered += estimate.low <= 0.5 <= estimate.high
    assert 0.925 <= covered / trials <= 0.985


@pytest.mark.parametrize("right", [True, False])
def test_when_all_agree_the_interval_is_no_point(right):
    """0 errors in 30 problems is not certainty: Wilson gives 30 / (30 + 1.96^2)."""
    estimate = metrics.accuracy(np.full((30, 1), right))
    bound = 30 / (30 + 1.959964**2)
    assert estimate.stderr == 0
    expected = (bound, 1.0) if right else (0.0, 1 - bound)
    assert (estimate.low, estimate.high) == pytest.approx(expected, rel=TOLERANCE["elementwise"])


def test_nothing_counted_is_none_and_not_nan():
    """NaN would reach a table; a single problem has no error."""
    none_right = metrics.summarize(np.zeros((1, 1), bool), np.array([[5]]), np.ones((1, 1), bool))
    assert none_right["mean_tokens_correct"] is None
    assert none_right["mean_tokens_wrong"] == 5
    assert none_right["accuracy_stderr"] is None
    assert none_right["mean_tokens_stderr"] is None


def test_labels_part_the_problems():
    rows = metrics.summarize_by(["b", "a", "b"], CORRECT_Qk, LENGTH_Qk, FINISHED_Qk)
    assert list(rows) == ["b", "a"]
    assert rows["a"]["accuracy"] == 0
    assert rows["b"]["accuracy"] == 5 / 8
    assert rows["b"]["problems"] == 2
    assert rows["a"]["mean_tokens_correct"] is None


def test_budgets_count_what_is_right_in_time():
    curve = metrics.at_budgets(CORRECT_Qk, LENGTH_Qk, (9, 10, 20, 100))
    assert [estimate.value for estimate in curve.values()] == [0, 1 / 12, 3 / 12, 5 / 12]
    assert metrics.default_budgets(4) == (1, 2, 3, 4)


def test_a_comparison_is_made_problem_by_problem():
    """Unpaired, the spread between easy and hard problems would drown the change."""
    rng = np.random.default_rng(2)
    base_Q1 = rng.integers(100, 1000, size=(50, 1))
    trained_Q1 = base_Q1 - 40
    correct_Q1 = np.ones((50, 1), bool)
    change = metrics.compare((correct_Q1, base_Q1), (correct_Q1, trained_Q1))
    assert change["tokens"].value == -40
    assert change["tokens"].stderr == 0
    assert change["accuracy"] == metrics.Estimate(0.0, 0.0, 0.0, 0.0)
    assert change["tokens_relative"].value == pytest.approx(-40 / base_Q1.mean(), rel=TOLERANCE["elementwise"])


def test_the_relative_change_has_the_error_of_a_bootstrap():
    rng = np.random.default_rng(3)
    before_Q = rng.gamma(4.0, 50.0, size=400)
    after_Q = before_Q * rng.uniform(0.4, 0.8, size=400)
    correct_Q1 = np.ones((400, 1), bool)
    estimate = metrics.compare((correct_Q1, before_Q[:, None]), (correct_Q1, after_Q[:, None]))["tokens_relative"]
    draws = rng.integers(0, 400, size=(2000, 400))
    ratios = after_Q[draws].mean(axis=1) / before_Q[draws].mean(axis=1)
    assert estimate.stderr == pytest.approx(ratios.std(), rel=0.08)
    assert estimate.low < -0.4 < estimate.high


def test_the_number_of_samples_may_differ_between_two_evaluations():
    change = metrics.compare((CORRECT_Qk, LENGTH_Qk), (CORRECT_Qk[:, :1], LENGTH_Qk[:, :1]))
    assert change["accuracy"].value == pytest.approx(2 / 3 - 5 / 12, rel=TOLERANCE["elementwise"])


def test_misuse_is_named():
    with pytest.raises(ValueError, match="at least one problem"):
        metrics.summarize(np.zeros((0, 1), bool), np.zeros((0, 1), int), np.zeros((0, 1), bool))
    with pytest.raises(ValueError, match="expected one for each of the 3 problems, got 1"):
        metrics.summarize_by(["a"], CORRECT_Qk, LENGTH_Qk, FINISHED_Qk)
    with pytest.raises(ValueError, match=r"k: expected 1\.\.4"):
        metrics.pass_at(CORRECT_Qk, 5)
    with pytest.raises(ValueError, match="expected the same problems, got 3 and 2"):
        metrics.compare((CORRECT_Qk, LENGTH_Qk), (CORRECT_Qk[:2], LENGTH_Qk[:2]))
    with pytest.raises(AssertionError):
        metrics.summarize(CORRECT_Qk, LENGTH_Qk[:, :2], FINISHED_Qk)
