"""Grading a batch of answers as their task does: mathematics by value, a task's own `grade` in the killable pool."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxreason.config.doors import DoorError
from jaxreason.data.problems import Problem
from jaxreason.grading.answers import Verdict
from jaxreason.grading.pool import Grades, Pool, grade_batch
from jaxreason.tasks import judge
from jaxreason.tasks.base import Checked, Task, overrides
from jaxreason.tasks.reading import Reasoning

TRIED = 4
"""Problems that a user's own `grade` is tried on before a run."""


def grade_answers(
    task: Task, reasonings: Sequence[Reasoning], problems: Sequence[Problem], pool: Pool | None
) -> Grades:
    """Grade N completions' answers; of the same problem equal ones once.

    What the task could not read is not gradable, and no answer is a wrong one. A `grade` of the task's own is called in
    a worker process.

    Args:
      problems: one for each completion.
      pool: as in `grade_batch`; a task's own `grade` needs one with workers.
    """
    answers = [found.answer for found in reasonings]
    if overrides(task, "grade"):
        assert pool is not None  # `refuse_without_workers`
        grades = _by_its_own(task, answers, problems, pool)
    else:
        grades = grade_batch(
            answers,
            [problem.answer for problem in problems],
            questions=[problem.question for problem in problems],
            pool=pool,
        )
    unread_N = np.array([bool(found.trouble) for found in reasonings], bool)
    if not unread_N.any():
        return grades
    return Grades(
        correct=grades.correct & ~unread_N,
        gradable=grades.gradable & ~unread_N,
        status=[found.trouble or status for found, status in zip(reasonings, grades.status, strict=True)],
    )


def _by_its_own(task: Task, answers: Sequence[str | None], problems: Sequence[Problem], pool: Pool) -> Grades:
    rows = list(zip(answers, problems, strict=True))
    asked = {(answer, problem.id): problem for answer, problem in rows if answer is not None}
    calls = [(answer, dataclasses.asdict(problem)) for (answer, _), problem in asked.items()]
    found = pool.verify(calls, f"{judge.MAKER} {task.spelling}")
    verdicts: dict[tuple[str | None, str], Verdict] = dict(zip(asked, found, strict=True))
    nothing = Verdict("wrong", "none", "no_answer")
    return _grades([verdicts.get((answer, problem.id), nothing) for answer, problem in rows])


def _grades(verdicts: Sequence[Verdict]) -> Grades:
    return Grades(
        correct=np.array([v.outcome == "right" for v in verdicts], bool),
        gradable=np.array([v.outcome != "error" for v in verdicts], bool),
        status=[v.status for v in verdicts],
    )


def refuse_without_workers(task: Task, num_workers: int) -> None:
    """Refuse a task with a `grade` of its own where no process may run it.

    Raises:
      ValueError: naming the field.
    """
    if overrides(task, "grade") and num_workers == 0:
        raise ValueError(
            f"grading.num_workers: expected at least 1 with data.task={task.name}, whose grade runs in worker "
            "processes that can be killed, got 0"
        )


def refuse_unfit(task: Task, problems: Sequence[Problem]) -> None:
    """Refuse a machine or problems that a task cannot be graded on, before anything is sampled.

    Raises:
      ValueError: by the task, see `Checked`.
    """
    if isinstance(task, Checked):
        task.check(problems)


def try_grading(task: Task, problems: Sequence[Problem], pool: Pool) -> None:
    """Try a user's own task on the right answers of a few problems, so that a mistake in it costs no step.

    Raises:
      DoorError: `read` or `grade` fails on every one, or `grade` gives none of True, False and None.
    """
    if task.door is None or not overrides(task, "grade"):
        return
    some = problems[:TRIED]
    found = _by_its_own(task, [problem.answer for problem in some], some, pool)
    failed = [status for status in found.status if status not in ("ok", "ungradable")]
    if failed and (len(failed) == len(some) or judge.EXPECTED in failed[0]):
        raise DoorError(
            f"data.task: {task.name}: on the right answer of problem {some[0].id!r}, {failed[0]}; mend its "
            "grade(answer, problem)"
        )
