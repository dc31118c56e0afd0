"""The head of a report: what ran, on what, and what came out of it."""

import shlex
from collections.abc import Sequence
from typing import Any

from jaxreason.report.markup import Markup, el, join
from jaxreason.report.read import Run
from jaxreason.report.tables import MODES, change_interval, points_changed
from jaxreason.report.wording import NARROW, duration, fixed, number, signed, tokens_changed
from jaxreason.run.best import best_of


def headline(run: Run, *, alone: bool = True) -> Markup:
    """Name, result in large figures and in a sentence, facts; closer together where it is one of several."""
    facts = _facts(run)
    return el(
        "header",
        el("h1" if alone else "h2", run.label),
        _large(run),
        _sentence(run),
        comparison_note([run]) if alone else None,
        facts if alone else el("details", el("summary", "settings and machine"), facts),
        el("p", f"Could not be read, wholly or in part: {', '.join(run.torn)}.", class_="note") if run.torn else None,
        class_="headline" if alone else "headline one",
    )


def _large(run: Run) -> Markup | None:
    """The two figures of the result, for each way of decoding; None where nothing was trained."""
    blocks = []
    if run.steps == 0:
        return None
    for mode in MODES:
        relative, points = number(run.results, "change", mode, "tokens_relative", "value"), points_changed(run, mode)
        if relative is None and points is None:
            continue
        blocks.append(
            el(
                "div",
                el("p", mode, class_="kicker"),
                _stat(signed(None if relative is None else 100 * relative), "%", "tokens", change_interval(run, mode)),
                _stat(signed(points), "points", "accuracy", change_interval(run, mode, "accuracy")),
                class_=f"stats {mode}",
            )
        )
    return el("div", *blocks, class_="results") if blocks else None


def _stat(value: str, unit: str, name: str, between: str) -> Markup:
    return el(
        "div",
        el("p", value, el("small", " ", unit), class_="figure"),
        el("p", el("b", name), f" {between}" if between else None, class_="under"),
        class_=f"stat {name}",
    )


def comparison_note(runs: Sequence[Run]) -> Markup | None:
    """What the intervals are of; None where no run has a result."""
    problems = sorted({found for run in runs if run.steps and (found := number(run.results, "problems"))})
    if not problems:
        return None
    count = " or ".join(fixed(n, 0) for n in problems)
    return el(
        "p",
        f"Before and after are compared on the same {count} held-out problems, each with itself; "
        "the 95 % intervals are for such problems and say nothing of another training seed.",
        class_="note",
    )


def _sentence(run: Run) -> Markup:
    """The result, or how far the run is."""
    if run.results and run.steps == 0:
        return el("p", "No step of training was asked for: this is the policy of the start.", class_="lead")
    result = [part for mode in MODES if (part := _result_of(run, mode))]
    if result:
        preset = run.results.get("preset") or run.setting("reward", "preset") or "unknown"
        return el("p", f"{run.steps:,} steps with the {preset} preset. {' '.join(result)}", class_="lead")
    planned = number(run.setting("run", "max_steps"))
    done = f"{run.steps:,} of {fixed(planned, 0)} steps" if planned is not None else f"{run.steps:,} steps"
    text = f"This run has no result yet: {done} are done."
    if run.before is None:
        text += " There is no evaluation."
    elif run.after is not None:
        text += f" The latest evaluation is of step {run.after.step}."
    return el("p", text, class_="lead")


def _result_of(run: Run, mode: str) -> str:
    relative, points = number(run.results, "change", mode, "tokens_relative", "value"), points_changed(run, mode)
    if relative is None or points is None:
        return ""
    tokens_between, points_between = change_interval(run, mode), change_interval(run, mode, "accuracy")
    return (
        f"{mode.capitalize()}, the policy takes {tokens_changed(relative)}"
        f"{f' (95{NARROW}% interval {tokens_between}{NARROW}%)' if tokens_between else ''} and its accuracy changes by "
        f"{signed(points)} points{f' ({points_between})' if points_between else ''}."
    )


def _facts(run: Run) -> Markup:
    """What a reader needs to run it again."""
    devices, host, git, versions = (_part(run.env, name) for name in ("devices", "host", "git", "versions"))
    hardware = None
    if devices:
        hardware = f"{devices.get('count', '?')} × {devices.get('kind', '?')}"
        if number(devices, "processes") not in (None, 1.0):
            hardware += f", {devices['processes']} processes"
        if host.get("cpus"):
            hardware += f", host of {host['cpus']} CPUs"
    commit = None
    if git.get("sha"):
        commit = str(git["sha"])[:10] + (", modified" if git.get("dirty") else "")
    command = run.env.get("command")
    step_times = [t for row in run.metrics if (t := number(row, "step_time")) is not None]
    facts = {
        "preset": run.results.get("preset", run.setting("reward", "preset")),
        "seed": run.results.get("seed", run.setting("run", "seed")),
        "alpha": run.alpha,
        "steps": f"{run.steps} of {run.setting('run', 'max_steps', '?')}",
        "best evaluation": _best(run),
        "hardware": hardware,
        "commit": commit,
        "versions": ", ".join(f"{n} {versions[n]}" for n in ("jaxreason", "jax", "flax") if versions.get(n)) or None,
        "started": str(run.env["started"]).replace("T", " ").replace("+00:00", " UTC")
        if "started" in run.env
        else None,
        "time": duration(number(run.results, "seconds")),
        "a step": duration(sorted(step_times)[len(step_times) // 2]) if step_times else None,
        "launches": run.env.get("launches") if run.env.get("launches") != 1 else None,
    }
    shown = [el("div", el("dt", name), el("dd", value)) for name, value in facts.items() if value is not None]
    words = shlex.join(str(word) for word in command) if isinstance(command, list) else None
    return join(el("dl", *shown, class_="facts"), el("p", el("code", words), class_="command") if words else None)


def _best(run: Run) -> str | None:
    """Where there was a choice: which evaluation's policy `--step best` takes."""
    tables = {
        step: one.table
        for step, one in run.evaluations.items()
        if None not in (number(one.table, "accuracy"), number(one.table, "mean_tokens"))
    }
    return f"after step {best_of(tables)}" if len(tables) > 1 else None


def _part(data: dict, name: str) -> dict[str, Any]:
    found = data.get(name)
    return found if isinstance(found, dict) else {}
