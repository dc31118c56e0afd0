"""How runs with a token budget met it: a table, and a picture of tokens and alpha over the steps.

    python benchmarks/budgets.py runs/compare_budgets --to benchmarks/images/budgets.png

A row a run below the folder. Missed by: the mean tokens of the last 20 steps against the budget. Overshoot: how far
the moving average fell below the budget at its lowest.
"""

import argparse
import json
import statistics
from pathlib import Path

LAST = 20
"""Steps at the end whose mean counts."""
COLOURS = ("#1b5faa", "#c2571a", "#5b6770")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--to", type=Path, help="write the picture here (PNG)")
    arguments = parser.parse_args()
    runs = {}
    for file in sorted(arguments.folder.rglob("metrics.jsonl")):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        if rows and "budget/target" in rows[0]:
            runs[file.parent.name] = rows
    if not runs:
        parser.error(f"{arguments.folder}: expected runs with reward.target_tokens or target_reduction, got none")
    print("| run | steps | budget | tokens, last 20 steps | missed by | overshoot | alpha at the end | accuracy |")
    print("|---|---|---|---|---|---|---|---|")
    for name, rows in runs.items():
        print(f"| {name} | {' | '.join(figures(rows))} |")
    if arguments.to:
        draw(runs, arguments.to)


def figures(rows: list[dict]) -> list[str]:
    """Cells of a table's row."""
    target, last = rows[-1]["budget/target"], rows[-LAST:]
    tokens = statistics.mean(row["reason/completions/mean_length"] for row in last)
    lowest = min(row["budget/tokens"] for row in rows)
    accuracy = statistics.mean(row["reason/accuracy"] for row in last)
    missed, over = tokens / target - 1, max(0.0, 1 - lowest / target)
    found = (len(rows), f"{target:.1f}", f"{tokens:.1f}", f"{missed:+.1%}", f"{over:.1%}")
    return [*map(str, found), f"{rows[-1]['budget/alpha']:.2f}", f"{accuracy:.2f}"]


def draw(runs: dict[str, list[dict]], to: Path) -> None:
    """Tokens with their budgets above, alpha below."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    _, (above, below) = plt.subplots(2, 1, figsize=(8, 6), sharex=True, height_ratios=(2, 1), layout="constrained")
    for n, (name, rows) in enumerate(runs.items()):
        colour, steps = COLOURS[n % len(COLOURS)], [row["step"] for row in rows]
        above.scatter(steps, [row["reason/completions/mean_length"] for row in rows], s=6, alpha=0.35, color=colour)
        above.plot(steps, [row["budget/tokens"] for row in rows], color=colour, label=name)
        above.axhline(rows[-1]["budget/target"], color=colour, linestyle=":", linewidth=1)
        below.plot(steps, [row["budget/alpha"] for row in rows], color=colour)
    above.set_ylim(bottom=0)
    above.set_ylabel("tokens of a completion")
    below.set_ylabel("alpha")
    below.set_xlabel("step")
    above.legend(frameon=False)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    plt.savefig(to, dpi=110)


if __name__ == "__main__":
    main()
