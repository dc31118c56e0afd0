"""How much is decoded at a time. It decides speed and memory, and not one token."""

import dataclasses
from typing import Any

from jaxreason.config import SamplingConfig
from jaxreason.ops.attention_mesh import platform
from jaxreason.parallel.rules import parts_of

PAGE = 64
"""Tokens of a page. Half a page of each row lies idle; a page is one small matrix product."""

BLOCK = 8
"""Tokens of a row that a pass reads under a constraint, most of which are forced or foreseen."""

SLOTS = {"cpu": 32}
MANY_SLOTS = 256
"""Slots of a device that pay: on a CPU more rows cost more time each, elsewhere a pass waits for the weights."""

COMPUTES = ("cpu",)
"""Where a pass takes as long as its products, not as long as what it reads. Idle slots cost time there, so the last
requests go on in fewer; and so do seats at a shared prompt whose readers are done, so every row has its own copy."""

SHRUNK, LEAST = 4, 8
"""Slots are left in steps of this factor as fewer requests remain, and never fewer than LEAST: each step is compiled,
and four rows take a CPU hardly less time than eight."""

FILLED = 4
"""Where memory is short, each slot is given this part of the pages of its limit: completions are shorter on average."""


@dataclasses.dataclass(frozen=True)
class Room:
    """How much is decoded at a time, over all devices."""

    slots: int = 0
    """rows that decode at a time; 0: all"""
    pages: int = 0
    """pages of PAGE tokens that rows share; 0: enough for every slot to reach the limit"""
    block: int = 0
    """tokens of a row fed at a time; 0: one, or BLOCK under a constraint"""
    shrinks: bool = False
    """whether the last requests are decoded in fewer slots"""
    shares: bool = True
    """whether the rows of a group read one copy of their prompt, or each its own"""


def most_slots(parts: int) -> int:
    """Slots that pay on a mesh that splits rows into so many parts."""
    return SLOTS.get(platform(), MANY_SLOTS) * parts


def room_for(sampling: SamplingConfig, rows: int, limit: int) -> Room:
    """Slots and pages for so many completions of at most `limit` tokens, on the mesh in force.

    `sampling.slots: auto` takes as many as pay on the devices, and no more than there are rows or than the pages of
    `sampling.pages` hold when each is filled to a quarter.

    >>> room = room_for(SamplingConfig(slots=8), rows=100, limit=640)
    >>> room.slots, room.pages
    (8, 0)
    >>> room = room_for(SamplingConfig(slots=8, pages=40), rows=100, limit=640)
    >>> room.slots, room.pages
    (8, 40)
    """
    most = -(-limit // PAGE)
    pages = 0 if sampling.pages == "auto" else sampling.pages
    if sampling.slots == "auto":
        slots = most_slots(parts_of("batch", rows))
        slots = min(slots, max(1, FILLED * pages // most)) if pages else slots
    else:
        slots = sampling.slots
    slots = min(slots, rows)
    computes = platform() in COMPUTES
    return Room(slots=slots, pages=pages if pages < slots * most else 0, shrinks=computes, shares=not computes)


def widths(slots: int, room: Room) -> tuple[int, ...]:
    """Slots of a part at first, and what they shrink to when no more requests than that are left.

    >>> widths(64, Room(shrinks=True)), widths(64, Room()), widths(8, Room(shrinks=True))
    ((64, 16), (64,), (8,))
    """
    found = [slots]
    while room.shrinks and found[-1] >= SHRUNK * LEAST:
        found.append(found[-1] // SHRUNK)
    return tuple(found)


def holds(room: Room, limit: Any, rows: int) -> Any:
    """Whether completions of this limit find pages enough, where so many prompts are split over the mesh in force.

    >>> holds(Room(pages=40), limit=2560, rows=9), holds(Room(pages=40), limit=2561, rows=9)
    (True, False)
    """
    return True if not room.pages else limit <= room.pages // parts_of("batch", rows) * PAGE
