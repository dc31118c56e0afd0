"""Where a run's steps spent their time, from its metrics.jsonl: a markdown table.

    python benchmarks/phases.py runs/quickstart

Medians over the steps; the first step's excess over the median is mostly compilation. The tokens are those sampled.
"""

import json
import statistics
import sys
from pathlib import Path

PHASES = {
    "reason": "sample the reasoner",
    "grade": "read and grade",
    "segment": "sample the segmenter",
    "score": "sample the scorer",
    "parse": "parse and align",
    "frozen_scorer": "frozen scorer on the same text",
    "reward": "reward, advantage, packing",
    "update": "update",
}


def main() -> None:
    folder = Path(sys.argv[1])
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    thirds = [rows[1 : len(rows) // 3], rows[len(rows) // 3 : 2 * len(rows) // 3], rows[2 * len(rows) // 3 :]]
    print("| seconds a step, median | first third | second | last | first step |\n|---|---|---|---|---|")
    for name, label in PHASES.items():
        if f"time/{name}" in rows[0]:
            print(f"| {label} | {_cells(thirds, f'time/{name}', '.2f')} | {rows[0][f'time/{name}']:.1f} |")
    print(f"| all | {_cells(thirds, 'step_time', '.2f')} | {rows[0]['step_time']:.1f} |")
    print(f"| tokens sampled | {_cells(thirds, 'num_tokens', '.0f')} | {rows[0]['num_tokens']:.0f} |")


def _cells(thirds: list[list[dict]], name: str, form: str) -> str:
    return " | ".join(format(statistics.median(row[name] for row in third), form) for third in thirds)


if __name__ == "__main__":
    main()
