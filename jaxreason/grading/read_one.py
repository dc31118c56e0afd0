"""One value: an expression with its unit, a number in a base, a time or a ratio."""

import re
from typing import Literal

from jaxreason.grading import units
from jaxreason.grading.forms import (
    Based,
    Colon,
    Form,
    FormError,
    Opaque,
    Value,
)
from jaxreason.grading.nodes import (
    Node,
    Nodes,
    closes,
    is_symbol,
    opaque,
    plain,
    split,
    top,
    trim,
    write,
)
from jaxreason.grading.units import Unit
from jaxreason.grading.vocabulary import BASE_WORDS, FUNCTION_WORDS, SHORT_NOUNS

_CURRENCY = frozenset("$£€¥₹")


def read_based(nodes: Nodes) -> Form | None:
    """Digits with a subscript, `101_2`, `(2A)_{12}`, `101_{\\text{two}}`, or the words `base 2` behind them."""
    nodes = tuple(n for n in nodes if n.kind != "space")
    if len(nodes) >= 3 and nodes[-1].kind == "num" and nodes[-2].kind in ("text", "word") and nodes[-2].text == "base":
        nodes = (*nodes[:-2], Node("sub", "", ((nodes[-1],),)))
    if nodes and nodes[-1].kind == "text" and (found := re.fullmatch(r"\(?(?:in )?base (\w+)\)?", nodes[-1].text)):
        nodes = (*nodes[:-1], Node("sub", "", ((Node("text", found[1]),),)))
    if len(nodes) < 2 or nodes[-1].kind != "sub":
        return None
    digits = nodes[:-1]
    if is_symbol(digits[0], "(") and closes(digits):
        digits = digits[1:-1]
    if not digits or any(n.kind not in ("num", "let", "word", "roman", "text") for n in digits):
        return None
    text = "".join(n.text for n in digits).upper()
    if not re.fullmatch(r"[0-9A-Z]+(?:\.[0-9A-Z]+)?", text) or not any(n.kind == "num" for n in digits):
        return None
    base = plain(nodes[-1].parts[0]).replace("base", "").replace("(", "").replace(")", "").strip().lower()
    base = BASE_WORDS.get(base, base)
    return Based(text.lstrip("0") or "0", base) if base else None


def read_colon(nodes: Nodes) -> Form | None:
    half: Literal["", "am", "pm"] = ""
    rest = tuple(n for n in nodes if n.kind != "space")
    tail = "".join(n.text for n in rest[1:] if n.kind in ("text", "word", "roman", "let") or is_symbol(n, "."))
    if rest and rest[0].kind == "num" and (found := re.search(r"([ap])\.?m\.?$", tail.replace(" ", ""), re.IGNORECASE)):
        end = next(i for i, n in enumerate(rest) if i and (n.kind in ("text", "word", "roman", "let")))
        if "".join(n.text for n in rest[end:]).replace(" ", "").replace(".", "").lower() in ("am", "pm"):
            half = "am" if found[1].lower() == "a" else "pm"
            rest = rest[:end]
    to = tuple(Node("sym", ":") if n.kind in ("text", "word") and n.text.strip() == "to" else n for n in rest)
    colons = [i for i, n in top(to) if is_symbol(n, ":")]
    if not colons and not half:
        return None
    parts = tuple(split(to, colons))
    if not all(parts) or any(n.kind == "text" for part in parts for n in part):
        return Opaque(opaque(nodes))
    return Colon(parts, half)


def read_value(nodes: Nodes) -> Form:
    """An expression with or without a unit; a text with mathematics in it is opaque."""
    whole = nodes
    sign: Nodes = ()
    lead = ""
    while len(nodes) > 1:  # a sign and a currency, in either order
        first = nodes[0]
        if is_symbol(first, "-", "+") and not sign:
            sign = (first,)
        elif (
            is_symbol(first, *_CURRENCY) or (first.kind in ("word", "text") and units.is_money(first.text))
        ) and not lead:
            lead = first.text
        elif first.kind != "space":
            break
        nodes = nodes[1:]
    nodes = trim(nodes)
    for i in range(1, len(nodes)):
        if _begins_unit(nodes, i) and (unit := _unit(nodes[i:], lead)):
            value = trim(nodes[:i])
            if value and not any(n.kind == "text" for n in value):
                return Value(whole, sign + _unwrapped(value), unit)
    if any(n.kind == "text" for n in nodes):
        return Opaque(opaque(whole))
    if not nodes:
        raise FormError("a sign of money alone")
    return Value(whole, sign + _unwrapped(nodes), units.read(lead) if lead else None)


def _unwrapped(nodes: Nodes) -> Nodes:
    if len(nodes) > 2 and is_symbol(nodes[0], "(") and closes(nodes):
        return trim(nodes[1:-1]) if not any(is_symbol(n, "+", "-") for n in nodes) else nodes
    return nodes


_DEGREE = Node("sup", "", ((Node("sym", "\\circ"),),))

_UNIT_SIGNS = frozenset(["%", "$", "£", "€", "¥", "\\circ", "¢"])


def _begins_unit(nodes: Nodes, at: int) -> bool:
    node = nodes[at]
    if node.kind == "frac" and all(n.kind in ("text", "roman", "space") for part in node.parts for n in part):
        return True
    if node.kind in ("text", "roman") or node == _DEGREE or (node.kind == "sym" and node.text in _UNIT_SIGNS):
        return True
    if node.kind != "word":
        return False
    if node.text in units.BARE or units.is_scale(node.text):
        return nodes[at - 1].kind in ("num", "space", "frac", "root", "let", "group")
    spaced = nodes[at - 1].kind == "space"
    noun = (len(node.text) >= 4 and node.text not in FUNCTION_WORDS) or node.text in SHORT_NOUNS
    return spaced and noun and node.text.islower()


def _unit(nodes: Nodes, lead: str) -> Unit | None:
    """The unit that nodes spell, None if they are something else."""
    pieces = [lead]
    for i, node in enumerate(nodes):
        if node.kind in ("text", "roman", "word"):
            pieces.append(f" {node.text} ")
        elif node.kind == "frac":
            pieces.append(" " + " / ".join(plain(part) for part in node.parts) + " ")
        elif node == _DEGREE or is_symbol(node, "\\circ"):
            pieces.append(" deg ")
        elif node.kind == "let" and (i > 0 or node.text in units.SINGLE):
            pieces.append(f" {node.text} ")
        elif node.kind == "sup" and i and all(n.kind in ("num", "sym") for n in node.parts[0]):
            pieces.append("^" + write(node.parts[0]))
        elif node.kind == "space" or is_symbol(node, ".", "!"):
            pieces.append(" ")
        elif is_symbol(node, "\\cdot", "*"):
            pieces.append("*")
        elif is_symbol(node, "/", "-", "%", "$", "£", "€", "¥", "¢", "(", ")"):
            pieces.append(node.text)
        else:
            return None
    return units.read("".join(pieces))
