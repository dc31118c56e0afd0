"""A comparison as one self-contained page: tables, accuracy against tokens, and where methods collapse."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxreason.compare.words import chooses, held_out, notes, tables
from jaxreason.report import chart, document
from jaxreason.report.curves import figure, tone
from jaxreason.report.markup import Markup, el, join
from jaxreason.report.tables import in_box, two_lines
from jaxreason.report.wording import brief, number, percent

ROW, NAME, TOP = 30, 116, 24
"""Of the map, in units of the drawing: height of a row, width of the names, height of the heading."""

CURVES: dict[str, tuple[str, Callable[[float], str]]] = {
    "accuracy": ("Accuracy over the steps", lambda value: percent(value, 0)),
    "mean_tokens": ("Tokens over the steps", brief),
}
"""Figures of an evaluation -> title, and how values are written."""


def page(found: dict[str, Any], title: str) -> str:
    """The page's text."""
    plots = [plot for mode in ("sampled", "greedy") if (plot := pareto(found, mode)) is not None]
    plots += [plot for name in CURVES if (plot := curves(found, name)) is not None]
    plots += [drawn] if (drawn := collapse_map(found)) is not None else []
    states = [cell["status"] for cell in found["cells"]]
    counted = ", ".join(f"{states.count(s)} {s}" for s in ("finished", "failed", "unfinished") if states.count(s))
    failed = [el("li", el("b", cell["name"]), f": {cell['error']}") for cell in found["cells"] if cell["error"]]
    parts = [
        el("h1", title),
        el("p", f"{len(states)} runs: {counted}.", class_="lead"),
        el("p", notes(found), class_="note"),
        el("div", *plots, class_="charts wide") if plots else None,
        [
            el("section", el("h2", name), in_box([_row("th", head)], [_row("td", row) for row in rows]))
            for name, head, rows in tables(found)
            if rows
        ],
        el("div", el("b", "Failed"), el("ul", *failed), class_="warnings") if failed else None,
    ]
    return document(title, join(*parts))


def _row(tag: str, cells: Sequence[str]) -> Markup:
    first = el("th", cells[0], scope="row" if tag == "td" else "col")
    return el("tr", first, *[el(tag, _cell(cell) if tag == "td" else cell) for cell in cells[1:]])


def _cell(text: str) -> Markup:
    """A figure above its spread, and `none` above why, small."""
    value, plus, spread = text.partition(" ± ")
    if plus:
        return two_lines(value, f"± {spread}")
    value, _, why = text.partition(" (")
    return two_lines(value, why.removesuffix(")"))


def pareto(found: dict[str, Any], mode: str) -> Markup | None:
    """Accuracy against tokens: a point a method and alpha, those of one method joined, the chosen one named."""
    which = "final" if any(row["final"] for row in found["rows"]) else "tuning"
    several = chooses(found)
    points, links = [], []
    for i, (name, choice) in enumerate(found["methods"].items()):
        mine = [row for row in found["rows"] if row["method"] == name]
        before = None
        for n, row in enumerate(mine):
            at = row[which].get(mode, {}).get("all", {})
            x, y = number(at, "mean_tokens", "mean"), number(at, "accuracy", "mean")
            if x is None or y is None or (several and row["collapsed"]):
                continue
            alpha = "" if row["alpha"] is None or not several else f" {row['alpha']:g}"
            chosen = choice["row"] == n or not several
            dx, dy = number(at, "mean_tokens", "deviation"), number(at, "accuracy", "deviation")
            bars = (None, None) if dy is None or not chosen else (y - dy, y + dy)
            sides = (None, None) if dx is None or not chosen else (x - dx, x + dx)
            label = f"{name}{alpha}" if chosen else ""
            hollow = not chosen or bool(row["collapsed"])
            point = chart.Point(label, tone(i), x, y, *bars, *sides, hollow=hollow)
            points.append(point)
            if before is not None:
                links.append((before, point))
            before = point
    if not points:
        return None
    low = min(p.y if p.y_low is None else p.y_low for p in points)
    high = max(p.y if p.y_high is None else p.y_high for p in points)
    room = 0.1 * max(high - low, 0.05)
    right = chart.round_up(max(p.x_high or p.x for p in points))
    frame = chart.Frame(0, right, max(0.0, low - room), min(1.0, high + room), height=_height(found))
    drawing = chart.scatter(
        f"Accuracy against tokens, {mode}", points, frame, x_name="tokens", write=lambda v: percent(v, 0), links=links
    )
    where = "final problems" if which == "final" and found["final_problems"] else held_out(found)
    collapsed = any(row["collapsed"] for row in found["rows"])
    if several:
        note = f"Means over seeds on the {where}; a ring an alpha, the chosen one filled, named and with its spread."
        note += " Alphas at which a seed collapsed are left out." if collapsed else ""
    else:
        note = f"Means over seeds on the {where}, with their spread."
        note += " A ring: a seed collapsed." if collapsed else ""
    return figure(mode.capitalize(), note, drawing)


