"""The folder of a run: config.yaml, env.json, metrics.jsonl, samples/, tb/, with checkpoints/ and report.html beside.

model.json stands there where the run began from a released checkpoint.

One process writes, under a lock that the kernel releases when the process ends, however it ends. This module knows no
metric by name.
"""

import collections
import contextlib
import fcntl
import functools
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from jaxreason.config import Config, to_dict
from jaxreason.config.moved import renamed
from jaxreason.run.files import ATTEMPTS, Unwritable, append_line, plain, probe, write_json_atomic, write_text_atomic
from jaxreason.run.provenance import environment

if TYPE_CHECKING:
    from tensorboardX.event_file_writer import EventsWriter

CONFIG, ENV, METRICS, RESULTS = "config.yaml", "env.json", "metrics.jsonl", "results.json"
SAMPLES, EVALUATION, TENSORBOARD, CHECKPOINTS = "samples", "evaluation", "tb", "checkpoints"
START, BEST, MODEL = "start", "best", "model.json"
HELPER = "helper"
"""Where the helpers are a policy of their own: START and MODEL of it are in here."""
_MAY_CHANGE = {
    "run.max_steps",
    "run.output_dir",
    "run.compilation_cache_dir",
    "run.save_steps",
    "run.save_total_limit",
    "run.keep_best",
    "run.accept_changed_doors",
    "run.on_alarm",
    "run.max_rollbacks",
    "run.report_to",
    "run.profile_steps",
    "sampling.slots",
    "sampling.pages",
    "reward.reward_timeout_s",
}
"""What a resumed run may change: how far it goes and what ends it, where it lies, what it keeps and, beside these, its
mesh. Nothing in the numbers, of which a mesh and the number of slots move the last digits."""


