"""Reward functions of a user's own, with the signature that TRL's GRPOTrainer calls.

A function gets keyword arguments and returns one number a completion, None where it does not apply:

    def reward(prompts, completions, completion_ids, trainer_state, log_metric, log_extra, **columns) -> list[float]

Columns are those of the data (id, question, answer, source, and every key of meta), a value a completion. A function
without `**columns` gets those that it names. `async def` functions run together. Host code; starts no JAX.

Source: "Using a custom reward function", https://huggingface.co/docs/trl/grpo_trainer.
"""

import asyncio
import collections
import dataclasses
import inspect
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxreason.config import RewardConfig, doors
from jaxreason.config.doors import Door, DoorError, DoorFailed

FIELD = "reward.reward_funcs"
GIVEN = ("prompts", "completions", "completion_ids", "trainer_state", "log_metric", "log_extra")
"""What every function is given beside the columns of the data."""
_LARGEST = float(np.finfo(np.float32).max)
POLL_S = 0.05
"""How often somebody who waits for a function looks whether to go on waiting."""

Text = str | list[dict[str, str]]
"""Plain text, or a conversation as messages of `role` and `content`."""


@dataclasses.dataclass(frozen=True)
class TrainerState:
    """Where training stands, under the names of transformers' TrainerState."""

    global_step: int
    """steps finished"""
    max_steps: int
    """steps of the whole run"""
    epoch: float
    """passes over the training problems finished"""


@dataclasses.dataclass(frozen=True)
class RewardFunction:
    """A loaded reward function, under the name that its metrics have."""

    name: str
    door: Door
    takes: frozenset[str] | None
    """names of the keyword arguments that it takes; None: all"""


@dataclasses.dataclass(frozen=True)
class Batch:
    """The N completions of a step, as functions are given them. Lists are in the order P, G."""

    prompts: list[Text]
    completions: list[Text]
    completion_ids: list[list[int]]  # with the end token, without padding
    columns: dict[str, list[Any]]  # name -> a value a completion


@dataclasses.dataclass(frozen=True)
class Values:
    """What F functions gave N completions."""

    value_FN: np.ndarray  # float32; 0 where a function does not apply
    applies_FN: np.ndarray  # bool
    extras: dict[str, list[Any]]  # column that a function logged -> a value a completion
    metrics: dict[str, float | None]


def load(config: RewardConfig, columns: Iterable[str]) -> tuple[RewardFunction, ...]:
    """The functions of a configuration, ready to be called.

    Args:
      columns: of the data.

    Raises:
      DoorError: one that cannot be loaded or called with keyword arguments, that needs a column which the data does not
        have, or two of one name in one file.
    """
    found = [doors.load(name, FIELD) for name in config.reward_funcs]
    names = collections.Counter(door.name for door in found)
    named = [door.name if names[door.name] == 1 else f"{door.file.stem}.{door.name}" for door in found]
    for door, name in zip(found, named, strict=True):
        if named.count(name) > 1:
            raise DoorError(f"{FIELD}: {door.place} is named twice, expected each function once")
    return tuple(
        RewardFunction(name, door, _parameters(door, sorted(set(columns))))
        for door, name in zip(found, named, strict=True)
    )


def call(
    functions: Sequence[RewardFunction],
    batch: Batch,
    state: TrainerState,
    *,
    timeout_s: float,
    wait: Callable[[], object] = lambda: None,
) -> Values:
    """Call every function on a step's completions: asynchronous ones together, then the others one after the other.

    They run in threads that do not outlive the process. A function that never gives up Python's lock cannot be timed
    out.

    Args:
      timeout_s: seconds for each function.
      wait: called now and then while a function runs; raises to give the step up.

    Raises:
      DoorFailed: a function raised, took longer than its time, or returned something other than N finite numbers or
        Nones.
    """
    N = len(batch.completions)
    log = _Log(N)
    results: dict[str, Any] = {}
    together = [function for function in functions if _is_async(function.door.value)]
    for group in [together, *([function] for function in functions if function not in together)]:
        if group:
            results |= _in_time(group, batch, state, log, timeout_s, wait)
    value_FN, applies_FN = np.zeros((len(functions), N), np.float32), np.zeros((len(functions), N), bool)
    for f, function in enumerate(functions):
        value_FN[f], applies_FN[f] = _checked(function, results[function.name], N)
    metrics = log.metrics() | _metrics(functions, value_FN, applies_FN)
    return Values(value_FN, applies_FN, log.extras, metrics)


