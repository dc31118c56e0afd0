"""How long the answer that is being graded may still take: set by the worker, read by graders that start processes."""

import time

OUTSIDE_S = 30.0
"""Seconds for an answer that is graded outside a worker, from where it is first asked."""
_MARGIN, _MOST_S = 0.1, 0.25
_until: float | None = None


def start(timeout_s: float) -> None:
    """A new answer: the worker is killed after so many seconds, so a grader ends a little before."""
    global _until
    _until = time.monotonic() + timeout_s - min(_MARGIN * timeout_s, _MOST_S)


def until() -> float:
    """When to give up, in seconds of time.monotonic()."""
    return time.monotonic() + OUTSIDE_S if _until is None else _until
