"""Code problems (`data.task: code`): asked for Python in a fenced block, graded by running tests in a sandbox.

A problem's tests are in its meta, see `data.code_tests`. Starts no JAX.
"""

import dataclasses
import re
from collections.abc import Sequence

from jaxreason.data import code_tests
from jaxreason.data.problems import Problem
from jaxreason.grading import programs, sandbox
from jaxreason.grading.answers import Verdict
from jaxreason.grading.pool import Pool
from jaxreason.tasks import boxed_math, judge
from jaxreason.tasks.base import Task
from jaxreason.tasks.reading import Span

PROGRAM = (
    "Think step by step, then give a complete Python program in one block that begins with ```python and ends with "
    "```. The program reads from standard input and prints to standard output."
)
FUNCTION = (
    "Think step by step, then give the whole Python code, with the function {name}, in one block that begins with "
    "```python and ends with ```."
)
_BLOCK = re.compile(r"^[ \t]*```[ \t]*([\w+#.-]*)[^\n`]*\n(.*?)^[ \t]*```[ \t]*$", re.DOTALL | re.MULTILINE)
_PYTHON = ("python", "python3", "py", "py3")


class Code(Task):
    """Programs and functions in Python, right where they pass every test."""

    symbols = ("\n", "```", "```python", "def", "return", "(", ")", ":", "=", *map(str, range(10)))

    def messages(self, problem: Problem) -> list[dict[str, str]]:
        """One user's turn: the question and how to answer."""
        name = problem.meta.get("entry_point")
        ask = FUNCTION.format(name=name) if name else PROGRAM
        return [{"role": "user", "content": f"{problem.question}\n\n{ask}"}]

    def read(self, text: str) -> Span:
        """See `read`."""
        return read(text)

    def grade(self, answer: str, problem: Problem) -> Verdict:
        """Run the problem's tests; the first that fails decides."""
        return grade(answer, problem)

    def check(self, problems: Sequence[Problem]) -> None:
        """Refuse a machine without a sandbox and problems without tests.

        Raises:
          ValueError: in a line, with the remedy.
        """
        for problem in problems:
            code_tests.read(problem.meta, f"data.task=code: problem {problem.id!r}")
        if why := sandbox.unavailable():
            raise ValueError(f"data.task=code: programs run in a sandbox and never without: {why}")


def read(text: str) -> Span:
    r"""Where y lies in a completion, and the program: what the last closed block marked as Python holds.

    Where no block is so marked the last one without a language counts. Only what follows the last `</think>` is looked
    at, and y ends before the block, by the rule of boxes (`boxed_math.read`).

    >>> read("Add them.\n```python\nprint(1)\n```\nDone.")
    Span(start=0, end=10, answer='print(1)\n', mark=None)
    """
    return boxed_math.span_of(text, _last_block)


def grade(answer: str, problem: Problem) -> Verdict:
    """A verdict on a program by the tests of a problem, in at most the time that the answer has (`grading.clock`)."""
    try:
        tests = code_tests.read(problem.meta, f"problem {problem.id!r}")
    except ValueError as error:
        return Verdict("error", "none", str(error))
    if tests.check:
        return programs.run_check(answer, tests.entry_point, tests.check, tests.prelude)
    limit = tests.time_limit_s or programs.TIME_LIMIT_S
    if tests.calls:
        return programs.run_calls(answer, tests.entry_point, tests.calls, tests.prelude, limit)
    return programs.run_stdin(answer, tests.runs, tests.prelude, limit)


def audit(problems: Sequence[Problem], pool: Pool) -> dict[int, str]:
    """Which released solutions fail their own tests: number -> status. A problem without a solution is passed over."""
    some = {i: problem for i, problem in enumerate(problems) if problem.answer != code_tests.NO_SOLUTION}
    calls = [(problem.answer, dataclasses.asdict(problem)) for problem in some.values()]
    verdicts = pool.verify(calls, f"{judge.MAKER} code")
    return {i: found.status for i, found in zip(some, verdicts, strict=True) if found.outcome != "right"}


def _last_block(text: str, start: int) -> tuple[int, str] | None:
    blocks = list(_BLOCK.finditer(text, start))
    for wanted in (_PYTHON, ("",)):
        for block in reversed(blocks):
            if block[1].lower() in wanted and block[2].strip():
                return block.start(), block[2]
    return None
