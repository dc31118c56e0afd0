"""Whether a disk takes what a run will write, asked before the run begins.

A disk that is full later is met where it is written: `runfolder` holds rows back and tries again, `checkpoint` tries
again at the next save; both give up with Unwritable.
"""

import os
import shutil
from pathlib import Path

ATTEMPTS = 5
"""Steps, or saves, in a row that may fail before a run gives up."""
_BLOCK = 64 * 1024


class Unwritable(Exception):
    """The disk refused too often; what was saved before is whole."""


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
