"""Figures of a step's row that need arithmetic of their own, by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from jaxreason.run import metrics


def test_the_spread_of_scores_and_their_dependence_on_the_place():
    """Catches a spread over the whole batch, which a scorer of constant but different completions would have, and
    completions of one chunk counted as constant."""
    value = np.array([[[5, 3, 1, 0], [2, 2, 0, 0]], [[4, 0, 0, 0], [0, 0, 0, 0]]])
    found = metrics._score_spread(value, value > 0)
    assert found["score/spread"] == pytest.approx((np.std([5, 3, 1]) + 0.0) / 2)
    off, place = [2, 0, -2, 0, 0], [0, 0.5, 1, 0, 1]
    assert found["score/place_correlation"] == pytest.approx(np.corrcoef(off, place)[0, 1])
    assert found["score/place_correlation"] < -0.7


def test_without_several_chunks_neither_is_a_number():
    value = np.array([[[4, 0], [0, 0]]])
    assert metrics._score_spread(value, value > 0) == {"score/spread": None, "score/place_correlation": None}


def test_completions_that_a_mask_leaves_out_are_not_rewarded():
    """Catches a share among those that count: under `-I` it is 1 where most answers are wrong, so the alarm that reads
    it would be blind to the very collapse this mask brings. By hand; one wrong answer could not be graded."""
    right = np.array([[1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    outcome = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])  # the second right one is too long
    gradable = np.array([[True, True, True, True], [True, True, True, False]])
    length = np.array([[10, 20, 30, 90], [5, 5, 6, 99]])
    episode = SimpleNamespace(
        rollouts={"reason": SimpleNamespace(length=length)},
        grades=SimpleNamespace(gradable=gradable.reshape(-1), status=["ok"] * 8),
        reasonings=[SimpleNamespace(ids=[], answer="1")] * 8,
        shape=(2, 4),
    )
    found = metrics._reasoner(episode, SimpleNamespace(parts={"accuracy": right, "outcome": outcome}))
    assert found["reason/reward/positive_share"] == pytest.approx(1 / 7)
    assert found["reason/accuracy"] == pytest.approx(2 / 7)
    assert found["reason/completions/mean_length_positive"] == 10
    assert found["reason/completions/mean_length_not_positive"] == pytest.approx((20 + 30 + 90 + 5 + 5 + 6) / 6)
