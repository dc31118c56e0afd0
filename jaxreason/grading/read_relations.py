"""Equations, inequalities and names: what stands on the sides of a relation."""

import re

from jaxreason.grading.forms import (
    REALS,
    Chain,
    Form,
    FormError,
    Interval,
    Named,
    Read,
    Region,
    Relation,
    region_bound,
)
from jaxreason.grading.nodes import (
    Nodes,
    closes,
    is_symbol,
    split,
    squeeze,
    strip,
    top,
    trim,
    write,
)
from jaxreason.grading.vocabulary import is_word

RELATIONS = frozenset(["=", "<", ">", "\\le", "\\ge", "\\ne", "\\approx", "\\in", "\\equiv", "\\sim", "\\ni", "\\to"])

ORDER = frozenset(["<", ">", "\\le", "\\ge", "\\ne"])

_FLIPPED = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le", "\\ne": "\\ne"}


def read_condition(nodes: Nodes, read: Read) -> Form | None:
    r"""`-1 < x \\le 1 : (-1, 1]`, a set twice; `\\{x \\mid x > 0\\}`, a condition."""
    if is_symbol(nodes[0], "\\{") and closes(nodes):
        inner = strip(nodes[1:-1])
        bar = [i for i, n in top(inner) if is_symbol(n, "|", ":")]
        if len(bar) == 1:
            name, condition = strip(inner[: bar[0]]), strip(inner[bar[0] + 1 :])
            if name and condition and name_of(name[: _first_relation(name)]):
                return read(condition)
    colon = [i for i, n in top(nodes) if is_symbol(n, ":")]
    if len(colon) == 1:
        before, after = nodes[: colon[0]], strip(nodes[colon[0] + 1 :])
        if after and any(n.kind == "sym" and n.text in ORDER for n in before):
            return Chain((read(before), read(after)), ("=",))
    return None


def _first_relation(nodes: Nodes) -> int:
    return next((i for i, n in enumerate(nodes) if n.kind == "sym" and n.text in RELATIONS), len(nodes))


def form_name(nodes: Nodes) -> str:
    """The name before the first relation."""
    return name_of(strip(nodes[: _first_relation(nodes)])) or ""


def read_relation(nodes: Nodes, read: Read) -> Form | None:
    at = [i for i, n in top(nodes) if n.kind == "sym" and n.text in RELATIONS]
    if not at:
        return None
    signs = tuple(nodes[i].text for i in at)
    sides = tuple(strip(part) for part in split(nodes, at))
    if not all(sides):
        raise FormError("a relation without a side")
    if set(signs) <= {"=", "\\approx"}:
        return _read_equation(sides, signs, read)
    if signs == ("\\in",) and (name := name_of(sides[0])):
        return Named(name, read(sides[1]))
    if set(signs) <= ORDER:
        return _read_inequality(sides, signs) or Relation(sides, signs)
    return Relation(sides, signs)


def _read_equation(sides: tuple[Nodes, ...], signs: tuple[str, ...], read: Read) -> Form:
    name = name_of(sides[0])
    if len(sides) == 2:
        if name:
            return _named(name, sides[1], sides, read)
        if name := name_of(sides[1]):
            return _named(name, sides[0], sides, read)
        return Relation(sides, signs)
    if name:
        return Chain(tuple(read(side) for side in sides[1:]), signs[1:], name)
    return Chain(tuple(read(side) for side in sides), signs)


def _named(name: str, value: Nodes, sides: tuple[Nodes, ...], read: Read) -> Form:
    return Named(name, read(value), (sides[0], sides[1]))


