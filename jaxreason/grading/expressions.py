"""Expressions of arithmetic and algebra, read from nodes into a small tree. Nothing is computed here."""

import re
from fractions import Fraction
from typing import Any

from jaxreason.grading.nodes import Node, Nodes

MAX_BRACKETS = 40

Tree = tuple[Any, ...]
"""(operation, operand, ...): ("num", Fraction), ("var", name), ("const", name), ("add", a, b) and so for mul, div, pow,
("neg", a), ("mixed", whole, part), ("call", name, argument, ...)."""


class Unreadable(ValueError):
    """Not an expression of the small grammar."""


_FUNCTIONS = (
    "arcsinh arccosh arctanh arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh coth sin cos tan cot sec csc "
    "asin acos atan ln log exp sqrt abs max min gcd lcm"
).split()

WORDS = frozenset([*_FUNCTIONS, "infinity", "infty"])
"""Runs of letters that are no product of variables."""

_NAMES = frozenset(_FUNCTIONS) - {"max", "min", "gcd", "lcm"}

_WORD = re.compile("(" + "|".join([*_FUNCTIONS, "infty", "infinity", "inf", "pi"]) + ")(?![a-z])|[a-zA-Z]")

_TIMES = frozenset(["*", "\\cdot", "\\times"])

_CLOSE = {"(": ")", "[": "]", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil", "\\{": "\\}"}

_BAR = Node("sym", "|")


def read(nodes: Nodes) -> Tree:
    """Nodes as an expression tree.

    Raises:
      Unreadable: something that is none.
    """
    parser = _Parser(tuple(n for n in nodes if n.kind != "space" or n.text != " "))
    if sum((n.kind == "sym" and n.text in _CLOSE) or n == _BAR for n in parser.nodes) > MAX_BRACKETS:
        raise Unreadable("more brackets than anybody needs")
    tree = parser.sum()
    if parser.at < len(parser.nodes):
        raise Unreadable(f"{parser.nodes[parser.at]}")
    return tree


class _Parser:
    """Recursive descent over the nodes of one group."""

    def __init__(self, nodes: Nodes):
        self.nodes = nodes
        self.at = 0
        self.bars = 0

    def symbol(self) -> str:
        """The text of the next node if it is a symbol, else ""."""
        return self.nodes[self.at].text if self.at < len(self.nodes) and self.nodes[self.at].kind == "sym" else ""

    def sum(self) -> Tree:
        tree: Tree | None = None
        while True:
            sign = 1
            if tree is not None and self.symbol() not in ("+", "-"):
                return tree
            while self.symbol() in ("+", "-"):
                sign = -sign if self.symbol() == "-" else sign
                self.at += 1
            term = self.product()
            term = ("neg", term) if sign < 0 else term
            tree = term if tree is None else ("add", tree, term)

    def product(self) -> Tree:
        tree = self.factor()
        while self.at < len(self.nodes):
            symbol = self.symbol()
            if symbol in _TIMES:
                self.at += 1
                tree = ("mul", tree, self.signed())
            elif symbol == "/":
                self.at += 1
                tree = ("div", tree, self.signed())
            elif self.begins_factor():
                if self.nodes[self.at].kind == "num" and self.nodes[self.at - 1].kind in ("num", "frac"):
                    raise Unreadable("two numbers side by side")
                tree = ("mul", tree, self.factor())
            else:
                break
        return tree

    def signed(self) -> Tree:
        sign = 1
        while self.symbol() in ("+", "-"):
            sign = -sign if self.symbol() == "-" else sign
            self.at += 1
        tree = self.factor()
        return ("neg", tree) if sign < 0 else tree

    def begins_factor(self) -> bool:
        node = self.nodes[self.at]
        if node.kind == "sym":
            if node.text == "|":
                return not self.bars
            return node.text in _CLOSE or node.text[1:] in _NAMES or node.text in ("\\infty", "\\angle")
        return node.kind in ("num", "let", "word", "roman", "group", "frac", "binom", "root", "mark")

    def factor(self) -> Tree:
        if self.at >= len(self.nodes):
            raise Unreadable("an end where an operand should be")
        return self.postfix(self.base())

    def base(self) -> Tree:
        node = self.nodes[self.at]
        self.at += 1
        match node.kind:
            case "num":
                return self.mixed(_number(node.text))
            case "let" | "mark":
                return self.variable(node)
            case "roman":
                if len(node.text) == 1:
                    return self.variable(Node("let", node.text))
                if len(node.text) > 3 or not node.text.isalpha():
                    raise Unreadable(node.text)
                return self.letters(node.text)
            case "word":
                return self.letters(node.text)
            case "group":
                return read(node.parts[0])
            case "frac":
                return ("div", read(node.parts[0]), read(node.parts[1]))
            case "binom":
                return ("call", "binom", read(node.parts[0]), read(node.parts[1]))
            case "root":
                index = read(node.parts[1]) if node.parts[1] else ("num", Fraction(2))
                return ("call", "root", read(node.parts[0]), index)
            case "sym":
                return self.symbolic(node.text)
        raise Unreadable(node.kind)

    def symbolic(self, text: str) -> Tree:
        if text in _CLOSE:
            if text == "\\{":
                raise Unreadable("a set")
            inner = _Parser(self.nodes)
            inner.at = self.at
            tree = inner.sum()
            if inner.symbol() != _CLOSE[text]:
                raise Unreadable("a bracket that does not close")
            self.at = inner.at + 1
            if text in ("\\lfloor", "\\lceil"):
                return ("call", text[1:], tree)
            return tree
        if text == "|" or text == "\\Vert":
            inner = _Parser(self.nodes)
            inner.at, inner.bars = self.at, 1
            tree = inner.sum()
            if inner.symbol() != text:
                raise Unreadable("a bar that does not close")
            self.at = inner.at + 1
            return ("call", "abs", tree)
        if text == "\\infty":
            return ("var", "\\infty")
        if text[1:] in _NAMES:
            return self.call(text[1:])
        raise Unreadable(text)

    def mixed(self, whole: Tree) -> Tree:
        """A whole number and the proper fraction right behind it: `1\\frac12`, `1 1/2`."""
        value = whole[1]
        if self.at < len(self.nodes) and value.denominator == 1:
            node = self.nodes[self.at]
            if node.kind == "frac":
                above, below = (part[0].text if len(part) == 1 else "" for part in node.parts)
                if above.isdigit() and below.isdigit() and 0 < int(above) < int(below):
                    self.at += 1
                    return ("mixed", whole, ("num", Fraction(int(above), int(below))))
            if node.kind == "num" and self.at + 2 < len(self.nodes) and self.nodes[self.at + 1] == Node("sym", "/"):
                above, below = node.text, self.nodes[self.at + 2].text
                if above.isdigit() and below.isdigit() and 0 < int(above) < int(below):
                    self.at += 3
                    return ("mixed", whole, ("num", Fraction(int(above), int(below))))
            if node.kind == "mark" and node.text == "overline":
                raise Unreadable("a bar behind a whole number")
        return whole

    def variable(self, node: Node) -> Tree:
        if node.kind == "mark":
            inner = node.parts[0]
            if len(inner) != 1 or inner[0].kind not in ("let", "word", "num"):
                raise Unreadable("an accent on more than a name")
            name = f"{node.text}({inner[0].text})"
        else:
            name = node.text
        indexed = self.at < len(self.nodes) and self.nodes[self.at].kind == "sub"
        if name in ("e", "i", "\\pi") and not indexed:
            return ("const", name.strip("\\"))
        while self.at < len(self.nodes):
            following = self.nodes[self.at]
            if following.kind == "sub":
                name += "_" + re.sub(r"\W", "", _plain(following.parts[0]))
            elif following == Node("sym", "'"):
                name += "'"
            else:
                break
            self.at += 1
        return ("var", name)

    def letters(self, word: str) -> Tree:
        """A run of letters: a function, a constant, or a product of variables, the last of which takes what follows."""
        pieces = [m.group() for m in _WORD.finditer(word)]
        tree: Tree | None = None
        for i, piece in enumerate(pieces):
            last = i + 1 == len(pieces)
            if piece in _NAMES:
                if not last:
                    raise Unreadable(word)
                factor = self.call(piece)
            elif piece in ("pi", "infty", "infinity", "inf"):
                factor = ("const", "pi") if piece == "pi" else ("var", "\\infty")
            elif last:
                factor = self.postfix(self.variable(Node("let", piece)))
            else:
                factor = ("const", piece) if piece in "ei" else ("var", piece)
            tree = factor if tree is None else ("mul", tree, factor)
        assert tree is not None  # a word has letters
        return tree

    def call(self, name: str) -> Tree:
        """A function's base, power and argument; without brackets the argument is a product up to the next function."""
        name = {"asin": "arcsin", "acos": "arccos", "atan": "arctan"}.get(name, name)
        base: Tree | None = None
        power: Tree | None = None
        while self.at < len(self.nodes) and self.nodes[self.at].kind in ("sub", "sup"):
            node = self.nodes[self.at]
            self.at += 1
            if node.kind == "sub" and name == "log":
                base = read(node.parts[0])
            elif node.kind == "sup":
                power = read(node.parts[0])
            else:
                raise Unreadable("a subscript of a function")
        if self.at >= len(self.nodes):
            raise Unreadable("a function of nothing")
        node = self.nodes[self.at]
        if node.kind == "group" or (node.kind == "sym" and node.text in ("(", "[")):
            argument = self.base()
        else:
            argument = self.argument()
        if name == "sqrt":
            tree: Tree = ("call", "root", argument, ("num", Fraction(2)))
        elif name == "exp":
            tree = ("pow", ("const", "e"), argument)
        elif base is not None:
            tree = ("div", ("call", "ln", argument), ("call", "ln", base))
        elif power == ("neg", ("num", Fraction(1))) and name in ("sin", "cos", "tan", "cot", "sec", "csc"):
            return ("call", "arc" + name, argument)
        else:
            tree = ("call", name, argument)
        return tree if power is None else ("pow", tree, power)

    def argument(self) -> Tree:
        tree: Tree | None = None
        sign = 1
        while self.symbol() == "-" and tree is None:
            sign = -sign
            self.at += 1
        while self.at < len(self.nodes):
            node = self.nodes[self.at]
            is_function = (node.kind == "sym" and node.text[1:] in _NAMES) or (
                node.kind == "word" and node.text in _NAMES
            )
            bracket = node.kind == "sym" and node.text in ("(", "[")
            if tree is not None and (is_function or bracket or not self.begins_factor()):
                break
            factor = self.factor()
            tree = factor if tree is None else ("mul", tree, factor)
        if tree is None:
            raise Unreadable("a function of nothing")
        return ("neg", tree) if sign < 0 else tree

    def postfix(self, tree: Tree) -> Tree:
        while self.at < len(self.nodes):
            node = self.nodes[self.at]
            if node.kind == "sup":
                self.at += 1
                inner = tuple(n for n in node.parts[0] if n.kind != "space")
                if inner == (Node("sym", "\\circ"),):
                    tree = ("mul", tree, ("div", ("const", "pi"), ("num", Fraction(180))))
                elif tree == ("const", "pi") or tree[0] != "num" or inner[:1] != (Node("sym", "\\circ"),):
                    tree = ("pow", tree, read(inner))
            elif node == Node("sym", "!"):
                self.at += 1
                tree = ("call", "factorial", tree)
            elif node == Node("sym", "\\circ"):
                raise Unreadable("a composition")
            elif node.kind == "sub":
                raise Unreadable("a subscript")
            else:
                break
        return tree


def _plain(nodes: Nodes) -> str:
    return "".join(n.text or "".join(_plain(part) for part in n.parts) for n in nodes)


_SCIENTIFIC = re.compile(r"(.+)[eE]([+-]?\d+)")


def _number(text: str) -> Tree:
    """A literal; one in e-notation keeps its spelling, since `2e-1` may also be a difference."""
    if found := _SCIENTIFIC.fullmatch(text):
        exponent = int(found[2]) if len(found[2]) < 6 else 10**6
        return ("mul", ("num", Fraction(found[1])), ("pow", ("num", Fraction(10)), ("num", Fraction(exponent))))
    return ("num", Fraction(text))


def repeating(nodes: Nodes) -> Fraction | None:
    r"""A decimal with a period, `0.1\overline{6}`, `0.333\ldots`, as a fraction; None where the nodes are none."""
    nodes = tuple(n for n in nodes if n.kind != "space")
    sign = 1
    while nodes and nodes[0] in (Node("sym", "-"), Node("sym", "+")):
        sign = -sign if nodes[0].text == "-" else sign
        nodes = nodes[1:]
    if not nodes or "." not in nodes[0].text or nodes[0].kind not in ("num", "sym"):
        return None
    whole, _, start = nodes[0].text.partition(".")
    rest = nodes[1:]
    period = ""
    if len(rest) == 3 and (rest[0], rest[2]) == (Node("sym", "("), Node("sym", ")")):
        period = _plain(rest[1:2])
    elif rest and all(n.kind == "mark" and n.text in ("overline", "dot", "bar") for n in rest):
        period = "".join(_plain(n.parts[0]) for n in rest)
    elif rest in _DOTS:
        found = re.fullmatch(r"(\d*?)(\d)\2\2+|(\d*?)(\d{2,6}?)\4+", start)
        if found is None:
            return None
        period = found[2] or found[4]
        start = found[1] if found[2] else found[3]
    if not period.isdigit():
        return None
    nines = 10 ** len(period) - 1
    value = Fraction(int((whole or "0") + start), 10 ** len(start)) + Fraction(int(period), nines * 10 ** len(start))
    return sign * value


_DOTS = ((Node("sym", "\\ldots"),),)


def variables(tree: Tree) -> set[str]:
    """Names of the variables of an expression."""
    if tree[0] == "var":
        return {tree[1]}
    return set().union(*(variables(operand) for operand in tree[1:] if isinstance(operand, tuple)))


def uses(tree: Tree, name: str) -> bool:
    """Whether an expression calls a function."""
    return tree[:2] == ("call", name) or any(uses(operand, name) for operand in tree[1:] if isinstance(operand, tuple))


def is_plain(tree: Tree) -> bool:
    """Whether a number is written out: a literal, a fraction, a power or a root of such, or `m × 10^k`.

    Only for expressions whose value is rational.
    """
    match tree[0]:
        case "num" | "mixed" | "const":
            return True
        case "neg":
            return is_plain(tree[1])
        case "div":
            return is_plain(tree[1]) and is_plain(tree[2])
        case "pow":
            return is_plain(tree[1]) and is_plain(tree[2])
        case "mul":
            base = tree[2][1] if tree[2][0] == "pow" else None
            return is_plain(tree[1]) and base == ("num", Fraction(10)) and is_plain(tree[2])
        case "call":
            return tree[1] in ("root", "ln", "log", "abs") and all(is_plain(t) for t in tree[2:])
    return False
