"""Curves over steps: which metrics share a chart, and in what words. A chart without numbers is left out."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from jaxreason.report import chart
from jaxreason.report.markup import Markup, el, join
from jaxreason.report.read import Run
from jaxreason.report.wording import brief, fixed, number, percent, signed


@dataclasses.dataclass(frozen=True)
class Chart:
    """One chart of a run: what it says, and the metric of each line."""

    title: str
    note: str
    lines: tuple[tuple[str, str, str], ...]  # name, metric, tone
    write: Callable[[float], str] = brief
    bounds: tuple[float, float] | None = None  # of the y axis; None: from 0 to what there is, or around 0
    held_out: str = ""  # the figure of an evaluation that belongs here


def _share(value: float) -> str:
    return percent(value, 0)


UNIT = (0.0, 1.0)
CHARTS = (
    Chart(
        "Accuracy",
        "Share of right answers in training; rings are held-out problems, sampled.",
        (("", "reason/accuracy", "accent"),),
        _share,
        UNIT,
        "accuracy",
    ),
    Chart(
        "Tokens of an answer",
        "Means in training, of all answers and of the right and wrong ones; the target where it follows the policy; "
        "rings are held-out problems, sampled.",
        (
            ("all", "reason/completions/mean_length", "accent"),
            ("right", "reason/completions/mean_length_right", "ink"),
            ("wrong", "reason/completions/mean_length_wrong", "warm"),
            ("target", "reason/target_length", "soft"),
        ),
        held_out="mean_tokens",
    ),
    Chart("Entropy", "Of the reasoner's next token, in nats.", (("", "reason/entropy", "accent"),)),
    Chart("Chunks", "Pieces the segmenter cuts an answer into.", (("", "segment/chunks", "accent"),)),
    Chart(
        "Mean score of a chunk",
        "Importance from 1 to 5: the scorer in training against the one of the start, on the same text.",
        (("live", "score/mean", "accent"), ("frozen", "score/frozen_mean", "soft")),
        bounds=(1.0, 5.0),
    ),
    Chart(
        "Live minus frozen score",
        "In points, on the same text. A rise is score inflation.",
        (("", "score/live_minus_frozen", "accent"),),
        lambda value: signed(value, 2),
    ),
    Chart(
        "Redundancy",
        "Needless tokens among all, and needless chunks that are scored 4 or 5.",
        (("tokens", "reason/needless_tokens", "accent"), ("at 4–5", "score/needless_high", "warm")),
        _share,
        UNIT,
    ),
    Chart(
        "Necessary prefix",
        "Share of a right answer's tokens up to the first chunk that holds its answer (PNRP).",
        (("", "segment/necessary_prefix", "accent"),),
        _share,
        UNIT,
    ),
    Chart(
        "Valid answers",
        "Of the two helpers; and answers of the reasoner cut at the token limit.",
        (
            ("segment", "segment/valid", "accent"),
            ("score", "score/valid", "ink"),
            ("cut", "reason/completions/clipped_ratio", "warm"),
        ),
        _share,
        UNIT,
    ),
    Chart(
        "Reward",
        "Mean total reward of each role.",
        (
            ("reason", "reason/reward", "accent"),
            ("segment", "segment/reward", "soft"),
            ("score", "score/reward", "ink"),
        ),
        lambda value: fixed(value, 2),
    ),
    Chart(
        "Penalised share",
        "Share of an answer's reasoning that the reward counts as needless.",
        (("", "reason/penalised_share", "accent"),),
        _share,
        UNIT,
    ),
    Chart(
        "Groups without a signal",
        "Groups whose rewards are all equal, for each role.",
        (
            ("reason", "reason/frac_reward_zero_std", "accent"),
            ("segment", "segment/frac_reward_zero_std", "soft"),
            ("score", "score/frac_reward_zero_std", "ink"),
        ),
        _share,
        UNIT,
    ),
    Chart("Gradient norm", "Before clipping.", (("", "grad_norm", "accent"),)),
)
PHASES = ("reason", "grade", "segment", "parse", "score", "annotate", "frozen_scorer", "reward", "update")
"""In the order in which a step goes through them; phases of other names follow."""
_TONES = ("p0", "p1", "p2", "p3", "p4", "p5")


def column(run: Run, metric: str) -> np.ndarray:
    """One metric over the run's rows; NaN where it was not counted."""
    return np.array([np.nan if (v := number(row, metric)) is None else v for row in run.metrics], float)


