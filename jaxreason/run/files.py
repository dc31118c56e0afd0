"""Writing files so that a reader, or a kill, never meets half of one, and asking a disk whether it has room.

A disk that is full before a run begins is met here. One that fills up later is met where it is written: `run/folder.py`
holds rows back and tries again, `run/checkpoint.py` tries again at the next save; both give up with Unwritable.
"""

import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ATTEMPTS = 5
"""Steps, or saves, in a row that may fail before a run gives up."""
_BLOCK = 64 * 1024


class Unwritable(Exception):
    """The disk refused too often; what was saved before is whole."""


def write_json_atomic(path: str | Path, data: Any) -> None:
    """Write JSON so that a reader, or a kill, never meets half a file. NaN and infinity become null."""
    write_text_atomic(Path(path), json.dumps(plain(data), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text_atomic(path: Path, text: str) -> None:
    """Write a file by another name, see it to the disk, and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Append a whole line or nothing, and see it to the disk."""
    content, written = line.encode(), 0
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        before = os.fstat(file).st_size
        try:
            while written < len(content):
                written += os.write(file, content[written:])
            os.fsync(file)
        except OSError:
            os.ftruncate(file, before)
            raise
    finally:
        os.close(file)


def plain(value: Any) -> Any:
    """Plain JSON: arrays of one number become it, what is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


def probe(folder: Path) -> None:
    """Write a block through to the disk and take it away again.

    An empty file would not do: a full disk and a spent quota let it be made.

    Raises:
      OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f".probe.{os.getpid()}"
    try:
        with file.open("wb") as opened:
            opened.write(os.urandom(_BLOCK))
            opened.flush()
            os.fsync(opened.fileno())
    finally:
        file.unlink(missing_ok=True)


def lacks_space(folder: Path, needed: int, what: str) -> str | None:
    """What to say of a disk with less than `needed` bytes free, with the remedies; None where there is room."""
    free = shutil.disk_usage(folder).free
    if free >= needed:
        return None
    return (
        f"{folder}: {what} of this model need {_size(needed)}, {_size(free)} are free; "
        "free some space, lower run.save_total_limit or set another run.output_dir"
    )


def _size(count: int) -> str:
    """
    >>> _size(512), _size(3_000_000), _size(2_500_000_000)
    ('1 kB', '3.0 MB', '2.5 GB')
    """
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{max(1, round(count / 1e3))} kB"
