"""Before and after: the table, a row a source, and accuracy within token budgets."""

import numpy as np

from jaxreason.report import chart, lengths
from jaxreason.report.curves import figure, interval
from jaxreason.report.markup import Markup, el, join
from jaxreason.report.read import Run
from jaxreason.report.wording import DASH, fixed, number, percent, signed, span
from jaxreason.tasks.prefix import prefix_share

MODES = ("sampled", "greedy")


def mode_table(table: dict, mode: str) -> dict:
    """The figures of one way of decoding; {} where there are none. The sampled ones stand on top."""
    if mode == "sampled":
        return table if number(table, "accuracy") is not None else {}
    found = table.get(mode)
    return found if isinstance(found, dict) else {}


def points_changed(run: Run, mode: str) -> float | None:
    """Paired difference of accuracy in points, from the results."""
    value = number(run.results, "change", mode, "accuracy", "value")
    return None if value is None else 100 * value


def change_interval(run: Run, mode: str, name: str = "tokens_relative") -> str:
    """95 % interval of a paired difference, in points or percent; empty where it is not known."""
    path = ("change", mode, name)
    return span(number(run.results, *path, "low"), number(run.results, *path, "high"), scale=100, sign=True)


def in_box(head: list[Markup], body: list[Markup]) -> Markup:
    """A table that scrolls sideways in its own box."""
    return el("div", el("table", el("thead", *head), el("tbody", *body)), class_="scroll", tabindex="0")


def accuracy_cell(table: dict) -> Markup:
    """Accuracy in percent above its interval."""
    return two_lines(hundredfold(table, "accuracy"), span(*interval(table, "accuracy"), scale=100))


def tokens_cell(table: dict) -> Markup:
    """Mean tokens above their interval."""
    return two_lines(fixed(number(table, "mean_tokens")), span(*interval(table, "mean_tokens")))


def two_lines(value: str, between: str) -> Markup:
    """A figure, its interval small below."""
    return join(value, el("small", between) if between else None)


def hundredfold(table: dict, name: str) -> str:
    """A share in percent, without the sign."""
    value = number(table, name)
    return fixed(None if value is None else 100 * value)


def before_after(run: Run) -> list[Markup]:
    """Tables and budget curves; empty where nothing was evaluated."""
    if run.before is None and run.after is None:
        return []
    parts = []
    for mode in MODES:
        before, after = (mode_table(one.table, mode) if one else {} for one in (run.before, run.after))
        if before or after:
            parts += [el("h4", f"{mode.capitalize()} answers"), _table(run, before, after, mode)]
            if told := _necessary(run, mode):
                parts.append(el("p", told, class_="note"))
    charts = [_budgets(run, mode) for mode in MODES]
    charts = [one for one in charts if one is not None]
    if charts:
        parts += [el("h4", "Accuracy within a token budget"), el("div", *charts, class_="charts")]
    for mode in MODES:
        if drawn := lengths.histograms(run, mode):
            parts += [el("h4", f"Lengths of {mode} answers"), el("div", *drawn, class_="charts")]
    return parts


def _table(run: Run, before: dict, after: dict, mode: str) -> Markup:
    """A row a source. Where only one evaluation is there, it has the table for itself."""
    then = f"step {run.after.step}" if run.after and not run.results else "after"
    sides = {name: table for name, table in (("before", before), (then, after)) if table}
    both = len(sides) == 2
    plain = {"mean_tokens_correct": "tokens, right", "mean_tokens_wrong": "tokens, wrong", "truncation_rate": "cut, %"}
    if any(number(table, "needless_share") for table in sides.values()):
        plain["needless_share"] = "needless, %"
    wide = [3 if both else 1] * 2 + [len(sides)] * len(plain)
    changes = ["change"] if both else []
    names = ["", *[*sides, *changes] * 2, *list(sides) * len(plain)]
    groups = zip(["accuracy, %", "tokens", *plain.values()], wide, strict=True)
    head = [
        el("tr", el("th"), *[el("th", name, colspan=count, scope="colgroup") for name, count in groups]),
        el("tr", *[el("th", name, scope="col") for name in names]),
    ]
    between = {name: change_interval(run, mode, name) for name in ("accuracy", "tokens_relative")}
    body = [_row("all problems", list(sides.values()), between, list(plain))]
    labels = list(dict.fromkeys(label for table in sides.values() for label in _sources(table)))
    if len(labels) > 1:
        body += [
            _row(label, [_sources(table).get(label, {}) for table in sides.values()], {}, list(plain))
            for label in labels
        ]
    return in_box(head, body)


