"""One self-contained page of one or several runs: what came out, the curves behind it, and what the policy wrote.

Everything comes from the runs' folders; the page needs no network and, but for its filters, no script. It holds no
clock, so that the same folders give the same bytes.
"""

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from jaxreason.report import choice, curves, several, tables, texts
from jaxreason.report.headline import comparison_note, headline
from jaxreason.report.markup import Markup, el, join
from jaxreason.report.read import Run, read_runs

NAME = "report.html"


def write_report(runs: Sequence[Path], output: Path | None = None) -> Path:
    """Write the report of one or several runs. An unfinished or partly written run is shown as far as it goes.

    Args:
      runs: folders that `jaxreason train` wrote.
      output: the file; None for report.html in the first run's folder.

    Returns:
      The file.

    Raises:
      ValueError: a folder holds no run, is given twice, or the file cannot be written.
    """
    found = read_runs(runs)
    file = found[0].path / NAME if output is None else Path(output).expanduser()
    page = render(found)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(page, encoding="utf-8", newline="\n")
    except OSError as error:
        raise ValueError(f"{file}: cannot write the report ({error.strerror}); name another file") from None
    return file


def render(runs: Sequence[Run]) -> str:
    """The page's text."""
    title = runs[0].label if len(runs) == 1 else f"{len(runs)} runs"
    sections = [one for one in _sections(runs) if one is not None]
    top = headline(runs[0])
    if len(runs) > 1:
        top = join(el("h1", title), [headline(run, alone=False) for run in runs], comparison_note(runs))
    links = [el("a", name, href=f"#{anchor}") for anchor, name, _ in sections]
    return document(title, join(top, el("nav", *links), [section for _, _, section in sections]))


def document(title: str, content: Markup) -> str:
    """A whole page around its content: style, the script of the filters, and leave for nothing else."""
    assets = resources.files(__name__)
    style, script = ((assets / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    sha = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        # Escaping keeps a model's text from becoming markup; this keeps markup from doing anything, were it to fail.
        el(
            "meta",
            http_equiv="Content-Security-Policy",
            content=f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{sha}'",
        ),
        el("title", f"{title} · jaxreason"),
        el("style", Markup(style)),
    )
    main = el("main", el("p", "jaxreason", class_="brand"), content)
    body = el("body", main, el("script", Markup(script)))
    return f'<!doctype html>\n<html lang="en">{head}{body}</html>\n'


def _sections(runs: Sequence[Run]) -> list[tuple[str, str, Markup] | None]:
    return [
        _section("results", "Before and after", [(run, tables.before_after(run)) for run in runs]),
        _section("curves", "Over the steps", [(run, _curves(run)) for run in runs]),
        _comparison(runs) if len(runs) > 1 else None,
        _held_out(runs),
        _samples(runs),
    ]


def _section(anchor: str, title: str, parts: Sequence[tuple[Run, list[Markup]]]) -> tuple[str, str, Markup] | None:
    parts = [(run, content) for run, content in parts if content]
    if not parts:
        return None
    names = len(parts) > 1
    inside = [join(el("h3", run.label) if names else None, *content) for run, content in parts]
    return anchor, title, el("section", el("h2", title), *inside, id=anchor)


def _curves(run: Run) -> list[Markup]:
    figures = curves.curves(run)
    if not figures:
        return []
    return [
        m for m in (curves.explanation(run), el("div", *figures, class_="charts"), curves.legend_of_marks(run)) if m
    ]


def _comparison(runs: Sequence[Run]) -> tuple[str, str, Markup]:
    plots = [plot for mode in tables.MODES if (plot := several.pareto(runs, mode)) is not None]
    content = [
        el("h2", "Runs side by side"),
        el("div", *plots, class_="charts wide") if plots else None,
        several.side_by_side(runs),
        el("div", *curves.together(runs), class_="charts"),
    ]
    return "runs", "Runs side by side", el("section", *content, id="runs")


def _held_out(runs: Sequence[Run]) -> tuple[str, str, Markup] | None:
    title, parts, sources, coloured = "Chains of thought", [], [], False
    for run in runs:
        pairs = choice.held_out(run)
        shown = choice.shown(pairs, max(1, texts.LIMIT // len(runs)))
        if shown:
            parts += [el("p", _whose(run, runs), texts.described(run, shown, len(pairs)), class_="note")]
            parts.append(texts.held_out(run, shown))
            sources += [pair.source for pair in shown]
            coloured |= any(map(choice.is_coloured, shown))
    if not parts:
        return None
    outcomes = texts.OUTCOMES_HELD_OUT if any(run.after for run in runs) else ()
    bar = texts.filters(outcomes, runs, sorted(set(sources)), ())
    legend = texts.score_legend() if coloured else None
    return "chains", title, el("section", el("h2", title), legend, bar, *parts, id="chains")


def _samples(runs: Sequence[Run]) -> tuple[str, str, Markup] | None:
    title, parts, rows = "Training samples", [], []
    for run in runs:
        shown = choice.samples(run, max(1, texts.LIMIT // len(runs)))
        if shown:
            note = f"{len(shown)} completions from steps spread over the run; the others are in its samples folder."
            parts += [el("p", _whose(run, runs), note, class_="note"), texts.samples(run, shown)]
            rows += shown
    if not parts:
        return None
    sources, steps = sorted({choice.field(row, "source") for _, row in rows}), sorted({step for step, _ in rows})
    bar = texts.filters(texts.OUTCOMES_SAMPLES, runs, sources, steps)
    return "samples", title, el("section", el("h2", title), texts.score_legend(), bar, *parts, id="samples")


def _whose(run: Run, runs: Sequence[Run]) -> str:
    return f"{run.label}: " if len(runs) > 1 else ""
