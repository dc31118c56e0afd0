"""Running a comparison: one ordinary run a cell, in one process, each going on from where its folder stands.

Cells that begin alike (same seed, model, data and supervised start) share one start, made once and linked into their
folders; what JAX compiles is shared by all cells that can share it (`run.programs.jitted`).
"""

import dataclasses
import hashlib
import json
import os
import shutil
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from jaxreason.compare.grid import Cell, Final, Grid
from jaxreason.config import Config, ModelConfig
from jaxreason.data import problems
from jaxreason.data.problems import Problem
from jaxreason.evaluation import ask, stored
from jaxreason.report.wording import duration
from jaxreason.run import base_model, setup
from jaxreason.run import folder as run_folder
from jaxreason.run.files import write_json_atomic
from jaxreason.run.interrupt import Interrupt, Stopped
from jaxreason.run.progress import Display
from jaxreason.train import train

FAILED = "failed.json"
"""In the folder of a cell whose loss became no number; delete it to try again."""
_LINKED = ("data", "tokenizer", run_folder.EVALUATION, run_folder.HELPER, run_folder.MODEL, run_folder.START)
"""Parts of a start that a cell takes over; the policy last, since a folder with one has begun."""


def with_models(grid: Grid) -> Grid:
    """The grid with the shapes that released checkpoints bring, as their runs write them down.

    Raises:
      ValueError: no such checkpoint, or a field that disagrees with it.
    """
    models: dict[ModelConfig, ModelConfig] = {}
    cells = []
    for cell in grid.cells:
        asked = cell.config.model
        if asked not in models:
            models[asked] = base_model.find(cell.config)[0].model
        found, _ = base_model.find_helpers(dataclasses.replace(cell.config, model=models[asked]))
        cells.append(dataclasses.replace(cell, config=found))
    return dataclasses.replace(grid, cells=tuple(cells))


def run_grid(grid: Grid, cells: Sequence[Cell], display: Display) -> None:
    """Run the cells that are not finished, then evaluate each on the final problems.

    A cell whose loss becomes no number is recorded and the others go on.

    Raises:
      ValueError: a cell's folder holds another configuration, or its data or folder are bad.
      Stopped: interrupted; the cell at work was saved.
    """
    final = final_problems(grid.final, grid.cells[0].config, grid.folder) if grid.final else None
    states = {cell.name: state(cell) for cell in cells}
    left = [cell for cell in cells if states[cell.name] == "left"]
    display.say(f"{grid.folder}: {len(cells)} cells, {len(cells) - len(left)} done before")
    with Interrupt() as interrupt:
        for n, cell in enumerate(left):
            _stop_here(interrupt)
            display.say(
                f"cell {len(cells) - len(left) + n + 1} of {len(cells)}: {cell.name}{_time_left(cells, left[n:])}"
            )
            begin(cell, grid, display)
            try:
                train(cell.config, display=Display(every=cell.config.run.logging_steps))
            except FloatingPointError as error:
                write_json_atomic(cell.folder / FAILED, {"error": " ".join(str(error).split())})
                display.warn(f"{cell.name}: {error}; recorded, the others go on")
                continue
            if final:
                evaluate_final(cell, final)
        for cell in cells:  # those that were finished when another set of final problems was asked for
            _stop_here(interrupt)
            if final and state(cell) == "finished":
                evaluate_final(cell, final)


def _stop_here(interrupt: Interrupt) -> None:
    if interrupt:
        name, code = interrupt.signal.name, interrupt.exit_code
        raise Stopped(f"{name}: stopped between two cells; the same command goes on from there", code)


def state(cell: Cell) -> str:
    """`finished`, `failed`, or `left`.

    Raises:
      ValueError: its folder holds a finished run of another configuration.
    """
    if (cell.folder / FAILED).is_file():
        return "failed"
    return "finished" if run_folder.finished(cell.folder, cell.config) else "left"


def _time_left(cells: Sequence[Cell], left: Sequence[Cell]) -> str:
    """From the seconds that finished cells took, of the same method where there are any."""
    took: dict[str, list[float]] = {}
    for cell in cells:
        found = _read(cell.folder / run_folder.RESULTS)
        if cell not in left and found.get("seconds"):
            took.setdefault(cell.method, []).append(found["seconds"])
    if not took:
        return ""
    over = statistics.mean(second for seconds in took.values() for second in seconds)
    total = sum(statistics.mean(took[cell.method]) if cell.method in took else over for cell in left)
    return f", about {duration(total)} left"


