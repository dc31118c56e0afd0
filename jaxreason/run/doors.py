"""The user's own code of a run: loaded alike on every host, recorded in the run's folder, and refused where it changed.

The folder holds doors.json, which says what code made which steps, and a copy of every source file below doors/. What a
door's file imports is not recorded.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jaxreason.config import Config, doors, respell
from jaxreason.config.doors import Door, DoorError, DoorFailed
from jaxreason.parallel import hosts
from jaxreason.run import folder as run_folder
from jaxreason.run.files import write_json_atomic, write_text_atomic
from jaxreason.run.folder import RunFolder

RECORD, SOURCES = "doors.json", "doors"
ONLY_IN_STEPS = "reward."
"""Doors of this section are used by training steps alone, so that one may change until a step was done."""


def load(config: Config) -> tuple[Door, ...]:
    """Every door that a configuration names. All processes call it together.

    Raises:
      DoorError: one cannot be loaded, on every process where it cannot on one; or the processes have different files.
    """
    found, refusal = (), None
    try:
        found = tuple(doors.load(name, field) for field, name in config.doors)
    except DoorError as error:
        refusal = error
    for process, theirs in enumerate(hosts.gather(refusal)):
        if theirs is not None:
            raise refusal or DoorError(f"process {process}: {theirs}")
    hosts.refuse_difference({f"code of {door.field} {door.name}": door.fingerprint for door in found})
    return found


def from_copies(config: Config, folder: Path) -> Config:
    """The configuration of a run's folder, with the folder's own copy of each file that is no longer where it was.

    So a run can be evaluated from another working directory, and where only its folder was copied to. A copy stands
    alone: a module of the user's that it imports has to be importable.

    Raises:
      DoorError: the record of the run's code cannot be read.
    """

    def spelling(field: str, name: str) -> str:
        source, _, attribute = name.rpartition(":")
        if not source.endswith(".py") or Path(source).expanduser().is_file():
            return name
        for entry in _read(folder)["doors"]:
            if (entry["field"], entry["name"], Path(entry["file"]).name) == (field, attribute, Path(source).name):
                return f"{folder / entry['source']}:{attribute}"
        return name

    return respell(config, spelling)


def refuse_changed(folder: RunFolder, found: Sequence[Door], config: Config, say: Callable[[str], None]) -> None:
    """Refuse to go on with other code than a run's steps were made with. All processes call it together.

    It may change where run.accept_changed_doors says so, where it is what ended the run before, and where no step was
    made with it; `say` is told.

    Raises:
      DoorError: naming the door, its file, the copy of the code as it was, and what to do.
    """
    refusal, lines = None, []
    if hosts.first():
        record = _read(folder.path)
        for held, door in zip(record["doors"], found, strict=False):  # in the order of one configuration
            if not _same(held, door) or held["sha256"] == door.fingerprint or not _used(door, folder.path):
                continue
            changed = f"{door.field}: {door.place} has changed since this run was begun"
            if str(door.file) == record["failed"]:
                lines.append(f"{changed}; going on with it as it is now, since it ended the run before")
            elif config.run.accept_changed_doors:
                lines.append(f"{changed}; going on with it as it is now (run.accept_changed_doors)")
            else:
                refusal = (
                    f"{changed} ({held['sha256'][:8]} -> {door.fingerprint[:8]}); put back the code of "
                    f"{folder.path / held['source']}, set another run.output_dir, or go on with the new code by "
                    "--run.accept_changed_doors=true"
                )
                break
    refusal, lines = hosts.agree((refusal, lines))
    if refusal:
        raise DoorError(refusal)
    for line in lines:
        say(line)


def record(folder: RunFolder, found: Sequence[Door], number: int) -> None:
    """Write down the code that steps after `number` are made with. What made the steps before stays on record.

    doors.json: `doors`, those in use; `before`, a list of {until_step, doors} with those of earlier steps; `failed`,
    the file whose code ended the run, if it did.
    """
    if not hosts.first() or not (found or (folder.path / RECORD).is_file()):
        return
    held = _read(folder.path)
    now = [_entry(door) for door in found]
    before = [part for part in held["before"] if part["until_step"] < number]
    if (
        number
        and held["doors"]
        and [entry["sha256"] for entry in held["doors"]] != [door.fingerprint for door in found]
    ):
        before.append({"until_step": number, "doors": held["doors"]})
    for door, entry in zip(found, now, strict=True):
        copy = folder.path / entry["source"]
        if not copy.is_file():
            write_text_atomic(copy, door.source)
    write_json_atomic(folder.path / RECORD, {"doors": now, "before": before, "failed": None})


def note_failure(folder: RunFolder, failed: DoorFailed) -> None:
    """Remember whose code ended the run, so that it may be mended."""
    if hosts.first() and (folder.path / RECORD).is_file():
        write_json_atomic(folder.path / RECORD, _read(folder.path) | {"failed": failed.file})


def stopped(failed: DoorFailed, number: int) -> DoorFailed:
    """What to raise when the run is saved."""
    where = f"after step {number} and saved" if number else "before the first step"
    line = f"{failed}; stopped {where}; mend it, and the same command goes on from there"
    return DoorFailed(line, failed.traceback, failed.file)


def _entry(door: Door) -> dict[str, Any]:
    return {
        "field": door.field,
        "name": door.name,
        "file": str(door.file),
        "sha256": door.fingerprint,
        "source": f"{SOURCES}/{door.file.stem}-{door.fingerprint[:8]}.py",
    }


def _same(entry: dict[str, Any], door: Door) -> bool:
    """Whether an entry is of this door: a run may be gone on with from a copy of the user's folder."""
    return (entry["field"], entry["name"], Path(entry["file"]).name) == (door.field, door.name, door.file.name)


def _used(door: Door, folder: Path) -> bool:
    return not door.field.startswith(ONLY_IN_STEPS) or run_folder.steps_done(folder) > 0


def _read(folder: Path) -> dict[str, Any]:
    file = folder / RECORD
    try:
        held = json.loads(file.read_text()) if file.is_file() else {"doors": [], "before": [], "failed": None}
    except ValueError:
        held = None
    if not isinstance(held, dict) or not held.keys() >= {"doors", "before", "failed"}:
        raise DoorError(f"{file}: cannot be read, expected the record of this run's own code; delete it to go on")
    return held