def combine(
    value_FN: np.ndarray, applies_FN: np.ndarray, weights: Sequence[float] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """The weighted sum of the functions that apply to each completion, and whether any does.

    Args:
      value_FN: float.
      applies_FN: bool.
      weights: of the F functions; empty: 1 each.

    Returns:
      float32 [N], 0 where none applies; bool [N].
    """
    weight_F1 = np.asarray(weights or [1.0] * len(value_FN), np.float32)[:, None]
    sum_N = (weight_F1 * np.where(applies_FN, value_FN, 0)).sum(0, dtype=np.float32)
    return sum_N, np.asarray(applies_FN.any(0))


def _parameters(door: Door, columns: Sequence[str]) -> frozenset[str] | None:
    """Which of what is given a function takes; None: all, since it takes any keyword."""
    if not callable(door.value):
        raise DoorError(f"{FIELD}: {door.place} is no function, got {type(door.value).__name__}")
    try:
        parameters = inspect.signature(door.value).parameters.values()
    except (TypeError, ValueError):  # of a builtin
        return None
    available = (*GIVEN, *columns)
    for parameter in parameters:
        needed = parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL
        if parameter.kind is parameter.POSITIONAL_ONLY and needed:
            raise DoorError(
                f"{FIELD}: {door.place} takes {parameter.name!r} by position only, expected keyword "
                f"arguments such as {', '.join(GIVEN[:3])}, **columns"
            )
        named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if named and needed and parameter.name not in available:
            raise DoorError(
                f"{FIELD}: {door.place} needs {parameter.name!r}, which is neither given nor a column of "
                f"the data; expected some of {', '.join(available)}; put it in meta, or give it a default"
            )
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return frozenset(parameter.name for parameter in parameters if parameter.kind is not parameter.POSITIONAL_ONLY)


class _Log:
    """What functions have logged of a step, beside their values."""

    def __init__(self, count: int):
        self.extras: dict[str, list[Any]] = {}
        self._count = count
        self._numbers: dict[str, list[float]] = {}

    def log_extra(self, column: str, values: Sequence[Any]) -> None:
        """A value a completion, for the run's sample files."""
        if isinstance(values, str) or len(values) != self._count:
            raise ValueError(f"log_extra({column!r}): expected {self._count} values, one a completion, got {values!r}")
        self.extras[str(column)] = list(values)

    def log_metric(self, name: str, value: float) -> None:
        """A number of the step; the mean of those that one step logs under one name."""
        self._numbers.setdefault(str(name), []).append(float(value))

    def metrics(self) -> dict[str, float | None]:
        """Under `rewards/`, where no metric of the run's own is."""
        return {f"rewards/{name}": float(np.mean(numbers)) for name, numbers in self._numbers.items()}


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _in_time(
    group: Sequence[RewardFunction], batch: Batch, state: TrainerState, log: _Log, timeout_s: float, wait
) -> dict[str, Any]:
    """What each function of a group returned, by name: one function, or asynchronous ones at once, in a thread."""
    returned: dict[str, Any] = {}
    raised: list[DoorFailed] = []

    def work() -> None:
        if len(group) > 1 or _is_async(group[0].door.value):
            asyncio.run(all_of_them())
            return
        try:  # outside any event loop, so that it may run one
            result = group[0].door.value(**_arguments(group[0], batch, state, log))
            returned[group[0].name] = asyncio.run(_awaited(result)) if inspect.isawaitable(result) else result
        except BaseException as error:  # sys.exit too would end the thread without a word
            raised.append(_raised(group[0], error))

    async def all_of_them() -> None:
        await asyncio.gather(*map(one, group))

    async def one(function: RewardFunction) -> None:
        try:
            returned[function.name] = await function.door.value(**_arguments(function, batch, state, log))
        except BaseException as error:
            raised.append(_raised(function, error))

    thread = threading.Thread(target=work, name="reward function", daemon=True)
    thread.start()
    end = time.monotonic() + timeout_s
    while thread.is_alive() and not raised and (left := end - time.monotonic()) > 0:
        thread.join(min(left, POLL_S))
        wait()
    if raised:
        raise raised[0]
    late = [function.door for function in group if function.name not in returned]
    if late:
        who = " and ".join(door.place for door in late)
        raise DoorFailed(
            f"{FIELD}: {who} took longer than reward.reward_timeout_s={timeout_s:g} seconds on a step; make it quicker "
            "or raise that",
            file=str(late[0].file),
        )
    return returned


async def _awaited(result: Any) -> Any:
    return await result


def _arguments(function: RewardFunction, batch: Batch, state: TrainerState, log: _Log) -> Mapping[str, Any]:
    """Lists of its own, so that what one function does to them no other sees."""
    given = {
        **{name: list(values) for name, values in batch.columns.items()},
        "prompts": list(batch.prompts),
        "completions": list(batch.completions),
        "completion_ids": [list(ids) for ids in batch.completion_ids],
        "trainer_state": state,
        "log_metric": log.log_metric,
        "log_extra": log.log_extra,
    }
    return given if function.takes is None else {name: given[name] for name in given if name in function.takes}


def _raised(function: RewardFunction, error: BaseException) -> DoorFailed:
    door = function.door
    return DoorFailed(
        f"{FIELD}: {door.place} raised {doors.in_a_line(error)}", doors.own_traceback(error), str(door.file)
    )


def _checked(function: RewardFunction, returned: Any, N: int) -> tuple[np.ndarray, np.ndarray]:
    """The values of one function and where it applies."""

    def refuse(got: str) -> DoorFailed:
        door = function.door
        return DoorFailed(
            f"{FIELD}: {door.place} returned {got}, expected a list of {N}, a finite number or None for each "
            "completion",
            file=str(door.file),
        )

    if hasattr(returned, "tolist"):  # an array of NumPy's or torch's
        returned = returned.tolist()
    if not isinstance(returned, list | tuple):
        raise refuse(_short(returned))
    if len(returned) != N:
        raise refuse(f"{len(returned)} values")
    value_N, applies_N = np.zeros(N, np.float32), np.zeros(N, bool)
    for n, value in enumerate(returned):
        if value is None:
            continue
        if isinstance(value, str | bytes | complex):
            raise refuse(f"{_short(value)} for completion {n}")
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            raise refuse(f"{_short(value)} for completion {n}") from None
        if not abs(number) <= _LARGEST:  # nor is NaN
            raise refuse(f"{number} for completion {n}")
        value_N[n], applies_N[n] = number, True
    return value_N, applies_N


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _metrics(
    functions: Sequence[RewardFunction], value_FN: np.ndarray, applies_FN: np.ndarray
) -> dict[str, float | None]:
    """TRL's: mean and (sample) standard deviation over the completions that a function applies to; None where they
    are not defined."""
    found: dict[str, float | None] = {}
    for function, value_N, applies_N in zip(functions, value_FN.astype(np.float64), applies_FN, strict=True):
        counted = value_N[applies_N]
        found[f"rewards/{function.name}/mean"] = float(counted.mean()) if len(counted) else None
        found[f"rewards/{function.name}/std"] = float(counted.std(ddof=1)) if len(counted) > 1 else None
    return found
