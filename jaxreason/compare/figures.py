"""What a comparison found, as plain numbers: a row a cell, a row a method and alpha over its seeds, and the choice.

Alphas are chosen on the problems held out for tuning; what is reported of the chosen ones is measured on the final
problems, where there are any. Everything is read from the cells' folders.
"""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxreason.compare import collapse
from jaxreason.compare.grid import Cell
from jaxreason.compare.run import FAILED, final_file
from jaxreason.evaluation import efficiency
from jaxreason.report.wording import number
from jaxreason.run import folder as run_folder

COLLAPSE = 0.05
"""A cell that ends this much below the accuracy it began with has collapsed."""
WITHIN = 0.02
"""Accuracy that is given away for fewer tokens when an alpha is chosen, and that a usable alpha may lose."""
FIGURES = ("accuracy", "mean_tokens")
MODES = ("sampled", "greedy")


def collect(cells: Sequence[Cell], final: Path | None) -> dict[str, Any]:
    """Everything that results.json of a comparison holds.

    Args:
      cells: those looked at.
      final: the file of final problems; None where tuning and final problems are the same.

    Returns:
      `cells`: what each run came to. `rows`: means and standard deviations over the seeds of a method and alpha, for
      the `tuning` and `final` problems. `methods`: name -> the alpha chosen (fewest tokens within 2 points of the
      method's best sampled accuracy on the tuning problems, no seed collapsed), which alphas are within 2 points, the
      hypervolume of all of them, and the `budget` that the method was tuned with. The hypervolume and `aes` are of
      sampled answers to the tuning problems, which the starts were evaluated on too.
    """
    found = [one_cell(cell, final) for cell in cells]
    keys = list(dict.fromkeys((cell["method"], cell["alpha"]) for cell in found))
    order = {name: place for place, name in enumerate(dict.fromkeys(method for method, _ in keys))}
    keys.sort(key=lambda key: (order[key[0]], -1.0 if key[1] is None else key[1]))
    rows = [_row([cell for cell in found if (cell["method"], cell["alpha"]) == key]) for key in keys]
    return {
        "cells": found,
        "rows": rows,
        "methods": {
            name: choice([row for row in rows if row["method"] == name])
            | {"hypervolume": _hypervolume([cell for cell in found if cell["method"] == name])}
            | {"budget": budget([cell for cell in found if cell["method"] == name])}
            for name in order
        },
        "aes_weights": list(efficiency.AES),
        "final_problems": None if final is None else str(final),
        "collapse_points": 100 * COLLAPSE,
        "within_points": 100 * WITHIN,
    }


def one_cell(cell: Cell, final: Path | None) -> dict[str, Any]:
    """One run: its figures, whether it collapsed, and what a step cost."""
    results = _read(cell.folder / run_folder.RESULTS)
    metrics = run_folder.read_metrics(cell.folder)
    failure = _read(cell.folder / FAILED).get("error")
    status = "failed" if failure else "finished" if results else "unfinished"
    on_final = _read(final_file(cell, final)).get("table") if final else results.get("trained")
    # The first step compiles, and its time is that of the compiler.
    times = [t for row in metrics[1:] if (t := number(row, "step_time")) is not None]
    tokens = [n for row in metrics if (n := number(row, "num_tokens")) is not None]
    before, after = _parts(results.get("base")), _parts(results.get("trained"))
    return {
        "name": cell.name,
        "method": cell.method,
        "alpha": cell.alpha,
        "seed": cell.seed,
        "folder": str(cell.folder),
        "status": status,
        "error": failure,
        "start": before,
        "tuning": after,
        "final": _parts(on_final),
        "aes": _score(before, after),
        "max_steps": cell.config.run.max_steps,
        "steps": max((row["step"] for row in metrics), default=0),
        "step_seconds": statistics.median(times) if times else None,
        "step_tokens": statistics.mean(tokens) if tokens else None,
        "sampled_tokens": sum(tokens),
        "seconds": results.get("seconds"),
    } | collapse.of_run(cell.folder, results, metrics, COLLAPSE, failed=status == "failed")


def _score(before: dict, after: dict) -> float | None:
    """AES of sampled answers; None where one is missing, or nothing was right before."""
    start, end = _point(before), _point(after)
    if start is None or end is None:
        return None
    return efficiency.efficiency_score((start[1], start[0]), (end[1], end[0]))


def _point(at: dict) -> tuple[float, float] | None:
    """Tokens and accuracy of sampled answers."""
    tokens, accuracy = (number(at, "sampled", "all", name) for name in ("mean_tokens", "accuracy"))
    return None if tokens is None or accuracy is None else (tokens, accuracy)