def start_of(config: Config) -> str:
    """What the policy before step 0 and its evaluation depend on, as a short name; equal names share a start."""
    parts = [
        config.run.seed,
        config.reward.require_eos,  # all that an evaluation reads of the reward
        config.model,
        config.helper_model,
        config.tokenizer,
        config.data,
        config.warmup,
        config.sampling,
    ]
    parts += [config.agents, config.evaluation, config.grading]
    return f"seed{config.run.seed}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:8]}"


def begin(cell: Cell, grid: Grid, display: Display) -> None:
    """Give a cell that has not begun its start, making that first where no cell needed it before."""
    if run_folder.begun(cell.folder):
        return
    folder = grid.folder / "starts" / start_of(cell.config)
    run = dataclasses.replace(cell.config.run, max_steps=0, output_dir=str(folder))
    # Of the cells that share it one with helpers, if there is any: they are asked about the answers in its evaluation.
    makers = [c.config for c in grid.cells if setup.asked_helpers(c.config) and start_of(c.config) == folder.name]
    config = dataclasses.replace(makers[0] if makers else cell.config, run=run)
    if not (folder / run_folder.RESULTS).is_file():
        # Another cell's settings of reward or update may have begun it; none of them reaches a start.
        (folder / run_folder.CONFIG).unlink(missing_ok=True)
        train(config, display=display)
    cell.folder.mkdir(parents=True, exist_ok=True)
    for name in [name for name in _LINKED if (folder / name).exists()]:
        part = cell.folder / f".{name}.part"
        for leftover in (part, cell.folder / name):
            shutil.rmtree(leftover, ignore_errors=True)
        if (folder / name).is_dir():
            shutil.copytree(folder / name, part, copy_function=_link)
        else:
            shutil.copy2(folder / name, part)
        part.rename(cell.folder / name)


def _link(source: str, target: str) -> None:
    """A second name for a file, which no run ever writes into; a copy where the disk has no such names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def final_problems(final: Final, config: Config, folder: Path) -> Path:
    """The file of problems that the final figures are measured on; none of the task's own is held out for tuning.

    Raises:
      ValueError: bad data, or more problems asked for than the task has left.
    """
    file = folder / "final.jsonl"
    if final.data != setup.BUILTIN:
        found = setup.read(final.data)[: final.size or None]
    else:
        found = _others(final, config)
    folder.mkdir(parents=True, exist_ok=True)
    problems.write_jsonl(found, file)
    return file


def _others(final: Final, config: Config) -> list[Problem]:
    """The task's own problems, the levels in equal shares, none of those that alphas are chosen on."""
    tuning = setup.held_out(config.data)
    asked = {problem.question for problem in tuning}
    levels = config.data.levels
    share = -(-final.size // len(levels))
    parts: list[list[Problem]] = []
    for level in levels:
        kept = [*tuning, *(problem for part in parts for problem in part)]
        there = sum(problem.meta.get("level", level) == level for problem in kept)
        data = dataclasses.replace(config.data, seed=final.seed, levels=(level,))
        try:
            some = setup.own_problems(data, "test", share + there)
        except ValueError as error:
            raise ValueError(f"final.size: with those kept for tuning, {error}") from None
        parts.append([problem for problem in some if problem.question not in asked][:share])
        asked |= {problem.question for problem in parts[-1]}
    return [problem for row in zip(*parts, strict=True) for problem in row][: final.size]


def final_file(cell: Cell, file: Path) -> Path:
    """Where a cell's figures on these problems lie; others have another name."""
    return cell.folder / "evaluation" / f"final_{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}.json"


def evaluate_final(cell: Cell, file: Path) -> None:
    """Evaluate a finished cell on the final problems, once."""
    output = final_file(cell, file)
    found = _read(output)
    if found.get("step") == _read(cell.folder / run_folder.RESULTS).get("steps"):
        return
    began = time.monotonic()
    place = stored.open_place(str(cell.folder))
    ask.evaluate(place, data=str(file), output=output, display=Display(quiet=True))
    Display().say(f"{cell.name}: final problems in {time.monotonic() - began:.0f} s")


def _read(file: Path) -> dict:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
