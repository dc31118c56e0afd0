"""The built-in task: a pocket calculator modulo 7, read strictly from left to right.

A question is a start digit and lettered steps: `3;A+5;B*2;C*4+6-1;` asks for ((((3+5)*2)*4)+6)-1 modulo 7, with no
precedence of `*`. A step of one operation is easy: it can be answered at once. A step of three is hard: worth working
out. Levels differ several-fold in the work they need, which is what a length penalty has to cope with.
"""

import hashlib
import itertools
import random
import re
from collections.abc import Iterator, Sequence
from typing import Literal

from jaxreason.data.problems import Problem

MODULUS = 7
Operation = tuple[str, int]
"""A sign of `+-*` and the digit it applies."""
Step = tuple[Operation, ...]

LEVELS = {1: ((2, 2), (0, 0)), 2: ((1, 2), (1, 1)), 3: ((1, 2), (2, 2))}
"""Level -> fewest and most easy steps, fewest and most hard steps; drawn uniformly, in random order."""
HARD_OPERATIONS = 3

_SIGNS = "+-*"
_TEST_SHARE = 8  # one question in so many belongs to the test split
_QUESTION = re.compile(r"([0-6]);((?:[A-Z](?:[-+*][0-6])+;)+)")
LETTERS = "ABCDEF"
"""Names of the steps, in order; more than any question has."""
_DIFFERENT_OPERATIONS = len(_SIGNS) * MODULUS


def apply(value: int, operation: Operation) -> int:
    """One operation on a digit 0..6; the result is one too.

    >>> apply(1, ("-", 3))
    5
    """
    sign, digit = operation
    return {"+": value + digit, "-": value - digit, "*": value * digit}[sign] % MODULUS


def parse(question: str) -> tuple[int, tuple[Step, ...]]:
    """The start digit and the steps of a question.

    Raises:
      ValueError: the text is no question of this task.

    >>> parse("3;A+5;B*4+6-1;")
    (3, ((('+', 5),), (('*', 4), ('+', 6), ('-', 1))))
    """
    match = _QUESTION.fullmatch(question)
    steps = match[2].removesuffix(";").split(";") if match else []
    if match is None or [step[0] for step in steps] != list(LETTERS[: len(steps)]):
        raise ValueError(
            f"question: expected one of the built-in arithmetic task like '3;A+5;B*4+6-1;', got {question!r}"
        )
    return int(match[1]), tuple(tuple((step[i], int(step[i + 1])) for i in range(1, len(step), 2)) for step in steps)


def ask(start: int, steps: Sequence[str]) -> str:
    """The question with these steps, each as its operations.

    >>> ask(3, ["+5", "*4+6-1"])
    '3;A+5;B*4+6-1;'
    """
    return f"{start};" + "".join(f"{letter}{step};" for letter, step in zip(LETTERS, steps, strict=False))


def evaluate(question: str) -> int:
    """The answer, 0..6.

    Raises:
      ValueError: the text is no question of this task.

    >>> evaluate("3;A+5;B*4+6-1;")
    2
    """
    value, steps = parse(question)
    for operation in itertools.chain.from_iterable(steps):
        value = apply(value, operation)
    return value


def is_test(question: str) -> bool:
    """Whether a question is kept for the test split: a fixed eighth of all, whatever the seed and sizes."""
    return hashlib.blake2b(question.encode(), digest_size=8).digest()[0] % _TEST_SHARE == 0


def generate(
    count: int, *, seed: int, levels: Sequence[int] = (1, 2, 3), split: Literal["train", "test", "demo"]
) -> list[Problem]:
    """Draw problems, the levels in equal shares and in turn; count 0 gives none.

    The same arguments give the same problems, and a larger count begins with the smaller one's. No question of `test`
    is ever in `train` or `demo`. Questions of `test` are all different; the others may repeat (their ids don't).

    Args:
      count: problems.
      seed: of the generator, at least 0.
      levels: some of 1, 2, 3.
      split: which questions to draw from; `train` and `demo` draw from the same ones.

    Raises:
      ValueError: an argument out of range, or more test problems than there are different questions.
    """
    if count < 0:
        raise ValueError(f"count: expected at least 0, got {count}")
    if not levels or len(set(levels)) != len(levels) or not set(levels) <= set(LEVELS):
        raise ValueError(f"data.levels: expected some of {', '.join(map(str, LEVELS))}, each once, got {tuple(levels)}")
    if split not in ("train", "test", "demo"):
        raise ValueError(f"split: expected train, test or demo, got {split!r}")
    if split == "test":
        _refuse_too_many(count, levels)
    draws = {level: _draw(random.Random(f"{seed}/{split}/{level}"), level, split) for level in levels}
    problems, occurrences = [], {}
    for level in itertools.islice(itertools.cycle(levels), count):
        question = next(draws[level])
        occurrences[question] = occurrences.get(question, 0) + 1
        identity = f"{split}-{hashlib.blake2b(question.encode(), digest_size=8).hexdigest()}"
        if occurrences[question] > 1:
            identity += f"-{occurrences[question]}"
        problems.append(
            Problem(identity, question, str(evaluate(question)), f"arithmetic/level{level}", {"level": level})
        )
    return problems


def drill(rng: random.Random, count: int) -> str:
    """That many bare equations, a line each: what every step is made of.

    >>> drill(random.Random(0), 2)
    '6-6=0\\n3+2=5\\n'
    """
    lines = []
    for _ in range(count):
        start, operation = rng.randrange(MODULUS), (rng.choice(_SIGNS), rng.randrange(MODULUS))
        lines.append(f"{start}{operation[0]}{operation[1]}={apply(start, operation)}\n")
    return "".join(lines)


def _draw(rng: random.Random, level: int, split: str) -> Iterator[str]:
    """Questions of one level and split without end, or for `test` until all have come once."""
    (fewest_easy, most_easy), (fewest_hard, most_hard) = LEVELS[level]
    seen = set()
    while True:
        sizes = [1] * rng.randint(fewest_easy, most_easy) + [HARD_OPERATIONS] * rng.randint(fewest_hard, most_hard)
        rng.shuffle(sizes)
        steps = ("".join(rng.choice(_SIGNS) + str(rng.randrange(MODULUS)) for _ in range(size)) for size in sizes)
        question = ask(rng.randrange(MODULUS), list(steps))
        if is_test(question) != (split == "test"):
            continue
        if split == "test":
            if question in seen:
                continue
            seen.add(question)
        yield question


def _refuse_too_many(count: int, levels: Sequence[int]) -> None:
    for place, level in enumerate(levels):
        asked = len(range(place, count, len(levels)))
        exist = _test_questions(level)
        if asked > exist:
            raise ValueError(
                f"data.test_size: expected at most {exist} different test questions of level {level}, "
                f"got a share of {asked}; ask for fewer or for more levels"
            )


def _test_questions(level: int) -> int:
    """How many test questions a level has: counted at level 1; above, what can be drawn without much repeating."""
    if level == 1:
        steps = [sign + str(digit) for sign in _SIGNS for digit in range(MODULUS)]
        return sum(is_test(ask(d, [a, b])) for d in range(MODULUS) for a in steps for b in steps)
    (fewest_easy, _), (fewest_hard, _) = LEVELS[level]
    smallest_space = MODULUS * _DIFFERENT_OPERATIONS ** (fewest_easy + HARD_OPERATIONS * fewest_hard)
    return smallest_space // (2 * _TEST_SHARE)
