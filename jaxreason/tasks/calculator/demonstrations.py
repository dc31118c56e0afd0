"""Verbose demonstrations of the built-in task, each line with its kind, and the kinds of lines a model wrote.

A demonstration solves a question line by line and is about twice as long as it need be. Hard steps are guessed at and
only sometimes checked, so a demonstration may end in a wrong answer; that is intended: a policy can gain accuracy by
checking always and save tokens by leaving out the rest.

The kinds serve the supervised start and diagnostics only. They never enter a reward.
"""

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from jaxreason.data.problems import Problem
from jaxreason.tasks.base import Piece
from jaxreason.tasks.calculator.problems import LETTERS, MODULUS, Step, apply, parse

IMPORTANCE = {
    "step": 5,  # A3+5=1           an easy step, always right
    "guess": 5,  # B1*4+6-1=3?      a hard step at a glance, often wrong
    "check": 5,  # wait 1*4=4 ...   the guess worked out; its result counts from there on
    "answer": 5,  # \boxed{2}
    "restate": 2,  # so now it is 1
    "recheck": 2,  # check 3+5=1 yes  an easy step once more
    "second_check": 2,  # again 1*4=4 ... yes
    "repeat": 1,  # A3+5=1           a step or guess once more, word for word
    "filler": 1,  # hmm let me think
    "detour": 1,  # maybe 3*6=4 no   true and beside the point
}
"""Kind -> importance 1..5, as the supervised start labels it."""

NEEDLESS = frozenset(kind for kind, value in IMPORTANCE.items() if value < 5)
"""Kinds that can be left out without losing the solution."""

FILLERS = ("hmm let me think\n", "ok going on\n", "this is the next one\n", "let me see now\n")

NEEDED = frozenset(IMPORTANCE) - NEEDLESS

SYMBOLS = ("\n", "\\boxed{", "}", "+", "-", "*", "=", "?", ";", *LETTERS, *map(str, range(MODULUS)))
"""What a tokenizer for this task should hold as single tokens; words come of themselves."""

RESTATE_UNCHECKED = 0.95
"""Probability that a guess that isn't checked is directly followed by a restatement. By default that is likelier than a
check, or a greedy policy would check from the start and have nothing to learn."""
NEEDLESS_LINES = {0: (3, 4), 1: (8, 10), 2: (12, 14)}
"""Hard steps of the question (2 stands for more as well) -> fewest and most needless lines, uniform. A number for the
whole text rather than a probability a step, so that lengths within a level stay close together."""
NEEDLESS_SHARES = {"restate": 0.2, "filler": 0.25, "recheck": 0.22, "detour": 0.25, "second_check": 0.08}
"""How often a needless line is of each kind, where its step allows that kind."""

_EQUATION = r"[0-9](?:[-+*][0-9])+=[0-9]"
_STEP_LINE = re.compile(rf"([A-Z])({_EQUATION})\??")
_CHECK_LINE = re.compile(rf"(?:wait|again)((?: {_EQUATION})+)(?: yes)?")
_PLAIN_LINES = {
    "restate": re.compile(r"so now it is [0-9]"),
    "recheck": re.compile(rf"check {_EQUATION} yes"),
    "detour": re.compile(rf"maybe {_EQUATION} no"),
    "filler": re.compile("|".join(re.escape(line.rstrip("\n")) for line in FILLERS)),
}
_ANSWER = re.compile(r"\\boxed\{[^{}\n]*\}\n?")


def demonstrate(
    problem: Problem,
    rng: np.random.Generator,
    *,
    right_guesses: float = 0.5,
    verbosity: float = 1.0,
    check: float = 0.45,
) -> list[Piece]:
    """Solve a problem wordily. The last piece is the answer reached, right or wrong, without a newline.

    Args:
      problem: of the built-in task; only its question is read.
      rng: decides on guesses, checks and everything needless.
      right_guesses: probability that a guess is right; a wrong one is uniform over the other digits.
      verbosity: share of the usual number of needless lines, 0..1.
      check: probability that a guess is checked.

    Raises:
      ValueError: the question is not of the built-in task.
    """
    value, steps = parse(problem.question)
    solved = []
    for letter, step in zip(LETTERS, steps, strict=False):
        work, value = _solve(letter, value, step, rng, right_guesses, verbosity, check)
        solved.append(work)
    for work in _choose_needless(solved, rng, verbosity):
        work.pieces.append(work.needless(rng))
    pieces = [piece for work in solved for piece in work.pieces]
    return [*pieces, Piece("answer", f"\\boxed{{{value}}}")]


def repeated(pieces: Sequence[Piece], rng: np.random.Generator, share: float) -> list[Piece]:
    """The same lines, that share of the needed ones written twice; never the answer."""
    result = []
    for piece in pieces:
        result.append(piece)
        if piece.kind in NEEDED - {"answer"} and rng.random() < share:
            result.append(Piece("second_check" if piece.kind == "check" else "repeat", piece.text))
    return result


