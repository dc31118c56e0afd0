"""Does a policy that learns to be short in one domain become shorter in another?

    jaxreason compare benchmarks/carry_over.yaml
    python benchmarks/two_domains.py runs/carry/runs

`Both` is a task of one's own (`data.task: two_domains.py:Both`): the calculator, and rows of letters that are moved
about. A question such as `XZWY;A<;B~/>;` gives four letters and lettered steps; a step of one move is easy, one of
three is hard. Only the calculator's problems are trained on. Demonstrations of both hold needless lines of the same
kinds, so that there is in either domain something to leave out, and a guess to check.

As a program it prints, from a comparison's results, accuracy and tokens of each domain before and after training.
"""

import argparse
import hashlib
import itertools
import json
import random
import statistics
from collections import defaultdict
from pathlib import Path

import numpy as np

from jaxreason.tasks.base import Piece, Problem
from jaxreason.tasks.calculator.demonstrations import FILLERS
from jaxreason.tasks.calculator.problems import LETTERS as STEPS
from jaxreason.tasks.calculator.task import Calculator

SOURCE = "letters"
ROW = "WXYZ"
MOVES = {
    "<": (1, 2, 3, 0),  # to the left, the first to the end
    ">": (3, 0, 1, 2),
    "~": (3, 2, 1, 0),  # reversed
    "/": (1, 0, 2, 3),  # the first two change places
    "&": (0, 1, 3, 2),  # the last two
}
"""Move -> which letter comes where."""
HARD = 3  # moves of a hard step; every question has one, and one or two easy ones
NEEDLESS = (8, 10)  # lines of a demonstration, as many as the calculator's of one hard step has
TEST_SHARE = 8
MODES, COLUMNS = ("sampled", "greedy"), (("accuracy", 100), ("mean_tokens", 1))


def moved(row: str, moves: str) -> str:
    """A row after some moves.

    >>> moved("XZWY", "<~")
    'XYWZ'
    """
    for move in moves:
        row = "".join(row[i] for i in MOVES[move])
    return row


def worked(row: str, moves: str) -> str:
    """Each move as an equation of its own.

    >>> worked("XZWY", "<~")
    'XZWY<=ZWYX ZWYX~=XYWZ'
    """
    equations = []
    for move in moves:
        after = moved(row, move)
        equations.append(f"{row}{move}={after}")
        row = after
    return " ".join(equations)


def draw(rng: random.Random) -> tuple[str, list[str]]:
    """A row and the moves of its steps."""
    sizes = [1] * rng.randint(1, 2) + [HARD]
    rng.shuffle(sizes)
    return "".join(rng.sample(ROW, len(ROW))), ["".join(rng.choices("".join(MOVES), k=size)) for size in sizes]


def letters(count: int, *, seed: int, split: str) -> list[Problem]:
    """Problems of the second domain; those of `test` all differ, and none of them is in another split."""
    rng, found, seen = random.Random(f"{seed}/{split}/{SOURCE}"), [], set()
    while len(found) < count:
        row, steps = draw(rng)
        question = f"{row};" + "".join(f"{name}{moves};" for name, moves in zip(STEPS, steps, strict=False))
        held_out = hashlib.blake2b(question.encode(), digest_size=8).digest()[0] % TEST_SHARE == 0
        if held_out != (split == "test") or (held_out and question in seen):
            continue
        seen.add(question)
        identity = f"{SOURCE}-{split}-{len(found)}"
        found.append(Problem(identity, question, moved(row, "".join(steps)), SOURCE, {"row": row, "steps": steps}))
    return found


def demonstrate(problem: Problem, rng: np.random.Generator, right_guesses: float, check: float) -> list[Piece]:
    """A wordy solution: every step with its needless lines behind it, and the row that it ends with in the box."""
    row, needed, places = problem.meta["row"], [], []
    for name, moves in zip(STEPS, problem.meta["steps"], strict=False):
        right = moved(row, moves)
        if len(moves) == 1:
            lines, row = [Piece("step", f"{name}{row}{moves}={right}\n")], right
        else:
            guessed = right if rng.random() < right_guesses else "".join(rng.permutation(list(ROW)))
            lines = [Piece("guess", f"{name}{row}{moves}={guessed}?\n")]
            if rng.random() < check:
                lines.append(Piece("check", f"wait {worked(row, moves)}\n"))
                guessed = right
            row = guessed
        needed.append(lines)
        places.append([f"so now it is {row}\n", f"maybe {_detour(rng)} no\n", *FILLERS])
    chosen = rng.integers(len(needed), size=rng.integers(NEEDLESS[0], NEEDLESS[1] + 1))
    pieces = []
    for n, lines in enumerate(needed):
        pieces += lines
        pieces += [Piece("filler", text) for text in rng.choice(places[n], size=int(np.sum(chosen == n)))]
    return [*pieces, Piece("answer", f"\\boxed{{{row}}}")]


def _detour(rng: np.random.Generator) -> str:
    return worked("".join(rng.permutation(list(ROW))), "".join(rng.choice(list(MOVES), size=1)))


class Both(Calculator):
    """The calculator, and every second problem one of letters."""

    symbols = (*Calculator.symbols, *ROW, *MOVES)

    def problems(self, split, count, *, seed, levels):
        other = count // 2
        return [
            *super().problems(split, count - other, seed=seed, levels=levels),
            *letters(other, seed=seed, split=split),
        ]

    def demonstrations(self, data):
        rng = np.random.default_rng([data.seed, 3])
        own = letters(data.demonstrations, seed=data.seed, split="demo")
        shown = [(problem, demonstrate(problem, rng, data.right_guesses, data.checked_guesses)) for problem in own]
        # In turn, since a tokenizer is trained on the first of them.
        return list(itertools.chain.from_iterable(zip(super().demonstrations(data), shown, strict=True)))

    def grade(self, answer, problem):
        return answer == problem.answer if problem.source == SOURCE else super().grade(answer, problem)

    def drill(self, rng, count):
        lines = super().drill(rng, count // 2).splitlines(keepends=True)
        for _ in range(count - count // 2):  # of one line this one, the longer kind: a sheet's size follows from it
            lines.append(worked("".join(rng.sample(ROW, len(ROW))), rng.choice(list(MOVES))) + "\n")
        rng.shuffle(lines)
        return "".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    file = arguments.folder / "results.json"
    if not file.is_file():
        parser.error(
            f"{file}: expected the results of a comparison; run `jaxreason compare benchmarks/carry_over.yaml`"
        )
    found: dict[str, dict[str, list[list[dict]]]] = defaultdict(lambda: defaultdict(list))
    for cell in json.loads(file.read_text())["cells"]:
        if cell["status"] == "finished":
            held_out = cell["tuning"]  # nothing was tuned on them
            for source in held_out["sampled"].keys() - {"all"}:
                found[cell["method"]][source].append([held_out[mode][source] for mode in MODES])
    print(f"| method | problems | seeds | {' | '.join(f'{mode}, % | tokens' for mode in MODES)} |\n{'|---' * 7}|")
    for method, sources in found.items():
        for source, tables in sorted(sources.items()):
            shown = [
                _spread([scale * of_mode[n][name] for of_mode in tables])
                for n in range(len(MODES))
                for name, scale in COLUMNS
            ]
            print(f"| `{method}` | {source} | {len(tables)} | {' | '.join(shown)} |")


def _spread(values: list[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{deviation}"


if __name__ == "__main__":
    main()
