r"""LaTeX of an answer as a tree, without what only matters to the eye.

Tokens are read one by one, so that `\\ ` is a line break and never half of another control symbol. What is dropped:
dollars and other delimiters of mathematics, outer boxes and braces, `\left` and `\right`, sizes, styles and colours,
negative spaces, a final full stop. What is made one: the spellings of a fraction (`\dfrac`, `\tfrac12`), of a relation
(`\leqslant`, `≤`), of a character (full width, superscripts, `√`, `π`, `−`), of a number (`10,\!080`, `1\,234`).
"""

import re
from functools import lru_cache

from jaxreason.grading.as_latex import as_latex
from jaxreason.grading.digit_groups import COMMA, THOUSANDS, join_numbers
from jaxreason.grading.nodes import BREAK, SPACE, WIDE, Node, Nodes, trim, write

MAX_DEPTH = 40
"""Braces deeper than this are not read, so that nobody's recursion ends in an exception."""


class LatexError(ValueError):
    """Braces that do not balance, an argument that is missing, or nesting beyond MAX_DEPTH."""


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
    return trim(join_numbers(_Reader(as_latex(text)).all()))


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
            if before and before[-1] == COMMA:
                before[-1] = THOUSANDS
            return []
        if name == "thousands":
            self.peek()
            return [THOUSANDS]
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


def _over(nodes: Nodes) -> Nodes:
    r"""`{1 \over 2}` and `{n \choose k}`, which take all that stands around them."""
    for i, node in enumerate(nodes):
        if node in (Node("sym", "\\over"), Node("sym", "\\choose")):
            return (Node("frac" if node.text == "\\over" else "binom", "", (trim(nodes[:i]), trim(nodes[i + 1 :]))),)
    return nodes