def _necessary(run: Run, mode: str) -> str:
    """PNRP of the right answers that helpers split, before and after, in words; empty where there are none."""
    told = []
    for name, one in (("before", run.before), ("after", run.after)):
        rows = [row for row in (one.rows if one else []) if row.get("mode") == mode and row.get("exact_match") == 1]
        shares = [share for row in rows if (share := _prefix_of(row)) is not None]
        if shares:
            told.append(f"{name} {percent(sum(shares) / len(shares), 0)} of the tokens in {len(shares)} right answers")
    if not told:
        return ""
    return (
        f"Necessary prefix (PNRP), up to the first chunk that holds the answer: {', '.join(told)}, those that the "
        "helpers were asked about. The answer is found by its text."
    )


def _prefix_of(row: dict) -> float | None:
    chunks, lengths, answers = (_list(row, name) for name in ("chunks", "chunk_lengths", "filtered_resps"))
    texts = [chunk for chunk in chunks if isinstance(chunk, str)]
    counts = [n for n in lengths if isinstance(n, int)]
    if not answers or not len(texts) == len(chunks) == len(counts) == len(lengths):
        return None
    return prefix_share(texts, counts, str(answers[0]))


def _list(row: dict, name: str) -> list:
    found = row.get(name)
    return found if isinstance(found, list) else []


def _sources(table: dict) -> dict[str, dict]:
    found = table.get("by_source")
    return {name: row for name, row in found.items() if isinstance(row, dict)} if isinstance(found, dict) else {}


def _row(label: str, sides: list[dict], between: dict[str, str], plain: list[str]) -> Markup:
    """One source. The results hold intervals of a change for all problems together only."""
    problems = number(sides[-1], "problems") or number(sides[0], "problems")
    accuracy, tokens = [accuracy_cell(table) for table in sides], [tokens_cell(table) for table in sides]
    if len(sides) == 2:
        points, relative = _changes(*sides)
        accuracy.append(el("b", two_lines(points, between.get("accuracy", ""))))
        tokens.append(el("b", two_lines(relative, between.get("tokens_relative", ""))))
    cells: list[str] = [*accuracy, *tokens]
    for name in plain:
        write = hundredfold if name in ("truncation_rate", "needless_share") else _tokens
        cells += [write(table, name) for table in sides]
    name = join(label, el("small", f"{fixed(problems, 0)} problems") if problems else None)
    return el("tr", el("th", name, scope="row"), *[el("td", cell) for cell in cells])


def _changes(before: dict, after: dict) -> tuple[str, str]:
    """Difference of accuracy in points and of tokens in percent, in words."""
    right = number(before, "accuracy"), number(after, "accuracy")
    tokens = number(before, "mean_tokens"), number(after, "mean_tokens")
    points = relative = DASH
    if right[0] is not None and right[1] is not None:
        points = signed(100 * (right[1] - right[0]))
    if tokens[0] and tokens[1] is not None:
        relative = f"{signed(100 * (tokens[1] / tokens[0] - 1))} %"
    return points, relative


def _tokens(table: dict, name: str) -> str:
    return fixed(number(table, name))


def _budgets(run: Run, mode: str) -> Markup | None:
    """Accuracy if only right answers within a budget counted, before and after."""
    series = []
    for one, name, colour in ((run.before, "before", "soft"), (run.after, "after", "accent")):
        found = mode_table(one.table, mode).get("budgets") if one else None
        if not isinstance(found, dict):
            continue
        curve = sorted((int(b), v) for b in found if b.isdigit() and (v := number(found, b)) is not None)
        if curve:
            x, y = np.array([(0.0, 0.0), *curve], float).T
            series.append(chart.Series(name, colour, x, y, smooth=False))
    if not series:
        return None
    frame = chart.Frame(0, max(one.x[-1] for one in series), 0, 1)
    points = [
        chart.Point(f"{one.name}, {x:.0f} tokens: {percent(y)}", one.tone, x, y)
        for one in series
        for x, y in zip(one.x[1:], one.value[1:], strict=True)
    ]
    drawing = chart.lines(
        f"Accuracy within a token budget, {mode}",
        series,
        frame,
        write=lambda v: percent(v, 0),
        points=points,
        x_name="tokens",
    )
    note = "An answer counts if it is right and no longer than the budget; nothing was generated anew."
    return figure(mode.capitalize(), note, drawing)
