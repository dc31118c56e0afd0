"""From which alpha on a plain length penalty pays for guessing, on the built-in task: no policy, only arithmetic.

    python benchmarks/bound.py runs/quickstart

Thoughts of the needed lines alone, with every hard step worked out (w tokens, always right) or none (g tokens, right
with probability p), are counted in tokens of the run's tokenizer; L is max_completion_length.

Under reward.gate=correct a right answer of n tokens earns 1 - alpha n / L and a wrong one nothing, so guessing earns
more above alpha = (1 - p) L / (w - p g).

Under among_correct an update climbs P(right) and, with weight P(right), -alpha E[n | right] / L. Where a share q
guesses, P = 1 - (1 - p) q and E[n | right] = (p q g + (1 - q) w) / P, so a little more guessing costs 1 - p and pays
alpha p (w - g) / (L P): from a policy that works everything out it pays above alpha = (1 - p) L / (p (w - g)), from
one that guesses everything, P = p, already above (1 - p) L / (w - g). Between the two both stay as they are.
"""

import argparse
import statistics
from pathlib import Path

import numpy as np

from jaxreason.data.problems import Problem
from jaxreason.evaluation import stored
from jaxreason.tasks.calculator import demonstrations
from jaxreason.tasks.calculator import problems as arithmetic

PROBLEMS = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    place = stored.open_place(str(parser.parse_args().run))
    limit = place.config.sampling.max_completion_length
    print("| level | tokens worked out | guessed | rightly | `correct` | `among_correct`, from guesses | from work |")
    print("|---|---|---|---|---|---|---|")
    for level in (2, 3):
        problems = arithmetic.generate(PROBLEMS, seed=0, levels=[level], split="train")
        work, _ = thoughts(problems, 1.0, place)
        guess, right = thoughts(problems, 0.0, place)
        lost = (1 - right) * limit
        bounds = [lost / (work - right * guess), lost / (work - guess), lost / (right * (work - guess))]
        print(f"| {level} | {work:.0f} | {guess:.0f} | {right:.2f} | {' | '.join(f'{b:.1f}' for b in bounds)} |")


def thoughts(problems: list[Problem], check: float, place: stored.Place) -> tuple[float, float]:
    """Mean tokens of thoughts without needless lines, and how many end rightly."""
    rng, tokens, right = np.random.default_rng(0), [], []
    for problem in problems:
        guess = place.config.data.right_guesses
        *lines, answer = demonstrations.demonstrate(problem, rng, right_guesses=guess, verbosity=0.0, check=check)
        tokens.append(len(place.tokenizer.encode_batch(["".join(line.text for line in lines)])[0]))
        right.append(answer.text == f"\\boxed{{{problem.answer}}}")
    return statistics.mean(tokens), statistics.mean(right)


if __name__ == "__main__":
    main()
