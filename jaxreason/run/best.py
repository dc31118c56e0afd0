"""Which evaluation of a run is the best. No JAX: the report asks too."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def best_of(tables: Mapping[int, Mapping[str, Any]]) -> int | None:
    """The step with the highest sampled accuracy, then the fewest tokens, then the earliest; None of none.

    >>> best_of({0: {"accuracy": 0.5, "mean_tokens": 40.0}, 2: {"accuracy": 0.5, "mean_tokens": 30.0}})
    2
    """
    return max(tables, key=lambda n: (tables[n]["accuracy"], -tables[n]["mean_tokens"], -n), default=None)


def best_step(run: Path) -> int | None:
    """The step of the best evaluation a run folder holds; what cannot be read does not count."""
    tables = {}
    for file in (run / "evaluation").glob("step_*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            table = json.loads(file.read_text())["table"]
            tables[int(file.stem.removeprefix("step_"))] = {k: float(table[k]) for k in ("accuracy", "mean_tokens")}
    return best_of(tables)