def _hypervolume(cells: Sequence[dict]) -> dict[str, float | int | None] | None:
    """Of a method's alphas, against the tokens of the start, over seeds."""
    values = []
    for seed in dict.fromkeys(cell["seed"] for cell in cells):
        mine = [cell for cell in cells if cell["seed"] == seed]
        start = next((point for cell in mine if (point := _point(cell["start"])) and point[0] > 0), None)
        points = [point for cell in mine if (point := _point(cell["tuning"])) is not None]
        values.append(efficiency.hypervolume(points, start[0]) if start and points else None)
    return spread(values)


def _parts(table: Any) -> dict[str, dict[str, dict[str, float | None]]]:
    """Mode -> `all` and each source -> accuracy and mean tokens; {} where nothing was evaluated."""
    parts = {}
    for mode in MODES:
        at = table if mode == "sampled" else table.get(mode) if isinstance(table, Mapping) else None
        if number(at, "accuracy") is None or not isinstance(at, Mapping):
            continue
        sources = {"all": at, **at.get("by_source", {})}
        parts[mode] = {name: {f: number(one, f) for f in FIGURES} for name, one in sources.items()}
    return parts


def _row(cells: Sequence[dict]) -> dict[str, Any]:
    """A method and alpha over its seeds."""
    return {
        "method": cells[0]["method"],
        "alpha": cells[0]["alpha"],
        "seeds": [cell["seed"] for cell in cells],
        **{status: sum(cell["status"] == status for cell in cells) for status in ("finished", "failed", "unfinished")},
        "collapsed": sum(cell["collapsed"] for cell in cells),
        "tuning": _over_seeds([cell["tuning"] for cell in cells]),
        "final": _over_seeds([cell["final"] for cell in cells]),
        "aes": spread([cell["aes"] for cell in cells]),
        "step_seconds": spread([cell["step_seconds"] for cell in cells]),
        "step_tokens": spread([cell["step_tokens"] for cell in cells]),
        "curve": _mean_curve([cell["curve"] for cell in cells if cell["curve"]]),
    }


def _mean_curve(curves: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Means and spreads over seeds at every step that all of them were evaluated at."""
    steps = set.intersection(*[{at["step"] for at in curve} for curve in curves]) if curves else set()
    return [
        {"step": step} | {f: spread([at[f] for curve in curves for at in curve if at["step"] == step]) for f in FIGURES}
        for step in sorted(steps)
    ]


def budget(cells: Sequence[dict]) -> dict[str, Any]:
    """What a method was given: settings tried, seeds and steps, and what that cost in tokens and seconds.

    Steps, tokens and seconds are those that were done: a run that an alarm ended has fewer steps than were set.
    """
    return {
        "settings": len({cell["alpha"] for cell in cells}),
        "seeds": len({cell["seed"] for cell in cells}),
        "runs": len(cells),
        "unfinished": sum(cell["status"] == "unfinished" for cell in cells),
        "steps": sum(cell["steps"] for cell in cells),
        "steps_set": sum(cell["max_steps"] for cell in cells),
        "tokens": sum(cell["sampled_tokens"] for cell in cells),
        "seconds": sum(cell["seconds"] or 0.0 for cell in cells),
    }


def _over_seeds(tables: Sequence[dict]) -> dict[str, dict[str, dict[str, dict | None]]]:
    tables = [table for table in tables if table]
    if not tables:
        return {}
    return {
        mode: {
            source: {f: spread([number(table, mode, source, f) for table in tables]) for f in FIGURES}
            for source in sources
        }
        for mode, sources in tables[0].items()
    }


def spread(values: Sequence[float | None]) -> dict[str, float | int | None] | None:
    """Mean, standard deviation over seeds (None of one) and how many; None where there is none.

    >>> spread([1.0, None, 3.0])
    {'mean': 2.0, 'deviation': 1.4142135623730951, 'count': 2}
    """
    there = [value for value in values if value is not None]
    if not there:
        return None
    deviation = statistics.stdev(there) if len(there) > 1 else None
    return {"mean": statistics.mean(there), "deviation": deviation, "count": len(there)}


def choice(rows: Sequence[dict]) -> dict[str, Any]:
    """Which of a method's rows to report, and how wide the range of alphas is that would have done."""
    usable = [row for row in rows if not row["collapsed"] and not row["unfinished"] and _accuracy(row) is not None]
    if not usable:
        return {"chosen": None, "row": None, "best_accuracy": None, "within": [], "range": None}
    best = max(_accuracy(row) for row in usable)
    within = [row for row in usable if _accuracy(row) >= best - WITHIN]
    shortest = min(within, key=lambda row: number(row, "tuning", "sampled", "all", "mean_tokens", "mean") or math.inf)
    alphas = [row["alpha"] for row in within if row["alpha"] is not None]
    return {
        "chosen": shortest["alpha"],
        "row": rows.index(shortest),
        "best_accuracy": best,
        "within": alphas,
        "range": max(alphas) / min(alphas) if alphas and min(alphas) > 0 else None,
    }


def _accuracy(row: dict) -> Any:
    return number(row, "tuning", "sampled", "all", "accuracy", "mean")


def _read(file: Path) -> dict:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
