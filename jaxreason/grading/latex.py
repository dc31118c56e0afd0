r"""LaTeX of an answer as a tree, without what only matters to the eye.

Tokens are read one by one, so that `\\ ` is a line break and never half of another control symbol. What is dropped:
dollars and other delimiters of mathematics, outer boxes and braces, `\left` and `\right`, sizes, styles and colours,
negative spaces, a final full stop. What is made one: the spellings of a fraction (`\dfrac`, `\tfrac12`), of a relation
(`\leqslant`, `≤`), of a character (full width, superscripts, `√`, `π`, `−`), of a number (`10,\!080`, `1\,234`).
"""

import re
import unicodedata
from functools import lru_cache

from jaxreason.grading.nodes import BREAK, SPACE, WIDE, Node, Nodes, trim, write

MAX_DEPTH = 40
"""Braces deeper than this are not read, so that nobody's recursion ends in an exception."""


class LatexError(ValueError):
    """Braces that do not balance, an argument that is missing, or nesting beyond MAX_DEPTH."""


_SYMBOLS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "×": r"\times ", "⋅": r"\cdot ", "·": r"\cdot ", "∙": r"\cdot ",
    "•": r"\cdot ", "∗": "*", "÷": "/", "∕": "/", "⁄": "/", "≤": r"\le ", "⩽": r"\le ", "≥": r"\ge ", "⩾": r"\ge ",
    "≠": r"\ne ", "≈": r"\approx ", "≡": r"\equiv ", "∞": r"\infty ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ",
    "±": r"\pm ", "∓": r"\mp ", "∅": r"\emptyset ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℚ": r"\mathbb{Q}",
    "ℕ": r"\mathbb{N}", "ℂ": r"\mathbb{C}", "°": r"^\circ ", "º": r"^\circ ", "′": "'", "’": "'", "‘": "'", "″": "''",
    "“": '"', "”": '"', "→": r"\to ", "⇒": r"\Rightarrow ", "⟹": r"\Rightarrow ", "…": r"\ldots ", "⋯": r"\ldots ",
    "∨": r"\lor ", "∧": r"\land ", "∣": "|", "⟨": r"\langle ", "⟩": r"\rangle ", "〈": r"\langle ", "〉": r"\rangle ",
    "∖": r"\setminus ", "∠": r"\angle ", "△": r"\triangle ", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]", "√": r"\sqrt ",
    "ℓ": r"\ell ", "½": r"\frac{1}{2}", "，": ",", "；": ";", "：": ":", "。": ".", "、": ",", "\u2061": "",
    "\u200b": "", "\ufeff": "", "\u2062": "", "\u2064": "", "\u2009": r"\,", "\u202f": r"\,", "\u00a0": " ",
    "\u2063": ",",
    "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "δ": r"\delta ", "ε": r"\epsilon ", "ζ": r"\zeta ",
    "η": r"\eta ", "θ": r"\theta ", "κ": r"\kappa ", "λ": r"\lambda ", "μ": r"\mu ", "µ": r"\mu ", "ν": r"\nu ",
    "ξ": r"\xi ", "π": r"\pi ", "ρ": r"\rho ", "σ": r"\sigma ", "τ": r"\tau ", "φ": r"\phi ", "ϕ": r"\phi ",
    "χ": r"\chi ", "ψ": r"\psi ", "ω": r"\omega ", "Γ": r"\Gamma ", "Δ": r"\Delta ", "Θ": r"\Theta ",
    "Λ": r"\Lambda ", "Π": r"\Pi ", "Σ": r"\Sigma ", "Φ": r"\Phi ", "Ψ": r"\Psi ", "Ω": r"\Omega ",
}  # fmt: skip

_SUPER = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱˣʸ", "0123456789+-=()nixy")

_SUB = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₙₓ", "0123456789+-=()nx")

_SUPER_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱˣʸ]+")

_SUB_RUN = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₙₓ]+")

_ROOT_RUN = re.compile(r"√\s*(\d+(?:\.\d+)?|[a-zA-Z])")

