r"""Numbers in groups of digits, or with a letter for the sign, as one: `1,234`, `1\,234`, `3 x 10^8`."""

import re

from jaxreason.grading.nodes import SPACE, Node, Nodes

COMMA = Node("sym", ",")

THOUSANDS = Node("sym", "{,}")
"""A comma without the space that follows one in a list: only ever inside a number, if there are numbers around it."""


def join_numbers(nodes: Nodes, bracketed: bool = False) -> Nodes:
    r"""Groups of three digits as one number, at every depth: `1,234`, `1\,234`, `10,\!080`.

    A run of numbers is joined as a whole or not at all, so `1,2,100` stays a list; inside brackets a comma separates.
    """
    nodes = _times_ten(nodes)
    result: list[Node] = []
    depth, i = 0, 0
    while i < len(nodes):
        node = nodes[i]
        if node.kind == "sym":
            depth += node.text in _OPENERS
            depth -= node.text in _CLOSERS
        if node.kind == "num" and node.text.isdigit():
            end, numbers = _number_run(nodes, i, bracketed or depth > 0)
            result += numbers
            i = end
            continue
        if node.parts:
            inside = node.kind == "env" or (node.kind == "group" and any(n == COMMA for n in node.parts[0]))
            node = node._replace(parts=tuple(join_numbers(part, inside) for part in node.parts))
        result.append(COMMA if node == THOUSANDS else node)
        i += 1
    return tuple(result)


def _times_ten(nodes: Nodes) -> Nodes:
    """`3 x 10^8` with the letter for the sign."""
    full = [i for i, n in enumerate(nodes) if n.kind != "space"]
    for a, x, ten, power in zip(full, full[1:], full[2:], full[3:], strict=False):
        kinds = (nodes[a].kind, nodes[x].text.lower(), nodes[ten].text, nodes[power].kind)
        if kinds == ("num", "x", "10", "sup"):
            nodes = (*nodes[:x], Node("sym", "\\times"), *nodes[x + 1 :])
    return nodes


_OPENERS = frozenset(["(", "[", "\\{", "\\langle"])

_CLOSERS = frozenset([")", "]", "\\}", "\\rangle"])


def _number_run(nodes: Nodes, start: int, bracketed: bool) -> tuple[int, Nodes]:
    """The end of the run of numbers that begins at `start`, and its nodes: one if it is a number in groups of three."""
    groups, end, separators = [nodes[start].text], start + 1, set()
    while end + 1 < len(nodes) and nodes[end] in (COMMA, THOUSANDS, SPACE) and nodes[end + 1].kind == "num":
        separators.add(nodes[end].text)
        groups.append(nodes[end + 1].text)
        end += 2
    whole = (
        len(separators) == 1
        and (not bracketed or "," not in separators)
        and len(groups[0]) <= 3
        and not groups[0].startswith("0")
        and all(len(g) == 3 and g.isdigit() for g in groups[1:-1])
        and re.fullmatch(r"\d{3}(?:\.\d*)?", groups[-1]) is not None
    )
    if whole:
        return end, (Node("num", "".join(groups)),)
    return end, tuple(COMMA if n == THOUSANDS else n for n in nodes[start:end])
