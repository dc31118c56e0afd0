"""Lists, sets, unions of intervals and matrices: by their parts."""

import re

from jaxreason.grading import algebra
from jaxreason.grading.forms import (
    Bag,
    Form,
    Interval,
    Matrix,
    Named,
    Region,
    as_region,
)
from jaxreason.grading.nodes import Node, Nodes
from jaxreason.grading.reading import read
from jaxreason.grading.rules import MAX_ITEMS, Rules, all_same, every, matched, value_of
from jaxreason.grading.same_values import same_nodes


def same_bag(a: Bag, g: Bag, rules: Rules) -> bool | None:
    if len(a.items) != len(g.items) or len(a.items) > MAX_ITEMS:
        return False
    names_a, names_g = _labels(a), _labels(g)
    if names_a and names_g and set(names_a) == set(names_g):
        places = [names_g.index(name) for name in names_a]
        return every(lambda i: rules.same(a.items[i], g.items[places[i]]), range(len(a.items)))
    if names_a or names_g:
        return all_same(a.items, g.items, rules)
    return matched([_bare_index(i) for i in a.items], [_bare_index(i) for i in g.items], rules)


def _labels(bag: Bag) -> list[str]:
    """Names of the items, where they are all different quantities; x_1 and x_2 are one."""
    names = [item.name for item in bag.items if isinstance(item, Named)]
    if len(names) != len(bag.items) or len(set(names)) != len(names) or "..." in names:
        return []
    heads = {name.split("_")[0] for name in names}
    return [] if len(heads) == 1 else names


def _bare_index(form: Form) -> Form:
    """An item of a list of solutions without its name, if that has an index."""
    return form.value if isinstance(form, Named) and re.fullmatch(r"[^(]+_[^(]+", form.name) else form


def same_region(a: Form, g: Form, rules: Rules) -> bool | None:
    region_a, region_g = as_region(a), as_region(g)
    if region_a is None or region_g is None:
        return False
    if region_a.variable and region_g.variable and region_a.variable != region_g.variable:
        return False
    left, right = _joined(region_a), _joined(region_g)
    if (
        len(left.pieces) != len(right.pieces)
        or len(left.points) != len(right.points)
        or len(left.holes) != len(right.holes)
        or len(left.pieces) > MAX_ITEMS
    ):
        return False
    places = list(range(len(right.pieces)))
    unsure = False
    for piece in left.pieces:
        verdicts = {j: _same_interval(piece, right.pieces[j], rules) for j in places}
        found = next((j for j, v in verdicts.items() if v), None)
        if found is not None:
            places.remove(found)
        elif any(v is None for v in verdicts.values()):
            unsure = True
        else:
            return False
    points = matched(left.points, right.points, rules)
    holes = matched([value_of(hole) for hole in left.holes], [value_of(hole) for hole in right.holes], rules)
    if points is False or holes is False:
        return False
    return None if unsure or points is None or holes is None else True


def _joined(region: Region) -> Region:
    """Intervals that touch or overlap as one, with a hole where both leave out the point at which they touch.

    Where a bound is no real number that can be told, nothing is joined.
    """
    if len(region.pieces) < 2:
        return region
    bounds = [(_bound(p.low, -1), _bound(p.high, 1), p) for p in region.pieces]
    ordered = [(low, high, piece) for low, high, piece in bounds if low is not None and high is not None]
    if len(ordered) < len(bounds):
        return region
    ordered.sort(key=lambda b: (b[0], not b[2].low_closed))
    holes = list(region.holes)
    pieces, last_high = [ordered[0][2]], ordered[0][1]
    for low, high, piece in ordered[1:]:
        before = pieces[-1]
        if low > last_high:
            pieces.append(piece)
            last_high = high
            continue
        if low == last_high and not (piece.low_closed or before.high_closed) and piece.low is not None:
            holes.append(piece.low)
        if high > last_high or (high == last_high and piece.high_closed):
            pieces[-1] = Interval(before.low, piece.high, before.low_closed, piece.high_closed)
            last_high = high
    return Region(tuple(pieces), region.points, tuple(holes), region.variable)


def _bound(nodes: Nodes | None, sign: int) -> float | None:
    return sign * float("inf") if nodes is None else algebra.real(nodes)


def _same_interval(a: Interval, g: Interval, rules: Rules) -> bool | None:
    if (a.low_closed, a.high_closed, a.low is None, a.high is None) != (
        g.low_closed,
        g.high_closed,
        g.low is None,
        g.high is None,
    ):
        return False
    pairs = [(x, y) for x, y in ((a.low, g.low), (a.high, g.high)) if x is not None and y is not None]
    return every(lambda i: rules.same(read(pairs[i][0]), read(pairs[i][1])), range(len(pairs)))


def same_matrix(a: Matrix, g: Matrix, rules: Rules) -> bool | None:
    cells_a, cells_g = _cells(a), _cells(g)
    if a.determinant != g.determinant or [len(row) for row in a.rows] != [len(row) for row in g.rows]:
        return False
    loose = rules if a.factor == g.factor else rules.loose()
    return every(lambda i: same_nodes(cells_a[i], cells_g[i], loose), range(len(cells_a)))


def _cells(matrix: Matrix) -> list[Nodes]:
    """Cells in order, each times the factor."""
    cells = [cell for row in matrix.rows for cell in row]
    if not matrix.factor:
        return cells
    factor = (*matrix.factor, Node("num", "1")) if matrix.factor[-1] == Node("sym", "-") else matrix.factor
    group = Node("group", "", (factor,))
    return [(group, Node("sym", "\\cdot"), Node("group", "", (cell,))) for cell in cells]
