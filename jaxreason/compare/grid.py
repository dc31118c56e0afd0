"""A comparison as one YAML file: which experiment, methods, alphas and seeds. Reads and checks; runs nothing."""

import dataclasses
import difflib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxreason.config import Config, load
from jaxreason.config.explain import read_yaml
from jaxreason.rewards.methods import chosen, named

KEYS = ("experiment", "settings", "output_dir", "methods", "alphas", "seeds", "final")
FINAL_KEYS = ("data", "size", "seed")
_TAKEN = {
    "run.seed": "seeds",
    "run.output_dir": "output_dir",
}
"""Settings that the grid makes itself, and from what."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+]*")


@dataclasses.dataclass(frozen=True)
class Final:
    """Problems for the figures that are reported; alphas are chosen on the experiment's own held-out ones."""

    data: str
    """JSONL file or prepared folder; `builtin`: others of the built-in task"""
    size: int
    """built-in task: how many"""
    seed: int
    """built-in task: of the draw"""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a comparison."""

    method: str
    alpha: float | None  # None for a method without
    seed: int
    config: Config

    @property
    def name(self) -> str:
        """Of its folder."""
        alpha = "" if self.alpha is None else f"-alpha{self.alpha:g}"
        return f"{self.method}{alpha}-seed{self.seed}"

    @property
    def folder(self) -> Path:
        """Where its run lies."""
        return Path(self.config.run.output_dir).expanduser()


@dataclasses.dataclass(frozen=True)
class Grid:
    """A whole comparison."""

    folder: Path
    cells: tuple[Cell, ...]  # by seed, so that a first seed of everything is there early
    final: Final | None

    @property
    def methods(self) -> list[str]:
        """In the order of the file."""
        return list(dict.fromkeys(cell.method for cell in self.cells))


def load_grid(path: str | Path, overrides: Sequence[str] = (), folder: Path | None = None) -> Grid:
    """Read a comparison.

    Args:
      path: YAML file.
      overrides: `--section.field=value` for every cell, on top of the file's settings and before the method's own.
      folder: in place of the file's output_dir.

    Raises:
      ValueError: an unknown key, a value of the wrong kind, or a method whose configuration is refused.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file of a comparison; see configs/compare_arithmetic.yaml")
    content = read_yaml(path)
    _refuse_unknown(content, KEYS, str(path))
    for key in ("experiment", "methods", "seeds"):
        if content.get(key) is None:
            raise ValueError(f"{path}: {key}: expected a value, got nothing")
    _refuse_taken([override.lstrip("-").split("=")[0] for override in overrides], "")
    where = f"{path}: settings"
    common = _words(_settings(content.get("settings") or {}, where), where)
    experiment = path.parent / _text(content["experiment"], f"{path}: experiment")
    load(experiment)
    _load(experiment, common, where)
    overrides = [*common, *overrides]
    load(experiment, overrides)  # what is wrong without a method is not the method's
    seeds = _numbers(content["seeds"], f"{path}: seeds", whole=True)
    alphas = _numbers(content.get("alphas") or [], f"{path}: alphas", whole=False, empty=True)
    folder = folder or Path(_text(content.get("output_dir") or f"runs/{path.stem}", f"{path}: output_dir"))
    bases = {
        name: _config(experiment, overrides, settings, f"{path}: methods.{name}")
        for name, settings in _methods(content["methods"], path).items()
    }
    cells = []
    for seed in seeds:
        for name, base in bases.items():
            for alpha in alphas if priced(base) else [None]:
                cell = Cell(name, alpha, seed, base)
                run = dataclasses.replace(base.run, seed=seed, output_dir=str(folder / "cells" / cell.name))
                reward = base.reward if alpha is None else dataclasses.replace(base.reward, alpha=float(alpha))
                cells.append(dataclasses.replace(cell, config=dataclasses.replace(base, run=run, reward=reward)))
    if (processes := max(base.distributed.num_processes for base in bases.values())) > 1:
        raise ValueError(
            f"distributed.num_processes: expected one process for a comparison, got {processes}; train cells one by one"
        )
    if any(map(priced, bases.values())) and not alphas:
        raise ValueError(f"{path}: alphas: expected at least one number, for the methods that pay for length, got none")
    return Grid(folder.expanduser(), tuple(cells), _final(content.get("final"), path))


def priced(config: Config) -> bool:
    """Whether alpha means anything to a method: it trains, pays for length, and has no budget that moves alpha."""
    paid = named(config.reward.preset).priced
    return paid and config.run.max_steps > 0 and not config.budget.wanted