def _height(found: dict[str, Any]) -> int:
    """Of a drawing beside which every method is named."""
    return max(300, chart.TOP + chart.BOTTOM + chart.GAP * len(found["methods"]))


def curves(found: dict[str, Any], name: str) -> Markup | None:
    """A figure of all evaluations over the steps, a line a method; None where nothing was evaluated on the way."""
    title, write = CURVES[name]
    series = []
    for i, (method, choice) in enumerate(found["methods"].items()):
        mine = [row for row in found["rows"] if row["method"] == method]
        curve = mine[0 if choice["row"] is None else choice["row"]]["curve"]
        x, y = (np.array([at["step"] for at in curve]), [number(at, name, "mean") for at in curve])
        if len(curve) > 2:
            value = np.array([np.nan if v is None else v for v in y])
            series.append(chart.Series(method, tone(i), x, value, smooth=False))
    if not series:
        return None
    low, high = (f([f(one.value) for one in series]) for f in (np.nanmin, np.nanmax))
    last = max(one.x[-1] for one in series)
    bottom = 0.0 if name == "mean_tokens" else max(0.0, low - 0.1 * (high - low))
    top = chart.round_up(high) if name == "mean_tokens" else min(1.0, high + 0.1 * (high - low))
    frame = chart.Frame(0, float(last), bottom, top, height=_height(found))
    note = f"Sampled answers to the {held_out(found)}, means over seeds."
    return figure(title, note, chart.lines(title, series, frame, write=write, valued=False))


def collapse_map(found: dict[str, Any]) -> Markup | None:
    """Method by alpha: final sampled accuracy as depth of colour, and how many seeds collapsed; None without a choice
    of alphas."""
    if not chooses(found):
        return None
    alphas = sorted({row["alpha"] for row in found["rows"] if row["alpha"] is not None})
    names = [m for m in found["methods"] if any(r["method"] == m and r["alpha"] is not None for r in found["rows"])]
    wide = (chart.WIDTH - NAME) / len(alphas)
    body = [el("text", "alpha", x=0, y=TOP - 8, class_="tick")]
    body += [
        el("text", f"{alpha:g}", x=round(NAME + (n + 0.5) * wide, 1), y=TOP - 8, class_="tick", text_anchor="middle")
        for n, alpha in enumerate(alphas)
    ]
    for i, name in enumerate(names):
        y = TOP + i * ROW
        body.append(el("text", chart.short(name), x=0, y=y + ROW / 2 + 4, class_="end ink"))
        for row in [row for row in found["rows"] if row["method"] == name]:
            body += _square(row, round(NAME + alphas.index(row["alpha"]) * wide, 1), y, round(wide - 2, 1))
    drawing = el(
        "svg",
        *body,
        viewBox=f"0 0 {chart.WIDTH} {TOP + len(names) * ROW}",
        role="img",
        aria_label="Where methods collapse",
    )
    note = (
        "Sampled accuracy in percent after training, by method and alpha, on the tuning problems; deeper is higher. "
        "A cross and a number: seeds that collapsed."
    )
    return figure("Where methods collapse", note, drawing)


def _square(row: dict[str, Any], x: float, y: float, wide: float) -> list[Markup]:
    accuracy = number(row, "tuning", "sampled", "all", "accuracy", "mean")
    bad = row["collapsed"]
    shown = "–" if accuracy is None else f"{100 * accuracy:.0f}"
    words = [
        f"{row['method']}, alpha {row['alpha']:g}: {percent(accuracy)}, {bad} of {len(row['seeds'])} seeds collapsed"
    ]
    depth = 0.12 + 0.6 * (accuracy or 0.0)
    square = el(
        "rect",
        el("title", *words),
        x=x,
        y=y,
        width=wide,
        height=ROW - 2,
        rx=3,
        class_="area warm" if bad else "area accent",
        opacity=round(depth, 2),
    )
    text = f"{shown} ✕{bad}" if bad else shown
    middle = {"x": round(x + wide / 2, 1), "y": y + ROW / 2 + 3, "class_": "inside", "text_anchor": "middle"}
    return [square, el("text", text, **middle)]
