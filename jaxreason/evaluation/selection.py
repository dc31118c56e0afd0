"""Few of many, for a page. No JAX: the report asks too."""

from collections.abc import Sequence
from typing import TypeVar

SHOWN = 48
"""Held-out problems whose answers a report shows at most, and a run's helpers are asked about."""

Item = TypeVar("Item")


def evenly(sources: Sequence[str], limit: int) -> list[int]:
    """Which of the items to take: at most so many, as many of each source, the sources in turn.

    Args:
      sources: of each item.

    >>> evenly(["a", "a", "a", "a", "b"], 3)
    [0, 4]
    """
    names = list(dict.fromkeys(sources))
    groups = [
        spread([n for n, source in enumerate(sources) if source == name], max(1, limit // len(names))) for name in names
    ]
    longest = max(map(len, groups), default=0)
    return [group[i] for i in range(longest) for group in groups if i < len(group)][:limit]


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """So many items at equal distances, the first and the last among them.

    >>> spread([1, 2, 3, 4, 5], 3)
    [1, 3, 5]
    """
    if len(items) <= count:
        return list(items)
    if count == 1:
        return [items[0]]
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]
