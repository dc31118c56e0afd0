"""The built-in task as a task: boxed mathematics that brings its own problems, demonstrations and labels."""

import random
from collections.abc import Sequence
from typing import Literal, cast

import numpy as np

from jaxreason.config import DataConfig
from jaxreason.data.problems import Problem
from jaxreason.tasks.base import Piece, Task
from jaxreason.tasks.calculator import demonstrations, problems

MOST_REPEATED = 0.5
"""Largest share of the needed lines that a demonstration for the helpers holds twice."""


class Calculator(Task):
    """A pocket calculator modulo 7, see `problems`."""

    symbols = demonstrations.SYMBOLS
    importance = demonstrations.IMPORTANCE

    def problems(self, split: str, count: int, *, seed: int, levels: Sequence[int]) -> list[Problem]:
        """Problems of a split, the levels in equal shares and in turn."""
        return problems.generate(count, seed=seed, levels=levels, split=cast(Literal["train", "test"], split))

    def label(self, problem: Problem, text: str) -> list[Piece] | None:
        """The kind of every line; None for a question of another task."""
        try:
            return demonstrations.label(problem.question, text)
        except ValueError:
            return None

    def counts(self, pieces: Sequence[Piece]) -> dict[str, tuple[float, float]]:
        """How many guesses were checked."""
        kinds = [piece.kind for piece in pieces]
        return {"reason/checked_guesses": (kinds.count("check"), kinds.count("guess"))}

    def demonstrations(self, data: DataConfig) -> list[tuple[Problem, list[Piece]]]:
        """Wordy solutions. None of the problems is held out."""
        asked = problems.generate(data.demonstrations, seed=data.seed, levels=data.levels, split="demo")
        rng = np.random.default_rng([data.seed, 1])
        shares = {"right_guesses": data.right_guesses, "check": data.checked_guesses}
        return [(problem, demonstrations.demonstrate(problem, rng, **shares)) for problem in asked]

    def helper_demonstrations(self, data: DataConfig) -> list[tuple[Problem, list[Piece]]]:
        """The same problems solved more or less wordily, checked more or less often.

        The reasoner's texts grow terse in training, or write a line twice. Helpers that had seen none but wordy ones
        would misread them.
        """
        asked = problems.generate(data.helper_demonstrations, seed=data.seed, levels=data.levels, split="demo")
        rng = np.random.default_rng([data.seed, 2])

        def varied(problem: Problem) -> list[Piece]:
            pieces = demonstrations.demonstrate(
                problem, rng, right_guesses=data.right_guesses, verbosity=rng.random(), check=rng.random()
            )
            return demonstrations.repeated(pieces, rng, MOST_REPEATED * rng.random())

        return [(problem, varied(problem)) for problem in asked]

    def drill(self, rng: random.Random, count: int) -> str:
        """Bare equations, a line each."""
        return problems.drill(rng, count)
