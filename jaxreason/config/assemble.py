"""From what a door holds to an object with all the methods that the program calls. Starts no JAX."""

import difflib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from types import FunctionType
from typing import Any, TypeVar

from jaxreason.config.doors import Door, DoorError, in_a_line, own_traceback

T = TypeVar("T")


def assemble(door: Door, base: type[T], methods: Mapping[str, Sequence[str]], others: Iterable[str] = ()) -> T:
    """An object of `base`, with whatever a door gives in place of its defaults.

    A door may hold a subclass of `base` or another class, made without arguments; an object; or one function of that
    name, and then every function of its file that has the name of a method counts.

    Args:
      methods: name -> the arguments it is called with, in order.
      others: names of further attributes that are taken over.

    Raises:
      DoorError: none of the methods, one that cannot be called so, or a class that cannot be made.
    """
    where = f"{door.field}: {door.place}"
    names = (*methods, *others)
    value = door.value
    if isinstance(value, FunctionType):
        if value.__name__ not in names:
            raise DoorError(
                f"{where}: expected a class, an object, or a function named {', '.join(methods)}, "
                f"got the function {value.__name__!r}"
            )
        held = value.__globals__
        found = {key: held[key] for key in names if key in held}
        found = {key: one for key, one in found.items() if key not in methods or isinstance(one, FunctionType)}
        result = base()
    else:
        if inspect.isclass(value):
            value = _made(value, where)
        found = {key: getattr(value, key) for key in names if hasattr(value, key)}
        result = value if isinstance(value, base) else base()
    own = [key for key in found if key in methods]
    if not found:
        raise DoorError(f"{where}: expected any of {', '.join(methods)}, got {type(value).__name__} with none of them")
    _refuse_misspelt(value, found, methods, where)
    for key in own:
        _refuse_signature(found[key], key, methods[key], where)
    if result is not value:
        for key, one in found.items():
            setattr(result, key, one)
    return result


def _made(value: type, where: str) -> Any:
    try:
        return value()
    except Exception as error:
        line = f"{where}: making {value.__name__}() without arguments raised {in_a_line(error)}"
        raise DoorError(line, own_traceback(error)) from None


def _refuse_misspelt(value: Any, found: Iterable[str], methods: Iterable[str], where: str) -> None:
    """Refuse a class with a method that is nearly one of the program's, whose default would silently be used."""
    missing = [key for key in methods if key not in found]
    for key, one in vars(type(value)).items():
        near = difflib.get_close_matches(key, missing, n=1, cutoff=0.8)
        if near and isinstance(one, FunctionType) and key not in found:
            raise DoorError(f"{where}: {key} is never called, expected {near[0]}; rename it, or begin its name with _")


def _refuse_signature(held: Any, key: str, arguments: Sequence[str], where: str) -> None:
    """Refuse a method that cannot be called as it will be."""
    expected = f"expected {key}({', '.join(arguments)})"
    if not callable(held):
        raise DoorError(f"{where}: {expected}, got {held!r:.80}")
    try:
        signature = inspect.signature(held)
    except ValueError:  # of something that is not Python
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise DoorError(f"{where}: {expected}, got {key}{signature} ({error})") from None
