r"""An answer's text as LaTeX: characters that stand for commands, and what people and models write around an answer."""

import re
import unicodedata

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


def as_latex(text: str) -> str:
    r"""The text with its characters as LaTeX, without markdown, the words `the answer is` and dollars of mathematics.

    >>> as_latex("**The answer is ½**")
    '\\frac{1}{2}'
    """
    return _outer(_ascii(text))


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
