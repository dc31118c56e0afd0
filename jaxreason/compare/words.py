"""A comparison as Markdown. Knows the names in its results.json, nothing of how they came."""

from collections.abc import Sequence
from typing import Any

from jaxreason.report.wording import DASH, number

HYPERVOLUME = 8
"""Behind how many cells of a row, the method's name not counted, that of the chosen ones stands."""
Tables = Sequence[tuple[str, list[str], list[list[str]]]]
"""Title and note, head, rows."""


def tables(found: dict[str, Any]) -> Tables:
    """The tables of a comparison: chosen alphas on the final problems, robustness, and every row on both kinds."""
    where = "final problems" if found["final_problems"] else "problems that alphas were chosen on, too"
    sources = _sources(found["rows"])
    few = f"{found['within_points']:g} points"
    chosen = []
    for name, choice in found["methods"].items():
        mine = [row for row in found["rows"] if row["method"] == name]
        if choice["row"] is None:
            counts = {s: sum(r[s] for r in mine) for s in ("failed", "collapsed", "unfinished")}
            states = ", ".join(f"{count} {s}" for s, count in counts.items() if count)
            chosen.append([name, f"none ({states})" if states else "none", *[DASH] * (8 + 2 * len(sources))])
        else:
            cells = _cells(mine[choice["row"]], "final", sources)
            cells.insert(HYPERVOLUME, plus_minus(choice["hypervolume"], 1, 3))
            chosen.append([name, *cells])
    robust = [
        [
            name,
            percent(choice["best_accuracy"]),
            ", ".join(f"{alpha:g}" for alpha in choice["within"]) or DASH,
            DASH if choice["range"] is None else f"{choice['range']:g} x",
        ]
        for name, choice in found["methods"].items()
        if any(row["alpha"] is not None for row in found["rows"] if row["method"] == name)
    ]

    def every(problems: str) -> list[list[str]]:
        return [
            [row["method"], *_cells(row, problems, sources), _collapsed(row, found["cells"])] for row in found["rows"]
        ]

    head = ["method", "alpha", "sampled %", "tokens", "greedy %", "tokens", "s a step", "tokens a step", "AES"]
    last = [source.rsplit("/", maxsplit=1)[-1] for source in sources]
    shown = last if len(set(last)) == len(last) else sources
    head += [f"{source}{what}" for source in shown for what in (" %", " tokens")]
    with_front = [*head[: HYPERVOLUME + 1], "hypervolume", *head[HYPERVOLUME + 1 :]]
    return [
        (f"Each method at its chosen alpha, on the {where}", with_front, chosen),
        (
            f"Alphas within {few} of each method's best sampled accuracy",
            ["method", "best %", "alphas", "range"],
            robust,
        ),
        *(
            [("Every alpha, on the final problems", [*head, "collapsed"], every("final"))]
            if found["final_problems"]
            else []
        ),
        ("Every alpha, on the problems held out for tuning", [*head, "collapsed"], every("tuning")),
        (
            "Runs that collapsed, or whose monitor said that something was being lost",
            ["run", "accuracy, %", "first alarm", "collapsed from step", "ended or taken back"],
            [_trouble(cell) for cell in found["cells"] if cell["collapsed"] or cell["first_alarm"]],
        ),
        (
            "What each method was given",
            ["method", "settings tried", "seeds", "runs", "steps", "sampled tokens, millions", "hours"],
            [[name, *_given(choice["budget"])] for name, choice in found["methods"].items()],
        ),
    ]


def markdown(found: dict[str, Any]) -> str:
    """All tables, and what failed."""
    lines = []
    for title, head, rows in tables(found):
        if not rows:
            continue
        lines += [f"**{title}**", "", _line(head), _line(["---"] * len(head)), *map(_line, rows), ""]
    lines += [notes(found), ""]
    lines += [f"- {cell['name']}: {cell['error']}" for cell in found["cells"] if cell["error"]]
    return "\n".join(lines).rstrip() + "\n"


def notes(found: dict[str, Any]) -> str:
    """What the figures are."""
    few, fall = f"{found['within_points']:g}", f"{found['collapse_points']:g}"
    weights = f"({', '.join(f'{weight:g}' for weight in found['aes_weights'])})"
    return (
        "Means over seeds ± their standard deviation. Chosen: the fewest tokens among the alphas within "
        f"{few} points of the method's best sampled accuracy, no seed collapsed. Collapsed: a seed that ended more "
        f"than {fall} points below the accuracy it began with, or whose loss became no number. AES{weights}: tokens "
        "saved, accuracy gained and lost, relative to the start, so weighted. Hypervolume: the share of accuracy times "
        "tokens, up to the start's tokens, that a method's alphas cover together. Both are of sampled answers to the "
        "tuning problems. Seconds a step: the median, the first left out; tokens a step: those sampled by all roles. "
        f"{fairness(found)}"
    )


