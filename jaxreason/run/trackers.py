"""Weights & Biases and trackio, beside the run's own files: metrics, completions with chunks and scores, the report.

Their calls are alike, and neither is imported unless `run.report_to` names it. Whatever a tracker does, the run goes
on: one that fails is named in a warning and left alone for the rest of the launch. metrics.jsonl holds everything.
"""

import importlib
import importlib.util
import json
import math
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxreason.config import Config, to_dict
from jaxreason.parallel import hosts
from jaxreason.run.files import write_json_atomic

HOSTED = ("wandb", "trackio")
"""What `run.report_to` may name beside `jsonl` and `tensorboard`: packages of these names."""
IDS = "trackers.json"
"""In a run's folder: under which id each tracker knows the run, so that a resumed run goes on there."""
EVERY = 10
"""Completions are sent as a table at the first step and every so many: each table is a file."""
COLUMNS = ("step", "question", "completion", "answer", "right", "tokens", "reward", "chunks", "scores")


def refuse_missing(config: Config) -> None:
    """Raises:
    ValueError: a tracker that is not installed.
    """
    for name in HOSTED:
        if name in config.run.report_to and importlib.util.find_spec(name) is None:
            raise ValueError(f"run.report_to: {name} is not installed; `pip install {name}`, or leave it out")


class Trackers:
    """The trackers of a run, open. A context manager. On all processes but the first it does nothing."""

    def __init__(self, config: Config, folder: Path, warn: Callable[[str], None]):
        self._warn = warn
        self._runs: dict[str, Any] = {}  # name -> (its module, its run)
        for name in HOSTED:
            if name in config.run.report_to and hosts.first():
                self._guarded(name, lambda name=name: self._open(name, config, folder))

    def __enter__(self) -> "Trackers":
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._runs):
            self._guarded(name, lambda name=name: self._runs[name][1].finish())

    def step(self, number: int, row: Mapping[str, Any]) -> None:
        """Send the numbers of a step, or of an evaluation at it. Steps done again after a kill are sent again."""
        values = {
            name: value
            for name, value in row.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        }
        self._send(number, lambda _: values)

    def completions(self, number: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Send rows of samples/ as a table, at the steps that EVERY names."""
        if rows and (number == 1 or number % EVERY == 0):
            data = [_cells(number, row) for row in rows]
            self._send(number, lambda module: {"completions": module.Table(columns=list(COLUMNS), data=data)})

    def report(self, file: Path) -> None:
        """Send the run's report as an artifact."""

        def send(name: str) -> None:
            module, run = self._runs[name]
            artifact = module.Artifact("report", type="report")
            artifact.add_file(str(file))
            run.log_artifact(artifact)

        for name in list(self._runs):
            self._guarded(name, lambda name=name: send(name))

    def _open(self, name: str, config: Config, folder: Path) -> None:
        module = importlib.import_module(name)
        ids = _ids(folder)
        again = name in ids
        ids.setdefault(name, f"{folder.resolve().name}-{uuid.uuid4().hex[:6]}")
        more = {"id": ids[name], "dir": str(folder)} if name == "wandb" else {}
        run = module.init(
            project=os.environ.get(f"{name.upper()}_PROJECT", "jaxreason"),
            name=ids[name],
            config=to_dict(config),
            resume="allow",
            **more,
        )
        if name == "wandb":
            run.define_metric("*", step_metric="step")  # its own counter would refuse a step that is done again
        if not again:
            write_json_atomic(folder / IDS, ids)
        self._runs[name] = (module, run)

    def _send(self, number: int, values: Callable[[Any], Mapping[str, Any]]) -> None:
        def send(name: str) -> None:
            module, run = self._runs[name]
            if name == "wandb":
                run.log({"step": number, **values(module)})
            else:
                run.log(dict(values(module)), step=number)

        for name in list(self._runs):
            self._guarded(name, lambda name=name: send(name))

    def _guarded(self, name: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # anything that somebody else's code may raise
            self._runs.pop(name, None)
            reason = " ".join(str(error).split()) or type(error).__name__
            self._warn(
                f"run.report_to: {name} failed ({reason:.200}); the run goes on without it, metrics.jsonl has all"
            )


def _ids(folder: Path) -> dict[str, str]:
    try:
        held = json.loads((folder / IDS).read_text())
        return {name: str(held[name]) for name in HOSTED if name in held}
    except (OSError, ValueError, TypeError):
        return {}


def _cells(number: int, row: Mapping[str, Any]) -> list[Any]:
    return [
        number,
        row["doc"]["question"],
        row["resps"][0][0],
        str(row["filtered_resps"][0] or ""),
        bool(row["exact_match"]),
        row["n_tokens"],
        row["rewards"]["reason"],
        "\n---\n".join(row.get("chunks", [])),
        " ".join(map(str, row.get("scores", []))),
    ]
