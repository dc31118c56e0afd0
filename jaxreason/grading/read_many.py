"""Several values in one answer: lists, sets, tuples, unions of intervals, matrices, both signs of a plus-minus."""

import itertools

from jaxreason.grading import algebra, units
from jaxreason.grading.forms import (
    EMPTY,
    REALS,
    Bag,
    Form,
    Interval,
    Matrix,
    Named,
    Read,
    Region,
    Sequence,
    Value,
    as_region,
)
from jaxreason.grading.nodes import (
    BREAK,
    CLOSERS,
    SPACE,
    WIDE,
    Node,
    Nodes,
    closes,
    is_symbol,
    split,
    strip,
    top,
    trim,
    write,
)
from jaxreason.grading.read_relations import RELATIONS, form_name

_OR = frozenset(["or", "and", ", and", ", or", "and/or", ",and", ",or", "& "])


def read_list(nodes: Nodes, read: Read) -> Form | None:
    """Items between commas, semicolons, line breaks, wide spaces, conjunctions or a single bar."""
    cuts, joined = [], []
    bars = [i for i, n in top(nodes) if is_symbol(n, "|")]
    for i, node in top(nodes):
        is_or = node.kind in ("text", "word", "roman") and node.text.strip().lower() in _OR
        if is_or or is_symbol(node, "\\lor", "\\land"):
            cuts.append(i)
            joined.append("or" if "or" in node.text.lower() else "and")
        elif is_symbol(node, ",", ";") or node == BREAK or (is_symbol(node, "|") and len(bars) == 1):
            cuts.append(i)
            joined.append(",")
        elif node == WIDE and i + 1 < len(nodes) and nodes[i + 1].kind not in ("text", "roman", "space"):
            cuts.append(i)
            joined.append(",")
    parts = [part for piece in split(nodes, cuts) if (part := strip(piece))]
    if not cuts or not parts:
        return None
    if len(parts) == 1:
        return read(parts[0])
    items: list[Form] = []
    for part in parts:
        form = read(part)
        if isinstance(form, Named) and isinstance(form.value, Bag) and not form.value.braces:
            items += [Named(form.name, item) for item in form.value.items]
        elif isinstance(form, Bag) and not form.braces:
            items += form.items
        elif not _is_integer_condition(form) or len(parts) == 1:
            items.append(form)
    if len(items) > 1 and isinstance(items[0], Named) and not any(isinstance(item, Named) for item in items[1:]):
        if isinstance(items[0].value, Value):
            items = [items[0].value, *items[1:]]
            return Named(form_name(parts[0]), Bag(tuple(items)))
    return _one_region(items, joined) or (items[0] if len(items) == 1 else Bag(tuple(items)))


def read_compound(nodes: Nodes, read: Read) -> Form | None:
    """`5 hours 30 minutes`: quantities of one dimension in a row; of dollars and cents the sum."""
    cuts = [
        i
        for i, node in enumerate(nodes)
        if i and node.kind == "num" and _before(nodes, i).kind in ("text", "word", "roman")
    ]
    if not cuts:
        return None
    borders = [0, *cuts, len(nodes)]
    parts = [_without_and(nodes[a:b]) for a, b in itertools.pairwise(borders)]
    items = [read(part) for part in parts if part]
    quantities = [item for item in items if isinstance(item, Value) and item.unit]
    dimensions = {units.dimension(item.unit) for item in quantities if item.unit}
    names = [item.unit for item in quantities]
    if len(quantities) < len(parts) or len(dimensions) != 1 or None in dimensions or len(set(names)) < len(names):
        return None
    if names == [units.read("dollar"), units.read("cent")]:
        whole, part = (write(quantity.nodes) for quantity in quantities)
        if whole.isdigit() and part.isdigit() and int(part) < 100:
            return Value(nodes, (Node("num", f"{whole}.{int(part):02d}"),), names[0])
    return Sequence("", "", tuple(quantities))


def _before(nodes: Nodes, at: int) -> Node:
    """The node before a place that is no space."""
    return next((n for n in nodes[:at][::-1] if n.kind != "space"), SPACE)


def _without_and(nodes: Nodes) -> Nodes:
    """Nodes without the conjunction, or the comma, at their end."""
    nodes = strip(nodes)
    if nodes and nodes[-1].kind in ("text", "word") and nodes[-1].text.split()[-1:] == ["and"]:
        text = nodes[-1].text.removesuffix("and").strip(" ,")
        return strip((*nodes[:-1], Node("text", text)) if text else nodes[:-1])
    return nodes


def _is_integer_condition(form: Form) -> bool:
    return isinstance(form, Named) and isinstance(form.value, Value) and write(form.value.nodes) == "\\mathbb{Z}"