_PLAIN = re.compile(r"[\x00-\x7f]*")

_ALIASES = {
    "dfrac": "frac", "nicefrac": "frac", "sfrac": "frac", "tfrac": "frac",
    "cfrac": "frac", "leq": "le", "leqslant": "le", "leqq": "le", "geq": "ge",
    "geqslant": "ge", "geqq": "ge", "neq": "ne", "lt": "<", "gt": ">", "ast": "*", "star": "*", "div": "/",
    "varnothing": "emptyset", "oslash": "emptyset", "vee": "lor", "wedge": "land", "implies": "Rightarrow",
    "Longrightarrow": "Rightarrow", "iff": "Leftrightarrow", "dots": "ldots", "cdots": "ldots", "dotsc": "ldots",
    "bigcup": "cup", "rightarrow": "to", "longrightarrow": "to", "lvert": "|", "rvert": "|", "vert": "|", "mid": "|",
    "lVert": "Vert", "rVert": "Vert", "|": "Vert", "lbrace": "{", "rbrace": "}", "lbrack": "[", "rbrack": "]",
    "colon": ":", "dbinom": "binom", "tbinom": "binom", "reals": "R", "degree": "circ", "varphi": "phi",
    "varepsilon": "epsilon", "vartheta": "theta", "thickapprox": "approx", "approxeq": "approx", "simeq": "approx",
    "owns": "ni", "prime": "'", "backslash": "setminus", "smallsetminus": "setminus", "sim": "sim", "lparen": "(",
    "rparen": ")", "overrightarrow": "vec", "widehat": "hat", "overline": "overline", "textdegree": "circ",
    "textpercent": "%", "textdollar": "$", "gcd": "gcd", "ln": "ln", "lg": "log", "infin": "infty", "not": "not",
    "arccosine": "arccos", "arctg": "arctan", "tg": "tan", "ctg": "cot", "EUR": "€", "euro": "€", "pounds": "£",
}  # fmt: skip

_DROPPED = frozenset(
    "left right middle big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr displaystyle textstyle "
    "scriptstyle scriptscriptstyle limits nolimits rm bf it sf tt sc cal normalsize large Large small nonumber "
    "therefore because strut mathstrut protect bm null hfill noindent mathopen mathclose mathord allowbreak "
    "textnormal relax smallskip medskip bigskip par".split()
)

_TEXT = frozenset("text textrm textbf textit mbox hbox textsf texttt textsc textup emph intertext fbox".split())

_FONTS = frozenset("mathrm mathbf mathit mathsf mathtt mathnormal boldsymbol operatorname pmb rmfamily".split())

_TRANSPARENT = frozenset(
    "boxed mathop mathbin mathrel ensuremath underline smash cancel bcancel xcancel vphantom".split()
)

_MARKS = frozenset("hat bar vec tilde dot ddot overline check breve acute grave underbrace overbrace mathring".split())

_ALPHABETS = frozenset("mathbb mathcal mathscr mathfrak".split())

_SIZED_SPACE = frozenset("hspace vspace hskip vskip phantom hphantom label tag color kern mkern mskip".split())

_WIDE = frozenset("quad qquad".split())

_THIN_SYMBOLS = frozenset(",;:> ")

_TOKEN = re.compile(
    r"\\[a-zA-Z]+\*?|\\.|(?:\d+\.?\d*|\.\d+)[eE][+-]?\d+(?![\w.{^])|\d+\.?\d*|\.\d+|[a-zA-Z]+|\s+|.", re.DOTALL
)

_NUMERIC_TEXT = re.compile(r"[^a-zA-Z]*")


@lru_cache(maxsize=8192)
def parse(text: str) -> Nodes:
    r"""An answer as nodes, normalised.

    >>> write(parse(r"$\boxed{\dfrac12}$."))
    '\\frac{1}{2}'

    Raises:
      LatexError: see there.
    """
    return trim(_join_numbers(_Reader(_outer(_ascii(text))).all()))


