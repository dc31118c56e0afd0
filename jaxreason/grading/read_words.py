"""Answers in letters: words, the letter of a choice, sentences."""

import re

from jaxreason.grading.forms import (
    EMPTY,
    REALS,
    Bag,
    Choice,
    Form,
    Opaque,
    Read,
    Words,
)
from jaxreason.grading.latex import LatexError, parse
from jaxreason.grading.nodes import (
    Node,
    Nodes,
    is_symbol,
    opaque,
    plain,
    squeeze,
    strip,
)
from jaxreason.grading.vocabulary import SAME_WORDS, is_word

_IMPLIES = frozenset(["\\Rightarrow", "\\Leftrightarrow", "\\Leftarrow", "\\not", "?"])

_LETTERS = "ABCDEFGHIJ"


_CHOICE = re.compile(r"(?i:option|choice|answer)?\s*(?:\(\s*([A-Ja-j])\s*\)|([A-J])\s*[.):]|([A-J]))\s*(.*)", re.DOTALL)

_OTHER_CHOICE = re.compile(r"\([A-J]\)|^(?:or|and|not)\b|\b[A-J]\b\W*$")


def read_text(nodes: Nodes, read: Read) -> Form | None:
    """All of it in one text command: what is inside, read as if it were bare, but never as a product of letters."""
    if len(nodes) != 1 or nodes[0].kind not in ("text", "roman"):
        return None
    text = nodes[0].text
    if nodes[0].kind == "roman" and len(text) == 1 and text not in _LETTERS:
        return None
    try:
        inner = parse(text)
    except LatexError:
        return Opaque(opaque(nodes))
    if inner and any(n.kind not in ("word", "let", "space", "sym") for n in inner) and inner != nodes:
        return read(inner)
    parts = re.split(r"\s*(?:[,;]|\bor\b|\band\b)\s*", text)
    if len(parts) > 1 and all(len(part.split()) <= 2 for part in parts):
        items = tuple(read((Node("text", part),)) for part in parts if part)
        return items[0] if len(items) == 1 else Bag(items)
    return _choice(text) or _words(text)


def read_words(nodes: Nodes) -> Form | None:
    """All of it in words, or a symbol that stands for some: the empty set, the real numbers."""
    if any(n.kind not in ("word", "let", "text", "roman", "space") and not is_symbol(n, *".,!'\"-") for n in nodes):
        return EMPTY if squeeze(nodes) in ("\\emptyset", "\\{\\}") else None
    if nodes == (Node("let", "\\mathbb{R}"),):
        return REALS
    if any(n.kind == "let" and not n.text.isalpha() for n in nodes):
        return None
    has_text = any(n.kind == "text" for n in nodes) or (nodes[0].kind == "roman" and len(nodes[0].text) > 1)
    words = [n.text for n in nodes if n.kind == "word"]
    if has_text and nodes[0].kind in ("let", "word") and not any(is_word(word) for word in words):
        return None  # a variable and its unit
    if has_text or any(is_word(word) for word in words):
        if any(w in ("or", "and") for w in plain(nodes).split()) and not has_text and all(len(w) < 4 for w in words):
            return None
        return _words(plain(nodes))
    return None


def _words(text: str) -> Form:
    text = re.sub(r"[\s\-~]+", " ", re.sub(r"[.,!?;:'\"(){}$\\]", " ", text)).strip().casefold()
    text = re.sub(r"\b(?:an?|the) (?=\w\w)", "", text)
    text = SAME_WORDS.get(text, text)
    return REALS if text == "all real numbers" else Words(text)


def read_choice(nodes: Nodes, read: Read) -> Form | None:
    """A letter from A to J, bare or in brackets, text or bold; behind it may stand what the choice says."""
    first = nodes[0]
    if len(nodes) > 1 and first.kind in ("word", "text") and first.text.lower() in ("option", "choice"):
        return read_choice(strip(nodes[1:]), read)
    if len(nodes) == 1 and first.kind in ("let", "roman") and first.text in _LETTERS and first.text:
        return Choice(first.text, bare=first.kind == "let")
    if first.kind in ("text", "roman") and (found := _CHOICE.fullmatch(first.text)) and not found[4]:
        letter = (found[1] or found[2] or found[3]).upper()
        rest = strip(nodes[1:])
        if rest and is_symbol(rest[0], ")", ".", ":"):
            rest = strip(rest[1:])
        if not rest:
            return Choice(letter)
        if found[1] or found[2]:
            return Choice(letter, read(rest))
    if (
        len(nodes) >= 3
        and is_symbol(nodes[0], "(")
        and nodes[1].kind in ("let", "text", "roman")
        and is_symbol(nodes[2], ")")
    ):
        letter = nodes[1].text
        if len(letter) == 1 and letter.upper() in _LETTERS:
            rest = strip(nodes[3:])
            if not rest:
                return Choice(letter.upper())
            if nodes[3].kind in ("space", "text") and letter.isupper():
                return Choice(letter, read(rest))
    if (
        len(nodes) >= 2
        and first.kind in ("let", "text")
        and first.text in _LETTERS
        and is_symbol(nodes[1], ")", ".", ":")
    ):
        rest = strip(nodes[2:])
        return Choice(first.text, read(rest) if rest else None)
    return None


def _choice(text: str) -> Form | None:
    found = _CHOICE.fullmatch(text)
    if found is None or (found[4] and not (found[1] or found[2])):
        return None
    if found[4] and ((found[1] and found[1].islower()) or _OTHER_CHOICE.search(found[4])):
        return None
    letter = (found[1] or found[2] or found[3]).upper()
    return Choice(letter, _words(found[4]) if found[4].strip(" .") else None)


def read_sentence(nodes: Nodes) -> Form | None:
    """An implication, or a sentence: several words before the last piece of mathematics."""
    if any(node.kind == "sym" and node.text in _IMPLIES for node in nodes):
        return Opaque(opaque(nodes))
    last = max((i for i, n in enumerate(nodes) if n.kind not in _VERBAL), default=0)
    words = sum(word not in _JOINING for n in nodes[:last] if n.kind == "text" for word in n.text.split())
    words += sum(is_word(n.text) or n.text.lower() in _GLUE for n in nodes[:last] if n.kind == "word")
    return Opaque(opaque(nodes)) if words >= MAX_WORDS else None


MAX_WORDS = 4
"""An answer with as many words before its last piece of mathematics is a sentence, compared as it is written."""

_VERBAL = frozenset(["text", "word", "space", "let", "roman"])

_JOINING = frozenset(["or", "and", ",", ",or", ",and"])
_GLUE = frozenset("the is are of at to if for in by then has have when with on it so be".split())
