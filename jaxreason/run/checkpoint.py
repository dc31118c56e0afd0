"""Checkpoints of a run: Orbax behind five calls, so that nothing else imports it.

A checkpoint is the state (any pytree of arrays, on any sharding) and a JSON dictionary (data position, controller and
monitor state). Orbax commits a checkpoint by a rename, so one that was cut off in mid-save is never listed; what it
does not detect is a file that changed afterwards (its array data carries no checksum: one flipped byte is loaded as
other numbers), so each array's shape, type and sum of bits are stored beside it and compared after loading.

Typed PRNG keys do not belong in the state: keys are derived from the seed and the step.
"""

import contextlib
import dataclasses
import errno
import json
import logging
import math
import os
import pathlib
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from etils import epath
from orbax.checkpoint import v1 as ocp

from jaxreason.run.files import ATTEMPTS, Unwritable, probe

_FORMAT = 1


class Damaged(Exception):
    """A checkpoint whose files are there but cannot be trusted."""


class NoneWhole(ValueError):
    """There are checkpoints, and all that may be used are damaged."""


class Checkpoints:
    """The checkpoints of one folder, `<folder>/<step>`. A context manager that waits for the last save."""

    def __init__(self, folder: epath.Path, keep: int | None):
        self.folder = folder
        self.keep = keep
        self._orbax = _open(folder, keep)
        self._damaged: set[int] = set()  # found so by `restore`
        self._failures = 0

    def save(self, step: int, state: Any, meta: dict) -> None:
        """Save in the background: returns once the arrays are copied off the devices, so they may be donated.

        Checkpoints of this step and of later ones are removed first: they belong to a course of the run that was left
        when it was restored to an earlier step.

        Args:
          step: training steps done.
          state: pytree of arrays.
          meta: what JSON can hold; NaN and infinity are refused, since other readers cannot read them.

        Raises:
          ValueError: meta is not JSON, or the folder was opened for reading.
          Unwritable: this save or the *previous* one failed.
        """
        if self.keep is None:
            raise ValueError(f"{self.folder}: opened for reading; expected open_checkpoints(folder, keep=...) to save")
        try:
            meta = json.loads(json.dumps(meta, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(f"meta of checkpoint {step}: expected plain JSON without NaN, got {error}") from None
        self.wait()
        record = {"format": _FORMAT, "arrays": fingerprint(state), "meta": meta}
        with _one_line(f"{self.folder}: checkpoint {step} could not be written"):
            for found in self._orbax.checkpoints:
                if found.step >= step:
                    self._orbax.delete(found.step)
            self._damaged = {found for found in self._damaged if found < step}
            self._orbax.save_async(step, state, force=True, custom_metadata=record)

    def try_save(self, step: int, state: Any, meta: dict) -> str | None:
        """`save` for the middle of a run, which a disk that is full for a while shall not end.

        Returns:
          What went wrong with this save or the one before it; None if nothing did.

        Raises:
          ValueError: as `save`.
          Unwritable: it went wrong ATTEMPTS times in a row.
        """
        problem = None
        try:
            self.wait()
        except Unwritable as error:
            problem = error
        newest = self.latest_step()  # before this one is listed, which is not whole yet
        try:
            self.save(step, state, meta)
        except Unwritable as error:
            problem = error
            self._reopen()
        if problem is None:
            self._failures = 0
            return None
        self._failures += 1
        stands = "there is no checkpoint" if newest is None else f"checkpoint {newest} stands"
        if self._failures >= ATTEMPTS:
            raise Unwritable(f"{problem}, {self._failures} saves in a row; {stands}, free some space and go on from it")
        return f"{problem}; {stands}, the next save tries again"

    def restore(self, step: int | None, abstract_state: Any) -> tuple[Any, dict, int]:
        """Load a checkpoint onto the shardings given.

        Args:
          step: which; None for the latest one that is whole. A damaged one is passed over with a warning.
          abstract_state: pytree of `jax.ShapeDtypeStruct`, each with its sharding.

        Returns:
          state, meta, step.

        Raises:
          NoneWhole: the step is damaged, or all are.
          ValueError: there is none, the step is not there, or the arrays have other names, shapes or types than asked
            for (another model, or another optimiser).
        """
        self.wait()
        steps = self.steps()
        if not steps:
            raise ValueError(f"{self.folder}: expected a checkpoint, found none; was anything saved yet?")
        if step is not None and step not in steps:
            raise ValueError(f"{self.folder}: no checkpoint of step {step}; there are {_enumerate(steps)}")
        reasons = []
        for candidate in reversed(steps) if step is None else [step]:
            try:
                return *self._load(candidate, abstract_state), candidate
            except Damaged as damage:
                self._damaged.add(candidate)
                reasons.append(f"checkpoint {candidate} is damaged ({damage})")
                if step is None and candidate != steps[0]:
                    warnings.warn(f"{self.folder}: {reasons[-1]}; trying the one before it", stacklevel=2)
        raise NoneWhole(f"{self.folder}: {'; '.join(reasons)}; delete it to start anew")

    def steps(self) -> list[int]:
        """Steps of the committed checkpoints, ascending; which of them are damaged shows in `restore`."""
        return [found.step for found in self._orbax.checkpoints if found.step not in self._damaged]

    def latest_step(self) -> int | None:
        """Step of the newest committed checkpoint; None where there is none."""
        return max(self.steps(), default=None)

    def wait(self) -> None:
        """Return when the save in progress is on disk.

        Raises:
          Unwritable: it failed (a full disk, a folder that went away). What it left is cleared.
        """
        try:
            with _one_line(f"{self.folder}: the last checkpoint could not be written"):
                self._orbax.wait()
        except Unwritable:
            self._reopen()
            raise

    def close(self) -> None:
        """Wait and let go of the background threads. Raises what `wait` raises."""
        try:
            self.wait()
        finally:
            self._orbax.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind, *_) -> None:
        with (
            contextlib.suppress(Unwritable) if kind else contextlib.nullcontext()
        ):  # the first error is the one to tell
            self.close()

    def _reopen(self) -> None:
        """A Checkpointer whose save failed says so again at every call, and leaves half a checkpoint on a full disk."""
        with contextlib.suppress(Exception):
            self._orbax.close()
        with _one_line(f"{self.folder}: cannot be opened again"):
            self._orbax = _open(self.folder, self.keep)

    def _load(self, step: int, abstract_state: Any) -> tuple[Any, dict]:
        with _damaged("its description"):
            found = self._orbax.metadata(step)
            record: Any = found.custom_metadata
            saved, meta = record["arrays"], record["meta"]
            held: Any = found.metadata
            if held is None:
                raise ValueError("the names of its arrays cannot be read")
        asked = _known_to(held, abstract_state)
        _refuse_other_arrays(saved, _describe(asked), f"{self.folder}: checkpoint {step}")
        with _damaged("its arrays"):
            state = self._orbax.load(step, asked)
        for name, (*_, bits) in fingerprint(state).items():
            if bits != saved[name][-1]:
                raise Damaged(f"{name} does not hold the numbers that were saved")
        if asked is not abstract_state:
            state = type(abstract_state)(**{field.name: state.get(field.name) for field in _fields(abstract_state)})
        return state, meta


def open_checkpoints(folder: str | os.PathLike, keep: int | None) -> Checkpoints:
    """Open a folder of checkpoints.

    Args:
      folder: made if absent, also gs://.
      keep: newest checkpoints to keep, at least 1; older ones are deleted after a save. Leftovers of an interrupted
        save are cleared. None: for reading only, which changes nothing and is safe beside a running training.

    Raises:
      ValueError: keep out of range, a folder that cannot be written (a full disk), or (for reading) is not there.
    """
    path = epath.Path(folder)
    if "://" not in str(folder):
        path = epath.Path(path.expanduser().absolute())
    if keep is None:
        if not path.is_dir():
            raise ValueError(f"{path}: no such folder of checkpoints")
        return Checkpoints(path, keep)
    if keep < 1:
        raise ValueError(f"keep: expected at least 1, got {keep}")
    try:
        if "://" in str(path):
            path.mkdir(parents=True, exist_ok=True)
        else:
            probe(pathlib.Path(path))
    except OSError as error:
        raise ValueError(f"{path}: cannot write checkpoints there ({error}); set run.output_dir to another") from None
    return Checkpoints(path, keep)


def size(abstract_state: Any) -> int:
    """Bytes of a state's arrays, which is what a checkpoint of it takes at most."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(abstract_state))


def _open(folder: epath.Path, keep: int | None) -> ocp.training.Checkpointer:
    if keep is None:
        return ocp.training.Checkpointer(folder)
    policy: Any = ocp.training.preservation_policies.LatestN(keep)  # Orbax's own type for it does not check
    return ocp.training.Checkpointer(folder, preservation_policy=policy, cleanup_tmp_directories=True)


def fingerprint(state: Any) -> dict[str, list]:
    """Name of each array -> [shape, type, sum of its bits mod 2^32].

    The sum is of integers, so it is exact and the same on every sharding and device.
    """
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    sums = jax.device_get(_bits([leaf for _, leaf in leaves]))
    return {n: [*d, int(s)] for (n, d), s in zip(_describe(state).items(), sums, strict=True)}


@jax.jit
def _bits(leaves: list[jax.Array]) -> list[jax.Array]:
    """One program for all arrays: several at a time, each with sums over devices, can block each other on CPUs."""

    def one(x):
        if x.dtype == jnp.bool_:
            x = x.astype(jnp.uint8)
        unsigned = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint32}[x.dtype.itemsize]
        return jnp.sum(jax.lax.bitcast_convert_type(x, unsigned).astype(jnp.uint32))

    return [one(jnp.asarray(x)) for x in leaves]


def _fields(state: Any) -> tuple:
    return dataclasses.fields(state) if dataclasses.is_dataclass(state) else ()


def _known_to(held: Mapping[str, Any], state: Any) -> Any:
    """What to ask of a checkpoint that is older than some field of the state: a dictionary without that field, which
    may be None; the state itself where the checkpoint knows all of them.

    Args:
      held: what the checkpoint holds, by name; None where a field was None.
    """
    young = {field.name for field in _fields(state) if field.name not in held and field.default is None}
    if not young:
        return state
    asked = {field.name: getattr(state, field.name) for field in _fields(state) if field.name not in young}
    return dict.fromkeys(held) | asked


def _describe(tree: Any) -> dict[str, tuple[list[int], str]]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): (list(leaf.shape), str(leaf.dtype))
        for path, leaf in leaves
    }


def _refuse_other_arrays(saved: dict[str, list], asked: dict[str, tuple[list[int], str]], where: str) -> None:
    """Orbax would cast a type without a word and explain a shape in forty lines about handlers."""
    for name in [*asked, *saved]:
        if name not in saved:
            raise ValueError(f"{where} has no array {name}; it was saved by another model or optimiser")
        if name not in asked:
            raise ValueError(f"{where} holds an array {name} that this model or optimiser has not")
        held, wanted = (saved[name][0], saved[name][1]), (asked[name][0], asked[name][1])
        if held != wanted:
            raise ValueError(
                f"{where}: {name} is {held[1]}{held[0]}, expected {wanted[1]}{wanted[0]}; it was saved by another model"
            )


class _one_line:
    """Turn whatever Orbax raises while writing into one Unwritable."""

    def __init__(self, where: str):
        self.where = where

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, Exception):
            raise Unwritable(f"{self.where} ({_first_line(error)})") from error


class _damaged:
    """Turn whatever Orbax raises while reading into Damaged, without asyncio's tracebacks of the reads beside it."""

    def __init__(self, what: str):
        self.what = what
        self.logger = logging.getLogger("asyncio")

    def __enter__(self):
        self.level = self.logger.level
        self.logger.setLevel(logging.CRITICAL + 1)

    def __exit__(self, kind, error, trace):
        self.logger.setLevel(self.level)
        if isinstance(error, Exception):
            raise Damaged(f"{self.what}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split()) or type(error).__name__
    for code in (errno.ENOSPC, errno.EDQUOT):  # said by tensorstore behind a long path
        if os.strerror(code) in text:
            return os.strerror(code)
    return text if len(text) <= 160 else text[:157] + "..."


def _enumerate(steps: list[int]) -> str:
    return ", ".join(map(str, steps))
