"""Charts as inline SVG: lines over steps, stacked areas, points with error bars. Colours are classes of style.css.

Every chart of a kind has the same frame, so that charts below each other share their axes. A series is labelled at its
end and not in a legend. This module knows no metric by name.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from jaxreason.report.markup import Markup, el
from jaxreason.report.wording import brief

WIDTH, HEIGHT = 400, 224
LEFT, RIGHT, TOP, BOTTOM = 42, 86, 10, 26
GAP = 13
"""Between names beside a chart."""
MAX_POINTS = 300
"""Of a series; a longer one is thinned after smoothing."""


@dataclasses.dataclass(frozen=True)
class Series:
    """Numbers over x. `value` may hold NaN where nothing was counted."""

    name: str
    tone: str  # a class of style.css: ink, accent, warm, soft, s1..s5, r0..r7
    x: np.ndarray
    value: np.ndarray
    smooth: bool = True  # whether the line is a running mean behind faint points; else the values joined


@dataclasses.dataclass(frozen=True)
class Point:
    """A measured point; low and high are the ends of its interval, None where there is none."""

    name: str
    tone: str
    x: float
    y: float
    y_low: float | None = None
    y_high: float | None = None
    x_low: float | None = None
    x_high: float | None = None
    hollow: bool = False


@dataclasses.dataclass(frozen=True)
class Bars:
    """Shares of a histogram's bins."""

    name: str
    tone: str
    share: np.ndarray  # [bins]