@dataclasses.dataclass
class _Work:
    """One step under way: its pieces so far and what may still be added."""

    pieces: list[Piece]
    value: int
    chain: str  # the equations that work the step out
    allowed: set[str]  # kinds of needless line that may follow
    planned: list[str] = dataclasses.field(default_factory=list)

    def needless(self, rng: np.random.Generator) -> Piece:
        kind = self.planned.pop(0)
        if kind == "restate":
            return Piece(kind, f"so now it is {self.value}\n")
        if kind == "recheck":
            return Piece(kind, f"check {self.chain} yes\n")
        if kind == "second_check":
            return Piece(kind, f"again {self.chain} yes\n")
        if kind == "filler":
            return Piece(kind, FILLERS[rng.integers(len(FILLERS))])
        start, operation = int(rng.integers(MODULUS)), ("+-*"[rng.integers(3)], int(rng.integers(MODULUS)))
        return Piece(kind, f"maybe {_work_out(start, (operation,))[0]} no\n")


def _solve(
    letter: str,
    value: int,
    step: Step,
    rng: np.random.Generator,
    right_guesses: float,
    verbosity: float,
    check: float,
) -> tuple[_Work, int]:
    """The needed pieces of one step and the value after it."""
    chain, right = _work_out(value, step)
    if len(step) == 1:
        allowed = {"restate", "filler", "recheck", "detour"}
        return _Work([Piece("step", f"{letter}{chain}\n")], right, chain, allowed), right
    guessed = right
    if rng.random() >= right_guesses:
        guessed = (right + int(rng.integers(1, MODULUS))) % MODULUS
    pieces = [Piece("guess", f"{letter}{value}{_operations(step)}={guessed}?\n")]
    allowed = {"restate", "filler", "detour"}
    if rng.random() < check:
        pieces.append(Piece("check", f"wait {chain}\n"))
        return _Work(pieces, right, chain, allowed | {"second_check"}), right
    work = _Work(pieces, guessed, chain, allowed)
    if rng.random() < RESTATE_UNCHECKED * verbosity:
        work.planned.append("restate")
        work.allowed.remove("restate")
    return work, guessed


def _choose_needless(solved: list[_Work], rng: np.random.Generator, verbosity: float) -> list[_Work]:
    """Plan the needless lines; returns the step of each, in the order they are to be written."""
    chosen = [work for work in solved if work.planned]
    fewest, most = NEEDLESS_LINES[min(2, sum(work.pieces[0].kind == "guess" for work in solved))]
    kinds, bounds = tuple(NEEDLESS_SHARES), np.cumsum(list(NEEDLESS_SHARES.values()))
    target = round(int(rng.integers(fewest, most + 1)) * verbosity)
    while len(chosen) < target:
        kind = kinds[min(int(np.searchsorted(bounds, rng.random(), side="right")), len(kinds) - 1)]
        open_steps = [work for work in solved if kind in work.allowed]
        if not open_steps:
            continue
        work = open_steps[rng.integers(len(open_steps))]
        work.planned.append(kind)
        if kind not in ("filler", "detour"):
            work.allowed.remove(kind)
        chosen.append(work)
    return chosen


def _operations(step: Step) -> str:
    return "".join(f"{sign}{digit}" for sign, digit in step)


def _work_out(value: int, step: Step) -> tuple[str, int]:
    """Each operation as an equation of its own, separated by spaces, and the result."""
    equations = []
    for operation in step:
        after = apply(value, operation)
        equations.append(f"{value}{operation[0]}{operation[1]}={after}")
        value = after
    return " ".join(equations), value


def label(question: str, text: str) -> list[Piece]:
    """The kind of every line of a text that answers a question of the built-in task, whoever wrote it.

    A kind says what a line is for, not whether it is right: a step or check that works with the operations of the
    question keeps its kind when its digits are wrong. A step counts once (word for word again it is "repeat") and in
    the question's order (skipping ahead is allowed), the first check of a guess is "check" and later ones
    "second_check". Whatever fits nothing, an equation that isn't the question's for one, and all that follows the
    answer, is "malformed". The texts of the pieces joined are the text; of an empty text there are none. For the
    supervised start and diagnostics, never for a reward.

    Raises:
      ValueError: the question is not of the built-in task.
    """
    steps = [_operations(step) for step in parse(question)[1]]
    pieces, position, guessed, unchecked = [], 0, None, False
    answered, written = False, set()
    for line in _lines(text):
        body = line.removesuffix("\n")
        kind = "malformed"
        if answered:
            pass
        elif _ANSWER.fullmatch(line):
            kind, answered = "answer", True
        elif match := _STEP_LINE.fullmatch(body):
            place, operations = LETTERS.find(match[1]), match[2][1:-2]
            if body in written:
                kind = "repeat"
            elif position <= place < len(steps) and operations == steps[place]:
                position = place + 1
                written.add(body)
                hard = len(operations) > 2
                kind, guessed, unchecked = ("guess", operations, True) if hard else ("step", None, False)
        elif match := _CHECK_LINE.fullmatch(body):
            if "".join(equation[1:-2] for equation in match[1].split()) == guessed:
                kind, unchecked = "check" if unchecked else "second_check", False
        else:
            kind = next((name for name, form in _PLAIN_LINES.items() if form.fullmatch(body)), kind)
        pieces.append(Piece(kind, line))
    return pieces


def _lines(text: str) -> list[str]:
    """The text cut after every newline, and around whatever looks like an answer."""
    lines = []
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        start = 0
        for match in _ANSWER.finditer(line):
            lines += [line[start : match.start()], match[0]]
            start = match.end()
        lines.append(line[start:])
    return [line for line in lines if line]
