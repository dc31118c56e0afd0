"""Named values, equations, inequalities, and chains of values that are said to be equal."""

import re
from collections.abc import Sequence

from jaxreason.grading import algebra, units
from jaxreason.grading.expressions import Tree
from jaxreason.grading.forms import (
    Chain,
    Form,
    Named,
    Relation,
    Value,
    names_agree,
)
from jaxreason.grading.nodes import Nodes, write
from jaxreason.grading.reading import read
from jaxreason.grading.rules import Rules, bare, every
from jaxreason.grading.same_values import same_nodes, tree_of, variables_of

APPROXIMATION = 0.01
"""How far, relatively, an answer's own approximation may be off that is no decimal, such as `\\frac{22}{7}` for pi."""


def same_named(a: Form, g: Form, rules: Rules) -> bool | None:
    if isinstance(a, Named) and isinstance(g, Named):
        if names_agree(a.name, g.name):
            verdict = rules.same(a.value, g.value)
            if verdict is not False or (a.name == g.name and a.name != "..."):
                return verdict
        if a.sides and g.sides and _has_variables(a) and _has_variables(g):
            return _same_equation(a.sides, g.sides, rules)
        return False
    return rules.same(bare(a), bare(g))


def _has_variables(form: Named) -> bool:
    return isinstance(form.value, Value) and bool(variables_of(form.value.nodes))


def same_relation(a: Form, g: Form, rules: Rules) -> bool | None:
    if isinstance(a, Named) and a.sides:
        a = Relation(a.sides, ("=",)) if _has_variables(a) or not isinstance(g, Relation) else a
    if isinstance(g, Named) and g.sides:
        g = Relation(g.sides, ("=",)) if _has_variables(g) or not isinstance(a, Relation) else g
    if isinstance(a, Relation) and isinstance(g, Relation):
        if not _mentions_variables(a) and not _mentions_variables(g) and {*a.signs, *g.signs} <= {"=", "\\approx"}:
            return same_chain(_as_chain(a), _as_chain(g), rules)
        if _mentions_variables(a) != _mentions_variables(g):
            return False
        if a.signs == ("=",) == g.signs:
            return _same_equation(a.sides, g.sides, rules)
        return _same_order(a, g, rules)
    relation, other = (a, g) if isinstance(a, Relation) else (g, a)
    assert isinstance(relation, Relation)  # one of them is
    if relation.signs in (("=",), ("\\approx",)):
        names = variables_of(relation.sides[0])
        if not names:  # 2 + 3 = 5
            chain = _as_chain(relation)
            return rules.same(chain, other) if relation is a else rules.same(other, chain)
        is_claim = len(names) > 1 and not variables_of(relation.sides[1]) and algebra.real(relation.sides[1]) != 0
        if is_claim and (relation is a or not rules.finished):  # x + y = 5
            return rules.same(read(relation.sides[1]), other)
    return False


def _mentions_variables(relation: Relation) -> bool:
    """Whether a side has variables, once its unit is taken off."""
    sides = (read(side) for side in relation.sides)
    return any(isinstance(side, Value) and variables_of(side.nodes) for side in sides)


def _as_chain(relation: Relation) -> Chain:
    return Chain(tuple(read(side) for side in relation.sides), relation.signs)


def _difference(sides: Sequence[Nodes]) -> Tree | None:
    left, right = (tree_of(side) for side in sides)
    return None if left is None or right is None else ("add", left, ("neg", right))


def _same_equation(a: Sequence[Nodes], g: Sequence[Nodes], rules: Rules) -> bool | None:
    """Equations that are the same up to a factor; with a solution of one that does not solve the other they differ."""
    left, right = _difference(a), _difference(g)
    if left is not None and right is not None:
        ratio = algebra.ratio(left, right)
        if ratio:
            return True
        if ratio == 0 and algebra.differ_at_a_root(left, right):
            return False
    if rules.ask is None:
        return None
    return rules.ask("=".join(map(write, a)), "=".join(map(write, g)), right is not None)