def steps(run: Run) -> np.ndarray:
    """The step of each row."""
    return np.array([row["step"] for row in run.metrics], float)


def warnings(run: Run) -> list[tuple[int, str]]:
    """(step, text) of every warning of the monitor, in order."""
    found = []
    for row in run.metrics:
        lines = row.get("warnings")
        for line in lines if isinstance(lines, list) else []:
            found.append((row["step"], str(line).removeprefix(f"step {row['step']}: ")))
    return found


def curves(run: Run) -> list[Markup]:
    """Every chart of a run that has numbers, as figures; empty for a run without steps."""
    if not run.metrics:
        return []
    marks = [(step, f"step {step}: {text}") for step, text in warnings(run)]
    figures = [_lines(run, spec, marks) for spec in CHARTS]
    position = 1 + [spec.title for spec in CHARTS].index("Live minus frozen score")
    figures.insert(position, _score_shares(run, marks))
    figures.append(_phases(run, marks))
    return [one for one in figures if one is not None]


def together(runs: Sequence[Run]) -> list[Markup]:
    """The leading metrics of several runs in one chart each, a colour a run."""
    last = max((run.metrics[-1]["step"] for run in runs if run.metrics), default=0)
    figures = []
    for spec in CHARTS:
        name, metric, _ = spec.lines[0]
        series = [
            chart.Series(run.label, tone(i), steps(run), column(run, metric))
            for i, run in enumerate(runs)
            if np.isfinite(column(run, metric)).any()
        ]
        if series and spec.title in ("Accuracy", "Tokens of an answer", "Entropy", "Redundancy"):
            frame = _frame(0, last, series, spec.bounds, ())
            note = f"Training, {name} of every run." if name else "Training, every run."
            figures.append(
                figure(spec.title, note, chart.lines(spec.title, series, frame, write=spec.write, valued=False))
            )
    return figures


def tone(index: int) -> str:
    """The colour of the n-th run; eight, then again from the first."""
    return f"r{index % 8}"


def figure(title: str, note: str, drawing: Markup) -> Markup:
    """A chart under its title and one line of explanation."""
    return el("figure", el("figcaption", el("b", title), el("span", note)), drawing)


def legend_of_marks(run: Run) -> Markup | None:
    """The monitor's warnings in words, the first forty."""
    found = warnings(run)
    if not found:
        return None
    items = [el("li", el("b", f"Step {step}"), " ", text) for step, text in found[:40]]
    more = f" The first 40 of {len(found)}." if len(found) > 40 else ""
    head = el("p", el("span", "▼", class_="warm"), f" Warnings of the monitor, marked on the time axis.{more}")
    return el("div", head, el("ul", *items), class_="warnings")


def explanation(run: Run) -> Markup:
    """How to read the curves."""
    if len(run.metrics) < 10:
        return el("p", "Lines join the steps.", class_="note")
    sigma = chart.bandwidth(len(run.metrics))
    return el(
        "p",
        f"Faint points are single steps; lines are running means (Gaussian, standard deviation {sigma:.1f} steps). "
        "The number behind a line is where it ends.",
        class_="note",
    )


def _lines(run: Run, spec: Chart, marks: Sequence[tuple[int, str]]) -> Markup | None:
    x = steps(run)
    series = [chart.Series(name, tone, x, column(run, metric)) for name, metric, tone in spec.lines]
    series = [one for one in series if np.isfinite(one.value).any()]
    if not series:
        return None
    points = _held_out(run, spec.held_out) if spec.held_out else []
    frame = _frame(0, max(x[-1], run.steps), series, spec.bounds, points)
    level = None
    if spec.title.startswith("Live"):
        gap = number(run.setting("monitor", "inflation_gap"))
        level = None if gap is None else (gap, "alarm")
    drawing = chart.lines(spec.title, series, frame, write=spec.write, points=points, marks=marks, level=level)
    return figure(spec.title, join(spec.note, _beyond(series, frame, spec.write)), drawing)


def _held_out(run: Run, name: str) -> list[chart.Point]:
    """An evaluation's figure at its step, with its interval."""
    found = {step: one.table for step, one in run.evaluations.items()}
    found |= {one.step: one.table for one in (run.before, run.after) if one is not None}
    points = []
    for step, table in sorted(found.items()):
        value = number(table, name)
        if value is not None:
            low, high = interval(table, name)
            points.append(chart.Point(f"held out, step {step}", "ink", step, value, low, high, hollow=True))
    return points


