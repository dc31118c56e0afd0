"""The value of an expression at a point: a Fraction while it is rational, else a complex float with its noise.

Powers, factorials and binomials whose size could hurt are never evaluated.
"""

import cmath
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

from jaxreason.grading.expressions import Tree, Unreadable

MAX_BITS = 1 << 13
"""Longer integers are not computed."""


class TooBig(ValueError):
    """A number that is not worth computing, or no number at all (a division by zero)."""


class Undecided(TooBig):
    """A value at an edge that noise hides: a divisor that may be zero, a floor's argument that may be whole."""


class Value(NamedTuple):
    """A number with a bound of the rounding noise in it; `exact` ones are Fractions without noise."""

    number: Fraction | complex
    noise: float = 0.0

    @property
    def exact(self) -> bool:
        return isinstance(self.number, Fraction)


_EPS = 2.0**-50

Point = Callable[[str], complex]


def evaluate(tree: Tree, point: Point, log_base: float = math.e, *, real: bool = False) -> Value:
    """The value of an expression, each variable as `point` says; `real`: with no complex number on the way.

    Raises:
      TooBig: a number beyond MAX_BITS or a float's range, or a division by zero.
      Unreadable: a function that has no value there.
    """
    try:
        return _evaluate(tree, point, log_base, real)
    except (OverflowError, ZeroDivisionError, RecursionError):
        raise TooBig("out of range") from None


def _evaluate(tree: Tree, point: Point, log_base: float, real: bool) -> Value:
    value = _step(tree, point, log_base, real)
    if real and isinstance(value.number, complex) and abs(value.number.imag) > 16 * value.noise:
        raise TooBig("not real")
    return value


def _step(tree: Tree, point: Point, log_base: float, real: bool) -> Value:
    match tree[0]:
        case "num":
            return Value(tree[1])
        case "const":
            number = {"e": math.e, "pi": math.pi, "i": 1j}[tree[1]]
            return Value(complex(number), abs(number) * _EPS)
        case "var":
            number = complex(point(tree[1]))
            return Value(number, abs(number) * _EPS)
    operands = [_evaluate(operand, point, log_base, real) for operand in tree[1:] if isinstance(operand, tuple)]
    match tree[0]:
        case "add" | "mixed":
            return _add(*operands)
        case "neg":
            return Value(-operands[0].number, operands[0].noise)
        case "mul":
            return _multiply(*operands)
        case "div":
            return divide(*operands)
        case "pow":
            return _power(*operands)
    return _call(tree[1], operands, log_base)


def _checked(number: Fraction) -> Value:
    if number.numerator.bit_length() > MAX_BITS or number.denominator.bit_length() > MAX_BITS:
        raise TooBig("a long integer")
    return Value(number)


def _add(a: Value, b: Value) -> Value:
    if isinstance(a.number, Fraction) and isinstance(b.number, Fraction):
        return _checked(a.number + b.number)
    x, y = complex(a.number), complex(b.number)
    return _finite(x + y, a.noise + b.noise + _EPS * max(abs(x), abs(y)))


def _multiply(a: Value, b: Value) -> Value:
    if isinstance(a.number, Fraction) and isinstance(b.number, Fraction):
        return _checked(a.number * b.number)
    if 0 in (a.number, b.number) and (a.exact or b.exact):
        return Value(Fraction(0))
    x, y = complex(a.number), complex(b.number)
    if x and y and not x * y:
        raise TooBig("out of range")
    return _finite(x * y, abs(x) * b.noise + abs(y) * a.noise + _EPS * abs(x * y))


def divide(a: Value, b: Value) -> Value:
    """The quotient of two values; TooBig where the divisor may be zero."""
    if isinstance(a.number, Fraction) and isinstance(b.number, Fraction):
        return _checked(a.number / b.number)
    x, y = complex(a.number), complex(b.number)
    if abs(y) <= 4 * b.noise:
        raise Undecided("a division by what may be zero")
    quotient = x / y
    return _finite(quotient, a.noise / abs(y) + abs(quotient) * (b.noise / abs(y) + _EPS))


def _finite(number: complex, noise: float) -> Value:
    if cmath.isnan(number) or cmath.isinf(number) or abs(number) > 1e280 or 0 < abs(number) < 1e-280:
        raise TooBig("out of range")
    return Value(number, noise)


def _power(a: Value, b: Value) -> Value:
    x, y = a.number, b.number
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        bits = max(x.numerator.bit_length(), x.denominator.bit_length())
        if abs(y.numerator).bit_length() > 20 or (x not in (0, 1, -1) and abs(y) * (bits - 1 or 1) > MAX_BITS):
            raise TooBig("a power")
        if y.denominator == 1:
            return _checked(x ** int(y))
        if y.denominator <= 64 and (root := _exact_root(x, y.denominator)) is not None:
            return _checked(root**y.numerator)
    if isinstance(y, Fraction) and y.denominator == 1:
        base, exponent = complex(x), int(y)
        if abs(exponent) > 10**6:
            raise TooBig("a power")
        number = base**exponent
        return _finite(number, abs(exponent) * abs(number) * (a.noise / max(abs(base), 1e-300) + _EPS))
    base, exponent = complex(x), complex(y)
    if base == 0:
        return Value(Fraction(0)) if exponent.real > 0 else _raise()
    below_zero = base.real < 0 and abs(base.imag) <= 4 * a.noise
    if isinstance(y, Fraction) and y.denominator % 2 and below_zero:  # the real root, as of an odd index
        number = complex(abs(base) ** float(y) * (-1 if y.numerator % 2 else 1))
    else:
        number = cmath.exp(exponent * cmath.log(base))
    if not number:
        raise TooBig("out of range")
    relative = abs(exponent) * a.noise / abs(base) + b.noise * abs(cmath.log(base)) + _EPS * (1 + abs(exponent))
    return _finite(number, abs(number) * relative)


