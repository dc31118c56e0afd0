"""How long answers are, as distributions: of right and wrong ones, and of those that earn a reward, before and after.

A mean hides what length training does: right answers that crowd below the target, or wrong ones that run to the limit.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxreason.report import chart
from jaxreason.report.curves import figure
from jaxreason.report.markup import Markup, join
from jaxreason.report.read import Evaluation, Run
from jaxreason.report.wording import fixed, number, percent

BINS = 24
"""Of a histogram at most."""
SIDES = (("before", "soft"), ("after", "accent"))
CAPPED = ("truncation", "dler", "think_prune")
"""Methods under which a right answer longer than the target earns nothing: there R > 0 is less than being right."""


def histograms(run: Run, mode: str) -> list[Markup]:
    """Right answers, those with R > 0 where that is not the same, and wrong ones; empty where no answers were kept."""
    rows = [_answers(one, mode) for one in (run.before, run.after)]
    if not any(rows):
        return []
    limit = number(run.evaluation_limit)
    longest = max(limit or 0.0, *(tokens for side in rows for tokens, _ in side))
    target = target_of(run)
    kinds: list[tuple[str, str, Callable[[float, bool], bool], float | None]] = [
        ("Right answers", "", lambda tokens, right: right, target),
        ("Wrong answers", "", lambda tokens, right: not right, None),
    ]
    if target is not None:
        note = f"R > 0: right and at most {target:,.0f} tokens. "
        kinds.insert(1, ("Rewarded answers", note, lambda tokens, right: right and tokens <= target, None))
    figures = [_figure(title, note, belongs, rows, longest, line) for title, note, belongs, line in kinds]
    return [one for one in figures if one is not None]


def target_of(run: Run) -> float | None:
    """L_T at the end of a run under which longer answers earn nothing; None where they earn as much, or L_T is L_R."""
    if run.setting("reward", "preset") not in CAPPED:
        return None
    limit, drawn = number(run.evaluation_limit), number(run.setting("sampling", "max_completion_length"))
    target = number(run.setting("reward", "target_length")) or drawn
    if run.setting("reward", "target_quantile"):
        target = number(run.metrics[-1], "reason/target_length") if run.metrics else None
    elif not run.setting("reward", "target_length") and run.setting("reward", "preset") == "think_prune" and drawn:
        target = drawn / 2
    return None if target is None or (limit is not None and target >= limit) else target


def _answers(one: Evaluation | None, mode: str) -> list[tuple[float, bool]]:
    """(tokens, right) of every completion that was kept."""
    found = []
    for row in one.rows if one else []:
        tokens: Any = number(row, "n_tokens")
        if row.get("mode") == mode and tokens is not None:
            found.append((tokens, row.get("exact_match") == 1))
    return found


def _figure(
    title: str,
    note: str,
    belongs: Callable[[float, bool], bool],
    rows: Sequence[list[tuple[float, bool]]],
    longest: float,
    line: float | None,
) -> Markup | None:
    """One kind of answer, before and after, each as shares of the answers of this kind."""
    edges = chart.bins(longest, BINS)
    bars, told = [], []
    for (name, tone), answers in zip(SIDES, rows, strict=True):
        lengths = np.array([tokens for tokens, right in answers if belongs(tokens, right)], float)
        if not answers:
            continue
        middle = f", median {fixed(float(np.median(lengths)), 0)} tokens" if len(lengths) else ""
        told.append(f"{name}: {len(lengths):,} of {len(answers):,} ({percent(len(lengths) / len(answers), 0)}){middle}")
        if len(lengths):
            bars.append(chart.Bars(name, tone, np.histogram(lengths, edges)[0] / len(lengths)))
    if not bars:
        return None
    top = chart.round_up(max(float(one.share.max()) for one in bars))
    frame = chart.Frame(0, float(edges[-1]), 0, top)
    marks = [] if line is None else [(line, "target")]
    drawing = chart.histogram(f"Lengths: {title}", bars, edges, frame, marks=marks, write=lambda v: percent(v, 0))
    words = "; ".join(told)
    return figure(title, join(note, words[0].upper(), words[1:], "."), drawing)
