"""Figures of a step's row that need arithmetic of their own, by hand."""

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
