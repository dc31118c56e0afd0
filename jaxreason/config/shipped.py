"""Configurations that come with the package, found by name: `jaxreason train quickstart` needs no checkout."""

import difflib
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
FOLDERS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")
"""Inside an installed package, and beside the package in a checkout; the first that exists holds them."""
_SUFFIX = ".yaml"


def folder() -> Path | None:
    """Where the configurations lie; None where somebody took them away."""
    return next((place for place in FOLDERS if place.is_dir()), None)


def names() -> list[str]:
    """What can be written in place of a path, without `.yaml`."""
    place = folder()
    return sorted(file.stem for file in place.glob(f"*{_SUFFIX}")) if place else []


def find(path: str | Path) -> Path:
    """The file that a command line means: a path that exists, or else a configuration that ships.

    Args:
      path: a path, or a name such as `quickstart` or `quickstart.yaml`.

    Raises:
      ValueError: neither; the nearest names.

    >>> find("quickstart").name
    'quickstart.yaml'
    """
    given = Path(path).expanduser()
    if given.is_file():
        return given
    name, known, place = given.name.removesuffix(_SUFFIX), names(), folder()
    if place is not None and len(given.parts) == 1 and name in known:
        return place / f"{name}{_SUFFIX}"
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else "expected a YAML file"
    if not near and known:
        hint += f", or the name of one that ships: {', '.join(known)}"
    raise ValueError(f"{path}: no such configuration file, and none that ships with jaxreason; {hint}")
