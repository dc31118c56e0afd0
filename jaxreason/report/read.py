"""A run's folder, as far as it was written. A missing or torn part is left out and named; nothing is ever written."""

import dataclasses
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from jaxreason.run import folder as run_folder

RESULTS, EVALUATION = "results.json", "evaluation"


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """One evaluation on held-out problems."""

    step: int
    table: dict
    rows: list[dict]  # every completion; empty where the texts were not kept


@dataclasses.dataclass(frozen=True)
class Run:
    """What there is of one run."""

    path: Path
    label: str  # unlike that of any other run in the report
    config: dict
    env: dict
    results: dict  # empty until the run is finished
    metrics: list[dict]  # by step, each step once
    evaluations: dict[int, Evaluation]  # by step
    torn: tuple[str, ...]  # files that could not be read, or not wholly

    def setting(self, section: str, field: str, default: Any = None) -> Any:
        """A field of the run's configuration."""
        part = self.config.get(section)
        return part.get(field, default) if isinstance(part, dict) else default

    @property
    def alpha(self) -> Any:
        """Weight of the length penalty; None where its steps had none to weigh."""
        priced = not self.metrics or "reason/rewards/penalty/mean" in self.metrics[-1]
        return self.setting("reward", "alpha") if priced else None

    @property
    def evaluation_limit(self) -> Any:
        """Token limit of its evaluations; None where nothing says."""
        return self.setting("evaluation", "max_completion_length") or self.setting("sampling", "max_completion_length")

    @cached_property
    def steps(self) -> int:
        """Steps that left a row of metrics, or that the results speak of."""
        last = self.metrics[-1]["step"] if self.metrics else 0
        done = self.results.get("steps")
        return max(last, done) if isinstance(done, int) else last

    @cached_property
    def before(self) -> Evaluation | None:
        """The evaluation of the policy as it was before step 0."""
        found = self.evaluations.get(0)
        table = self.results.get("base")
        if isinstance(table, dict):
            return Evaluation(0, table, found.rows if found else [])
        return found

    @cached_property
    def after(self) -> Evaluation | None:
        """The final evaluation; of an unfinished run the latest one. None where nothing was trained."""
        if self.steps == 0:
            return None
        steps = [step for step in self.evaluations if step > 0]
        table = self.results.get("trained")
        if isinstance(table, dict):
            found = self.evaluations.get(self.results.get("steps", -1))
            return Evaluation(self.steps, table, found.rows if found else [])
        return self.evaluations[max(steps)] if steps else None

    def sample_steps(self) -> list[int]:
        """Steps whose training completions were kept."""
        return sorted(_numbered(self.path / run_folder.SAMPLES, ".jsonl"))

    def samples(self, step: int) -> list[dict]:
        """Training completions of one step."""
        return _lines(self.path / run_folder.SAMPLES / f"step_{step:06d}.jsonl")[0]


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Read every folder, each labelled by the shortest end of its path that tells it from the others.

    Raises:
      ValueError: no folder given, one given twice, or one that holds no run.
    """
    if not paths:
        raise ValueError("report: expected the folder of at least one run, got none")
    real = [Path(path).expanduser().resolve() for path in paths]
    for path, folder in zip(paths, real, strict=True):
        if real.count(folder) > 1:
            raise ValueError(f"{path}: expected each run once, got it {real.count(folder)} times")
        if not any((folder / name).is_file() for name in (run_folder.CONFIG, run_folder.METRICS, RESULTS)):
            raise ValueError(
                f"{path}: expected the folder of a run, got {'one without' if folder.is_dir() else 'no folder and no'} "
                f"{run_folder.CONFIG}; name a folder that `jaxreason train` wrote"
            )
    return [_read(folder, label) for folder, label in zip(real, _labels(real), strict=True)]


def _labels(paths: Sequence[Path]) -> list[str]:
    for depth in range(1, 1 + max(len(path.parts) for path in paths)):
        labels = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(labels)) == len(labels):
            return labels
    return [str(path) for path in paths]


def _read(folder: Path, label: str) -> Run:
    torn: list[str] = []
    rows = run_folder.read_metrics(folder)
    metrics = {row["step"]: row for row in rows}
    if len(rows) < _count_lines(folder / run_folder.METRICS):
        torn.append(run_folder.METRICS)
    evaluations = {}
    for step, file in sorted(_numbered(folder / EVALUATION, ".json").items()):
        found = _json(file, torn)
        if isinstance(found.get("table"), dict):
            texts, whole = _lines(file.with_suffix(".jsonl"))
            if not whole:
                torn.append(f"{EVALUATION}/{file.stem}.jsonl")
            evaluations[step] = Evaluation(step, found["table"], texts)
    return Run(
        path=folder,
        label=label,
        config=_yaml(folder / run_folder.CONFIG, torn),
        env=_json(folder / run_folder.ENV, torn),
        results=_json(folder / RESULTS, torn),
        metrics=[metrics[step] for step in sorted(metrics)],
        evaluations=evaluations,
        torn=tuple(torn),
    )


def _numbered(folder: Path, suffix: str) -> dict[int, Path]:
    files = {file.stem.removeprefix("step_"): file for file in folder.glob(f"step_*{suffix}")}
    return {int(number): file for number, file in files.items() if number.isdigit()}


def _json(file: Path, torn: list[str]) -> dict:
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(errors="replace"))
    except ValueError:
        content = None
    if not isinstance(content, dict):
        torn.append(file.name)
        return {}
    return content


def _yaml(file: Path, torn: list[str]) -> dict:
    if not file.is_file():
        return {}
    try:
        content = yaml.safe_load(file.read_text(errors="replace"))
    except yaml.YAMLError:
        content = None
    if not isinstance(content, dict):
        torn.append(file.name)
        return {}
    return content


def _lines(file: Path) -> tuple[list[dict], bool]:
    """The objects of a JSONL file, and whether every line was one."""
    if not file.is_file():
        return [], True
    rows, whole = [], True
    # Not splitlines: a completion may hold any of the other characters that it takes for the end of a line.
    for line in file.read_text(errors="replace").split("\n"):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if isinstance(row, dict):
                rows.append(row)
            else:
                whole = False
    return rows, whole


def _count_lines(file: Path) -> int:
    if not file.is_file():
        return 0
    return sum(1 for line in file.read_text(errors="replace").split("\n") if line.strip())
