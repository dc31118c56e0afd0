"""Alarm G: held-out accuracy was lost and does not come back.

Length training may cost accuracy at first that it earns back later (arXiv:2602.20945, section 4), so a fall by itself
is no alarm. It is one where lengths have settled and several evaluations in a row are below the best and do not rise:
a policy that has become short and wrong, in which the share of rewarded completions may rise all the while.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

Point = tuple[int, float, int, bool]
"""Of an evaluation: step, accuracy, problems, whether lengths had settled. JSON makes a list of it."""

IN_A_ROW = 3  # evaluations; two healthy runs of five stand still for two before accuracy comes back
FALL = 0.03  # below the best
NOISE = 2.5  # standard errors of a difference, which the fall must exceed too: the best is the luckiest of many
RISE = 2.0  # standard errors of a difference, above which accuracy is coming back


def noted(state: Mapping[str, Any], step: int, table: Mapping[str, Any]) -> dict[str, Any]:
    """The monitor's state with an evaluation in it; unchanged where one of this step or a later one is there.

    Args:
      state: of `monitor.observe`; {} at the start.
      step: after which was evaluated; 0: before the first.
      table: of the evaluation: "accuracy" of sampled answers, "problems".
    """
    points = list(state.get("evaluated", ()))
    if not points or points[-1][0] < step:
        points.append((step, table["accuracy"], table["problems"], state.get("stage", 1) == 2))
    return {**state, "evaluated": points}


def sign(points: Sequence[Point]) -> dict[str, str]:
    """The alarm in words, keyed by its letter; {} where there is none.

    >>> start, low = (0, 0.65, 400, False), (0.45, 400, True)
    >>> list(sign([start, (40, *low), (80, *low), (120, *low)]))
    ['G']
    >>> sign([start, (40, *low), (80, *low), (120, 0.55, 400, True)])  # it comes back
    {}
    """
    best = max(points, key=lambda point: point[1], default=None)
    recent = points[-IN_A_ROW:]
    if best is None or len(recent) < IN_A_ROW or not all(settled for *_, settled in recent):
        return {}
    lost = all(best[1] - point[1] > max(FALL, NOISE * _error(best, point)) for point in recent)
    first, last = recent[0], recent[-1]
    if not lost or last[1] - first[1] > RISE * _error(first, last):
        return {}
    return {
        "G": f"G: held-out accuracy is {last[1]:.2f}, {best[1]:.2f} at step {best[0]}, and has not risen in {IN_A_ROW} "
        "evaluations since lengths settled: what was lost does not come back; the policy of step "
        f"{best[0]} is the better one (--step best)"
    }


def _error(one: Point, other: Point) -> float:
    """Standard error of the difference of two accuracies, as if of different problems."""
    return math.sqrt(sum(accuracy * (1 - accuracy) / problems for _, accuracy, problems, _ in (one, other)))
