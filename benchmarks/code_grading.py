"""How many code problems the pool grades a second, and whether it grades them right.

    python benchmarks/code_grading.py HumanEval.jsonl                  as openai/human-eval releases it, unpacked
    python benchmarks/code_grading.py HumanEval.jsonl --workers 1

Every problem is graded with its own solution and with an empty body, and a made one of 30 inputs with a right program.
"""

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from jaxreason.data import released
from jaxreason.data.problems import Problem
from jaxreason.grading import sandbox
from jaxreason.grading.pool import Pool
from jaxreason.tasks import judge

INPUTS = 30
COPIES = 40


def measure(what: str, answers: Sequence[str], problems: Sequence[Problem], pool: Pool) -> None:
    """Grade one answer a problem; print what came out, and how quickly."""
    calls = [(answer, dataclasses.asdict(problem)) for answer, problem in zip(answers, problems, strict=True)]
    start = time.perf_counter()
    found = pool.verify(calls, f"{judge.MAKER} code")
    seconds = time.perf_counter() - start
    counts = {kind: sum(one.outcome == kind for one in found) for kind in ("right", "wrong", "error")}
    outcome = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    print(f"{what}: {outcome}; {len(calls) / seconds:.1f} answers/s ({seconds:.1f} s)", flush=True)


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="HumanEval.jsonl")
    parser.add_argument("--workers", type=int, default=2, help="processes of the pool")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds for an answer")
    args = parser.parse_args()
    if why := sandbox.unavailable():
        sys.exit(f"no sandbox: {why}")
    try:
        problems = released.convert(args.file, "humaneval").problems
    except ValueError as error:
        sys.exit(str(error))
    sums = {"tests": [{"input": f"{i} {i}\n", "output": f"{2 * i}\n"} for i in range(INPUTS)]}
    made = [Problem(f"sum{i}", "Add.", "none", meta=sums) for i in range(COPIES)]
    load = os.getloadavg()[0]
    print(f"{args.workers} workers, {len(os.sched_getaffinity(0))} cores, load before {load:.1f}")
    with Pool(args.workers, args.timeout) as pool:
        pool.verify([("pass", dataclasses.asdict(made[0]))] * args.workers, f"{judge.MAKER} code")
        measure("own solutions", [problem.answer for problem in problems], problems, pool)
        measure("empty bodies", ["    pass\n"] * len(problems), problems, pool)
        measure(f"programs on {INPUTS} inputs", ["print(sum(map(int, input().split())))"] * COPIES, made, pool)
        measure("programs that never end", ["while True: pass"] * 2, made[:2], pool)


if __name__ == "__main__":
    main()
