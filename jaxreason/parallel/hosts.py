"""Several processes that run the same program: how they find each other, agree, and share the work on text.

Every call here that passes something on is a collective: all processes make it, in the same order. With one process
each is the identity.
"""

import glob
import importlib.util
import os
import pickle
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np

from jaxreason.config import DistributedConfig

T = TypeVar("T")


def join(config: DistributedConfig) -> None:
    """Join the other processes of the run, before JAX touches a device.

    Raises:
      ValueError: the others cannot be reached, or this TPU machine does not say who they are.
    """
    if config.num_processes == 1 or jax.distributed.is_initialized():
        return
    arguments: dict[str, Any] = {}
    if config.coordinator_address:
        arguments = {
            "coordinator_address": config.coordinator_address,
            "num_processes": config.num_processes,
            "process_id": config.process_id,
        }
    elif not _on_tpu():
        return
    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # read on CPUs only
    try:
        jax.distributed.initialize(**arguments)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        if arguments:
            raise ValueError(
                f"distributed.coordinator_address: process {config.process_id} of {config.num_processes} could not "
                f"join at {config.coordinator_address} ({reason}); check that all are started and can reach it"
            ) from None
        raise ValueError(
            f"distributed: this TPU machine does not say who the others are ({reason}); set "
            "distributed.coordinator_address, num_processes and process_id, or num_processes=1 for this one alone"
        ) from None


def refuse_several(command: str, instead: str) -> None:
    """Refuse a command that one process does alone.

    Args:
      instead: what to do, in words.

    Raises:
      ValueError: on every process, where there are several.
    """
    if (count := jax.process_count()) > 1:
        raise ValueError(
            f"{command}: runs on one device, expected one process, got {count}; {instead}, or give it on a machine of "
            "its own, with an exported checkpoint"
        )


def _on_tpu() -> bool:
    """Whether JAX would start on TPU chips of this machine."""
    wanted = (os.environ.get("JAX_PLATFORMS") or "tpu").split(",")
    chips = glob.glob("/dev/accel*") + glob.glob("/dev/vfio/[0-9]*")
    return "tpu" in wanted and importlib.util.find_spec("libtpu") is not None and bool(chips)


def first() -> bool:
    """Whether this process is the one that writes."""
    return jax.process_index() == 0


def gather(value: T) -> list[T]:
    """What every process has, in the order of the processes. Anything that pickle knows."""
    if jax.process_count() == 1:
        return [value]
    from jax.experimental import multihost_utils

    data = np.frombuffer(pickle.dumps(value), np.uint8)
    sizes = np.asarray(multihost_utils.process_allgather(np.array([len(data)], np.int32))).reshape(-1)
    padded = np.pad(data, (0, int(sizes.max()) - len(data)))
    rows = np.asarray(multihost_utils.process_allgather(padded)).reshape(len(sizes), -1)
    return [pickle.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def agree(value: T) -> T:
    """What process 0 has."""
    return gather(value if first() else None)[0]  # pyright: ignore[reportReturnType]


def together(work: Callable[[], T]) -> T:
    """Do host work on every process, such as reading files; what one of them refuses is refused on all.

    Otherwise the others would wait for it in the next collective.

    Raises:
      ValueError: of the first process that raised one, on every process, with its number where there are several.
    """
    result, refusal = None, None
    try:
        result = work()
    except ValueError as error:
        if jax.process_count() == 1:
            raise
        refusal = str(error)
    for process, line in enumerate(gather(refusal)):
        if line is not None:
            raise ValueError(f"process {process}: {line}")
    return result  # pyright: ignore[reportReturnType]


def share(count: int, work: Callable[[slice], list[T]]) -> list[T]:
    """Do work on a batch of rows, each process on its own, and pass the results on.

    Args:
      count: rows.
      work: from a part of the rows to a list; an empty part must do.

    Returns:
      The lists of all processes in one, in the order of the rows, on every process.
    """
    processes, index = jax.process_count(), jax.process_index()
    mine = slice(count * index // processes, count * (index + 1) // processes)
    return [result for part in gather(work(mine)) for result in part]


def refuse_difference(facts: Mapping[str, Any]) -> None:
    """Refuse to start unless all processes have the same of everything here.

    Args:
      facts: name -> what can be compared and printed.

    Raises:
      ValueError: on every process, naming the first that differs and the process it differs on.
    """
    all_facts = gather(dict(facts))
    for process, held in enumerate(all_facts):
        for name, value in all_facts[0].items():
            if held.get(name) != value:
                raise ValueError(
                    f"process {process} has another {name} than process 0 ({_short(held.get(name))} and "
                    f"{_short(value)}); start the same command with the same code and data on every host"
                )


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else text[:77] + "..."
