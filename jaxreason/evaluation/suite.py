"""Evaluate a policy on a suite of benchmarks, one set after the other; what is finished stays and is not done again."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from jaxreason.config import Config, given, to_dict
from jaxreason.evaluation import ask, graders, suites
from jaxreason.evaluation.ask import Asking
from jaxreason.evaluation.stored import Place
from jaxreason.evaluation.suites import BENCHMARKS, Protocol
from jaxreason.parallel import hosts
from jaxreason.run.files import write_json_atomic, write_text_atomic
from jaxreason.run.progress import Display

MAX_PROMPT = 4096
"""Tokens; the longest question of a suite has fewer."""
RESULTS, TABLE = "suite.json", "table.md"
TOLD = (
    "2k to 32k: accuracy if only answers within so many tokens counted. string, math-verify: answers that these "
    "graders judge otherwise."
)


def run(
    place: Place,
    suite: str,
    overrides: Sequence[str] = (),
    *,
    data_dir: Path | None = None,
    limit: int | None = None,
    step: int | str | None = None,
    output: Path | None = None,
    display: Display | None = None,
) -> tuple[Path, dict]:
    """Evaluate a policy on every set of a suite.

    A set whose file stands in `output` and was made by the same policy, protocol and problems is not done again.

    Args:
      overrides: what the user set; it wins over the protocol, and the results say so.
      data_dir: folder with the benchmarks' files; None: fetched from the hub.
      limit: ask the first so many problems of every set only.
      output: folder; None: evaluation/NAME_SUITE, or in the run.

    Returns:
      The folder, and what its suite.json holds: `sets`, name -> figures, and their plain means.

    Raises:
      ValueError: no such suite, files that are missing or of another benchmark (each named in a line before), or a
        folder that holds results of something else.
    """
    display = display or Display()
    if limit is not None and limit < 1:
        raise ValueError(f"--limit: expected at least 1 problem, got {limit}")
    protocols = suites.protocols(suite)
    read = hosts.together(lambda: _read_all(protocols, data_dir, display))
    places = [under(place, protocol, given(None, overrides)) for protocol in protocols]
    askings = []
    for one, protocol, (file, problems) in zip(places, protocols, read, strict=True):
        title = BENCHMARKS[protocol.benchmark].title
        askings.append(_asking(one, problems[:limit], str(file), title, display))
    name = Path(place.released.name).name if place.released else ""
    default = Path("evaluation") / f"{name}_{suite}" if name else place.path / "evaluation" / suite
    output = output or default
    if output.suffix == ".json" or output.is_file():
        raise ValueError(f"--output: expected a folder with --suite, got {output}")
    ask.same_on_all_hosts(place, askings, step)
    found: dict[str, Any] = {}
    with ask.opened(askings, dataclasses.replace(place, config=askings[0].config), step, display) as opened:
        params, number, pool = opened
        marks = [identity(place, number, asking) for asking in askings]
        files = [output / f"{protocol.benchmark}.json" for protocol in protocols]
        held = hosts.together(lambda: [*map(_done, files, marks)] if hosts.first() else [])
        done = hosts.agree(held)
        for protocol, asking, mark, (file, _), before in zip(protocols, askings, marks, read, done, strict=True):
            title, result = BENCHMARKS[protocol.benchmark].title, before
            if result is None:
                result, rows = ask.measure(params, asking, pool, display, title)
                result |= {"identity": mark, "file": str(file), "step": number}
                result |= {"asked": len(asking.problems), "published": BENCHMARKS[protocol.benchmark].problems}
                result["departs"] = departures(protocol, asking.config)
                if hosts.first():
                    ask.write(output / f"{protocol.benchmark}.json", result, rows)
                jax.clear_caches()  # the next set's programs have other shapes; these would stay in memory
            else:
                display.say(f"{title}: done before, in {output / f'{protocol.benchmark}.json'}")
            found[protocol.benchmark] = figures(result, title)
            summary = {"suite": suite, "policy": str(place.path), "step": number, "limit": limit, "sets": found}
            summary["mean"] = mean(list(found.values()))
            if hosts.first():
                write_json_atomic(output / RESULTS, summary)
                write_text_atomic(output / TABLE, markdown(summary))
    return output, summary


def _read_all(protocols: Sequence[Protocol], data_dir: Path | None, display: Display) -> list:
    """Files and problems of all sets; every trouble in a line of its own before the last of them ends the command."""
    read, troubles = [], []
    for protocol in protocols:
        try:
            read.append(suites.read(protocol.benchmark, data_dir))
        except ValueError as error:
            troubles.append(str(error))
    if troubles:
        for trouble in troubles[:-1]:
            display.warn(trouble)
        raise ValueError(troubles[-1])
    return read


def under(place: Place, protocol: Protocol, written: frozenset[str]) -> Place:
    """A policy under a set's protocol, but for what the user wrote.

    Boxes only are read, as published.

    Args:
      written: keys that the user set.
    """
    config = place.config
    wanted = {"num_samples": protocol.num_samples, "temperature": protocol.temperature, "top_p": protocol.top_p}
    wanted |= {"greedy": False, "budgets": suites.BUDGETS}
    limited = "sampling.max_completion_length" in written
    wanted["max_completion_length"] = 0 if limited else protocol.max_completion_length
    own = {field: value for field, value in wanted.items() if f"evaluation.{field}" not in written}
    prompt = config.data.max_prompt_length if "data.max_prompt_length" in written else MAX_PROMPT
    task = config.data.task if "data.task" in written else "boxed_math"
    return dataclasses.replace(
        place,
        config=dataclasses.replace(
            config,
            evaluation=dataclasses.replace(config.evaluation, **own),
            data=dataclasses.replace(config.data, max_prompt_length=prompt, task=task),
        ),
    )


def _asking(place: Place, problems, where: str, title: str, display: Display) -> Asking:
    """Problems whose prompts fit, under a limit that the model was made for."""
    asking = ask.prepare(place, problems, where, lambda line: display.say(f"{title}: {line}"), narrow=True)
    config, most = asking.config, place.config.model.max_position_embeddings
    left = most - config.data.max_prompt_length
    if not most or config.sampling.max_completion_length <= left:
        return asking
    display.say(f"{title}: at most {left} tokens an answer, since the model is made for {most} with the prompt")
    sampling = dataclasses.replace(config.sampling, max_completion_length=left)
    return asking._replace(config=dataclasses.replace(config, sampling=sampling))


def departures(protocol: Protocol, config: Config) -> dict[str, Any]:
    """In what a set was answered otherwise than its protocol says: field -> value."""
    evaluation = config.evaluation
    used = {
        "num_samples": evaluation.num_samples,
        "temperature": evaluation.temperature,
        "top_p": evaluation.top_p,
        "max_completion_length": config.sampling.max_completion_length,
    }
    return {name: value for name, value in used.items() if value != getattr(protocol, name)}


def identity(place: Place, number: int, asking: Asking) -> str:
    """Sixteen letters that change with the policy, with how it is asked, and with the problems."""
    config = to_dict(asking.config)
    del config["evaluation"]["max_completion_length"]  # it is the limit below
    parts: dict[str, Any] = {name: config[name] for name in ("evaluation", "agents", "model")}
    parts |= {"limit": asking.config.sampling.max_completion_length, "task": asking.config.data.task}
    parts |= {"policy": place.released.fingerprint if place.released else str(place.path.resolve()), "step": number}
    parts |= {"seed": asking.config.run.seed, "problems": ask.fingerprint(asking.problems)}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _done(file: Path, mark: str) -> dict | None:
    """What a set's file holds; None where there is none.

    Raises:
      ValueError: it holds something else's.
    """
    if not file.is_file():
        return None
    try:
        held = json.loads(file.read_text())
    except json.JSONDecodeError:
        held = {}
    if held.get("identity") != mark:
        raise ValueError(
            f"{file}: expected results of this policy, these settings and these problems, got others; give --output "
            "with another folder, or remove the file"
        )
    return held


def figures(result: dict, title: str) -> dict[str, Any]:
    """A set's line of the table."""
    table, sampled = result["table"], result["graders"].get("sampled", {})
    names = ("problems", "samples", "accuracy", "accuracy_low", "accuracy_high", "mean_tokens", "truncation_rate")
    curve = {str(b): table["budgets"].get(str(b)) if b <= result["limit"] else None for b in suites.BUDGETS}
    differ = {name: sampled[name]["differs"] for name in (graders.STRING, graders.MATH_VERIFY) if name in sampled}
    return {
        "title": title,
        **{name: table[name] for name in names},
        "limit": result["limit"],
        "published": result["published"],
        "budgets": curve,
        "answers": table["problems"] * table["samples"],
        "differs": differ,
        "departs": result["departs"],
    }


