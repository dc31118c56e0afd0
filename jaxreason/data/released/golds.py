r"""A right answer as text, made of what a column holds. No grader is known here; nothing is guessed."""

import decimal
import math
import re
from typing import Any

_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_WHOLE = re.compile(r"[+-]?\d+\.0")
_PRINTED_LIST = re.compile(r"\[\s*(['\"]).*\1\s*\]", re.DOTALL)
_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])\s*")


def text_of(value: Any) -> str:
    """A value as an answer: a list of one is its element, a whole float an integer, null or nothing is "".

    >>> text_of(["2"]), text_of(27.0), text_of(1e-05)
    ('2', '27', '0.00001')

    Raises:
      ValueError: anything that is neither text nor a finite number, in words of what was got.
    """
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None or value == []:
        return ""
    if isinstance(value, str):
        text = value.strip()
        if _PRINTED_LIST.fullmatch(text):
            raise ValueError(f"a list printed as text, {shown(text)}")
        return text.removesuffix(".0") if _WHOLE.fullmatch(text) else text
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        kind = {"dict": "an object", "bool": "a truth value"}.get(type(value).__name__, f"a {type(value).__name__}")
        raise ValueError(f"{kind}, {shown(value)}")
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        raise ValueError(f"no number, {value}")
    return str(int(value)) if value.is_integer() else f"{decimal.Decimal(repr(value)):f}"


def without_thousands(text: str) -> str:
    """Numbers without the commas between their thousands; other commas stay.

    >>> without_thousands("1,234,567"), without_thousands("3,5")
    ('1234567', '3,5')
    """
    return _THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)


def last_box(solution: str) -> str:
    r"""What the last `\boxed{}` (or `\fbox{}`, or `\boxed 5`) of a worked solution holds; "" where there is none.

    >>> last_box(r"So $\boxed{\frac{1}{2}}$ metres.")
    '\\frac{1}{2}'
    """
    boxes = list(_BOX.finditer(solution))
    if not boxes:
        return ""
    rest = solution[boxes[-1].end() :]
    if not rest.startswith("{"):
        return re.split(r"[\s$]", rest, maxsplit=1)[0]
    depth = 0
    for token in re.finditer(r"\\.|[{}]", rest, re.DOTALL):
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if depth == 0:
            return rest[1 : token.start()].strip()
    return ""


def as_list(text: str) -> str:
    """Several right answers in one form: bare, with a comma and a space between, so that no comma is one of thousands.

    Commas inside brackets belong to a tuple or a set. An answer that needs words is left as it is.

    >>> as_list("$69$,$84$"), as_list("$(1,8,19), (2,7,13)$"), as_list("27,108,135")
    ('69, 84', '(1,8,19), (2,7,13)', '27, 108, 135')
    """
    outside = text.split("$")[::2] if "$" in text else []
    if any(letter.isalpha() for part in outside for letter in part):
        return text
    parts, depth = [""], 0
    for letter in text.replace("$", ""):
        depth = max(0, depth + (letter in "([{") - (letter in ")]}"))
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return ", ".join(part.strip() for part in parts if part.strip())


def shown(value: Any) -> str:
    """A value in an error, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
