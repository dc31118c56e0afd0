"""Where the time of a step goes: a trace for xprof and Perfetto, and a table of the largest operations.

A trace that cannot be written costs a warning, never a step.
"""

import collections
import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax

from jaxreason.parallel import hosts
from jaxreason.run.files import write_text_atomic

FOLDER = "profile"
"""In a run's folder: step_000003/ with the trace, step_000003.txt with the table."""
LARGEST = 10
"""Operations of the table."""


class Operation(NamedTuple):
    """All calls of one operation of one compiled program."""

    program: str
    name: str
    calls: int
    seconds: float  # without those of operations inside it, added over devices and threads


class Event(NamedTuple):
    """One call, on one thread or queue of a device."""

    program: str
    name: str
    start: float  # ns
    duration: float  # ns


@contextlib.contextmanager
def traced(folder: Path, number: int, steps: Sequence[int], say: Callable[[str], None]) -> Iterator[None]:
    """Trace what is done inside, where `number` is one of the steps; then write the table and tell its place.

    Args:
      folder: of the run.
    """
    if number not in steps:
        yield
        return
    place = folder / FOLDER / f"step_{number:06d}"
    try:
        jax.profiler.start_trace(place)
    except Exception as error:  # another trace is running, or a disk is full
        say(f"run.profile_steps: step {number} was not traced ({_reason(error)})")
        yield
        return
    try:
        yield
    finally:
        try:
            jax.profiler.stop_trace()
            if hosts.first():
                text = table(operations(events(place)))
                write_text_atomic(place.with_suffix(".txt"), text)
                say(f"step {number}, its {LARGEST} largest operations; the trace for xprof is in {place}\n{text}")
        except Exception as error:
            say(f"run.profile_steps: the trace of step {number} is not whole ({_reason(error)})")


def events(place: Path) -> Iterator[list[Event]]:
    """The operations of a trace, those of each thread or queue of a device by themselves."""
    for file in sorted(place.rglob("*.xplane.pb")):
        for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
            for line in plane.lines:
                found = []
                for event in line.events:
                    stats = dict(event.stats)
                    if "hlo_op" in stats or (plane.name.startswith("/device:") and line.name == "XLA Ops"):
                        program = str(stats.get("hlo_module", ""))
                        found.append(Event(program, event.name, event.start_ns, event.duration_ns))
                if found:
                    yield found


def operations(lines: Iterable[Sequence[Event]]) -> list[Operation]:
    """Calls and own time of every operation, the largest first.

    An operation that holds others, such as a loop, counts what is left of it without them.
    """
    calls: collections.Counter[tuple[str, str]] = collections.Counter()
    taken: dict[tuple[str, str], float] = collections.defaultdict(float)
    for line in lines:
        open_until: list[tuple[float, tuple[str, str]]] = []
        for event in sorted(line, key=lambda e: (e.start, -e.duration)):
            while open_until and open_until[-1][0] <= event.start:
                open_until.pop()
            key = (event.program, event.name)
            if open_until:
                taken[open_until[-1][1]] -= event.duration
            calls[key] += 1
            taken[key] += event.duration
            open_until.append((event.start + event.duration, key))
    found = [Operation(*key, calls[key], ns * 1e-9) for key, ns in taken.items()]
    return sorted(found, key=lambda one: -one.seconds)


def table(found: Sequence[Operation]) -> str:
    """The largest operations as text, with their share of all."""
    whole = sum(one.seconds for one in found)
    rows = [f"{'seconds':>9} {'share':>6} {'calls':>7}  operation"]
    rows += [
        f"{one.seconds:9.3f} {one.seconds / whole:6.1%} {one.calls:7d}  {one.program}: {one.name}"
        for one in found[:LARGEST]
    ]
    return "\n".join([*rows, f"{whole:9.3f} {1:6.0%} {sum(one.calls for one in found):7d}  all"]) + "\n"


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
