r"""When two expressions are the same function, told by their values, so that no answer needs a minute.

Two rational numbers are equal when they are equal, however small. Two expressions that agree to ten digits at a few
fixed points of their variables are equal (two different rational functions agree at a point drawn at random with
probability zero; the points are fixed, but nobody aims at them). Those that differ by more than the rounding noise are
different; the rest is unsure, and left to math-verify.
"""

import functools
import math
import random
from fractions import Fraction

from jaxreason.grading.expressions import Tree, Unreadable, read, uses, variables
from jaxreason.grading.nodes import Nodes
from jaxreason.grading.values import Point, TooBig, Undecided, Value, divide, evaluate


def constant(tree: Tree) -> Value | None:
    """The value of an expression without variables; None for one with some."""
    return None if variables(tree) else evaluate(tree, lambda _: 0j)


def real(nodes: Nodes) -> float | None:
    """The value of nodes as a float; None where they are no real constant."""
    try:
        value = constant(read(nodes))
        if value is None or _is_complex(value):
            return None
        return float(value.number.real)
    except (Unreadable, TooBig, OverflowError):
        return None


def _points(seed: int, low: float, high: float) -> Point:
    """A fixed choice of a number for every name."""

    @functools.lru_cache(maxsize=4096)
    def point(name: str) -> complex:
        return complex(1.2345e9 if name == "\\infty" else random.Random(f"{seed} {name}").uniform(low, high))

    return point


_POSITIVE = [_points(seed, 0.6, 3.1) for seed in range(4)]

_ANY = [_points(seed, -2.9, -0.4) for seed in (11, 12)] + [_points(13, -2.5, 2.5)]


def equal(a: Tree, b: Tree) -> bool | None:
    r"""Whether two expressions are the same function; None where that cannot be told here.

    `\log` without a base is read as natural and as base ten, and either may make them equal.
    """
    verdicts = []
    for base in (math.e, 10.0) if uses(a, "log") or uses(b, "log") else (math.e,):
        verdicts.append(_same(a, b, base))
        if verdicts[-1]:
            return True
    return None if None in verdicts else False


def _same(a: Tree, b: Tree, log_base: float) -> bool | None:
    names = variables(a) | variables(b)
    told = 0
    both: list[tuple[bool, bool]] = []
    for point in _POSITIVE if names else _POSITIVE[:1]:
        x, y = _at(a, point, log_base), _at(b, point, log_base)
        same = _same_value(x, y)
        if same is False:
            return False
        told += same is True
        both.append((x is None, y is None))
    if set(both) == {(True, False)} or set(both) == {(False, True)}:
        # One of them is nowhere a number that can be worked out, and the other is: no answer is meant like that.
        tree = a if both[0][0] else b
        return False if not _is_undecided(tree, log_base) else None
    if not names:
        return True if told else None
    if told < 2:
        return None
    for point in _ANY:
        # Beyond positive variables a root or a logarithm may leave the real numbers, and there no identity need hold.
        x, y = _at(a, point, log_base, real=True), _at(b, point, log_base, real=True)
        if x is not None and y is not None and _same_value(x, y) is False:
            return False
        if (x is None) != (y is None) and uses(a, "abs") != uses(b, "abs"):
            return None
    return True


def _is_complex(value: Value) -> bool:
    return isinstance(value.number, complex) and abs(value.number.imag) > 16 * value.noise


def _at(tree: Tree, point: Point, log_base: float, *, real: bool = False) -> Value | None:
    try:
        return evaluate(tree, point, log_base, real=real)
    except TooBig:
        return None


def _is_undecided(tree: Tree, log_base: float) -> bool:
    try:
        evaluate(tree, _POSITIVE[0], log_base)
    except Undecided:
        return True
    except TooBig:
        return False
    return False


def _same_value(a: Value | None, b: Value | None) -> bool | None:
    if a is None or b is None:
        return None
    if isinstance(a.number, Fraction) and isinstance(b.number, Fraction):
        return a.number == b.number
    for x, y in ((a, b), (b, a)):
        if isinstance(x.number, Fraction) and x.number.denominator > 10**4 and not _is_complex(y):
            # A decimal of many digits beside what is no rational number: an approximation.
            if _is_decimal(x.number):
                return False
    try:
        x, y = complex(a.number), complex(b.number)
    except OverflowError:
        return None
    size, gap = max(abs(x), abs(y)), abs(x - y)
    noise = a.noise + b.noise
    if gap <= 64 * noise and noise <= 1e-9 * size:
        return True
    if gap > 1e3 * noise and gap > 1e-9 * size:
        return False
    return None


def _is_decimal(number: Fraction) -> bool:
    below = number.denominator
    for prime in (2, 5):
        while below % prime == 0:
            below //= prime
    return below == 1


def ratio(a: Tree, b: Tree) -> int | None:
    """The sign of the constant that a is of b, 1 or -1; 0 where they are not proportional; None where unsure."""
    quotients = []
    for point in _POSITIVE + _ANY[2:]:
        x, y = _at(a, point, math.e), _at(b, point, math.e)
        if x is None or y is None:
            continue
        try:
            quotients.append(divide(x, y))
        except (TooBig, ZeroDivisionError, OverflowError):
            continue
    if len(quotients) < 3:
        return None
    verdicts = [_same_value(quotients[0], other) for other in quotients[1:]]
    if False in verdicts:
        return 0
    number = complex(quotients[0].number)
    if None in verdicts or abs(number) == 0 or abs(number.imag) > 1e-9 * abs(number):
        return None
    return 1 if number.real > 0 else -1


def differ_at_a_root(a: Tree, b: Tree) -> bool:
    """Whether a solution of a = 0, found by secants in one of its variables, is clearly none of b = 0."""
    for name in sorted(variables(a)):
        for seed in (0, 1):
            root = _root(a, name, _POSITIVE[seed])
            if root is None:
                continue
            value = _at(b, _fixed(name, root, _POSITIVE[seed]), math.e)
            size = _at(b, _fixed(name, root + 1, _POSITIVE[seed]), math.e)
            if value is None or size is None:
                continue
            if abs(complex(value.number)) > 1e-5 * (1 + abs(complex(size.number))):
                return True
    return False


def _fixed(name: str, number: complex, point: Point) -> Point:
    return lambda other: number if other == name else point(other)


def _root(tree: Tree, name: str, point: Point) -> complex | None:
    x, y = complex(0.7, 0.3), complex(1.9, -0.2)
    f = _at(tree, _fixed(name, x, point), math.e)
    for _ in range(40):
        g = _at(tree, _fixed(name, y, point), math.e)
        if f is None or g is None:
            return None
        slope = complex(g.number) - complex(f.number)
        if abs(complex(g.number)) <= 1e-10 or abs(y - x) <= 1e-13 * abs(y):
            return y if abs(complex(g.number)) <= 1e-8 else None
        if slope == 0:
            return None
        x, y, f = y, y - complex(g.number) * (y - x) / slope, g
        if not abs(y) < 1e8:
            return None
    return None
