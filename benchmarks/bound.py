"""From which alpha on a plain length penalty pays for guessing, on the built-in task: no policy, only arithmetic.

    python benchmarks/bound.py runs/quickstart

A right answer whose thought has n tokens earns 1 - alpha n / max_completion_length, a wrong one nothing (reward.gate:
correct). Thoughts of the needed lines alone, with every hard step worked out or none, are counted in tokens of the
run's tokenizer; guessing pays better above the alpha at which both earn the same.
"""

import argparse
import statistics
from pathlib import Path

import numpy as np

from jaxreason.data import arithmetic, demonstrate
from jaxreason.data.problems import Problem
from jaxreason.evaluation import stored

PROBLEMS = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    place = stored.open_place(str(parser.parse_args().run))
    limit = place.config.sampling.max_completion_length
    print("| level | tokens worked out | guessed | rightly | guessing pays above alpha |\n|---|---|---|---|---|")
    for level in (2, 3):
        problems = arithmetic.generate(PROBLEMS, seed=0, levels=[level], split="train")
        work, _ = thoughts(problems, 1.0, place)
        guess, right = thoughts(problems, 0.0, place)
        bound = (1 - right) * limit / (work - right * guess)
        print(f"| {level} | {work:.0f} | {guess:.0f} | {right:.2f} | {bound:.1f} |")


def thoughts(problems: list[Problem], check: float, place: stored.Place) -> tuple[float, float]:
    """Mean tokens of thoughts without needless lines, and how many end rightly."""
    rng, tokens, right = np.random.default_rng(0), [], []
    for problem in problems:
        guess = place.config.data.right_guess
        *lines, answer = demonstrate.demonstrate(problem, rng, right_guess=guess, verbosity=0.0, check=check)
        tokens.append(len(place.tokenizer.encode_batch(["".join(line.text for line in lines)])[0]))
        right.append(answer.text == f"\\boxed{{{problem.answer}}}")
    return statistics.mean(tokens), statistics.mean(right)


if __name__ == "__main__":
    main()