def mean(rows: Sequence[dict]) -> dict[str, float]:
    """The plain means over sets, as the papers print their overall."""
    return {name: sum(row[name] for row in rows) / len(rows) for name in ("accuracy", "mean_tokens")}


def markdown(summary: dict) -> str:
    """The table of a suite: accuracy / tokens as the papers print it, and what a reader needs beside them."""
    budgets = [f"{b // 1024}k" for b in suites.BUDGETS]
    head = ["set", "answers", "accuracy / tokens", "95 % interval", "limit", "cut", *budgets, "string", "math-verify"]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    notes = []
    for row in summary["sets"].values():
        asked = f"{row['problems']} x {row['samples']}"
        curve = ["-" if value is None else f"{100 * value:.1f}" for value in row["budgets"].values()]
        differ = [str(row["differs"].get(name, "-")) for name in (graders.STRING, graders.MATH_VERIFY)]
        cells = [row["title"], asked, f"{100 * row['accuracy']:.2f} / {row['mean_tokens']:.0f}"]
        cells += [f"{100 * row['accuracy_low']:.1f} to {100 * row['accuracy_high']:.1f}", str(row["limit"])]
        lines.append("| " + " | ".join([*cells, f"{row['truncation_rate']:.0%}", *curve, *differ]) + " |")
        if row["problems"] != row["published"]:
            notes.append(f"- {row['title']}: {row['problems']} problems, published with {row['published']}")
        if row["departs"]:
            notes.append(f"- {row['title']} departs from its protocol: {_spelled(row['departs'])}")
    means = summary["mean"]
    overall = ["overall", "", f"{100 * means['accuracy']:.2f} / {means['mean_tokens']:.0f}"]
    lines.append("| " + " | ".join([*overall, *[""] * (len(head) - len(overall))]) + " |")
    return "\n".join([*lines, "", TOLD, *([""] if notes else []), *notes]) + "\n"


def _spelled(departs: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in departs.items())