def _ascii(text: str) -> str:
    """Characters that stand for LaTeX, as LaTeX."""
    if _PLAIN.fullmatch(text):
        return text
    text = _SUPER_RUN.sub(lambda m: "^{" + m.group().translate(_SUPER) + "}", text)
    text = _SUB_RUN.sub(lambda m: "_{" + m.group().translate(_SUB) + "}", text)
    text = _ROOT_RUN.sub(r"\\sqrt{\1}", text)
    pieces = []
    for character in text:
        if character in _SYMBOLS:
            pieces.append(_SYMBOLS[character])
        elif ord(character) < 128:
            pieces.append(character)
        elif unicodedata.decomposition(character).startswith("<fraction>"):
            above, _, below = unicodedata.normalize("NFKC", character).partition("\u2044")
            pieces.append(f"\\frac{{{above}}}{{{below}}}")
        else:
            pieces.append(unicodedata.normalize("NFKC", character))
    return "".join(pieces)


_DOTS = re.compile(r"\.{2,}")
_MARKDOWN = re.compile(r"(\*{1,3}|__|`|\")(.+)\1\.?", re.DOTALL)

_STARS = re.compile(r"\*\*\s*(-?[a-zA-Z\d.]+)")

_LEAD = re.compile(
    r"(?:(?:so|thus|hence),?\s+)?(?:the\s+)?(?:final\s+)?answer(?:\s+is|\s*[:=])\s*:?|=(?!=)|:", re.IGNORECASE
)


def _outer(text: str) -> str:
    """Text without markdown around it, the words `the answer is` before it, and dollars that delimit mathematics."""
    text = _DOTS.sub(r"\\ldots ", text.strip()).removesuffix(".").strip()
    for _ in range(3):
        if found := _MARKDOWN.fullmatch(text):
            text = found.group(2).strip()
        elif found := _LEAD.match(text):
            text = text[found.end() :].strip()
        else:
            break
    return _dollars(_STARS.sub(r"^{\1}", text))


def _dollars(text: str) -> str:
    """Bare dollars come in pairs around mathematics, and are dropped; a single one is money."""
    if "$" not in text:
        return text
    bare = [m.start() for m in re.finditer(r"\\.|\$", text, re.DOTALL) if m.group() == "$"]
    money = len(bare) == 1 or (len(bare) % 2 and re.match(r"\$\s*\d", text) and not text.endswith("$"))
    kept = bare[:1] if money else []
    pieces, last = [], 0
    for at in bare:
        pieces += [text[last:at], "\\$" if at in kept else " "]
        last = at + 1
    return "".join(pieces) + text[last:]


