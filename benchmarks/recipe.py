"""What the claims of arXiv:2602.20945 are judged by, from the runs of configs/compare_recipe.yaml.

    python benchmarks/recipe.py runs/recipe/runs --to docs/images/recipe.png

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

DRAWN = {
    "truncation": "#1b5faa", "adaptive": "#0f8a6d", "mask_LC": "#6b5ca5", "mask_LC_LI": "#8a8f98", "mask_I": "#c2271a",
    "mask_LC_SI": "#d9731a", "s4": "#a3822b", "hard": "#3d8fb0",
}  # fmt: skip
"""What the picture shows, and in which colours."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--to", type=Path, help="write a picture of DRAWN here (PNG)")
    arguments = parser.parse_args()
    folder = arguments.folder
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
    if arguments.to:
        draw(json.loads((folder / "results.json").read_text())["rows"], arguments.to)


def draw(rows: list[dict], to: Path) -> None:
    """Held-out accuracy and tokens over the steps, means over seeds, each line named at its end."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    _, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for axis, name, title, scale in ((axes[0], "accuracy", "right, %", 100), (axes[1], "mean_tokens", "tokens", 1)):
        ends = []
        for row in rows:
            if row["method"] not in DRAWN or not row["curve"]:
                continue
            steps = [at["step"] for at in row["curve"]]
            values = [scale * at[name]["mean"] for at in row["curve"]]
            (line,) = axis.plot(steps, values, color=DRAWN[row["method"]], linewidth=1.8)
            ends.append((values[-1], row["method"], line.get_color(), steps[-1]))
        low, high = axis.get_ylim()
        place = -math.inf
        for value, method, colour, step in sorted(ends):
            place = max(value, place + (high - low) / 22)
            axis.annotate(method, (step, place), xytext=(6, -3), textcoords="offset points", color=colour, fontsize=9)
        axis.set_title(title, loc="left", fontsize=11)
        axis.set_xlabel("step")
        last = max(end[3] for end in ends)
        axis.set_xlim(0, 1.25 * last)
        axis.set_xticks([tick for tick in axis.get_xticks() if 0 <= tick <= last])
        axis.spines[["top", "right"]].set_visible(False)
    plt.savefig(to, dpi=150)


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
