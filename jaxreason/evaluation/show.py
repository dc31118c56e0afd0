"""Tables for a terminal from what evaluations found. Knows the names in results.json, nothing of how they came."""

import collections
from collections.abc import Collection, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxreason.evaluation.efficiency import AES

WIDTH = 120
"""Columns where the output is no terminal: a table that wraps is no table."""


def results(found: dict, console: Console) -> None:
    """Before and after training, in every mode of evaluation, overall and by source.

    Args:
      found: what results.json holds.
    """
    before, after = dict(_parts(found["base"])), dict(_parts(found["trained"]))
    needless = any(part.get("needless_share") for parts in (before, after) for part in parts.values())
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for title in ("accuracy, %", "tokens", "change", *["needless"] * needless):
        table.add_column(title, justify="right", no_wrap=True)
    labels = _labels(before)
    for name, old in before.items():
        new = after[name]
        row = [
            f"{100 * old['accuracy']:.1f} → {_accuracy(new)}",
            f"{_tokens(old)} → {_tokens(new)}",
            _change(old, new),
        ]
        row += [f"{_share(old.get('needless_share'))} → {_share(new.get('needless_share'))}"] * needless
        table.add_row(labels[name], *row)
    _print(table, console)
    console.print(
        "before → after; in brackets the 95 % interval; tokens: mean of a completion; needless: share of its tokens",
        style="dim",
        markup=False,
    )
    for mode, change in found["change"].items():
        console.print(f"{mode}: {_paired(change)}", markup=False)


def evaluation(found: dict, console: Console) -> None:
    """One evaluation.

    Args:
      found: a table as `evaluation.loop.table` makes it.
    """
    parts = dict(_parts(found))
    needless = any(part.get("needless_share") for part in parts.values())
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    best, vote = f"pass_at_{found.get('samples', 1)}", f"maj_at_{found.get('samples', 1)}"
    several = vote in found
    titles = ["problems", "accuracy", *["pass@k", "maj@k"] * several, "tokens", "if right", "if wrong", "cut"]
    for title in [*titles, *["needless"] * needless]:
        table.add_column(title, justify="right")
    labels = _labels(parts)
    for name, part in parts.items():
        row = [str(part["problems"]), _accuracy(part)]
        row += [_percent(part.get(name)) for name in (best, vote)] if several else []
        row += [
            _tokens(part),
            _tokens(part, "mean_tokens_correct"),
            _tokens(part, "mean_tokens_wrong"),
            _share(part["truncation_rate"]),
        ]
        table.add_row(labels[name], *row, *[_share(part.get("needless_share"))] * needless)
    _print(table, console)
    note = "accuracy in %, with its 95 % interval; cut: at the token limit"
    if several:
        note += f"; k = {found['samples']}: a right answer among k, and the most frequent one right"
    console.print(note, style="dim", markup=False)