def _same_order(a: Relation, g: Relation, rules: Rules) -> bool | None:
    """Inequalities of two sides, turned to `<`."""
    if len(a.sides) != 2 or len(g.sides) != 2:
        if a.signs != g.signs:
            return False
        return every(lambda i: same_nodes(a.sides[i], g.sides[i], rules), range(len(a.sides)))
    sides = []
    for relation in (a, g):
        left, right = relation.sides
        sign = relation.signs[0]
        if sign in (">", "\\ge"):
            left, right, sign = right, left, {">": "<", "\\ge": "\\le"}[sign]
        sides.append(((left, right), sign))
    if sides[0][1] != sides[1][1]:
        return False
    left, right = _difference(sides[0][0]), _difference(sides[1][0])
    ratio = algebra.ratio(left, right) if left is not None and right is not None else None
    if ratio is not None and sides[0][1] in ("<", "\\le", "\\ne"):
        return ratio == 1 or (ratio == -1 and sides[0][1] == "\\ne")
    return every(lambda i: same_nodes(sides[0][0][i], sides[1][0][i], rules), range(2))


def same_chain(a: Form, g: Form, rules: Rules) -> bool | None:
    """The answer's chain must be true and end in the gold; of the gold's chain any part will do."""
    loose = rules.loose()
    if isinstance(a, Chain):
        name = g.name if isinstance(g, Named | Chain) else ""
        if not names_agree(a.name, name):
            return False
        true = every(lambda i: _same_step(a.items[i], a.items[i + 1], a.signs[i], loose), range(len(a.signs)))
        if true is False or not _units_agree(a, g):
            return False
        if isinstance(g, Chain) and a.signs[0] == g.signs[0] == "\\approx":  # a rounding of another value is no answer
            same = loose.same(a.items[0], g.items[0])
            return same if true else None if same else same
        ends = [a.items[-1]]
        for item, sign in zip(a.items[-2::-1], a.signs[::-1], strict=True):
            if sign != "\\approx":
                break
            ends.append(item)
        other = bare(g)
        verdicts = [rules.same(end, other) for end in ends]
        if true and True in verdicts:
            return True
        return None if None in verdicts or True in verdicts else False
    assert isinstance(g, Chain)  # one of them is
    if isinstance(a, Named) and not names_agree(a.name, g.name):
        return False
    loose = rules.loose()
    if every(lambda i: _same_step(g.items[i], g.items[i + 1], _rounded(g, i), loose), range(len(g.signs))) is False:
        return False
    verdicts = [rules.same(bare(a), item) for item in g.items]
    return True if True in verdicts else None if None in verdicts else False


def _rounded(chain: Chain, i: int) -> str:
    """The sign before the item i + 1; a gold may write a decimal as equal that is a rounding."""
    item = chain.items[i + 1]
    return "\\approx" if isinstance(item, Value) and "." in write(item.nodes) else chain.signs[i]


def _units_agree(a: Chain, g: Form) -> bool:
    """Whether no unit along a chain is another one than those of the gold."""
    golds = g.items if isinstance(g, Chain) else (bare(g),)
    found = [item.unit for item in a.items if isinstance(item, Value) and item.unit]
    wanted = [item.unit for item in golds if isinstance(item, Value) and item.unit]
    return all(units.compatible(x, y) for x in found for y in wanted)


def _same_step(a: Form, b: Form, sign: str, rules: Rules) -> bool | None:
    if sign != "\\approx" or not isinstance(a, Value) or not isinstance(b, Value):
        return rules.same(a, b)
    first, second = algebra.real(a.nodes), algebra.real(b.nodes)
    if first is None or second is None:
        return None
    if units.is_percent(b.unit) and not units.is_percent(a.unit):
        second /= 100
    decimal = re.fullmatch(r"-?\d*\.?(\d*)", write(b.nodes))
    if decimal is None or units.is_percent(b.unit):
        return abs(first - second) <= APPROXIMATION * abs(first)
    place = 10.0 ** -len(decimal[1])
    is_cut = abs(second) <= abs(first) and abs(first - second) < place
    return is_cut or abs(first - second) <= 0.5001 * place
