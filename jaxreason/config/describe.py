"""What every field of the configuration means, read off the dataclasses: for `--help` and for the documentation."""

import dataclasses
import typing

import docstring_parser

from jaxreason.config.whole import Config


@dataclasses.dataclass(frozen=True)
class Field:
    """One field of a section."""

    name: str
    """as it is set, `section.field`"""
    default: str
    """as it would be written behind `=` on the command line; empty for an empty text"""
    meaning: str
    choices: tuple[str, ...]
    """what a Literal may be; empty for other types"""


@dataclasses.dataclass(frozen=True)
class Section:
    """One section of an experiment."""

    name: str
    about: str
    """first line of the dataclass's docstring"""
    fields: tuple[Field, ...]


def sections() -> tuple[Section, ...]:
    """Every section in the order of `Config`."""
    return tuple(_section(field.name, field.default) for field in dataclasses.fields(Config))


def _section(name: str, default) -> Section:
    kinds = {field.name: field.type for field in dataclasses.fields(default)}
    found = []
    for about in docstring_parser.parse_from_object(type(default)).params:
        kind = kinds[about.arg_name]
        choices = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
        value = getattr(default, about.arg_name)
        shown = str(list(value) if isinstance(value, tuple) else value).replace(" ", "")
        meaning = " ".join((about.description or "").split())
        found.append(Field(f"{name}.{about.arg_name}", shown, meaning, tuple(str(choice) for choice in choices)))
    return Section(name, (type(default).__doc__ or "").splitlines()[0], tuple(found))
