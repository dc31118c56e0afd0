"""The drawings of the report."""

import itertools
import re

import numpy as np
import pytest

from jaxreason.report import chart
from tests.helpers import TOLERANCE


def test_smoothing_against_a_loop():
    """Zeros taken in for NaN, or an edge pulled down."""
    value = np.array([1.0, 4.0, np.nan, 2.0, 8.0, 5.0, 7.0, 1.0, 0.0, 3.0, 9.0, 2.0])
    expected = []
    for i in range(len(value)):
        near = [j for j in range(len(value)) if abs(i - j) <= 5 and np.isfinite(value[j])]
        weight = [np.exp(-0.5 * ((i - j) / 1.5) ** 2) for j in near]
        expected.append(sum(w * value[j] for w, j in zip(weight, near, strict=True)) / sum(weight))
    np.testing.assert_allclose(chart.smoothed(value), expected, rtol=TOLERANCE["sum"])
    np.testing.assert_allclose(chart.smoothed(np.full(50, 3.0)), 3.0, rtol=TOLERANCE["sum"])
    assert np.isnan(chart.smoothed(np.full(20, np.nan))).all()


def test_labels_move_apart_within_the_chart():
    """Labels on top of each other where lines meet, or pushed off the drawing."""
    for places in ([50.0, 50.0, 50.0], [99.0, 98.0, 97.0], [0.0, 0.0, 60.0]):
        moved = sorted(chart.spread(places, 12, 0, 100))
        assert all(b - a >= 12 for a, b in itertools.pairwise(moved))
        assert 0 <= moved[0]
        assert moved[-1] <= 100


def test_a_line_ends_where_the_data_end():
    """The y axis upside down, or a value drawn at its neighbour's step."""
    frame = chart.Frame(0, 10, 0.0, 1.0)
    svg = chart.lines("t", [chart.Series("", "ink", np.array([0.0, 10.0]), np.array([0.0, 1.0]), False)], frame)
    left, right = chart.LEFT, chart.WIDTH - chart.RIGHT
    assert f'd="M{left:.1f} {chart.HEIGHT - chart.BOTTOM:.1f}L{right:.1f} {chart.TOP:.1f}"' in svg


def test_names_beside_a_scatter_lead_to_their_points():
    """Names on top of each other where points meet, or a line that leads from another point."""
    frame = chart.Frame(0, 10, 0.0, 1.0)
    points = [chart.Point(f"run {n}", f"r{n}", 5.0, 0.5 + n / 1000) for n in range(3)]
    points.append(chart.Point("", "r3", 5.0, 0.5, hollow=True))
    svg = chart.scatter("t", points, frame, x_name="tokens", write=str)
    names = {n: float(y) for y, n in re.findall(r'<text x="\d+" y="([\d.]+)" class="end r\d">run (\d)</text>', svg)}
    assert set(names) == {"0", "1", "2"}
    assert names["1"] - names["2"] >= 13
    assert names["0"] - names["1"] >= 13
    for n, point in enumerate(points[:3]):
        (lead,) = re.findall(rf'<path d="(\S+ \S+ \S+)" class="lead r{n}"/>', svg)
        assert lead.startswith(f"M{frame.x(point.x)} {frame.y(point.y)}L")
        assert float(lead.split()[-1]) == pytest.approx(names[str(n)] - 4)
