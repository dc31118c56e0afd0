"""A task's `grade` as a grading worker calls it. Starts no JAX."""

import numbers
from collections.abc import Callable

import numpy as np

from jaxreason.config.doors import in_a_line
from jaxreason.data.problems import Problem
from jaxreason.grading.answers import Verdict
from jaxreason.tasks.opening import open_task

MAKER = "jaxreason.tasks.judge:judge_of"
"""What `grading.worker` makes a judge by."""
EXPECTED = "expected True, False or None"
STATUS_CHARS = 200
"""A longer reason is cut."""


def judge_of(spelling: str) -> Callable[[str, dict], Verdict]:
    """A function from an answer and a problem's fields to a verdict, by the task of that spelling.

    Raises:
      DoorError: the task cannot be opened.
    """
    task = open_task(spelling)

    def judge(answer: str, problem: dict) -> Verdict:
        try:
            return verdict_of(task.grade(answer, Problem(**problem)))
        except Exception as error:  # of a user's own code: not the answer's fault
            return Verdict("error", "none", f"grade: {in_a_line(error)}"[:STATUS_CHARS])

    return judge


def verdict_of(found: object) -> Verdict:
    """What `grade` returned, as a verdict.

    Raises:
      TypeError: nothing that says right, wrong or unknown.
    """
    if isinstance(found, Verdict):
        return found
    if found is None:
        return Verdict("error", "none", "ungradable")
    if isinstance(found, numbers.Real | np.bool_) and found in (0, 1):
        return Verdict("right" if found else "wrong", "none", "ok")
    raise TypeError(f"{EXPECTED}, got {found!r:.80}")