def interval(table: object, name: str) -> tuple[float | None, float | None]:
    """95 % interval of a figure: as stored, or from its standard error."""
    low, high = number(table, f"{name}_low"), number(table, f"{name}_high")
    value, error = number(table, name), number(table, f"{name}_stderr")
    if low is None and value is not None and error is not None:
        return value - 1.959964 * error, value + 1.959964 * error
    return low, high


def _score_shares(run: Run, marks: Sequence[tuple[int, str]]) -> Markup | None:
    x = steps(run)
    series = [chart.Series(f"{s}:", f"s{s}", x, column(run, f"score/share_{s}")) for s in range(1, 6)]
    if not np.isfinite(sum(one.value for one in series)).any():
        return None
    title = "Chunks at each score"
    frame = chart.Frame(0, max(x[-1], run.steps), 0, 1)
    note = "Share of the chunks scored 1 (needless, bottom) to 5 (essential, top)."
    return figure(title, note, chart.stacked(title, series, frame, write=_share, marks=marks))


def _phases(run: Run, marks: Sequence[tuple[int, str]]) -> Markup | None:
    names = [key.removeprefix("time/") for key in run.metrics[-1] if key.startswith("time/")]
    names.sort(key=lambda name: (PHASES.index(name) if name in PHASES else len(PHASES), name))
    value = {name: np.nan_to_num(column(run, f"time/{name}")) for name in names}
    if not any(v.any() for v in value.values()):
        return None
    usual = {name: float(np.median(v)) for name, v in value.items()}
    large = sorted(names, key=lambda name: -usual[name])[: len(_TONES) - 1]
    large = [name for name in names if name in large and usual[name] >= 0.02 * sum(usual.values())]
    rest = [name for name in names if name not in large]
    x = steps(run)
    layers = [(name.split("_")[0], value[name]) for name in large]
    if rest:
        layers.append(("other", np.sum([value[name] for name in rest], axis=0)))
    total = np.sum([v for _, v in layers], axis=0)
    high = _robust_top(total)
    # A step that compiles would make all the others invisible, and smear into its neighbours.
    kept = total <= high
    series = [
        chart.Series(name, tone, x, np.where(kept, v, np.nan)) for (name, v), tone in zip(layers, _TONES, strict=False)
    ]
    frame = chart.Frame(0, max(x[-1], run.steps), 0, chart.round_up(high))
    note = "Seconds of a step by phase."
    if not kept.all():
        note += f" Left out: {int((~kept).sum())} of {len(kept)} steps that took longer, up to {brief(total.max())} s."
    title = "Time"
    return figure(title, note, chart.stacked(title, series, frame, marks=marks))


def _robust_top(value: np.ndarray) -> float:
    """The largest value, unless a few are far beyond the others: then the largest of those others."""
    value = value[np.isfinite(value)]
    usual = float(np.quantile(value, 0.9))
    near = value[value <= 2.5 * usual] if usual > 0 else value
    return float(near.max())


def _beyond(series: Sequence[chart.Series], frame: chart.Frame, write: Callable[[float], str]) -> str:
    value = np.concatenate([one.value for one in series])
    above = np.nan_to_num(value, nan=-np.inf) > frame.y_high * (1 + 1e-9)
    if not above.any():
        return ""
    return f" {int(above.sum())} above the axis, up to {write(float(np.nanmax(value)))}."


def _frame(
    x_low: float,
    x_high: float,
    series: Sequence[chart.Series],
    bounds: tuple[float, float] | None,
    points: Sequence[chart.Point],
) -> chart.Frame:
    if bounds is not None:
        return chart.Frame(x_low, x_high, *bounds)
    value = np.concatenate([one.value for one in series])
    high = max([_robust_top(value), *(p.y_high or p.y for p in points), 0.0])
    low = min(float(np.nanmin(value)), 0.0)
    if low < 0:
        reach = chart.round_up(max(high, -low))
        return chart.Frame(x_low, x_high, -chart.round_up(-low), reach if high > 0 else 0.0)
    return chart.Frame(x_low, x_high, 0.0, chart.round_up(high))
