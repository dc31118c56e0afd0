"""Values: units and percentages first, then exact or sampled algebra, then math-verify."""

import re
from dataclasses import replace
from fractions import Fraction

from jaxreason.grading import algebra, expressions, units
from jaxreason.grading.expressions import Tree, Unreadable
from jaxreason.grading.forms import (
    Value,
)
from jaxreason.grading.nodes import Node, Nodes, squeeze, trim, write
from jaxreason.grading.rules import UNFINISHED, Rules
from jaxreason.grading.values import TooBig

_PERCENT = re.compile(r"per\s?cent|%", re.IGNORECASE)


def same_value(a: Value, g: Value, rules: Rules) -> bool | None:
    if a.whole == g.whole:
        return True
    if a.unit != g.unit and not (_is_written(a) or _is_written(g)):
        # Bare letters may be variables: `3 m n` for `3 n m`.
        if same_nodes(a.whole, g.whole, replace(rules, ask=None)):
            return True
    if a.unit is None and g.unit is None:
        return same_nodes(a.nodes, g.nodes, rules)
    percent_a, percent_g = units.is_percent(a.unit), units.is_percent(g.unit)
    if percent_a != percent_g:
        return _same_percent(a, g, rules) if a.unit is None or g.unit is None else False
    if not units.compatible(a.unit, g.unit) or not _fits_question(a, g, rules):
        return False
    scale_a, scale_g = _scale(a), _scale(g)
    if scale_a == scale_g:
        return same_nodes(a.nodes, g.nodes, rules)
    unscaled = same_nodes(a.nodes, g.nodes, rules) if _names_scale(rules.question) else False
    return unscaled or same_nodes(
        _times(a.nodes, scale_a), _times(g.nodes, scale_g), replace(rules, ask=None, finished=False)
    )


def _is_written(value: Value) -> bool:
    """Whether the unit is more than bare letters."""
    return any(n.kind in ("text", "sup") or (n.kind == "sym" and n.text in "%$") for n in value.whole)


def _scale(value: Value) -> Fraction:
    return value.unit.scale if value.unit else Fraction(1)


def _names_scale(question: str) -> bool:
    return any(units.is_scale(word) for word in re.findall(r"[a-z]+", question.lower()))


def _times(nodes: Nodes, scale: Fraction) -> Nodes:
    if scale == 1:
        return nodes
    return (Node("group", "", (nodes,)), Node("sym", "\\cdot"), Node("num", str(scale)))


def _same_percent(a: Value, g: Value, rules: Rules) -> bool | None:
    """`50\\%` is 0.5; it is also the bare 50 of a question that asks for a percentage."""
    percent, bare = (a, g) if units.is_percent(a.unit) else (g, a)
    try:
        number = algebra.constant(expressions.read(bare.nodes))
    except (Unreadable, TooBig):
        number = None
    size = None if number is None else abs(number.number)
    asks = bool(_PERCENT.search(rules.question))
    if asks or (not rules.question and size is not None and size > 1):
        if verdict := same_nodes(a.nodes, g.nodes, rules):
            return verdict
    if asks and size is not None and size > 1:
        return False
    hundredth = (Node("frac", "", (percent.nodes, (Node("num", "100"),))),)
    pair = (hundredth, bare.nodes) if percent is a else (bare.nodes, hundredth)
    return same_nodes(*pair, rules.loose())


def _fits_question(a: Value, g: Value, rules: Rules) -> bool:
    """Whether a unit that one side gives is one of the question, where that speaks of its dimension at all."""
    if not rules.question or (a.unit is None) == (g.unit is None):
        return True
    unit = a.unit or g.unit
    assert unit is not None  # one of them is given
    dimension = units.dimension(unit)
    named = units.measures_of(rules.question).get(dimension or "", set())
    return not named or unit.factors[0][0] in named


def same_nodes(a: Nodes, g: Nodes, rules: Rules) -> bool | None:
    """Two expressions without units."""
    a, g = trim(a), trim(g)
    if a == g or squeeze(a) == squeeze(g):
        return True
    tree_a, tree_g = tree_of(a), tree_of(g)
    if tree_a is not None and tree_g is not None:
        verdict = _same_trees(tree_a, tree_g, rules)
        if verdict is False and (_has_exponent(a) or _has_exponent(g)):
            other_a, other_g = tree_of(_as_difference(a)), tree_of(_as_difference(g))
            if other_a is not None and other_g is not None:
                verdict = _same_trees(other_a, other_g, rules)
        if verdict is not None:
            return verdict
    elif rules.finished and _is_number(tree_g):
        return False  # an answer for a number is to be read wholly
    if rules.finished and tree_g is None and _is_number(tree_a) and not UNFINISHED.search(write(g)):
        return False
    if _has_words(a) or _has_words(g):
        return False  # math-verify reads what it knows of a sentence, and leaves out the rest
    return rules.ask(write(a), write(g), tree_g is not None) if rules.ask else None


def _has_words(nodes: Nodes) -> bool:
    return any(
        n.kind == "text" or (n.kind in ("word", "roman") and len(n.text) > 3 and n.text not in expressions.WORDS)
        for n in nodes
    )


def tree_of(nodes: Nodes) -> Tree | None:
    value = expressions.repeating(nodes)
    if value is not None:
        return ("num", value)
    try:
        return expressions.read(nodes)
    except (Unreadable, RecursionError):
        return None


def variables_of(nodes: Nodes) -> set[str]:
    tree = tree_of(nodes)
    return expressions.variables(tree) if tree is not None else set()


def _same_trees(a: Tree, g: Tree, rules: Rules) -> bool | None:
    if (
        rules.finished
        and _is_number(g)
        and expressions.is_plain(g)
        and not expressions.is_plain(a)
        and not expressions.variables(a)
    ):
        return False if _is_number(a) or _is_too_big(a) else algebra.equal(a, g)
    return algebra.equal(a, g)


def _is_number(tree: Tree | None) -> bool:
    """Whether a tree is a rational number."""
    try:
        value = None if tree is None else algebra.constant(tree)
    except TooBig:
        return False
    return value is not None and value.exact


def _is_too_big(tree: Tree) -> bool:
    try:
        algebra.constant(tree)
    except TooBig:
        return True
    return False


def _has_exponent(nodes: Nodes) -> bool:
    return any((n.kind == "num" and "e" in n.text) or any(_has_exponent(part) for part in n.parts) for n in nodes)


def _as_difference(nodes: Nodes) -> Nodes:
    """`2e-1` as 2e minus 1 instead of 0.2."""
    result: list[Node] = []
    for node in nodes:
        if node.kind == "num" and "e" in node.text:
            mantissa, exponent = node.text.split("e")
            result += [Node("num", mantissa), Node("let", "e")]
            result += (
                [Node("sym", exponent[0]), Node("num", exponent[1:])]
                if exponent[0] in "+-"
                else [Node("num", exponent)]
            )
        else:
            result.append(node._replace(parts=tuple(_as_difference(part) for part in node.parts)))
    return tuple(result)