@dataclasses.dataclass(frozen=True)
class Frame:
    """From data to the coordinates of the drawing; what lies above or below the axis is drawn at its edge."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float
    height: int = HEIGHT

    def x(self, value: float) -> float:
        share = (value - self.x_low) / ((self.x_high - self.x_low) or 1)
        return round(LEFT + min(1.0, max(0.0, share)) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self.y_low) / ((self.y_high - self.y_low) or 1)
        return round(self.height - BOTTOM - min(1.0, max(0.0, share)) * (self.height - BOTTOM - TOP), 1)


def smoothed(value: np.ndarray) -> np.ndarray:
    """A Gaussian running mean over a fortieth of the series (one and a half entries at least), NaN left out.

    Fewer than ten entries stay as they are; a NaN between neighbours becomes their mean, one without stays.
    """
    if len(value) < 10:
        return value
    sigma = bandwidth(len(value))
    reach = min(math.ceil(3 * sigma), (len(value) - 1) // 2)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    there = np.isfinite(value)
    total = np.convolve(np.where(there, value, 0.0), kernel, mode="same")
    weight = np.convolve(there.astype(float), kernel, mode="same")
    return np.where(weight > 1e-6, total / np.maximum(weight, 1e-6), np.nan)


def bandwidth(num_points: int) -> float:
    """Standard deviation of the running mean, in entries of the series."""
    return max(1.5, num_points / 40)


def lines(
    title: str,
    series: Sequence[Series],
    frame: Frame,
    *,
    write: Callable[[float], str] = brief,
    points: Sequence[Point] = (),
    marks: Sequence[tuple[int, str]] = (),
    level: tuple[float, str] | None = None,
    x_name: str = "step",
    valued: bool = True,
) -> Markup:
    """Lines with faint points behind them, each named at its end.

    Args:
      write: how a value is written on the axis and behind a name.
      points: drawn on top, with their intervals and without names.
      marks: (x, text) of warnings; a triangle on the axis, the text on hovering.
      level: a value to compare with, and its name; a dashed line.
      valued: whether the last value stands behind a line's name.
    """
    body, ends = [*_axes(frame, write, x_name)], []
    if level is not None and frame.y_low <= level[0] <= frame.y_high:
        y = frame.y(level[0])
        body.append(el("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="level"))
        body.append(_text(LEFT + 4, y - 4, level[1], "tick"))
    for one in series:
        there = np.flatnonzero(np.isfinite(one.value))
        if not len(there):
            continue
        drawn = smoothed(one.value) if one.smooth else one.value
        if one.smooth and len(one.value) >= 10:
            dots = "".join(f"M{frame.x(float(one.x[i]))} {frame.y(float(one.value[i]))}h0" for i in _thin(there))
            body.append(el("path", d=dots, class_=f"raw {one.tone}"))
        body.append(el("path", d=_path(frame, one.x, drawn), class_=f"run {one.tone}"))
        last = np.flatnonzero(np.isfinite(drawn))[-1]
        name = f"{one.name} {write(float(drawn[last]))}".strip() if valued else one.name
        ends.append((frame.y(float(drawn[last])), one.tone, name))
    body += [_point(frame, point) for point in points]
    body += [_mark(frame, x, text) for x, text in marks]
    body += _end_labels(ends, frame)
    return _svg(title, body, frame)


def stacked(
    title: str,
    series: Sequence[Series],
    frame: Frame,
    *,
    write: Callable[[float], str] = brief,
    marks: Sequence[tuple[int, str]] = (),
) -> Markup:
    """Areas on top of each other, the first at the bottom; a name where the last part is thick enough to be seen."""
    body, ends = [*_axes(frame, write, "step")], []
    x = series[0].x
    base = np.zeros(len(x))
    known = np.isfinite(sum(one.value for one in series))
    for one in series:
        height = np.nan_to_num(smoothed(np.where(known, one.value, np.nan)))
        top = base + height
        kept = _thin(np.flatnonzero(known))
        if len(kept):
            there = [f"{frame.x(x[i])} {frame.y(top[i])}" for i in kept]
            back = [f"{frame.x(x[i])} {frame.y(base[i])}" for i in reversed(kept)]
            area = el("path", el("title", one.name), d=f"M{'L'.join([*there, *back])}Z", class_=f"area {one.tone}")
            body.append(area)
            low, high = frame.y(base[kept[-1]]), frame.y(top[kept[-1]])
            if low - high >= 5:
                name = f"{one.name} {write(float(height[kept[-1]]))}".strip()
                ends.append(((low + high) / 2, "soft", name))
        base = top
    body += [_mark(frame, at, text) for at, text in marks]
    body += _end_labels(ends, frame)
    return _svg(title, body, frame)


def scatter(
    title: str,
    points: Sequence[Point],
    frame: Frame,
    *,
    x_name: str,
    write: Callable[[float], str],
    links: Sequence[tuple[Point, Point]] = (),
) -> Markup:
    """Points with error bars in both directions, named beside the chart; `links` are dotted lines between two."""
    body, ends = [*_axes(frame, write, x_name)], []
    named = [point for point in points if point.name]
    for point, place in zip(named, _spread_over(frame, [frame.y(point.y) for point in named]), strict=True):
        path = f"M{frame.x(point.x)} {frame.y(point.y)}L{WIDTH - RIGHT + 4} {round(place, 1)}"
        body.append(el("path", d=path, class_=f"lead {point.tone}"))
        ends.append((frame.y(point.y), point.tone, short(point.name, 12)))
    for start, end in links:
        path = f"M{frame.x(start.x)} {frame.y(start.y)}L{frame.x(end.x)} {frame.y(end.y)}"
        body.append(el("path", d=path, class_="link"))
    body += [_point(frame, point) for point in sorted(points, key=lambda p: not p.hollow)]
    body += _end_labels(ends, frame)
    return _svg(title, body, frame)


def histogram(
    title: str,
    bars: Sequence[Bars],
    edges: np.ndarray,
    frame: Frame,
    *,
    write: Callable[[float], str],
    marks: Sequence[tuple[float, str]] = (),
    x_name: str = "tokens",
) -> Markup:
    """Outlines of histograms over the same bins, the later ones on top, each named at the height of its peak.

    Args:
      edges: of the bins, one more than there are shares.
      marks: (x, name) of dashed lines that stand upright.
    """
    body, ends = [*_axes(frame, write, x_name)], []
    for one in bars:
        steps = "".join(
            f"V{frame.y(float(share))}H{frame.x(float(edge))}" for share, edge in zip(one.share, edges[1:], strict=True)
        )
        outline = f"M{frame.x(float(edges[0]))} {frame.y(0)}{steps}V{frame.y(0)}"
        body.append(el("path", d=f"{outline}Z", class_=f"hist {one.tone}"))
        body.append(el("path", el("title", one.name), d=outline, class_=f"run {one.tone}"))
        ends.append((frame.y(float(one.share.max())), one.tone, one.name))
    for at, name in marks:
        body.append(el("line", x1=frame.x(at), x2=frame.x(at), y1=TOP, y2=frame.height - BOTTOM, class_="level"))
        body.append(_text(frame.x(at) + 4, TOP + 8, name, "tick"))
    body += _end_labels(ends, frame)
    return _svg(title, body, frame)


def bins(high: float, most: int) -> np.ndarray:
    """Edges of equally wide bins from 0 on that cover whole numbers up to `high`, at most `most`, of a round width.

    >>> bins(97, 10)[[0, 1, -1]].tolist()
    [0.0, 10.0, 100.0]
    """
    marks = ticks(0, max(high, 1.0), most)
    width = max(1.0, marks[1] - marks[0] if len(marks) > 1 else 1.0)
    return np.arange(math.floor(high / width) + 2) * width if high % width else np.arange(high / width + 1) * width


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between two, at most so many intervals.

    >>> ticks(0, 97)
    [0.0, 20.0, 40.0, 60.0, 80.0]
    """
    if not high > low:
        return [low]
    rough = (high - low) / most
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) + 0.0 for i in range(first, math.floor(high / step + 1e-9) + 1)]


