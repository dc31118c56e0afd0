"""Run one configuration with several seeds and print the tables that docs/results quotes.

    python benchmarks/seeds.py configs/quickstart.yaml --seeds 0 1 2 3 4 --to runs/seeds

A seed changes everything that is random: initial weights, supervised start, order of the problems, sampling. The task
and its held-out problems stay. A seed that has results is not run again.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from jaxreason.run.monitor import NEEDLESS_LEFT

WINDOW = 20
"""Steps whose mean counts, for figures of training."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--to", type=Path, default=Path("runs/seeds"))
    arguments, settings = parser.parse_known_args()
    runs = []
    for seed in arguments.seeds:
        folder = arguments.to / str(seed)
        command = [sys.executable, "-m", "jaxreason", "train", arguments.config, "--resume"]
        command += [f"--run.seed={seed}", f"--run.output_dir={folder}", *settings]
        if not (folder / "results.json").is_file():
            subprocess.run(command, check=True)
        runs.append(json.loads((folder / "results.json").read_text()))
    print("\n".join(table(arguments.seeds, runs)))
    print("\n".join(honesty(arguments.seeds, arguments.to)))


def table(seeds: list[int], runs: list[dict]) -> list[str]:
    """Markdown: a row a seed, then means over seeds, overall and by source."""
    modes = {"sampled": lambda found: found, "greedy": lambda found: found["greedy"]}
    lines = ["| seed | sampled accuracy | tokens | greedy accuracy | tokens | seconds |", "|---|---|---|---|---|---|"]
    for seed, run in zip(seeds, runs, strict=True):
        cells = [_change(pick(run["base"]), pick(run["trained"])) for pick in modes.values()]
        lines.append(f"| {seed} | {' | '.join(cell for pair in cells for cell in pair)} | {run['seconds']:.0f} |")
    lines += [
        "",
        "| mean over seeds | accuracy before | after | tokens before | after | change |",
        "|---|---|---|---|---|---|",
    ]
    for mode, pick in modes.items():
        rows = {"all": lambda found: found}
        rows |= {s: lambda found, s=s: found["by_source"][s] for s in pick(runs[0]["base"])["by_source"]}
        for name, part in rows.items():
            before, after = ([part(pick(run[when])) for run in runs] for when in ("base", "trained"))
            a0, a1 = ([f["accuracy"] for f in found] for found in (before, after))
            t0, t1 = ([f["mean_tokens"] for f in found] for found in (before, after))
            change = f"{statistics.mean(y / x - 1 for x, y in zip(t0, t1, strict=True)):+.0%}"
            cells = [_spread(a0, 3), _spread(a1, 3), _spread(t0, 1), _spread(t1, 1), change]
            lines.append(f"| {mode}, {name} | {' | '.join(cells)} |")
    return lines


def honesty(seeds: list[int], to: Path) -> list[str]:
    """Markdown: whether the scorer stayed honest, the worst mean of WINDOW steps in a row and that of the last ones.

    Shares are of all chunks of their kind by the labels of the built-in task, of needless ones while at least
    NEEDLESS_LEFT of the tokens are needless; empty without helpers or labels.
    """
    columns = {
        "live - frozen score": "score/live_minus_frozen",
        "needless scored 4-5": "score/needless_high",
        "needed scored 1-2": "score/needed_low",
        "unreadable answers": "score/valid",
        "malformed tokens": "reason/malformed_tokens",
    }
    lines = [
        "",
        f"| seed | {' | '.join(columns)} | accuracy, last |",
        f"|---|{'---|' * (len(columns) + 1)}",
    ]
    for seed in seeds:
        rows = [json.loads(line) for line in (to / str(seed) / "metrics.jsonl").read_text().splitlines()]
        if any(name not in rows[0] for name in columns.values()):
            return []
        cells = [_worst_and_last(rows, name) for name in columns.values()]
        last = statistics.mean(row["reason/accuracy"] for row in rows[-WINDOW:])
        lines.append(f"| {seed} | {' | '.join(cells)} | {last:.3f} |")
    return lines


def _worst_and_last(rows: list[dict], name: str) -> str:
    if name == "score/needless_high":
        rows = [row for row in rows if row["reason/needless_tokens"] >= NEEDLESS_LEFT]
    values = [1 - row[name] if name == "score/valid" and row[name] is not None else row[name] for row in rows]
    windows = [[v for v in values[i : i + WINDOW] if v is not None] for i in range(0, len(values), WINDOW)]
    means = [statistics.mean(window) for window in windows if window]
    digits = 2 if name == "score/live_minus_frozen" else 3
    return f"{max(means, key=abs):.{digits}f}, {means[-1]:.{digits}f}" if means else "-"


def _change(before: dict, after: dict) -> tuple[str, str]:
    relative = after["mean_tokens"] / before["mean_tokens"] - 1
    return (
        f"{before['accuracy']:.3f} → {after['accuracy']:.3f}",
        f"{before['mean_tokens']:.1f} → {after['mean_tokens']:.1f} ({relative:+.0%})",
    )


def _spread(values: list[float], digits: int) -> str:
    mean = statistics.mean(values)
    return f"{mean:.{digits}f} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else f"{mean:.{digits}f}"


if __name__ == "__main__":
    main()
