"""Several runs: one table, and accuracy against tokens."""

from collections.abc import Sequence

from jaxreason.report import chart
from jaxreason.report.curves import figure, interval, tone
from jaxreason.report.markup import Markup, el, join
from jaxreason.report.read import Run
from jaxreason.report.tables import (
    MODES,
    accuracy_cell,
    change_interval,
    in_box,
    mode_table,
    points_changed,
    tokens_cell,
    two_lines,
)
from jaxreason.report.wording import DASH, number, percent, signed


def side_by_side(runs: Sequence[Run]) -> Markup:
    """One row a run: settings, accuracy, tokens, change."""
    finals = [run.after.table if run.after else {} for run in runs]
    modes = [mode for mode in MODES if any(mode_table(table, mode) for table in finals)]
    groups = [("", 5), *[(mode, 4) for mode in modes]]
    names = ["run", "preset", "alpha", "seed", "steps", *["accuracy, %", "change", "tokens", "change"] * len(modes)]
    body = []
    for i, run in enumerate(runs):
        cells = [
            run.results.get("preset", run.setting("reward", "preset", DASH)),
            DASH if run.alpha is None else run.alpha,
            run.results.get("seed", run.setting("run", "seed", DASH)),
            run.steps,
        ]
        for mode in modes:
            table = mode_table(finals[i], mode)
            relative = number(run.results, "change", mode, "tokens_relative", "value")
            shorter = DASH if relative is None else f"{signed(100 * relative)} %"
            cells += [
                accuracy_cell(table),
                el("b", two_lines(signed(points_changed(run, mode)), change_interval(run, mode, "accuracy"))),
                tokens_cell(table),
                el("b", two_lines(shorter, change_interval(run, mode))),
            ]
        name = join(el("span", "●", class_=f"key {tone(i)}"), " ", run.label)
        body.append(el("tr", el("th", name, scope="row"), *[el("td", cell) for cell in cells]))
    head = [
        el("tr", *[el("th", name, colspan=wide, scope="colgroup") for name, wide in groups]),
        el("tr", *[el("th", name, scope="col") for name in names]),
    ]
    return in_box(head, body)


def pareto(runs: Sequence[Run], mode: str) -> Markup | None:
    """Accuracy against tokens with their intervals: every run after training, and where it began."""
    starts: dict[tuple[float, float], chart.Point] = {}
    points, links = [], []
    for i, run in enumerate(runs):
        start = _place(run.before.table, mode, "before", "soft", hollow=True) if run.before else None
        if start is not None:  # runs of one start share its point
            start = starts.setdefault((start.x, start.y), start)
        if run.after is not None:
            end = _place(run.after.table, mode, run.label, tone(i))
            if end is not None:
                points.append(end)
                if start is not None:
                    links.append((start, end))
    points = [*starts.values(), *points]
    if not points:
        return None
    right = chart.round_up(max(p.x_high or p.x for p in points))
    low = min(p.y if p.y_low is None else p.y_low for p in points)
    high = max(p.y if p.y_high is None else p.y_high for p in points)
    room = 0.15 * max(high - low, 0.05)
    frame = chart.Frame(0, right, max(0.0, low - room), min(1.0, high + room), height=300)
    title = mode.capitalize()
    drawing = chart.scatter(
        f"Accuracy against tokens, {mode}", points, frame, x_name="tokens", write=lambda v: percent(v, 0), links=links
    )
    note = "Accuracy against mean tokens on held-out problems, 95 % intervals. Up and to the left is better."
    return figure(title, note, drawing)


def _place(table: dict, mode: str, name: str, colour: str, *, hollow: bool = False) -> chart.Point | None:
    found = mode_table(table, mode)
    x, y = number(found, "mean_tokens"), number(found, "accuracy")
    if x is None or y is None:
        return None
    return chart.Point(name, colour, x, y, *interval(found, "accuracy"), *interval(found, "mean_tokens"), hollow=hollow)
