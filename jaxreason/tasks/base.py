"""What a problem is: how it is asked, where a completion's reasoning and answer lie, and how the answer is graded.

A task of your own is a class with any of the three methods, in a file that `data.task` names:

    class Toy:  # data.task: toy.py:Toy
        def grade(self, answer, problem):
            return answer == problem.answer[::-1]

What it leaves out is done as in boxed mathematics. The three as plain functions of a file will do as well, named by one
of them (`toy.py:grade`). Abilities beyond these are further methods, see the protocols below; none is needed.

Starts no JAX: grading workers load tasks.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from jaxreason.data.problems import Problem
from jaxreason.tasks import boxed_math
from jaxreason.tasks.reading import Span

if TYPE_CHECKING:
    import random

    from jaxreason.config import DataConfig
    from jaxreason.config.doors import Door

__all__ = ["Checked", "Demonstrated", "Drilled", "Labelled", "OwnProblems", "Piece", "Problem", "Span", "Task"]

Turns = Sequence[Mapping[str, str]]
"""A conversation: {"role": "system", "user" or "assistant", "content": text} each, the last one the user's."""


class Task:
    """A task, and the defaults of every other: mathematics answered in a box.

    One object serves a whole process; a method sees the problem with its question, answer, source and meta, and should
    give the same for the same.
    """

    name: str = "boxed_math"
    """as `data.task` spells it"""
    spelling: str = "boxed_math"
    """how another process opens it: as `name`, a file's path made absolute"""
    door: "Door | None" = None
    """where a user's own came from; None for what ships"""
    symbols: Sequence[str] = boxed_math.SYMBOLS
    """what a tokenizer trained for this task should hold as single tokens"""

    def messages(self, problem: Problem) -> Turns:
        """How a problem is asked. Turns before the last are instructions (system) or examples (user, assistant).

        They are rendered by the model's chat template (`agents.prompts: chat`), or joined as plain text (`plain`). The
        question has to stand in them word for word.
        """
        return boxed_math.messages(problem)

    def bare(self, problem: Problem) -> Turns:
        """How a model trained from scratch is asked (`agents.prompts: marks`): by the question alone, since it knows no
        instructions; or by the task's own messages, where it has some."""
        if overrides(self, "messages"):
            return self.messages(problem)
        return [{"role": "user", "content": problem.question}]

    def read(self, text: str) -> Span:
        """Where the reasoning y lies in a completion, in characters, and the answer. Only y is charged for its length.

        A text in which bytes are no character holds a surrogate for each.
        """
        return boxed_math.read(text)

    def grade(self, answer: str, problem: Problem) -> object:
        """Whether an answer is right: True or False (or 1 or 0), None where it cannot be told. A completion without an
        answer is wrong and not asked about.

        Runs in a worker process that is killed after `grading.timeout_s`: the answer is then wrong. What cannot be
        told, and what raises, is masked and counted as `reason/ungradable`.
        """
        return boxed_math.grade(answer, problem)


def overrides(task: Task, method: str) -> bool:
    """Whether a task has a method of its own, not the default."""
    return method in vars(task) or getattr(type(task), method) is not getattr(Task, method)


class Piece(NamedTuple):
    """A part of a solution, such as a line with its newline, and what it does."""

    kind: str
    text: str


@runtime_checkable
class OwnProblems(Protocol):
    """A task that brings its problems: what `builtin` stands for in data.train and data.test."""

    def problems(self, split: str, count: int, *, seed: int, levels: Sequence[int]) -> list[Problem]:
        """Problems of a split, `train` or `test`, which share no question; the same arguments give the same ones.

        Args:
          levels: data.levels, for a task that has levels.
        """
        ...


@runtime_checkable
class Checked(Protocol):
    """A task that can only be graded on some machines, or with some problems."""

    def check(self, problems: Sequence[Problem]) -> None:
        """Called before a run and before an evaluation with the problems of it.

        Raises:
          ValueError: why nothing can be graded here, and the remedy, in a line.
        """
        ...


@runtime_checkable
class Labelled(Protocol):
    """A task that can say what every line of a completion does: for diagnostics and reward.preset=oracle, never for
    another reward."""

    importance: Mapping[str, int]
    """kind -> 1..5; a kind below 5 can be left out without losing the solution"""

    def label(self, problem: Problem, text: str) -> list[Piece] | None:
        """The pieces of a completion, whose texts joined are the text; None for a problem of another task."""
        ...

    def counts(self, pieces: Sequence[Piece]) -> dict[str, tuple[float, float]]:
        """Further diagnostics of one completion, metric name -> (sum, count), the same names for all."""
        ...


@runtime_checkable
class Demonstrated(Protocol):
    """A task with worked solutions for the supervised start."""

    importance: Mapping[str, int]
    """kind -> 1..5, what the scorer is shown"""

    def demonstrations(self, data: "DataConfig") -> list[tuple[Problem, list[Piece]]]:
        """What the reasoner is shown: problems, none of them held out, each with its solution; the last piece is the
        answer."""
        ...

    def helper_demonstrations(self, data: "DataConfig") -> list[tuple[Problem, list[Piece]]]:
        """What the helpers are shown."""
        ...


@runtime_checkable
class Drilled(Protocol):
    """A task with exercises of what every step is made of."""

    def drill(self, rng: "random.Random", count: int) -> str:
        """That many bare equations, a line each."""
        ...