def suite(found: dict, console: Console) -> None:
    """A suite's table, a row a set.

    Args:
      found: what its suite.json holds.
    """
    rows = found["sets"].values()
    budgets = list(next(iter(rows))["budgets"])
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for title in ("answers", "accuracy / tokens", "cut", *[f"{int(b) // 1024}k" for b in budgets], "differ"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        accuracy = f"{_accuracy(row)} / {row['mean_tokens']:.0f}"
        curve = ["-" if value is None else f"{100 * value:.1f}" for value in row["budgets"].values()]
        differ = " ".join(str(n) for n in row["differs"].values()) or "-"
        cells = [f"{row['problems']} x {row['samples']}", accuracy, _share(row["truncation_rate"]), *curve, differ]
        table.add_row(Text(row["title"]), *cells)
    means = found["mean"]
    table.add_row("overall", "", f"{100 * means['accuracy']:.2f} / {means['mean_tokens']:.0f}")
    _print(table, console)
    console.print(
        "accuracy in %, with its 95 % interval; 2k to 32k: if only answers within so many tokens counted; differ: "
        "answers that string comparison and math-verify alone judge otherwise",
        style="dim",
        markup=False,
    )


def difficulty(found: dict, console: Console) -> None:
    """Easy and hard problems, a row each, and how many are at the ends.

    Args:
      found: what `evaluation.difficulty.split` gives.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for title in ("problems", "pass rate", "tokens", "cut", "never right", "always right"):
        table.add_column(title, justify="right", no_wrap=True)
    above, most = found["thresholds"]["easy_above"], found["thresholds"]["hard_at_most"]
    labels = {"easy": f"easy (above {above:g})", "hard": f"hard (at most {most:g})", "between": "between", "all": "all"}
    for name, label in labels.items():
        part = found[name]
        if name == "between" and not part["problems"]:
            continue
        rate = "-" if part["pass_rate"] is None else f"{part['pass_rate']:.3f}"
        ends = (str(part["never_right"]), str(part["always_right"]))
        table.add_row(label, str(part["problems"]), rate, _tokens(part), _share(part["cut_share"]), *ends)
    _print(table, console)
    told = f"{found['samples']} samples a problem, at most {found['limit']} tokens; never right: pass rate 0, always: 1"
    if found["dropped_problems"] or found["ungradable"]:
        told += f"; left out: {found['dropped_problems']} with too long prompts, {found['ungradable']} not gradable"
    console.print(told, style="dim", markup=False)


def graders(found: dict, console: Console) -> None:
    """How far simpler graders judge the same answers otherwise, a line a mode.

    Args:
      found: mode -> counts as `evaluation.graders.disagreement` makes them.
    """
    names = {"exact_match_string": "string comparison", "exact_match_math_verify": "math-verify alone"}
    for mode, counts in found.items():
        ours = counts["exact_match"]
        words = [
            f"{label} {counts[name]['right']} ({counts[name]['differs']} judged differently)"
            for name, label in names.items()
            if name in counts
        ]
        told = f"{mode}: {ours['right']} of {ours['answers']} answers right"
        console.print("; by ".join([told, *words]), markup=False)


def places(folder: Path, report: Path | None, console: Console) -> None:
    """Where a finished run left what; a report that is not there can be written later."""
    rows = {
        "figures": folder / "results.json",
        "every step": folder / "metrics.jsonl",
        "completions": f"{folder / 'samples'} and {folder / 'evaluation'}",
        "curves": f"tensorboard --logdir {folder / 'tb'}" if (folder / "tb").is_dir() else None,
        "report": report or f"jaxreason report {folder}",
    }
    for name, place in rows.items():
        if place is None:
            continue
        console.print(f"{name + ':':13}{place}", markup=False)


def _parts(table: dict) -> Iterator[tuple[tuple[str, str | None], dict]]:
    """(mode, source) -> figures, source None for all together; the sampled ones stand at the top of the table."""
    for mode, figures in (("sampled", table), ("greedy", table.get("greedy"))):
        if figures is None:
            continue
        yield (mode, None), figures
        if len(figures["by_source"]) > 1:
            for source, part in figures["by_source"].items():
                yield (mode, source), part


def _labels(names: Collection[tuple[str, str | None]]) -> dict[tuple[str, str | None], Text]:
    """How rows are called: a source by the last part of its path, where no other row is called so."""
    sources = {source for _, source in names if source is not None}
    short = {source: source.rsplit("/", maxsplit=1)[-1] for source in sources}
    taken = collections.Counter(["", "all", *short.values()])
    called = {source: last if taken[last] == 1 else source for source, last in short.items()}
    # Text: a source in square brackets is no markup.
    called = {source: "source all" if label == "all" else label for source, label in called.items()}
    return {(mode, source): Text(f"{mode} {'all' if source is None else called[source]}") for mode, source in names}


def _print(table: Table, console: Console) -> None:
    console.print(table, width=None if console.is_terminal else WIDTH)


def _accuracy(part: dict) -> str:
    low, high = part["accuracy_low"], part["accuracy_high"]
    return f"{100 * part['accuracy']:.1f} ({100 * low:.0f}-{100 * high:.0f})"


def _tokens(part: dict, name: str = "mean_tokens") -> str:
    return "-" if part[name] is None else f"{part[name]:.1f}"


def _change(old: dict, new: dict) -> str:
    return f"{new['mean_tokens'] / old['mean_tokens'] - 1:+.0%}" if old["mean_tokens"] else "-"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _paired(change: dict) -> str:
    """The differences on the same problems, with their intervals."""
    words = []
    for name, label, scale, unit in (
        ("accuracy", "accuracy", 100, " points"),
        ("tokens_relative", "tokens", 100, " %"),
        ("aes", f"AES({', '.join(f'{weight:g}' for weight in AES)})", 1, ""),
    ):
        e = change.get(name)
        if e is None or e["value"] is None:
            continue
        digits = 1 if scale == 100 else 2
        interval = ""
        if e["low"] is not None:
            interval = f" ({scale * e['low']:+.{digits}f} to {scale * e['high']:+.{digits}f})"
        words.append(f"{label} {scale * e['value']:+.{digits}f}{unit}{interval}")
    return ", ".join(words) + " on the same problems"
