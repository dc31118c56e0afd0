"""How runs with a token budget met it: a table, and a picture of tokens and alpha over the steps.

    python benchmarks/budgets.py runs/compare_budgets --to docs/images/budgets.png

A row a finished run below the folder. Missed by: the mean tokens of the last 20 steps, and those of the held-out
answers (sampled), against the budget. Overshoot: how far the moving average fell below the budget at its lowest.
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
    runs, trained = {}, {}
    for file in sorted(arguments.folder.rglob("metrics.jsonl")):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        if rows and "budget/target" in rows[0] and (file.parent / "results.json").is_file():
            runs[file.parent.name] = rows
            trained[file.parent.name] = json.loads((file.parent / "results.json").read_text())["trained"]
    if not runs:
        parser.error(
            f"{arguments.folder}: expected finished runs with budget.target_tokens or target_reduction, got none"
        )
    columns = "run", "steps", "budget", "last 20 steps", "missed by", "held-out", "missed by", "accuracy", "overshoot"
    print(f"| {' | '.join(columns)} |")
    print(f"|{'---|' * len(columns)}")
    for name, rows in runs.items():
        print(f"| {name} | {' | '.join(figures(rows, trained[name]))} |")
    if arguments.to:
        draw(runs, arguments.to)


def figures(rows: list[dict], trained: dict) -> list[str]:
    """Cells of a table's row."""
    target, last = rows[-1]["budget/target"], rows[-LAST:]
    tokens, held_out = statistics.mean(row["reason/completions/mean_length"] for row in last), trained["mean_tokens"]
    over = max(0.0, 1 - min(row["budget/tokens"] for row in rows) / target)
    met = [f"{number:.1f} | {number / target - 1:+.1%}" for number in (tokens, held_out)]
    return [str(len(rows)), f"{target:.1f}", *met, f"{trained['accuracy']:.3f}", f"{over:.1%}"]


def draw(runs: dict[str, list[dict]], to: Path) -> None:
    """Tokens and what they should be by then above, alpha below."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    _, (above, below) = plt.subplots(2, 1, figsize=(8, 6), sharex=True, height_ratios=(2, 1), layout="constrained")
    for n, (name, rows) in enumerate(runs.items()):
        colour, steps = COLOURS[n % len(COLOURS)], [row["step"] for row in rows]
        above.scatter(steps, [row["reason/completions/mean_length"] for row in rows], s=6, alpha=0.35, color=colour)
        above.plot(steps, [row["budget/tokens"] for row in rows], color=colour, label=name)
        above.plot(steps, [row["budget/aim"] for row in rows], color=colour, linestyle=":", linewidth=1.2)
        below.plot(steps, [row["budget/alpha"] for row in rows], color=colour)
    above.set_ylim(bottom=0)
    above.set_ylabel("tokens of a completion")
    below.set_ylabel("alpha")
    below.set_xlabel("step")
    above.legend(frameon=False)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    plt.savefig(to, dpi=80)


if __name__ == "__main__":
    main()
