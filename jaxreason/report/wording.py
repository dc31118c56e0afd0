"""Numbers in words and signs: how the report writes a share, a difference, an interval. `None` is a dash everywhere."""

import math
from collections.abc import Mapping
from typing import Any

DASH = "–"
NARROW = "\u202f"  # a space that does not break, before a unit


def number(data: Any, *path: str) -> float | None:
    """The finite number at a path of nested dicts; None where there is none.

    >>> number({"a": {"b": 2}}, "a", "b"), number({"a": "x"}, "a"), number(None, "a")
    (2.0, None, None)
    """
    for key in path:
        data = data.get(key) if isinstance(data, Mapping) else None
    if isinstance(data, bool) or not isinstance(data, int | float) or not math.isfinite(data):
        return None
    return float(data)


def fixed(value: float | None, digits: int = 1) -> str:
    """A number with so many decimals, a true minus, and no minus zero.

    >>> fixed(-1234.56), fixed(-0.01), fixed(None)
    ('−1,234.6', '0.0', '–')
    """
    if value is None:
        return DASH
    return f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int = 1) -> str:
    """A difference, its sign always written; ± where it rounds to nothing.

    >>> signed(0.3), signed(-2.0), signed(0.01)
    ('+0.3', '−2.0', '±0.0')
    """
    if value is None:
        return DASH
    shown = round(value, digits)
    return ("±" if shown == 0 else "+" if shown > 0 else "") + fixed(value, digits)


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage.

    >>> percent(0.5258).replace(NARROW, " ")
    '52.6 %'
    """
    return DASH if value is None else f"{fixed(100 * value, digits)}{NARROW}%"


def span(low: float | None, high: float | None, *, scale: float = 1.0, sign: bool = False) -> str:
    """An interval, `12.0 to 14.5`; empty where it is not known."""
    if low is None or high is None:
        return ""
    write = signed if sign else fixed
    return f"{write(scale * low)} to {write(scale * high)}"


def brief(value: float) -> str:
    """A number in about three figures, for a label in a chart.

    >>> [brief(x) for x in (1234.6, 83.9, 4.27, 0.0312, 0.0)]
    ['1,235', '84', '4.3', '0.031', '0']
    """
    if value == 0:
        return "0"
    if abs(value) >= 20:
        return fixed(value, 0)
    if abs(value) >= 1:
        return fixed(value, 1)
    return f"{value:.2g}".replace("-", "−")


def tokens_changed(relative: float | None) -> str:
    """`41.2 % fewer tokens`, from the relative change of the mean."""
    if relative is None:
        return "an unknown change of tokens"
    if round(100 * relative, 1) == 0:
        return "as many tokens"
    return f"{percent(abs(relative))} {'fewer' if relative < 0 else 'more'} tokens"


def duration(seconds: float | None) -> str | None:
    """Seconds as a person says them.

    >>> duration(1.34), duration(41), duration(95), duration(7300), duration(None)
    ('1.3 seconds', '41 seconds', '1.6 minutes', '2.0 hours', None)
    """
    if seconds is None:
        return None
    if seconds < 60:
        return f"{seconds:.1f} seconds" if seconds < 10 else f"{seconds:.0f} seconds"
    return f"{seconds / 60:.1f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
