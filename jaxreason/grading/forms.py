"""The forms that an answer can have. `reading` tells which it is, `compare` when two are the same."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from jaxreason.grading.nodes import Node, Nodes, is_symbol
from jaxreason.grading.units import Unit


class FormError(ValueError):
    """An answer that is no answer: a relation without a side, brackets that do not match."""


@dataclass(frozen=True)
class Value:
    """An expression, whole as written and apart from its unit."""

    whole: Nodes
    nodes: Nodes
    unit: Unit | None = None


@dataclass(frozen=True)
class Words:
    """Text, normalised: no case, articles or punctuation."""

    text: str


@dataclass(frozen=True)
class Choice:
    """A letter of a multiple-choice question, and what is written behind it. A bare letter may be a variable too."""

    letter: str
    rest: "Form | None" = None
    bare: bool = False


@dataclass(frozen=True)
class Colon:
    """Numbers with colons between: a time of day where it can be one, a ratio otherwise."""

    parts: tuple[Nodes, ...]
    half: Literal["", "am", "pm"] = ""


@dataclass(frozen=True)
class Based:
    """A number in a base, by its digits."""

    digits: str
    base: str


@dataclass(frozen=True)
class Sequence:
    """Two or more values in round, square or angle brackets: a tuple, a vector, an interval."""

    open: str
    close: str
    items: tuple["Form", ...]


@dataclass(frozen=True)
class Bag:
    """Several values in no order: a list (braces False), or a set."""

    items: tuple["Form", ...]
    braces: bool = False


@dataclass(frozen=True)
class Interval:
    """Numbers between two bounds; None for no bound."""

    low: Nodes | None
    high: Nodes | None
    low_closed: bool = False
    high_closed: bool = False


@dataclass(frozen=True)
class Region:
    """A union of intervals and points, less `holes`; `variable` where it was written as inequalities of one."""

    pieces: tuple[Interval, ...]
    points: tuple["Form", ...] = ()
    holes: tuple[Nodes, ...] = ()
    variable: str = ""


@dataclass(frozen=True)
class Matrix:
    """Rows of cells, with the factor before them; `determinant` for one between bars."""

    rows: tuple[tuple[Nodes, ...], ...]
    factor: Nodes = ()
    determinant: bool = False


@dataclass(frozen=True)
class Named:
    """A value with a name before it: `x = 5`, `f(x) = x^2`, `x \\in [0,1]`."""

    name: str
    value: "Form"
    sides: tuple[Nodes, Nodes] | None = None


@dataclass(frozen=True)
class Chain:
    """Values that are said to be equal, or about equal: `2 + 3 = 5`, `\\frac{1}{3} \\approx 0.33`."""

    items: tuple["Form", ...]
    signs: tuple[str, ...]
    name: str = ""


@dataclass(frozen=True)
class Relation:
    """An equation or inequality that is no bare value."""

    sides: tuple[Nodes, ...]
    signs: tuple[str, ...]


@dataclass(frozen=True)
class Opaque:
    """Anything else, such as a sentence with mathematics in it: compared as it is written."""

    text: str


Form = (
    Value | Words | Choice | Colon | Based | Sequence | Bag | Region | Matrix | Named | Chain | Relation | Opaque
)  # fmt: skip

Read = Callable[[Nodes], Form]
"""Reads a part of an answer; it is handed down, since forms hold forms."""

REALS = Region((Interval(None, None),))

EMPTY = Words("no solution")


def as_region(form: Form) -> Region | None:
    """A region, or an interval read as one; None for anything else."""
    if isinstance(form, Region):
        return form
    if isinstance(form, Named):
        return as_region(form.value)
    if isinstance(form, Sequence) and len(form.items) == 2 and form.open in "([" and form.close in ")]":
        low, high = form.items
        if isinstance(low, Value) and isinstance(high, Value):
            return Region(
                (Interval(region_bound(low.nodes), region_bound(high.nodes), form.open == "[", form.close == "]"),)
            )
    return None


def region_bound(nodes: Nodes) -> Nodes | None:
    return None if any(is_symbol(n, "\\infty") or n == Node("word", "inf") for n in nodes) else nodes


def names_agree(a: str, b: str) -> bool:
    """Whether two names can be of one thing: the same letter or function, or one of them in words.

    >>> names_agree("x", "x"), names_agree("x", "y"), names_agree("y", "f()"), names_agree("f()", "g()")
    (True, False, True, False)
    """
    if "..." in (a, b) or not a or not b or a == b:
        return True
    if a.partition("(")[0] == b.partition("(")[0]:
        return a.endswith("()") or b.endswith("()")
    return a.endswith(")") != b.endswith(")")
