"""The memory there is: of an accelerator what its driver gives, of a CPU what machine and container have free."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax

GIB = 2**30
UNLIMITED = 2**60
"""A container's limit above this is none: version 1 of cgroups writes its largest number."""


class Memory(NamedTuple):
    """Of one device, in bytes."""

    free: int
    """what this process can still take"""
    limit: int
    """what it could take if nothing were in use"""


def of_device() -> Memory | None:
    """Memory of a device of this process, of a CPU in equal shares; None where the platform does not say."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return Memory(stats["bytes_limit"] - stats.get("bytes_in_use", 0), stats["bytes_limit"])
    if jax.default_backend() != "cpu" or (found := of_machine()) is None:
        return None
    return Memory(*(size // jax.local_device_count() for size in found))


def of_machine(root: Path = Path("/")) -> Memory | None:
    """Main memory that a process can take: the machine's free memory, and its container's where that is less; None on a
    system without /proc.

    Args:
      root: where /proc and /sys are looked for.
    """
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        known = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
        free, total = known["MemAvailable"], known["MemTotal"]
    except (OSError, KeyError, ValueError, IndexError):
        return None
    for limit, used in _containers(root):
        free, total = min(free, max(0, limit - used)), min(total, limit)
    return Memory(free, total)


def _containers(root: Path) -> Iterator[tuple[int, int]]:
    """Limit and use, without files that are cached, of every control group that this process is in."""
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top = root / "sys/fs/cgroup" / controllers
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if controllers else ("memory.max", "memory.current")
        # Inside a container the path is often one of the host, and its own group is the top: both are looked at.
        for folder in {top, *((top / path.strip("/")).parents), top / path.strip("/")}:
            if not folder.is_relative_to(top):
                continue
            limit, used = (_number(folder / name) for name in names)
            if limit is not None and used is not None and limit < UNLIMITED:
                yield limit, max(0, used - _cached(folder / "memory.stat"))


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # no such group, or `max`
        return None


def _cached(file: Path) -> int:
    """Bytes of files that the group would give up first."""
    try:
        words = [line.split() for line in file.read_text().splitlines()]
    except OSError:
        return 0
    known = {name: int(value) for name, value in words}
    return known.get("total_inactive_file", known.get("inactive_file", 0))


def in_gib(size: float) -> str:
    """A size in words.

    >>> in_gib(3.14 * 2**30), in_gib(5 * 2**20)
    ('3.1 GiB', '0.005 GiB')
    """
    return f"{size / GIB:.1f} GiB" if size >= 0.05 * GIB else f"{size / GIB:.1g} GiB"