def _read_inequality(sides: tuple[Nodes, ...], signs: tuple[str, ...]) -> Form | None:
    """`0 \\le x < 1` as the interval; None where it is not one variable between constants."""
    sign, *more = signs
    if len(sides) == 2 and _is_variable(sides[1]) and not _is_variable(sides[0]):
        sides, sign = sides[::-1], _FLIPPED[sign]
    if len(sides) == 2 and _is_variable(sides[0]) and not _mentions(sides[1], sides[0]):
        name, bound = write(sides[0]), sides[1]
        if sign == "\\ne":
            return Region(REALS.pieces, (), (bound,), name)
        if sign in ("<", "\\le"):
            return Region((Interval(None, region_bound(bound), False, sign == "\\le"),), (), (), name)
        return Region((Interval(region_bound(bound), None, sign == "\\ge"),), (), (), name)
    if len(sides) == 3 and _is_variable(sides[1]) and "\\ne" not in signs:
        other = more[0]
        if sign in (">", "\\ge") and other in (">", "\\ge"):
            sides, sign, other = sides[::-1], _FLIPPED[other], _FLIPPED[sign]
        if sign in ("<", "\\le") and other in ("<", "\\le"):
            low, high = region_bound(sides[0]), region_bound(sides[2])
            return Region((Interval(low, high, sign == "\\le", other == "\\le"),), (), (), write(sides[1]))
    return None


def _is_variable(nodes: Nodes) -> bool:
    return bool(nodes) and nodes[0].kind == "let" and all(n.kind == "sub" or is_symbol(n, "'") for n in nodes[1:])


def _mentions(nodes: Nodes, name: Nodes) -> bool:
    return any(n == name[0] or any(_mentions(part, name) for part in n.parts) for n in nodes)


def name_of(nodes: Nodes) -> str | None:
    r"""The name that nodes are, if they are one: `x`, `x_1`, `f(x)`, `\\angle ABC`, `AB`, `(x, y)`, `\\text{Area}`.

    A function's is its letter with `()`; what is no plain letter is `...`, which agrees with every name.
    """
    nodes = tuple(n for n in trim(nodes) if n.kind != "space")
    if not nodes:
        return None
    first, rest = nodes[0], nodes[1:]
    if first.kind in ("text", "word") or (first.kind == "roman" and len(first.text) > 1):
        if all(n.kind in ("text", "word", "roman", "let", "sub", "num") or is_symbol(n, "(", ")", "'") for n in nodes):
            is_name = first.kind != "word" or first.text.isupper() or is_word(first.text)
            return "..." if is_name else None
        return None
    if is_symbol(first, "\\angle", "\\triangle", "\\max", "\\min", "\\Delta", "\\det") or (
        is_symbol(first, "|") and is_symbol(nodes[-1], "|")
    ):
        return "..." if len(nodes) > 1 and not any(n.kind == "env" for n in nodes) else None
    if first.kind == "mark" and not rest:
        return "..." if len(first.parts[0]) > 1 or any(n.kind == "word" for n in first.parts[0]) else write(nodes)
    if is_symbol(first, "(") and closes(nodes) and len(nodes) > 3:
        inner = [n for n in nodes[1:-1] if not is_symbol(n, ",")]
        return "..." if all(n.kind in ("let", "sub", "mark", "roman") for n in inner) else None
    if first.kind == "frac" and not rest:
        above, below = (write(part).replace(" ", "") for part in first.parts)
        return "..." if re.fullmatch(r"d\^?\{?\d?\}?\w?", above) and re.match(r"d\w", below) else None
    if first.kind not in ("let", "mark") and not (first.kind == "roman" and len(first.text) == 1):
        return None
    at = 1
    while at < len(nodes) and (nodes[at].kind == "sub" or is_symbol(nodes[at], "'")):
        at += 1
    if at + 1 == len(nodes) and nodes[at].kind == "sup" and squeeze(nodes[at].parts[0]) in ("-1", "T", "*"):
        at += 1  # an inverse or a transpose
    name = write(nodes[:at]).replace("\\mathrm{", "{").replace(" ", "")
    if at == len(nodes):
        return name.strip("{}") if first.kind == "roman" else name
    inverse = at < len(nodes) and nodes[at].kind == "sup"
    tail = nodes[at + inverse :]
    if tail and is_symbol(tail[0], "(", "[") and closes(tail):
        if inverse or not re.search(r"[+\-]", write(tail)) or first.text in "fghpPFGEqQyuvV":
            inner = tail[1:-1]
            plain_argument = all(n.kind in ("let", "space", "mark") or is_symbol(n, ",") for n in inner)
            return (
                name
                + ("^" + write(nodes[at].parts[0]) if inverse else "")
                + f"({'' if plain_argument else squeeze(inner)})"
            )
    if first.text == "m" and tail and is_symbol(tail[0], "\\angle"):
        return "..."
    return None