def fairness(found: dict[str, Any]) -> str:
    """Whether the methods that have an alpha were tuned with equal effort."""
    alphas = {row["method"] for row in found["rows"] if row["alpha"] is not None}
    given = {name: found["methods"][name]["budget"] for name in found["methods"] if name in alphas}
    if not given:
        return "No method had an alpha to choose."
    if any(budget["unfinished"] for budget in given.values()):
        return "Tuning is not finished: the last table says what each method was given so far."
    same = {tuple(budget[key] for key in ("settings", "seeds", "steps_set")) for budget in given.values()}
    if len(same) == 1:
        settings, seeds, _ = same.pop()
        return (
            f"Tuning had an equal budget: {settings} alphas with {seeds} {_plural(seeds, 'seed')} and as many steps "
            "for every method that has one; the others run once a seed."
        )
    return "Tuning had no equal budget: the last table says what each method was given."


def _plural(count: int, word: str) -> str:
    return word if count == 1 else f"{word}s"


def _given(budget: dict[str, Any]) -> list[str]:
    counts = [f"{budget[key]:,}" for key in ("settings", "seeds", "runs", "steps")]
    return [*counts, f"{budget['tokens'] / 1e6:.2f}", f"{budget['seconds'] / 3600:.2f}"]


def _collapsed(row: dict[str, Any], cells: Sequence[dict]) -> str:
    """How many seeds collapsed, and from which steps on."""
    steps = [
        f"{cell['collapse_step']:g}"
        for cell in cells
        if (cell["method"], cell["alpha"]) == (row["method"], row["alpha"]) and cell["collapsed"]
    ]
    count = f"{row['collapsed']} of {len(row['seeds'])}"
    return f"{count} ({_plural(len(steps), 'step')} {', '.join(steps)})" if steps else count


def _trouble(cell: dict[str, Any]) -> list[str]:
    """One run: accuracy before and after, the first alarm, and what came of it."""
    start, end = (number(cell, when, "sampled", "all", "accuracy") for when in ("start", "tuning"))
    alarm, ended = cell["first_alarm"], cell["ended_by"]
    done = [f"back to step {back['to']} at {back['step']}" for back in cell["rollbacks"]]
    done += [f"ended at {ended['step']} by {ended['alarm']}"] if ended else []
    done += ["the loss became no number"] if cell["status"] == "failed" else []
    return [
        cell["name"],
        f"{percent(start)} to {percent(end)}",
        DASH if alarm is None else f"{alarm['alarm']} at {alarm['step']}",
        DASH if cell["collapse_step"] is None else f"{cell['collapse_step']:g}",
        "; ".join(done) or DASH,
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(row: dict, problems: str, sources: Sequence[str]) -> list[str]:
    cells = [DASH if row["alpha"] is None else f"{row['alpha']:g}"]
    for mode in ("sampled", "greedy"):
        cells += _pair(row, problems, mode, "all")
    seconds = row["step_seconds"]
    cells += [plus_minus(seconds, 1, 2), plus_minus(row["step_tokens"], 1, 0), plus_minus(row["aes"], 1, 2)]
    for source in sources:
        cells += _pair(row, problems, "sampled", source)
    return cells


def _pair(row: dict, problems: str, mode: str, source: str) -> list[str]:
    at = row[problems].get(mode, {}).get(source, {})
    return [plus_minus(at.get("accuracy"), 100, 1), plus_minus(at.get("mean_tokens"), 1, 1)]


def plus_minus(found: dict | None, scale: float, digits: int) -> str:
    """Mean and spread of seeds, `93.3 ± 1.9`; a dash where there is nothing."""
    mean, deviation = number(found, "mean"), number(found, "deviation")
    if mean is None:
        return DASH
    shown = f"{scale * mean:.{digits}f}"
    return shown if deviation is None else f"{shown} ± {scale * deviation:.{digits}f}"


def percent(value: float | None) -> str:
    """A share in percent, without the sign."""
    return DASH if value is None else f"{100 * value:.1f}"


def _sources(rows: Sequence[dict]) -> list[str]:
    """Sources beside `all`, where there are several."""
    names = [s for row in rows for s in row["tuning"].get("sampled", {}) if s != "all"]
    names = list(dict.fromkeys(names))
    return names if len(names) > 1 else []
