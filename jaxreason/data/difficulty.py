"""How hard problems are for one policy: pass rates in their meta, and files of the easy and the hard ones.

The split is that of The Art of Efficient Reasoning (arXiv:2602.20945): easy above a pass rate of 0.5 over 8 samples,
hard otherwise, with those that are never answered right among the hard ones.
"""

import dataclasses
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from jaxreason.data.problems import Problem

PASS_RATE, MEAN_TOKENS, CUT_SHARE = "pass_rate", "mean_tokens", "cut_share"
"""In a problem's meta, over the samples: share of right answers, tokens of an answer, share cut at the limit."""
RATED = "rated.jsonl"
"""The file that `jaxreason data split` writes of all problems."""
THRESHOLD = 0.5
"""Of the paper."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of the samples of one problem; lists of equal length."""

    id: str
    correct: list[bool]
    gradable: list[bool]
    length: list[int]
    """tokens"""
    finished: list[bool]

    @property
    def pass_rate(self) -> float | None:
        """The share of right answers among those that could be graded; None where none could.

        >>> Outcome("a", [True, False, False], [True, True, False], [9, 9, 9], [True, True, True]).pass_rate
        0.5
        """
        graded = sum(self.gradable)
        return sum(c and g for c, g in zip(self.correct, self.gradable, strict=True)) / graded if graded else None


def rated(problem: Problem, outcome: Outcome) -> Problem:
    """The problem with its pass rate, mean tokens and share of cut answers in meta, where old ones are replaced.

    Raises:
      ValueError: no answer could be graded.
    """
    if outcome.pass_rate is None:
        raise ValueError(f"{problem.id}: expected an answer that can be graded, got none")
    samples = len(outcome.length)
    found = {
        PASS_RATE: outcome.pass_rate,
        MEAN_TOKENS: sum(outcome.length) / samples,
        CUT_SHARE: 1 - sum(outcome.finished) / samples,
    }
    return dataclasses.replace(problem, meta=problem.meta | found)


def divide(some: Sequence[Problem], easy_above: float, hard_at_most: float) -> dict[str, list[Problem]]:
    """Rated problems by what they are called, in their order: `easy`, `hard`, and `between` the thresholds.

    Args:
      easy_above: easy problems have a greater pass rate.
      hard_at_most: hard problems have this one or a smaller.

    Raises:
      ValueError: thresholds outside 0..1, or a problem could be both.
    """
    if not 0 <= hard_at_most <= easy_above < 1:
        raise ValueError(
            "--easy-above: expected 0 <= --hard-at-most <= --easy-above < 1, so that no problem is both, got "
            f"--hard-at-most {hard_at_most:g} and --easy-above {easy_above:g}"
        )
    parts: dict[str, list[Problem]] = {"easy": [], "hard": [], "between": []}
    for problem in some:
        rate = problem.meta[PASS_RATE]
        parts["easy" if rate > easy_above else "hard" if rate <= hard_at_most else "between"].append(problem)
    return parts


def figures(some: Sequence[Problem]) -> dict[str, Any]:
    """Figures of rated problems: how many, means over problems (None of none), and the ends, never and always right."""
    rates = [problem.meta[PASS_RATE] for problem in some]
    return {
        "problems": len(some),
        **{name: _mean([problem.meta[name] for problem in some]) for name in (PASS_RATE, MEAN_TOKENS, CUT_SHARE)},
        "never_right": sum(rate == 0 for rate in rates),
        "always_right": sum(rate == 1 for rate in rates),
        "pass_rates": {f"{rate:g}": count for rate, count in sorted(Counter(rates).items())},
    }


def pass_rates(some: Sequence[Problem]) -> list[float]:
    """What `rated` wrote, or anybody else.

    Raises:
      ValueError: a problem without a pass rate, or with one that is no number in 0..1.
    """
    for problem in some:
        rate = problem.meta.get(PASS_RATE)
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
            got = "none" if rate is None else repr(rate)
            raise ValueError(
                f"data.curriculum: expected meta.{PASS_RATE} in 0..1 for every training problem, got {got} for "
                f"{problem.id!r}; `jaxreason data split MODEL --data FILE` measures it and writes {RATED}"
            )
    return [problem.meta[PASS_RATE] for problem in some]


def in_order(rates: Sequence[float], curriculum: str, seed: str) -> list[int]:
    """The order of an epoch: problems by falling pass rate (`easy_first`) or rising (`hard_first`); those of equal rate
    are shuffled by the seed, alike in any Python.

    >>> in_order([0.5, 1, 0, 0.75], "easy_first", "0 0"), in_order([0.5, 1, 0, 0.75], "hard_first", "0 0")
    ([1, 3, 0, 2], [2, 0, 3, 1])
    """
    sign = {"easy_first": -1, "hard_first": 1}[curriculum]
    order = list(range(len(rates)))
    random.Random(seed).shuffle(order)
    return sorted(order, key=lambda i: sign * rates[i])


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
