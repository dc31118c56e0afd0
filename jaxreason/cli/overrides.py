"""`--section.field=value` on a command line, before a configuration has looked at it."""

import difflib
from collections.abc import Sequence


def joined(argv: Sequence[str]) -> list[str]:
    """`--section.field value` as one word, so that the value is not taken for an argument of its own."""
    joined: list[str] = []
    for word in argv:
        last = joined[-1] if joined else ""
        if last.startswith("--") and "." in last and "=" not in last and not word.startswith("--"):
            joined[-1] = f"{last}={word}"
        else:
            joined.append(word)
    return joined


def refuse_misspelt(overrides: Sequence[str], flags: Sequence[str]) -> None:
    """A flag near one of the command's own; the configuration only knows its keys."""
    for override in overrides:
        name = override.split("=")[0]
        if "." not in name and (near := difflib.get_close_matches(name, flags, n=1, cutoff=0.75)):
            raise ValueError(f"{name}: no such argument; did you mean {near[0]}?")
