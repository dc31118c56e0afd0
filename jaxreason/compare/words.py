"""A comparison as Markdown. Knows the names in its results.json, nothing of how they came."""

from collections.abc import Sequence
from typing import Any

from jaxreason.report.wording import DASH, number

HYPERVOLUME = 7
"""Which of `_cells` that is: it belongs to all of a method's alphas together."""
TUNING = "on the problems held out for tuning"
Tables = Sequence[tuple[str, list[str], list[list[str]]]]
"""Title and note, head, rows."""


def tables(found: dict[str, Any]) -> Tables:
    """The tables of a comparison: methods on the final problems, how alphas were chosen where there was a choice, runs
    that something is to be said of, and what everything cost."""
    final = bool(found["final_problems"])
    if chooses(found):
        first = _chosen_tables(found)
    else:
        first = [(f"Each method, on the {'final' if final else 'held-out'} problems", *_every(found, "final"))]
    if final:
        first.append((f"{'Every alpha' if chooses(found) else 'The same'}, {TUNING}", *_every(found, "tuning")))
    return [
        *first,
        (
            "Runs that collapsed, or whose monitor said that something was being lost",
            ["run", "accuracy, %", "first alarm", "then evaluated, %", "collapsed from step", "ended or taken back"],
            [_trouble(cell) for cell in found["cells"] if cell["collapsed"] or cell["first_alarm"]],
        ),
        (
            "What each method was given",
            ["method", "settings tried", "seeds", "runs", "steps", "sampled tokens, millions", "hours"],
            [[name, *_given(choice["budget"])] for name, choice in found["methods"].items()],
        ),
    ]


def chooses(found: dict[str, Any]) -> bool:
    """Whether some method was tried with several alphas, one of which is chosen."""
    return any(len([row for row in found["rows"] if row["method"] == name]) > 1 for name in found["methods"])


def held_out(found: dict[str, Any]) -> str:
    """What the problems of the runs' own evaluations are called."""
    return "tuning problems" if chooses(found) or found["final_problems"] else "held-out problems"


def _chosen_tables(found: dict[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Each method at its chosen alpha, how many alphas would have done, and every alpha."""
    final, sources = bool(found["final_problems"]), _sources(found["rows"])
    chosen = []
    for name, choice in found["methods"].items():
        mine = [row for row in found["rows"] if row["method"] == name]
        if choice["row"] is None:
            counts = {s: sum(r[s] for r in mine) for s in ("failed", "collapsed", "unfinished")}
            states = ", ".join(f"{count} {s}" for s, count in counts.items() if count)
            none = f"none ({states})" if states else "none"
            chosen.append([name, none, *[DASH] * (len(_head(sources)) - 1)])
        else:
            row = mine[choice["row"]]
            chosen.append([name, _alpha(row), *_cells(row, "final", sources, choice["hypervolume"])])
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
    where = "final problems" if final else "problems that alphas were chosen on, too"
    few = f"{found['within_points']:g} points"
    within = f"Alphas within {few} of each method's best sampled accuracy"
    found_tables = [
        (f"Each method at its chosen alpha, on the {where}", ["method", "alpha", *_head(sources)[1:]], chosen),
        (within, ["method", "best %", "alphas", "range"], robust),
    ]
    return [*found_tables, (f"Every alpha, {'on the final problems' if final else TUNING}", *_every(found, "final"))]


def _every(found: dict[str, Any], problems: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table of all methods and alphas, with how many of their seeds collapsed."""
    sources, several, rows = _sources(found["rows"]), chooses(found), []
    for row in found["rows"]:
        front = None if several else found["methods"][row["method"]]["hypervolume"]
        cells = _cells(row, problems, sources, front)
        cells = [_alpha(row), *cells[:HYPERVOLUME], *cells[HYPERVOLUME + 1 :]] if several else cells
        rows.append([row["method"], *cells, _collapsed(row, found["cells"])])
    head = _head(sources)
    if several:
        del head[1 + HYPERVOLUME]
        head.insert(1, "alpha")
    return [*head, "collapsed"], rows


def _head(sources: Sequence[str]) -> list[str]:
    """Of `_cells`, behind the method's name."""
    head = ["method", "sampled %", "tokens", "greedy %", "tokens", "s a step", "tokens a step", "AES", "hypervolume"]
    last = [source.rsplit("/", maxsplit=1)[-1] for source in sources]
    shown = last if len(set(last)) == len(last) else sources
    return head + [f"{source}{what}" for source in shown for what in (" %", " tokens")]


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
    chosen = (
        f"Chosen: the fewest tokens among the alphas within {few} points of the method's best sampled accuracy, no "
        "seed collapsed. "
    )
    together = ", that a method's alphas cover together" if chooses(found) else ", that a method covers"
    return (
        f"Means over seeds ± their standard deviation. {chosen if chooses(found) else ''}Collapsed: a seed that ended "
        f"more than {fall} points below the accuracy it began with, or whose loss became no number. AES{weights}: "
        "tokens saved, accuracy gained and lost, relative to the start, so weighted. Hypervolume: the share of "
        f"accuracy times tokens, up to the start's tokens{together}. Both are of sampled answers to the "
        f"{held_out(found)}. Seconds a step: the median, the first left out; tokens a step: those sampled by all "
        "roles. "
        f"{fairness(found)}"
    ).rstrip()


def fairness(found: dict[str, Any]) -> str:
    """Whether the methods that have an alpha were tuned with equal effort; empty where none was tuned."""
    alphas = {row["method"] for row in found["rows"] if row["alpha"] is not None}
    given = {name: found["methods"][name]["budget"] for name in found["methods"] if name in alphas}
    if not chooses(found):
        return ""
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
        DASH if alarm is None or alarm["accuracy"] is None else f"{percent(alarm['accuracy'])} at {alarm['evaluated']}",
        DASH if cell["collapse_step"] is None else f"{cell['collapse_step']:g}",
        "; ".join(done) or DASH,
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(row: dict, problems: str, sources: Sequence[str], hypervolume: dict | None) -> list[str]:
    cells = [cell for mode in ("sampled", "greedy") for cell in _pair(row, problems, mode, "all")]
    cells += [plus_minus(row["step_seconds"], 1, 2), plus_minus(row["step_tokens"], 1, 0)]
    cells += [plus_minus(row["aes"], 1, 2), plus_minus(hypervolume, 1, 3)]
    return cells + [cell for source in sources for cell in _pair(row, problems, "sampled", source)]


def _alpha(row: dict) -> str:
    return DASH if row["alpha"] is None else f"{row['alpha']:g}"


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
