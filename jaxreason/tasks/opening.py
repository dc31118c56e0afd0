"""From `data.task` to the task: what ships by its name, a user's own by its door. Starts no JAX."""

import functools

from jaxreason.config import DataConfig
from jaxreason.config.assemble import assemble
from jaxreason.config.doors import SPELLINGS, DoorError, is_door, load
from jaxreason.tasks.base import Task

SHIPPED = {
    "math": "jaxreason.tasks.stated_math:Math",
    "boxed_math": "jaxreason.tasks.base:Task",
    "calculator": "jaxreason.tasks.calculator.task:Calculator",
    "code": "jaxreason.tasks.code:Code",
}
"""Name -> door of the tasks that ship."""
FIELD = "data.task"
METHODS = {"messages": ("problem",), "bare": ("problem",), "read": ("text",), "grade": ("answer", "problem")}
"""What a task may have of its own -> the arguments it is called with."""
ABILITIES = (
    "problems",
    "importance",
    "label",
    "counts",
    "demonstrations",
    "helper_demonstrations",
    "drill",
    "check",
    "symbols",
)
"""Attributes beyond these, see the protocols of `tasks.base`."""


def task_of(data: DataConfig) -> Task:
    """The task of a run.

    Raises:
      DoorError: as `open_task`.
    """
    return open_task(name_of(data))


def name_of(data: DataConfig) -> str:
    """`data.task`, or what it is by default: the calculator for its own problems, mathematics for a file's."""
    if data.task != "auto":
        return data.task
    return "calculator" if data.train == "builtin" else "math"


@functools.cache
def open_task(name: str) -> Task:
    """Open a task once a process.

    Args:
      name: of SHIPPED, or a door.

    Raises:
      DoorError: no such task, file or object; or an object that is no task, see `assemble`.
    """
    if name not in SHIPPED and not is_door(name):
        raise DoorError(f"{FIELD}: expected auto, {', '.join(SHIPPED)}, or {SPELLINGS}, got {name!r}")
    door = load(SHIPPED.get(name, name), FIELD)
    task = assemble(door, Task, METHODS, ABILITIES)
    task.name = name
    task.spelling = name if name in SHIPPED else door.spelling
    task.door = None if name in SHIPPED else door
    return task