def _one_region(items: list[Form], joined: list[str]) -> Form | None:
    """Inequalities of one variable as one set: `x < 1 or x > 2` a union, `x > 1 and x < 2` an intersection.

    A comma, and an `and` between bounds that leave nothing in common, are meant as what is possible.
    """
    regions = [item for item in items if isinstance(item, Region) and item.variable and not item.points]
    if len(regions) != len(items) or len({r.variable for r in regions}) != 1:
        return None
    name = regions[0].variable
    holes = tuple(hole for region in regions for hole in region.holes)
    pieces = tuple(piece for region in regions if not region.holes for piece in region.pieces)
    if holes and "or" not in joined:
        return Region(pieces or (Interval(None, None),), (), holes, name) if len(pieces) < 2 else None
    if "or" not in joined and len(pieces) == 2:
        first, second = pieces if pieces[0].high is None else pieces[::-1]
        if first.high is None and second.low is None and first.low is not None and second.high is not None:
            low, high = algebra.real(first.low), algebra.real(second.high)
            if low is None or high is None or low < high:
                return Region((Interval(first.low, second.high, first.low_closed, second.high_closed),), (), (), name)
    return Region(pieces, (), holes, name)


def read_plus_minus(nodes: Nodes, read: Read) -> Form | None:
    """Both values of a plus-minus, signs tied together."""
    if not _has(nodes, "\\pm") and not _has(nodes, "\\mp"):
        return None
    return Bag(tuple(read(_signed(nodes, plus)) for plus in (True, False)))


def _has(nodes: Nodes, symbol: str) -> bool:
    return any(is_symbol(n, symbol) or any(_has(part, symbol) for part in n.parts) for n in nodes)


def _signed(nodes: Nodes, plus: bool) -> Nodes:
    return tuple(
        Node("sym", "+" if is_symbol(n, "\\pm") == plus else "-")
        if is_symbol(n, "\\pm", "\\mp")
        else n._replace(parts=tuple(_signed(part, plus) for part in n.parts))
        for n in nodes
    )


def read_union(nodes: Nodes, read: Read) -> Form | None:
    cups = [i for i, n in top(nodes) if is_symbol(n, "\\cup")]
    minus = [i for i, n in top(nodes) if is_symbol(n, "\\setminus")]
    if len(minus) == 1 and not cups:
        left, right = (strip(part) for part in split(nodes, minus))
        if left and right and read(left) == REALS and is_symbol(right[0], "\\{"):
            inner = read(right)
            items = inner.items if isinstance(inner, Bag) else (inner,)
            if all(isinstance(item, Value) for item in items):
                return Region(REALS.pieces, (), tuple(item.nodes for item in items if isinstance(item, Value)))
        return None
    if not cups:
        return None
    pieces: list[Interval] = []
    points: list[Form] = []
    holes: tuple[Nodes, ...] = ()
    for part in split(nodes, cups):
        part = strip(part)
        form = read(part) if part else None
        if form is None:
            continue
        region = as_region(form)
        if region is not None:
            pieces += region.pieces
            points += region.points
            holes += region.holes
        elif isinstance(form, Bag):
            points += form.items
        else:
            points.append(form)
    return Region(tuple(pieces), tuple(points), holes)


_PAIR = {"(": ")", "[": "]", "\\{": "\\}", "\\langle": "\\rangle"}


def read_brackets(nodes: Nodes, read: Read) -> Form | None:
    first, last = nodes[0], nodes[-1]
    if not (first.kind == "sym" and last.kind == "sym" and first.text in _PAIR and last.text in CLOSERS):
        return None
    if not closes(nodes):
        return None
    inner = nodes[1:-1]
    cuts = [i for i, n in top(inner) if is_symbol(n, ",", ";") or (first.text != "\\{" and n == BREAK)]
    parts = [strip(part) for part in split(inner, cuts)]
    if first.text == "\\{":
        items = [form for part in parts if part for form in _flat(read(part))]
        return Bag(tuple(items), braces=True) if items else EMPTY
    if len(parts) < 2 or not all(parts):
        return None
    return Sequence(first.text, last.text, tuple(read(part) for part in parts))


def _flat(form: Form) -> tuple[Form, ...]:
    return form.items if isinstance(form, Bag) and not form.braces else (form,)


def read_matrix(nodes: Nodes) -> Form | None:
    places = [i for i, n in enumerate(nodes) if n.kind == "env"]
    if len(places) != 1:
        return None
    at = places[0]
    node, before, after = nodes[at], nodes[:at], nodes[at + 1 :]
    if node.text not in ("pmatrix", "bmatrix", "vmatrix", "Bmatrix", "matrix", "array", "smallmatrix", "Vmatrix"):
        return None
    bars = node.text == "vmatrix"
    before = tuple(n for n in before if n.kind != "space")
    after = tuple(n for n in after if n.kind != "space")
    if before and after and node.text in ("array", "matrix", "smallmatrix"):
        if (before[-1].text, after[0].text) not in (("(", ")"), ("[", "]"), ("|", "|"), ("\\{", "\\}")):
            return None
        bars = before[-1].text == "|"
        before, after = before[:-1], after[1:]
    if after or any(n.kind == "sym" and n.text in (RELATIONS | {",", "+", "(", "[", "|"}) for n in before):
        return None
    if before and is_symbol(before[-1], "\\cdot", "\\times", "*"):
        before = before[:-1]
    rows = []
    body = tuple(n for n in node.parts[0] if not is_symbol(n, "\\hline"))
    for row in split(body, [i for i, n in enumerate(body) if n == BREAK]):
        cells = split(row, [i for i, n in top(row) if is_symbol(n, "&")])
        if any(trim(cell) for cell in cells):
            rows.append(tuple(strip(cell) for cell in cells))
    if not rows or not all(all(row) for row in rows):
        return None
    return Matrix(tuple(rows), before, bars)
