"""Compare greedy answers, sample by sample: `jaxreason evaluate` against lm-eval on the same problems.

python eval/lm_eval/compare.py evaluation/MODEL_problems.jsonl OUT/MODEL/samples_math_boxed_*.jsonl
"""

import argparse
import json
import re
import sys
from pathlib import Path

SPECIAL = re.compile(r"<\|[a-z_]+\|>|<｜[^｜]+｜>")
"""lm-eval leaves special tokens out of a text that is decoded; here they stand as text."""

SHOWN = 3
"""Differing answers printed."""


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().split("\n") if line.strip()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ours", type=Path, help="the .jsonl that `jaxreason evaluate` wrote")
    parser.add_argument("theirs", type=Path, help="the samples that lm-eval wrote with --log_samples")
    args = parser.parse_args()
    ours = {row["doc_id"]: row for row in read(args.ours) if row["mode"] == "greedy"}
    theirs = {row["doc"]["id"]: row for row in read(args.theirs)}
    if not ours or ours.keys() != theirs.keys():
        print(f"error: other problems: {len(ours)} here, {len(theirs)} there", file=sys.stderr)
        return 2
    texts = grades = ended = shown = 0
    for name, row in ours.items():
        here, there = SPECIAL.sub("", row["resps"][0][0]), theirs[name]["resps"][0][0]
        same = here.strip() == there.strip()
        texts += same
        if row["finish_reason"] == "stop":  # lm-eval grades by its text what was cut, here it is wrong
            ended += 1
            grades += row["exact_match"] == theirs[name]["exact_match"]
        if not same and shown < SHOWN:
            shown += 1
            print(f"{name}:\n  here  {here!r}\n  there {there!r}")
    print(f"{texts} of {len(ours)} answers the same to the letter, {grades} of {ended} grades of answers that ended")
    return 0 if texts == len(ours) and grades == ended else 1


if __name__ == "__main__":
    sys.exit(main())
