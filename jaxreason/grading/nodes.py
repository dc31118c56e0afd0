r"""The tree of an answer, and how to write, trim and cut it."""

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple


class Node(NamedTuple):
    """A piece of an answer.

    kind: `num` (text: digits, with a point or an exponent), `let` (one variable), `word` (a run of two or more bare
    letters), `text` (of `\\text`), `roman` (of `\\mathrm` and other fonts), `sym` (any other character or command),
    `space` (text: " " or "  " for a wide one), `break` (a new line), and with parts: `group`, `frac` (above, below),
    `root` (body, index), `sup`, `sub`, `mark` (text: the command; an accent), `env` (text: the name; body).
    """

    kind: str
    text: str = ""
    parts: tuple[tuple["Node", ...], ...] = ()


Nodes = tuple[Node, ...]

SPACE, WIDE, BREAK = Node("space", " "), Node("space", "  "), Node("break")


def write(nodes: Nodes) -> str:
    """Nodes as LaTeX of one canonical spelling; equal trees give equal strings."""
    return "".join(_pieces(nodes)).strip()


def squeeze(nodes: Nodes) -> str:
    """Nodes as canonical LaTeX without the spaces that mean nothing: all but those between words or numbers."""
    return write(_squeezed(nodes))


def _squeezed(nodes: Nodes) -> Nodes:
    kept: list[Node] = []
    for i, node in enumerate(nodes):
        if node.kind == "space":
            between = i + 1 < len(nodes) and bool(kept) and nodes[i + 1].kind in _SPOKEN and kept[-1].kind in _SPOKEN
            if between and not (nodes[i + 1].kind == kept[-1].kind == "let"):
                kept.append(node)
        else:
            kept.append(node._replace(parts=tuple(_squeezed(part) for part in node.parts)) if node.parts else node)
    return tuple(kept)


_SPOKEN = frozenset(["num", "let", "word", "text", "roman"])


def _pieces(nodes: Nodes) -> list[str]:
    pieces: list[str] = []
    for node in nodes:
        kind, text = node.kind, node.text
        if kind in ("num", "let", "word", "sym"):
            if pieces and pieces[-1][-1:].isalpha() and pieces[-1].startswith("\\") and text[:1].isalpha():
                pieces.append(" ")
            elif kind == "num" and pieces and pieces[-1][-1:].isdigit():
                pieces.append(" ")
            pieces.append(text)
        elif kind == "space":
            pieces.append(" " if text == " " else "\\quad ")
        elif kind == "break":
            pieces.append("\\\\")
        elif kind in ("text", "roman"):
            pieces.append(f"\\text{{{text}}}" if kind == "text" else f"\\mathrm{{{text}}}")
        elif kind in ("sup", "sub"):
            pieces.append(("^{" if kind == "sup" else "_{") + write(node.parts[0]) + "}")
        elif kind == "root":
            index = f"[{write(node.parts[1])}]" if node.parts[1] else ""
            pieces.append(f"\\sqrt{index}{{{write(node.parts[0])}}}")
        elif kind == "env":
            pieces.append(f"\\begin{{{text}}}{write(node.parts[0])}\\end{{{text}}}")
        else:
            name = {"group": "", "frac": "\\frac", "binom": "\\binom"}.get(kind, "\\" + text)
            pieces.append(name + "".join(f"{{{write(part)}}}" for part in node.parts))
    return pieces


def trim(nodes: Nodes) -> Nodes:
    """Nodes without outer spaces, breaks, braces and final punctuation."""
    while nodes:
        if nodes[0].kind in ("space", "break"):
            nodes = nodes[1:]
        elif nodes[-1].kind in ("space", "break") or nodes[-1] in _FINAL:
            nodes = nodes[:-1]
        elif len(nodes) == 1 and nodes[0].kind == "group":
            nodes = nodes[0].parts[0]
            # {1,2} is a set that lost its backslashes; {x} is x.
            if any(n == Node("sym", ",") for n in nodes):
                return (Node("sym", "\\{"), *nodes, Node("sym", "\\}"))
        else:
            break
    return nodes


_FINAL = frozenset([Node("sym", c) for c in (".", ",", ";", ":")])

OPENERS = frozenset(["(", "[", "\\{", "\\langle", "\\lfloor", "\\lceil"])

CLOSERS = frozenset([")", "]", "\\}", "\\rangle", "\\rfloor", "\\rceil"])

_LEADING = re.compile(
    r"(?:(?:the|an|a|final|answer|is|about|approximately|exactly|roughly|around|total|of|so|thus|therefore|hence|equals|"
    r"value|solution|result|there|are|ans|approx)[\s.,:]*)+",
    re.IGNORECASE,
)


def top(nodes: Nodes) -> Iterator[tuple[int, Node]]:
    """Nodes outside every bracket, with their places."""
    depth = 0
    for i, node in enumerate(nodes):
        if node.kind == "sym" and node.text in CLOSERS:
            depth -= 1
        if depth == 0:
            yield i, node
        if node.kind == "sym" and node.text in OPENERS:
            depth += 1


def split(nodes: Nodes, at: list[int]) -> list[Nodes]:
    """Nodes cut at places, which are dropped."""
    borders = [-1, *at, len(nodes)]
    return [nodes[a + 1 : b] for a, b in itertools.pairwise(borders)]


def plain(nodes: Nodes) -> str:
    """Nodes as they would be read out: the words of text, LaTeX for the rest."""
    return "".join(f"{n.text} " if n.kind in ("text", "roman", "word", "space") else write((n,)) for n in nodes)


def is_symbol(node: Node, *texts: str) -> bool:
    """Whether a node is one of some symbols."""
    return node.kind == "sym" and node.text in texts


def closes(nodes: Nodes) -> bool:
    """Whether the last node closes the bracket that the first one opens."""
    depth = 0
    for i, node in enumerate(nodes):
        depth += node.kind == "sym" and node.text in OPENERS
        depth -= node.kind == "sym" and node.text in CLOSERS
        if depth == 0:
            return i == len(nodes) - 1
    return False


def strip(nodes: Nodes) -> Nodes:
    """Without outer spaces, a sign of equality or approximation, words that say nothing, and brackets around all."""
    while nodes:
        before = nodes
        nodes = trim(nodes)
        if nodes and is_symbol(nodes[0], "=", "\\approx", "\\sim", "\\to", ":", "\\colon"):
            nodes = nodes[1:]
        elif len(nodes) > 1 and nodes[0].kind in ("text", "word") and _LEADING.fullmatch(nodes[0].text + " "):
            if any(n.kind not in ("text", "word", "space", "roman", "let") for n in nodes[1:]):
                nodes = nodes[1:]
        elif (
            len(nodes) > 2
            and is_symbol(nodes[0], "(")
            and closes(nodes)
            and not any(is_symbol(n, ",", ";") for _, n in top(nodes[1:-1]))
        ):
            if not (len(nodes) == 3 and nodes[1].kind == "let"):
                nodes = nodes[1:-1]
        elif len(nodes) == 1 and nodes[0].kind == "mark" and nodes[0].text in ("overbrace", "underbrace"):
            nodes = nodes[0].parts[0]
        if nodes == before:
            break
    return nodes


def opaque(nodes: Nodes) -> str:
    """Nodes as text without spaces, case and fonts."""
    return re.sub(r"[\s.,]+", "", write(nodes)).replace("\\text", "").replace("\\mathrm", "").casefold()