def round_up(value: float) -> float:
    """The next tick above a value, as the end of an axis that begins at 0.

    >>> round_up(97), round_up(0.031)
    (100.0, 0.035)
    """
    if value <= 0:
        return 1.0
    marks = ticks(0, value)
    step = marks[1] - marks[0]
    part = step / 2
    return round(math.ceil(value / part - 1e-9) * part, 12)


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move labels apart until they are `gap` from each other, in their order and as little as need be.

    >>> spread([10.0, 12.0, 40.0], 12, 0, 100)
    [10.0, 22.0, 40.0]
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = list(places)
    floor = low
    for i in order:
        moved[i] = floor = max(moved[i], floor)
        floor += gap
    ceiling = high
    for i in reversed(order):
        moved[i] = ceiling = min(moved[i], ceiling)
        ceiling -= gap
    return moved


def _thin(index: np.ndarray) -> list[int]:
    if len(index) <= MAX_POINTS:
        return index.tolist()
    return index[np.linspace(0, len(index) - 1, MAX_POINTS).round().astype(int)].tolist()


def _path(frame: Frame, x: np.ndarray, value: np.ndarray) -> str:
    there = _thin(np.flatnonzero(np.isfinite(value)))
    points = [f"{frame.x(x[i])} {frame.y(value[i])}" for i in there]
    return f"M{points[0]}h0" if len(points) == 1 else "M" + "L".join(points)


def _axes(frame: Frame, write: Callable[[float], str], x_name: str) -> list[Markup]:
    bottom, parts = frame.height - BOTTOM, []
    for value in ticks(frame.y_low, frame.y_high, 4):
        y = frame.y(value)
        parts.append(el("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        shown = f"{value:,g}".replace("-", "−") if write is brief else write(value)
        parts.append(_text(LEFT - 6, y + 4, shown, "tick", anchor="end"))
    parts.append(el("line", x1=LEFT, x2=WIDTH - RIGHT, y1=bottom, y2=bottom, class_="axis"))
    for value in ticks(frame.x_low, frame.x_high, 5):
        if value == round(value):
            parts.append(_text(frame.x(value), bottom + 17, f"{value:,.0f}", "tick", anchor="middle"))
    parts.append(_text(WIDTH - RIGHT + 22, bottom + 17, x_name, "tick"))
    return parts


def _point(frame: Frame, point: Point) -> Markup:
    x, y = frame.x(point.x), frame.y(point.y)
    bars = ""
    if point.y_low is not None and point.y_high is not None:
        bars += f"M{x} {frame.y(point.y_low)}V{frame.y(point.y_high)}"
    if point.x_low is not None and point.x_high is not None:
        bars += f"M{frame.x(point.x_low)} {y}H{frame.x(point.x_high)}"
    return el(
        "g",
        el("title", point.name) if point.name else None,
        el("path", d=bars, class_="bar") if bars else None,
        el("circle", cx=x, cy=y, r=4, class_="ring" if point.hollow else "dot"),
        class_=point.tone,
    )


def _mark(frame: Frame, x: float, text: str) -> Markup:
    at, y = frame.x(x), frame.height - BOTTOM
    return el("path", el("title", text), d=f"M{at} {y - 1}l4.5 -8h-9z", class_="mark")


def _end_labels(ends: Sequence[tuple[float, str, str]], frame: Frame) -> list[Markup]:
    places = _spread_over(frame, [y for y, _, _ in ends])
    return [
        _text(WIDTH - RIGHT + 7, round(place + 4, 1), short(name), f"end {tone}")
        for place, (_, tone, name) in zip(places, ends, strict=True)
    ]


def _spread_over(frame: Frame, places: Sequence[float]) -> list[float]:
    """Where the labels beside a chart stand."""
    return spread(places, GAP, TOP, frame.height - BOTTOM)


def short(name: str, most: int = 14) -> str:
    """A name that fits beside a chart, its middle left out.

    >>> short("arithmetic-guarded-alpha1")
    'arithme…-alpha1'
    """
    half = most // 2
    return name if len(name) <= most else f"{name[:half]}…{name[-half:]}"


def _text(x: float, y: float, text: str, class_: str, anchor: str = "start") -> Markup:
    return el("text", text, x=x, y=y, class_=class_, text_anchor=None if anchor == "start" else anchor)


def _svg(title: str, body: Sequence[Markup], frame: Frame) -> Markup:
    return el("svg", *body, viewBox=f"0 0 {WIDTH} {frame.height}", role="img", aria_label=title)
