"""The memory there is, read from files laid out as Linux and its two kinds of control groups lay them out."""

from pathlib import Path

import pytest

from jaxreason.run import memory

GIB = 2**30


def _machine(root: Path, *, available: int, total: int, group: str, files: dict[str, object]) -> Path:
    texts = {
        "proc/meminfo": f"MemTotal: {total // 1024} kB\nMemFree: 1 kB\nMemAvailable: {available // 1024} kB\n",
        "proc/self/cgroup": group,
        **{f"sys/fs/cgroup/{name}": str(value) for name, value in files.items()},
    }
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


V1 = "9:cpu:/\n4:memory:/docker/abc\n"
V2 = "0::/user.slice/a.scope\n"
LIMIT, USED = "memory.limit_in_bytes", "memory.usage_in_bytes"
CASES = {
    "no limit": (V2, {"user.slice/memory.max": "max", "user.slice/memory.current": 5}, (8, 16)),
    "version 1 without a limit": (V1, {f"memory/{LIMIT}": 2**63 - 4096, f"memory/{USED}": GIB}, (8, 16)),
    "its own group": (V2, {"user.slice/a.scope/memory.max": 4 * GIB, "user.slice/a.scope/memory.current": GIB}, (3, 4)),
    "a group above": (V2, {"user.slice/memory.max": 6 * GIB, "user.slice/memory.current": 5 * GIB}, (1, 6)),
    "inside a container": (V2, {"memory.max": 2 * GIB, "memory.current": GIB}, (1, 2)),
    "version 1, inside a container": (V1, {f"memory/{LIMIT}": 4 * GIB, f"memory/{USED}": GIB}, (3, 4)),
    "files in the cache are free": (
        V2,
        {"memory.max": 4 * GIB, "memory.current": 3 * GIB, "memory.stat": f"anon 5\ninactive_file {2 * GIB}\n"},
        (3, 4),
    ),
    "more used than allowed": (V2, {"memory.max": 4 * GIB, "memory.current": 5 * GIB}, (0, 4)),
    "a larger limit than the machine": (V2, {"memory.max": 64 * GIB, "memory.current": GIB}, (8, 16)),
}


@pytest.mark.parametrize("case", CASES)
def test_of_machine(tmp_path, case):
    """Catches a container whose limit is not seen, which ends a run by a kill."""
    group, files, (free, limit) = CASES[case]
    root = _machine(tmp_path, available=8 * GIB, total=16 * GIB, group=group, files=files)
    assert memory.of_machine(root) == memory.Memory(free * GIB, limit * GIB)


def test_a_system_without_proc_says_nothing(tmp_path):
    assert memory.of_machine(tmp_path) is None


def test_a_device_has_its_share_of_this_machine():
    """The tests run on eight devices of one CPU."""
    import jax

    whole, device = memory.of_machine(), memory.of_device()
    assert whole
    assert device
    assert device.limit == whole.limit // jax.local_device_count()
    assert 0 < device.free <= device.limit