def select(grid: Grid, only: Sequence[str]) -> Grid:
    """The cells that match, such as `method=lp,alpha=2`; several values of one name are alternatives.

    Raises:
      ValueError: an unknown name, or a value that no cell has.
    """
    wanted: dict[str, set[str]] = {}
    for pair in [pair for word in only for pair in word.split(",") if pair]:
        name, _, value = pair.partition("=")
        if name not in ("method", "alpha", "seed") or not value:
            raise ValueError(f"--only: expected method=, alpha= or seed= with a value, separated by commas, got {pair}")
        wanted.setdefault(name, set()).add(f"{_float(value):g}" if name == "alpha" else value)
    there = {name: {_shown(cell, name) for cell in grid.cells} - {""} for name in wanted}
    for name, values in wanted.items():
        if missing := sorted(values - there[name]):
            known = ", ".join(sorted(there[name])) or "none"
            raise ValueError(f"--only: no cell has {name}={missing[0]}; there are {known}")
    cells = tuple(cell for cell in grid.cells if all(_shown(cell, name) in values for name, values in wanted.items()))
    if not cells:
        raise ValueError(f"--only={','.join(only)}: no cell is all of this")
    return dataclasses.replace(grid, cells=cells)


def _shown(cell: Cell, name: str) -> str:
    value = getattr(cell, name)
    return "" if value is None else f"{value:g}" if name == "alpha" else str(value)


def _float(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"--only: expected a number for alpha, got {value}") from None


def _methods(found: Any, path: Path) -> dict[str, dict[str, Any]]:
    if not isinstance(found, Mapping) or not found:
        raise ValueError(f"{path}: methods: expected names with settings below them, such as lp: {{reward.preset: lp}}")
    for name in found:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"{path}: methods: expected a name of letters, digits, _ . and +, got {name!r}")
    return {name: _settings(settings, f"{path}: methods.{name}") for name, settings in found.items()}


def _settings(found: Any, where: str) -> dict[str, Any]:
    if not isinstance(found, Mapping):
        raise ValueError(f"{where}: expected settings such as {{reward.preset: lp}}, got {found!r}")
    _refuse_taken(list(map(str, found)), f"{where}: ")
    return {str(key): value for key, value in found.items()}


def _refuse_taken(keys: Sequence[str] | Mapping[str, Any], where: str) -> None:
    for key in keys:
        if key in _TAKEN:
            raise ValueError(f"{where}{key}: comes from {_TAKEN[key]} of the comparison; leave it out")


def _config(experiment: Path, overrides: Sequence[str], settings: Mapping[str, Any], where: str) -> Config:
    config = _load(experiment, [*overrides, *_words(settings, where)], where)
    if "reward.alpha" in settings and priced(config):
        raise ValueError(f"{where}: reward.alpha: comes from alphas of the comparison; leave it out")
    return config


def _load(experiment: Path, words: Sequence[str], where: str) -> Config:
    try:
        config = load(experiment, words)
        chosen(config)  # a setting that its method cannot work with
        return config
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _words(settings: Mapping[str, Any], where: str) -> list[str]:
    """Settings as a command line has them."""
    if None in settings.values():
        raise ValueError(f"{where}: expected a value behind every setting, got nothing")
    return [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in settings.items()]


def _final(found: Any, path: Path) -> Final | None:
    if found is None:
        return None
    if not isinstance(found, Mapping):
        raise ValueError(f"{path}: final: expected data, and size and seed for `builtin`, got {found!r}")
    _refuse_unknown(found, FINAL_KEYS, f"{path}: final")
    size, seed = found.get("size", 0), found.get("seed", 0)
    for key, value in (("size", size), ("seed", seed)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"{path}: final.{key}: expected a whole number of at least 0, got {value!r}")
    data = _text(found.get("data", "builtin"), f"{path}: final.data")
    if data == "builtin" and not size:
        raise ValueError(f"{path}: final.size: expected how many problems of the built-in task, got none")
    return Final(data, size, seed)


def _refuse_unknown(content: Mapping[Any, Any], known: Sequence[str], where: str) -> None:
    for key in content:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"expected {', '.join(known)}"
            raise ValueError(f"{where}: {key}: no such key; {hint}")


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{where}: expected text, got {value!r}")
    return value


def _numbers(found: Any, where: str, *, whole: bool, empty: bool = False) -> list[Any]:
    kind = int if whole else int | float
    expected = f"a list of different {'whole ' if whole else ''}numbers of at least 0"
    if not isinstance(found, list) or not (found or empty) or len(set(map(str, found))) != len(found):
        raise ValueError(f"{where}: expected {expected}, got {found!r}")
    for value in found:
        if isinstance(value, bool) or not isinstance(value, kind) or not value >= 0:
            raise ValueError(f"{where}: expected {expected}, got {value!r} in it")
    return found
