"""When a run collapsed, and what its monitor saw of it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxreason.report.wording import number
from jaxreason.run.folder import EVALUATION
from jaxreason.run.on_alarm import ACTED_ON


def of_run(
    folder: Path, results: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], fall: float, *, failed: bool
) -> dict[str, Any]:
    """What became of one run.

    Args:
      folder: of the run, for the evaluations in between.
      results: its results.json; {} where it is not finished, and then it has not collapsed.
      rows: its metrics.
      fall: of sampled accuracy below the start that counts as a collapse, 0..1.
      failed: its loss became no number.

    Returns:
      `collapsed`: it failed, or its last evaluation is below the start by more than `fall`. `collapse_step`: the first
      evaluated step from which on it stayed there, or the step whose loss broke; None where it did not collapse.
      `first_alarm`: {"alarm", "step", "evaluated", "accuracy"} of the first alarm that says something is being lost
      (`run.on_alarm.ACTED_ON`) and of the evaluation that follows it; None where there was none. `ended_by`,
      `rollbacks`: what run.on_alarm made of such alarms. `curve`: {"step", "accuracy", "mean_tokens"} of every
      evaluation, sampled answers.
    """
    curve = _curve(folder, results) if results else []
    step = fallen_from([(at["step"], at["accuracy"]) for at in curve], fall) if curve else None
    if failed:
        step = 1 + max((row["step"] for row in rows), default=0)
    return {
        "collapsed": step is not None,
        "collapse_step": step,
        "first_alarm": _then_evaluated(first_alarm(rows), curve),
        "ended_by": results.get("ended_by"),
        "rollbacks": results.get("rollbacks") or [],
        "curve": curve,
    }


def _curve(folder: Path, results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Sampled accuracy and tokens of every evaluation, in order; the first and the last are those of the results."""
    found = {}
    for file in (folder / EVALUATION).glob("step_*.json"):
        try:
            table = json.loads(file.read_text())["table"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if file.stem.removeprefix("step_").isdigit():
            found[int(file.stem.removeprefix("step_"))] = table
    found[0] = results.get("base")
    found[int(number(results, "steps") or 0)] = results.get("trained")
    return [
        {"step": step, "accuracy": accuracy, "mean_tokens": number(table, "mean_tokens")}
        for step, table in sorted(found.items())
        if (accuracy := number(table, "accuracy")) is not None
    ]


def _then_evaluated(alarm: dict[str, Any] | None, curve: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    if alarm is None:
        return None
    after = next((at for at in curve if at["step"] >= alarm["step"]), {})
    return alarm | {"evaluated": after.get("step"), "accuracy": after.get("accuracy")}


def fallen_from(curve: Sequence[tuple[int, float]], fall: float) -> int | None:
    """The first step from which on all of a curve is below its beginning by more than `fall`; None where it ends above.

    >>> fallen_from([(0, 0.6), (10, 0.5), (20, 0.7), (30, 0.4), (40, 0.3)], 0.05)
    30
    """
    found = None
    for step, value in reversed(curve[1:]):
        if value >= curve[0][1] - fall:
            break
        found = step
    return found


def first_alarm(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The first alarm of those that say something is being lost, the second D among them.

    >>> first_alarm([{"step": 3, "alarms": ["B", "D"]}, {"step": 9, "alarms": ["C", "D2"]}])
    {'alarm': 'D', 'step': 9}
    """
    for row in rows:
        lost = [sign for sign in row.get("alarms") or [] if sign in ACTED_ON]
        if lost:
            return {"alarm": lost[0][0], "step": row["step"]}
    return None