def _raise() -> Value:
    raise TooBig("no number")


def _exact_root(x: Fraction, n: int) -> Fraction | None:
    """The real n-th root of a rational number; None where that is not rational or not real."""
    sign = 1
    if x < 0:
        if n % 2 == 0:
            return None
        sign, x = -1, -x
    above, below = _integer_root(x.numerator, n), _integer_root(x.denominator, n)
    return sign * Fraction(above, below) if above**n == x.numerator and below**n == x.denominator else None


def _integer_root(value: int, n: int) -> int:
    if n == 2:
        return math.isqrt(value)
    if value < 2:
        return value
    guess = 1 << -(-value.bit_length() // n)
    while True:
        better = ((n - 1) * guess + value // guess ** (n - 1)) // n
        if better >= guess:
            return guess
        guess = better


_COMPLEX: dict[str, Callable[[complex], complex]] = {
    "sin": cmath.sin,
    "cos": cmath.cos,
    "tan": cmath.tan,
    "cot": lambda z: 1 / cmath.tan(z),
    "sec": lambda z: 1 / cmath.cos(z),
    "csc": lambda z: 1 / cmath.sin(z),
    "sinh": cmath.sinh,
    "cosh": cmath.cosh,
    "tanh": cmath.tanh,
    "coth": lambda z: 1 / cmath.tanh(z),
    "arcsin": cmath.asin,
    "arccos": cmath.acos,
    "arctan": cmath.atan,
    "arccot": lambda z: math.pi / 2 - cmath.atan(z),
    "arcsec": lambda z: cmath.acos(1 / z),
    "arccsc": lambda z: cmath.asin(1 / z),
    "arcsinh": cmath.asinh,
    "arccosh": cmath.acosh,
    "arctanh": cmath.atanh,
}


def _call(name: str, operands: list[Value], log_base: float) -> Value:
    a = operands[0]
    if name == "root":
        index = operands[1]
        if not isinstance(index.number, Fraction) or index.number == 0:
            return _power(a, divide(Value(Fraction(1)), index))
        return _power(a, Value(1 / index.number))
    if name == "abs":
        return Value(abs(a.number), 0.0) if isinstance(a.number, Fraction) else Value(complex(abs(a.number)), a.noise)
    if name in ("lfloor", "lceil"):
        return _rounded(a, math.floor if name == "lfloor" else math.ceil)
    if name == "factorial":
        return _factorial(a)
    if name == "binom":
        return _binomial(*operands)
    if name in ("ln", "log"):
        if a.number == 1 and a.exact:
            return Value(Fraction(0))
        z = complex(a.number)
        if abs(z) <= 4 * a.noise:
            raise Undecided("a logarithm of zero")
        if isinstance(a.number, Fraction):  # beyond a float's range, and exact enough near 1
            number = complex(math.log(abs(a.number.numerator)) - math.log(a.number.denominator), cmath.phase(z))
            noise = _EPS * (math.log(abs(a.number.numerator)) + math.log(a.number.denominator))
        else:
            number, noise = cmath.log(z), a.noise / abs(z) + _EPS
        scale = math.log(log_base) if name == "log" else 1.0
        return _finite(number / scale, (noise + _EPS * abs(number)) / scale)
    if name not in _COMPLEX:
        raise Unreadable(name)
    function = _COMPLEX[name]
    if a.number == 0 and a.exact and name in ("sin", "tan", "arcsin", "arctan", "sinh", "tanh"):
        return Value(Fraction(0))
    z = complex(a.number)
    try:
        number = function(z)
        step = max(a.noise, abs(z) * _EPS, 1e-300)
        noise = abs(function(z + 64 * step) - number) / 16 + 4 * _EPS * abs(number)
    except ValueError:
        raise TooBig("no value there") from None
    return _finite(number, noise + _EPS)


def _rounded(a: Value, way: Callable[[Any], int]) -> Value:
    if isinstance(a.number, Fraction):
        return Value(Fraction(way(a.number)))
    if abs(a.number.imag) > 4 * a.noise or abs(a.number.real - round(a.number.real)) <= 64 * a.noise:
        raise Undecided("a rounding at the edge")
    return Value(Fraction(way(a.number.real)))


def _binomial(a: Value, b: Value) -> Value:
    n, k = a.number, b.number
    if isinstance(n, Fraction) and isinstance(k, Fraction) and n.denominator == k.denominator == 1:
        if not 0 <= k <= n:
            return Value(Fraction(0)) if n >= 0 else _raise()
        if n > 4000:
            raise TooBig("a binomial")
        return _checked(Fraction(math.comb(int(n), int(k))))
    return divide(_factorial(a), _multiply(_factorial(b), _factorial(_add(a, Value(-k, b.noise)))))


def _factorial(a: Value) -> Value:
    if isinstance(a.number, Fraction) and a.number.denominator == 1:
        if not 0 <= a.number <= 700:
            raise TooBig("a factorial")
        return _checked(Fraction(math.factorial(int(a.number))))
    z = complex(a.number)
    if abs(z.imag) > 1e-9 or not -0.99 < z.real < 150:
        raise TooBig("a factorial")
    number = math.gamma(z.real + 1)
    return _finite(complex(number), abs(number) * (8 * a.noise + 16 * _EPS))