class RunFolder:
    """A run's folder, open for writing. A context manager; `close` gives the lock back."""

    def __init__(self, path: Path, lock: int | None, launches: int = 1, *, tensorboard: bool = True):
        self.path = path
        self.launches = launches
        self._tensorboard = tensorboard
        self._lock = lock  # None: another process writes this run, and every write below does nothing
        self._events: EventsWriter | None = None
        self._event_files = 0
        self._purge_step: int | None = None
        self._late: collections.deque[Callable[[], None]] = collections.deque()
        self._failures = 0
        self.trouble: str | None = None

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints go."""
        return self.path / CHECKPOINTS

    def write_metrics(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Append one row to metrics.jsonl and, where it is wanted, to TensorBoard. NaN and infinity become null."""
        if self._lock is None:
            return
        row = plain({"step": int(step), **metrics})
        self._do(functools.partial(append_line, self.path / METRICS, json.dumps(row, allow_nan=False) + "\n"))
        if self._tensorboard:
            self._do(functools.partial(self._write_event, row, time.time()))
        self._failures = self._failures + 1 if self._late else 0
        if self._failures >= ATTEMPTS:
            raise Unwritable(
                f"{self._reason()}, {ATTEMPTS} steps in a row; make room, and the same command goes on from the newest "
                "checkpoint"
            )

    def write_samples(self, step: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write samples/step_000010.jsonl, one row a completion, in place of what was there."""
        self.write_rows(f"{SAMPLES}/step_{step:06d}.jsonl", rows)

    def write_rows(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write a JSONL file of the run, whole or not at all."""
        if self._lock is None:
            return
        text = "".join(json.dumps(plain(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        self._do(functools.partial(write_text_atomic, self.path / name, text))

    def write_json(self, name: str, data: Any) -> None:
        """Write a JSON file of the run, whole or not at all."""
        if self._lock is not None:
            self._do(functools.partial(write_json_atomic, self.path / name, data))

    def settle(self) -> None:
        """Write what was held back.

        Raises:
          Unwritable: it still cannot be written.
        """
        if self._late:
            self._try()
        if self._late:
            raise Unwritable(f"{self._reason()}; make room, and the same command goes on")

    def _do(self, write: Callable[[], None]) -> None:
        """Write, in order after what was held back; a disk that refuses is tried again with the next write.

        `trouble` says what is wrong as long as anything is held back.
        """
        self._late.append(write)
        self._try()

    def _reason(self) -> str:
        return (self.trouble or "").partition(";")[0]

    def _try(self) -> None:
        try:
            while self._late:
                self._late[0]()
                self._late.popleft()
            self.trouble = None
        except OSError as error:
            where = error.filename or self.path
            self.trouble = f"{where}: cannot be written ({error.strerror or error}); tried again at the next step"

    def truncate_after(self, step: int) -> list[dict]:
        """Forget what a restored run will do again: metrics, samples and evaluations of steps beyond `step`.

        A line cut off by a kill is dropped too. Returns the rows that stay, in order, on every process.
        """
        rows = [row for row in read_metrics(self.path) if row["step"] <= step]
        if self._lock is None:
            return rows
        write_text_atomic(self.path / METRICS, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))
        for file in [*(self.path / SAMPLES).glob("step_*"), *(self.path / EVALUATION).glob("step_*")]:
            number = file.stem.removeprefix("step_")
            if number.isdigit() and int(number) > step:
                file.unlink()
        self._purge_step = step + 1
        return rows

    def close(self) -> None:
        """Flush and give the lock back."""
        if self._late:
            self._try()
        if self._events is not None:
            with contextlib.suppress(OSError):
                self._events.close()
        self._events = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write_event(self, row: Mapping[str, Any], wall_time: float) -> None:
        """One event a step, written through: a SummaryWriter loses steps to a kill and hangs on a full disk."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2, summary_pb2

        events: Any = event_pb2  # protobuf makes its classes when it is imported
        summaries: Any = summary_pb2
        step = row["step"]
        values = [
            summaries.Summary.Value(tag=name, simple_value=value)
            for name, value in row.items()
            if name != "step" and isinstance(value, int | float) and not isinstance(value, bool)
        ]
        try:
            if self._events is None:
                folder = self.path / TENSORBOARD
                folder.mkdir(exist_ok=True)
                self._event_files += 1
                self._events = EventsWriter(str(folder / "events"), f".{self.launches}.{self._event_files}")
                again = events.SessionLog(status=events.SessionLog.START)  # what was written of it is void
                self._events.write_event(
                    events.Event(wall_time=wall_time, step=self._purge_step or step, session_log=again)
                )
                self._purge_step = None
            self._events.write_event(
                events.Event(wall_time=wall_time, step=step, summary=summaries.Summary(value=values))
            )
            self._events.flush()
        except OSError:
            # The file may end in half a record, behind which nothing would be read.
            broken, self._events = self._events, None
            if broken is not None:
                with contextlib.suppress(OSError):
                    broken.close()
            raise


def create_or_open(path: str | Path, config: Config, *, writer: bool = True) -> RunFolder:
    """Make a run's folder, or open it to go on.

    Args:
      path: the folder; a local one.
      config: of this launch. Where a run has begun it is compared with the folder's, which it replaces.
      writer: False on all processes but the first of a run: nothing is locked, checked or written.

    Raises:
      ValueError: the folder cannot be written, is in use, or holds what another configuration made (every differing
        key is named).
    """
    path = Path(path).expanduser()
    if not writer:
        return RunFolder(path, None)
    if "://" in str(path) or ":/" in str(path):
        raise ValueError(f"run.output_dir: expected a local folder, got {path}; write locally and copy it afterwards")
    try:
        (path / SAMPLES).mkdir(parents=True, exist_ok=True)
        probe(path)
        lock = os.open(path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ValueError(f"run.output_dir: cannot write to {path} ({error.strerror}); choose another folder") from None
    try:
        _take(lock, path)
        held = _read_config(path / CONFIG)
        if held is not None and begun(path):
            _refuse_another(held, to_dict(config), path)
        write_text_atomic(path / CONFIG, yaml.safe_dump(to_dict(config), sort_keys=False))
        launches = _launches(path) + 1
        write_json_atomic(path / ENV, environment() | {"launches": launches})
    except BaseException:
        os.close(lock)
        raise
    return RunFolder(path, lock, launches, tensorboard="tensorboard" in config.run.report_to)


def finished(path: str | Path, config: Config) -> dict | None:
    """What results.json holds of a run that did all the steps asked for, or that an alarm ended and would end again;
    None where something is left to do.

    Raises:
      ValueError: the run is finished, and was of another configuration.
    """
    path = Path(path).expanduser()
    try:
        results = json.loads((path / RESULTS).read_text())
        done = int(results["steps"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    held = _read_config(path / CONFIG)
    back = config.run.on_alarm == "rollback" and len(results.get("rollbacks") or ()) <= config.run.max_rollbacks
    ended = results.get("ended_by") and config.run.on_alarm != "warn" and not back
    if held is None or (done < config.run.max_steps and not ended):
        return None
    _refuse_another(held, to_dict(config), path)
    return results


def read_metrics(path: str | Path) -> list[dict]:
    """Rows of a run's metrics.jsonl in order; a torn line is left out. Empty where there are none."""
    file = Path(path) / METRICS
    if not file.is_file():
        return []
    rows = []
    for line in file.read_text(errors="replace").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            row = json.loads(line)
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                rows.append(row)
    return rows


def steps_done(path: str | Path) -> int:
    """The last step that left a metric row or a checkpoint; 0 for a run that did none."""
    logged = [row["step"] for row in read_metrics(path)]
    return max([0, *logged, *_saved(Path(path) / CHECKPOINTS)])


def begun(path: str | Path) -> bool:
    """Whether a folder holds a policy or steps, so that only the configuration that made them may go on."""
    return bool(_saved(Path(path) / START)) or (Path(path) / MODEL).is_file() or steps_done(path) > 0


def _saved(folder: Path) -> list[int]:
    return [int(child.name) for child in folder.iterdir() if child.name.isdigit()] if folder.is_dir() else []


def _take(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise ValueError(
            f"{path}: another process is writing this run; stop it, or set another run.output_dir"
        ) from None


def _read_config(file: Path) -> dict | None:
    if not file.is_file():
        return None
    try:
        content = yaml.safe_load(file.read_text())
    except yaml.YAMLError:
        content = None
    if not isinstance(content, dict):
        raise ValueError(f"{file}: cannot be read, so this run cannot be told from another; delete its folder")
    return content


def _refuse_another(held: dict, asked: dict, path: Path) -> None:
    # A field that is younger than the folder had its default when the folder was made.
    old, new = _flat(to_dict(Config())) | _flat(renamed(held)), _flat(asked)
    absent = object()
    # A learning rate that falls to 0 at the last step depends on which step that is.
    may_change = _MAY_CHANGE - ({"run.max_steps"} if new.get("optimizer.lr_scheduler_type") != "constant" else set())
    differing = [
        f"{key} ({_show(old, key)} -> {_show(new, key)})"
        for key in [*new, *(k for k in old if k not in new)]
        if key not in may_change
        and not key.startswith(("mesh.", "distributed."))
        and old.get(key, absent) != new.get(key, absent)
    ]
    if differing:
        raise ValueError(
            f"{path}: holds a run with another configuration: {', '.join(differing)}; "
            "set another run.output_dir, or delete the folder"
        )


def _flat(sections: dict) -> dict[str, Any]:
    return {
        f"{name}.{key}": value
        for name, section in sections.items()
        for key, value in (section.items() if isinstance(section, dict) else [("", section)])
    }


def _show(flat: dict[str, Any], key: str) -> str:
    return json.dumps(flat[key]) if key in flat else "not set"


def _launches(path: Path) -> int:
    try:
        return int(json.loads((path / ENV).read_text())["launches"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
