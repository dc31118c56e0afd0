"""Two methods of a comparison, seed by seed: the mean difference and its standard error.

    python benchmarks/paired.py runs/compare_arithmetic guarded,5 lp,5

Sampled answers to the final problems, of the seeds that both have; overall and by source. Tokens as a share
of the second's.
"""

import argparse
import json
import statistics
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of a comparison")
    parser.add_argument("methods", nargs=2, metavar="METHOD,ALPHA")
    arguments = parser.parse_args()
    cells = json.loads((arguments.folder / "results.json").read_text())["cells"]
    first, second = ({seed: found for seed, found in final(cells, name)} for name in arguments.methods)
    seeds = sorted(first.keys() & second.keys())
    if len(seeds) < 2:
        parser.error(f"{arguments.folder}: expected two seeds or more that both methods finished, got {seeds}")
    print(f"{' minus '.join(arguments.methods)}, seeds {', '.join(map(str, seeds))}, +- standard error")
    for source in first[seeds[0]]:
        pairs = [(first[seed][source], second[seed][source]) for seed in seeds]
        points = [100 * (a["accuracy"] - b["accuracy"]) for a, b in pairs]
        tokens = [100 * (a["mean_tokens"] / b["mean_tokens"] - 1) for a, b in pairs]
        print(f"{source:20} accuracy {error(points)} points   tokens {error(tokens)} %")


def final(cells: list[dict], name: str) -> list[tuple[int, dict]]:
    """Seed and sampled final figures of a method's finished cells."""
    method, _, alpha = name.partition(",")
    found = [cell for cell in cells if cell["method"] == method and cell["alpha"] == (float(alpha) if alpha else None)]
    return [(cell["seed"], cell["final"]["sampled"]) for cell in found if cell["final"]]


def error(values: list[float]) -> str:
    """Mean and standard error."""
    return f"{statistics.mean(values):+6.1f} +- {statistics.stdev(values) / len(values) ** 0.5:.1f}"


if __name__ == "__main__":
    main()
