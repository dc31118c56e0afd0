"""What the claims of arXiv:2602.20945 are judged by, from the runs of configs/compare_recipe.yaml.

    python benchmarks/recipe.py runs/recipe/runs

A row a method, means over its finished seeds (and standard deviations). Lowest: the worst evaluation on the way,
sampled, on the problems held out for tuning. Final and level 3: on the final problems. Adapted: the first step from
which on a window of ten training steps has completions of at most ADAPTED tokens on average, and the tokens sampled
until then, in millions. Entropy: of the last twenty steps over that of the first ten. R > 0: the share of rewarded
completions at the end.
"""

import argparse
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

ADAPTED, WINDOW, LAST = 40, 10, 20
COLUMNS = (
    "method",
    "seeds",
    "lowest, %",
    "final, %",
    "tokens",
    "level 3, %",
    "tokens",
    "adapted at step",
    "sampled, M",
)
COLUMNS += ("entropy", "R > 0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    found: dict[str, list[list[float | None]]] = defaultdict(list)
    cells = json.loads((folder / "results.json").read_text())["cells"] if (folder / "results.json").is_file() else []
    for cell in cells:
        if cell["status"] == "finished":
            found[cell["method"]].append(figures(cell, folder / "cells" / cell["name"]))
    if not found:
        parser.error(f"{folder}: expected the folder of a comparison with finished cells, got none")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    formats: list[Callable[[float], str]] = [percent, percent, brief, percent, brief, whole, short, short, short]
    for method, rows in found.items():
        shown = [spread(values, write) for values, write in zip(zip(*rows, strict=True), formats, strict=True)]
        print(f"| `{method}` | {len(rows)} | {' | '.join(shown)} |")


def figures(cell: dict, folder: Path) -> list[float | None]:
    """The numbers of one run, in the order of the columns; None where there is none."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    final = cell["final"]["sampled"]
    hard = next((at for name, at in final.items() if name.endswith("3")), {})
    lowest = min(at["accuracy"] for at in cell["curve"])
    lengths = [row["reason/completions/mean_length"] for row in rows]
    means = [statistics.mean(lengths[n - WINDOW : n]) for n in range(WINDOW, len(lengths) + 1)]
    # From here on it stays; a run that ends above is not adapted.
    above = max((n for n, mean in enumerate(means) if mean > ADAPTED), default=-1)
    adapted = above + 1 + WINDOW if above + 1 < len(means) else None
    sampled = sum(row["num_tokens"] for row in rows[:adapted]) / 1e6 if adapted else None
    entropy = [row["reason/entropy"] for row in rows if row.get("reason/entropy") is not None]
    ratio = statistics.mean(entropy[-LAST:]) / statistics.mean(entropy[:WINDOW]) if entropy else None
    positive = statistics.mean(row["reason/reward/positive_share"] for row in rows[-LAST:]) if rows else None
    at = final["all"]
    level_3 = [hard.get("accuracy"), hard.get("mean_tokens")]
    return [lowest, at["accuracy"], at["mean_tokens"], *level_3, adapted, sampled, ratio, positive]


def spread(values: tuple[float | None, ...], write: Callable[[float], str]) -> str:
    """Mean and standard deviation of those that have one, and how many have none."""
    there = [value for value in values if value is not None and math.isfinite(value)]
    if not there:
        return "–"
    shown = write(statistics.mean(there))
    shown += f" ± {write(statistics.stdev(there))}" if len(there) > 1 else ""
    return shown + (f" ({len(values) - len(there)} never)" if len(there) < len(values) else "")


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def brief(value: float) -> str:
    return f"{value:.1f}"


def short(value: float) -> str:
    return f"{value:.2f}"


def whole(value: float) -> str:
    return f"{value:.0f}"


if __name__ == "__main__":
    main()