class _Reader:
    """Tokens of a text, read into nodes by recursive descent."""

    def __init__(self, text: str):
        self.tokens = _TOKEN.findall(text.replace("{,}", "\\thousands "))
        self.at = 0
        self.depth = 0

    def all(self) -> Nodes:
        nodes = self.until("")
        if self.at < len(self.tokens):
            raise LatexError("a brace that closes nothing")
        return nodes

    def until(self, end: str) -> Nodes:
        """Nodes up to the token `end`, which is left; up to the end of the text for ""."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise LatexError("braces too deep")
        nodes: list[Node] = []
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            if token == end or token == "}" or (token == "\\end" and end == "\\end"):
                break
            self.at += 1
            for node in self.node(token, nodes):
                if node != SPACE or not nodes or nodes[-1].kind != "space":
                    nodes.append(node)
        else:
            if end:
                raise LatexError(f"expected {end}")
        self.depth -= 1
        return _over(tuple(nodes))

    def node(self, token: str, before: list[Node]) -> list[Node] | Nodes:
        """The nodes that a token begins."""
        head = token[0]
        if head == "\\":
            return self.command(token[1:].rstrip("*") or "\\", before)
        if head.isspace():
            return [SPACE]
        if head == "{":
            return [Node("group", "", (self.close_brace(),))]
        if head in "^_":
            body = self.script()
            if head == "^" and body and all(n == Node("sym", "'") for n in body):
                return body
            if head == "^" and body == (Node("let", "o"),) and before and before[-1].kind == "num":
                body = (Node("sym", "\\circ"),)
            return [Node("sup" if head == "^" else "sub", "", (body,))]
        if head.isdigit() or (head == "." and len(token) > 1):
            return [Node("num", token)]
        if token.isascii() and token.isalpha():
            return [Node("let" if len(token) == 1 else "word", token)]
        if head == "~":
            return [SPACE]
        if head.isalpha():
            return [Node("let", head)]
        return [Node("sym", head)]

    def command(self, name: str, before: list[Node]) -> list[Node] | Nodes:
        name = _ALIASES.get(name, name)
        if name == "\\" or name in ("newline", "cr"):
            if self.peek() == "[":  # \\[2pt]
                self.skip_bracket()
            return [BREAK]
        if name in ("!", "negthinspace", "negmedspace"):
            self.peek()
            while before and before[-1] == SPACE:
                before.pop()
            if before and before[-1] == _COMMA:
                before[-1] = _THOUSANDS
            return []
        if name == "thousands":
            self.peek()
            return [_THOUSANDS]
        if name in _THIN_SYMBOLS or name in ("thinspace", "medspace", "thickspace", "enspace", "space", "nobreakspace"):
            return [SPACE]
        if name in _WIDE:
            return [WIDE]
        if name in _DROPPED:
            if name in ("left", "right") and self.peek() == ".":
                self.at += 1
            return []
        if name in _SIZED_SPACE:
            if self.peek() in ("{", "["):
                self.argument()
            return []
        if name in ("textcolor", "colorbox", "href", "class", "cssId"):
            self.argument()
            return self.argument()
        if name in _TRANSPARENT:
            return self.argument()
        if name in _TEXT:
            return self.text("text")
        if name in _FONTS:
            return self.text("roman")
        if name in _ALPHABETS:
            return [Node("let", f"\\{name}{{{write(self.argument())}}}")]
        if name in _MARKS:
            return [Node("mark", name, (self.argument(),))]
        if name == "frac" or name == "binom":
            return [Node("frac" if name == "frac" else "binom", "", (self.argument(), self.argument()))]
        if name == "sqrt":
            index = self.bracket()
            return [Node("root", "", (self.argument(parenthesis=True), index))]
        if name == "begin":
            return [self.environment()]
        if name == "end":
            raise LatexError("an environment that ends before it begins")
        if name in ("(", ")", "[", "]", "/", "-") and self.tokens[self.at - 1] == "\\" + name:
            return []
        if name == "R":
            return [Node("let", "\\mathbb{R}")]
        if len(name) == 1 and not name.isalpha():
            return [Node("sym", name if name not in "{}" else "\\" + name)]
        return [Node("let" if name in GREEK else "sym", "\\" + name)]

    def peek(self) -> str:
        """The next token that is not white space, "" at the end; white space before it is read."""
        while self.at < len(self.tokens) and self.tokens[self.at].isspace():
            self.at += 1
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def close_brace(self) -> Nodes:
        nodes = self.until("}")
        self.at += 1
        return nodes

    def argument(self, parenthesis: bool = False) -> Nodes:
        """What a command takes: a group, or the next token, of a number its first digit."""
        token = self.peek()
        if token in ("", "}", "^", "_", "&"):
            raise LatexError("an argument that is missing")
        self.at += 1
        if token == "{":
            return self.close_brace()
        if parenthesis and token in ("(", "\\left"):
            if token == "\\left":
                self.peek()
                self.at += 1
            nodes = self.until(")")
            if self.at < len(self.tokens) and self.tokens[self.at] == ")":
                self.at += 1
            while nodes and nodes[-1] == Node("sym", "\\right"):
                nodes = nodes[:-1]
            return nodes
        if len(token) > 1 and (token[0].isdigit() or token[0].isalpha()) and not parenthesis:
            self.at -= 1
            self.tokens[self.at] = token[1:]
            token = token[0]
        return tuple(self.node(token, []))

    def script(self) -> Nodes:
        """What is raised or lowered: an argument, or without braces a whole signed number, as people type it."""
        sign: Nodes = ()
        if self.peek() in ("-", "+", "−"):
            sign = (Node("sym", self.tokens[self.at]),)
            self.at += 1
        token = self.peek()
        if token[:1].isdigit():
            self.at += 1
            return (*sign, Node("num", token))
        return sign + self.argument()

    def bracket(self) -> Nodes:
        """An optional argument in square brackets, () where there is none."""
        if self.peek() != "[":
            return ()
        self.at += 1
        nodes = self.until("]")
        if self.tokens[self.at] != "]":
            raise LatexError("expected ]")
        self.at += 1
        return nodes

    def skip_bracket(self) -> None:
        close = self.at
        while close < len(self.tokens) and self.tokens[close] != "]":
            close += 1
        if close - self.at <= 4 and close < len(self.tokens):
            self.at = close + 1

    def text(self, kind: str) -> list[Node] | Nodes:
        """A command of text: numbers and signs inside it are mathematics, and so is a single letter in another font."""
        if self.peek() != "{":
            return self.argument()
        start = self.at
        inner = self.until_raw()
        if _NUMERIC_TEXT.fullmatch(inner):
            self.at = start + 1
            return self.close_brace()
        words = re.sub(r"\\[,;:! ]|[~\s$]|\\q?quad\b", " ", inner)
        words = " ".join(words.replace("\\", " \\").split())
        if kind == "roman" and len(words) == 1:
            return [Node("roman", words)]
        return [SPACE, Node(kind, words), SPACE] if kind == "text" else [Node(kind, words)]

    def until_raw(self) -> str:
        """The text of a group, nothing read; `at` moves past it."""
        self.at += 1
        start, depth = self.at, 1
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            depth += (token == "{") - (token == "}")
            self.at += 1
            if depth == 0:
                return "".join(self.tokens[start : self.at - 1])
        raise LatexError("expected }")

    def environment(self) -> Node:
        if self.peek() != "{":
            raise LatexError("an environment without a name")
        name = self.until_raw().strip().rstrip("*")
        if name in ("array", "tabular") and self.peek() == "{":
            self.until_raw()
        body = self.until("\\end")
        self.at += 1
        if self.peek() != "{":
            raise LatexError("an environment that does not end")
        if self.until_raw().strip().rstrip("*") != name:
            raise LatexError("environments that cross")
        return Node("env", name, (body,))


GREEK = frozenset(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi "
    "omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell hbar varrho varsigma mho aleph Im Re".split()
)

_COMMA = Node("sym", ",")

_THOUSANDS = Node("sym", "{,}")
"""A comma without the space that follows one in a list: only ever inside a number, if there are numbers around it."""


def _join_numbers(nodes: Nodes, bracketed: bool = False) -> Nodes:
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
            inside = node.kind == "env" or (node.kind == "group" and any(n == _COMMA for n in node.parts[0]))
            node = node._replace(parts=tuple(_join_numbers(part, inside) for part in node.parts))
        result.append(_COMMA if node == _THOUSANDS else node)
        i += 1
    return tuple(result)


def _over(nodes: Nodes) -> Nodes:
    r"""`{1 \over 2}` and `{n \choose k}`, which take all that stands around them."""
    for i, node in enumerate(nodes):
        if node in (Node("sym", "\\over"), Node("sym", "\\choose")):
            return (Node("frac" if node.text == "\\over" else "binom", "", (trim(nodes[:i]), trim(nodes[i + 1 :]))),)
    return nodes


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
    while end + 1 < len(nodes) and nodes[end] in (_COMMA, _THOUSANDS, SPACE) and nodes[end + 1].kind == "num":
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
    return end, tuple(_COMMA if n == _THOUSANDS else n for n in nodes[start:end])
