"""The doors: a user's own Python, named in the configuration as `package.module:name` or `path/file.py:name`.

A door is loaded once a process, and comes with the file it was read from and that file's fingerprint, so that a run can
record what code it was made with. Starts no JAX: workers of the grading pool load doors too.
"""

import dataclasses
import difflib
import hashlib
import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

SPELLINGS = "`package.module:name` or `path/file.py:name`"
"""The two ways of naming a door, for messages and help texts."""

_OURS = str(Path(__file__).resolve().parents[1])
_loaded: dict[str, "_Source"] = {}


@dataclasses.dataclass(frozen=True)
class _Source:
    module: ModuleType
    file: Path
    content: bytes


class DoorError(ValueError):
    """A door that cannot be used: one line, and the frames of the user's code that led to it, where some did.

    Attributes:
      traceback: the user's own frames and the exception, several lines to print above the line; empty: none.
    """

    def __init__(self, line: str, traceback: str = ""):
        super().__init__(line, traceback)
        self.traceback = traceback

    def __str__(self) -> str:
        return self.args[0]


class DoorFailed(DoorError):
    """A door that failed while it was at work: what was done before it stands and is saved.

    Attributes:
      file: the source file of the door.
    """

    def __init__(self, line: str, traceback: str = "", file: str = ""):
        super().__init__(line, traceback)
        self.args = (line, traceback, file)
        self.file = file


@dataclasses.dataclass(frozen=True)
class Door:
    """A user's object and where it came from."""

    field: str
    """the field of the configuration that names it, such as `reward.reward_funcs`"""
    spelling: str
    """how any process of this machine can load it again: the file's path made absolute"""
    name: str
    """the object's name inside its file"""
    file: Path
    """its source file, absolute"""
    fingerprint: str
    """sha256 of the source file's bytes, in hexadecimal; other files that it imports are not covered"""
    value: Any
    """the object"""
    source: str = dataclasses.field(repr=False)
    """text of its source file, as it was when it was loaded"""

    @property
    def place(self) -> str:
        """`path/file.py:name` for messages, the path relative to the working directory where it is below it."""
        here = Path.cwd()
        return f"{self.file.relative_to(here) if self.file.is_relative_to(here) else self.file}:{self.name}"


def is_door(text: str) -> bool:
    """Whether a value names a door, and is not the name of something built in. A door has a colon."""
    return ":" in text


def load(name: str, field: str) -> Door:
    """Load a door, once a process: a second call with the same file finds the same module.

    A file's own folder is made importable, as when Python runs the file; of a `package.module`, the working directory
    is. Both come last in the search path, so that they hide nothing that is installed.

    Args:
      name: `package.module:name`, or `path/file.py:name` with a path relative to the working directory.
      field: the field of the configuration that names it, for messages and the record.

    Raises:
      DoorError: no door's spelling, no such file or module, no such name in it, or the file's own code raised while it
        was imported; names the field and the file, and what was expected.
    """
    source, _, attribute = name.rpartition(":")
    if not source or not attribute.isidentifier():
        raise DoorError(f"{field}: expected {SPELLINGS}, got {name!r}")
    is_file = source.endswith(".py") or "/" in source or "\\" in source
    if not is_file and not all(part.isidentifier() for part in source.split(".")):
        raise DoorError(f"{field}: expected {SPELLINGS}, got {name!r}")
    key = str(Path(source).expanduser().resolve()) if is_file else source
    if key not in _loaded:
        _loaded[key] = _load_file(Path(key), name, field) if is_file else _load_module(source, name, field)
    found = _loaded[key]
    if not hasattr(found.module, attribute):
        raise DoorError(f"{field}: {found.file} has no {attribute!r}; {_nearest(attribute, found.module)}")
    return Door(
        field=field,
        spelling=f"{key}:{attribute}",
        name=attribute,
        file=found.file,
        fingerprint=hashlib.sha256(found.content).hexdigest(),
        value=getattr(found.module, attribute),
        source=found.content.decode(errors="replace"),
    )


def beside(name: str, folder: Path) -> str:
    """A door's spelling in a configuration file of `folder`: as it stands where the working directory has the file,
    else with the path of the file beside the configuration where that exists, else as it stands."""
    source, _, attribute = name.rpartition(":")
    if not source.endswith(".py") or Path(source).expanduser().is_file() or not (folder / source).is_file():
        return name
    return f"{folder / source}:{attribute}"


def own_traceback(error: BaseException) -> str:
    """What Python would print of an exception, without the frames of jaxreason and of the import machinery."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not _is_ours(frame.filename)]
    head = ["Traceback (most recent call last):\n", *traceback.format_list(own)] if own else []
    return "".join([*head, *traceback.format_exception_only(error)]).rstrip()


def in_a_line(error: BaseException) -> str:
    """An exception's type and message, on one line."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _is_ours(filename: str) -> bool:
    return filename.startswith((_OURS, "<frozen importlib")) or filename == importlib.__file__


def _load_file(file: Path, name: str, field: str) -> _Source:
    if not file.is_file():
        raise DoorError(
            f"{field}: {name}: no such file {file}, expected one relative to the working directory or beside the "
            "configuration file"
        )
    content = file.read_bytes()
    unique = f"_door_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}_{file.stem}"
    spec = importlib.util.spec_from_file_location(unique, file)
    if spec is None or spec.loader is None:
        raise DoorError(f"{field}: {name}: {file} is no Python file, expected one that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module  # dataclasses and pickle look classes up here
    _search_last(file.parent)
    try:
        exec(compile(content, file, "exec"), vars(module))  # what was read: bytecode kept on disk could be another's
    except Exception as error:
        del sys.modules[unique]
        raise _import_raised(error, file, name, field) from None
    return _Source(module, file, content)


def _load_module(source: str, name: str, field: str) -> _Source:
    _search_last(Path.cwd())
    try:
        spec = importlib.util.find_spec(source)
    except Exception as error:  # of a package above it
        if isinstance(error, ModuleNotFoundError) and error.name and f"{source}.".startswith(f"{error.name}."):
            spec = None
        else:
            raise _import_raised(error, None, name, field) from None
    if spec is None:
        raise DoorError(
            f"{field}: {name}: no module {source!r}, expected one that is installed or in the working directory "
            f"{Path.cwd()}; a file is spelled path/file.py:name"
        )
    if not spec.origin or not Path(spec.origin).is_file():
        raise DoorError(f"{field}: {name}: module {source!r} has no source file, expected one that has")
    file = Path(spec.origin).resolve()
    content = file.read_bytes()
    try:
        module = importlib.import_module(source)
    except Exception as error:
        raise _import_raised(error, file, name, field) from None
    return _Source(module, file, content)


def _import_raised(error: Exception, file: Path | None, name: str, field: str) -> DoorError:
    where = f" ({file})" if file is not None else ""
    return DoorError(f"{field}: {name}{where}: importing it raised {in_a_line(error)}", own_traceback(error))


def _search_last(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _nearest(attribute: str, module: ModuleType) -> str:
    names = [name for name in vars(module) if not name.startswith("_")]
    near = difflib.get_close_matches(attribute, names, n=3, cutoff=0.5)
    if near:
        return f"nearest: {', '.join(near)}"
    own = [name for name in names if getattr(getattr(module, name), "__module__", None) == module.__name__]
    return f"it defines {', '.join(own[:8])}" if own else "it defines nothing"
