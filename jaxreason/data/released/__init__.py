"""Problems as data sets are released, turned into this project's own. Nothing is downloaded here.

`files` reads the rows of a file, `formats` holds one function for each data set, `golds` makes an answer of a value.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxreason.data.problems import Problem
from jaxreason.data.released import formats
from jaxreason.data.released.files import rows
from jaxreason.data.released.row import Format, Row


class Converted(NamedTuple):
    """The problems of a file, and which of its rows gave none."""

    problems: list[Problem]
    empty: list[int]  # lines of JSON lines or CSV, else rows, from 1: without a question or without an answer
    format: str  # the data set whose columns these are
    shuffled: bool  # whether the seed put choices into order


def convert(path: str | Path, source: str, seed: int = 0) -> Converted:
    """Read a released file: JSON lines, one JSON array, CSV or Parquet.

    The columns of the first row tell the data set (`formats.FORMATS`), and every row must have them. A row without a
    question or an answer, such as a theorem to prove, is left out and counted. An id is the row's own, with the source
    in front where it is a bare number; without one, the source and the row's number.

    Args:
      source: goes into every problem, e.g. `gsm8k/train`; evaluations are split by it.
      seed: of the order of choices, where a data set lists the right one first.

    Raises:
      ValueError: a file that cannot be read, columns of no known data set, or a value that is no question or answer;
        it names the line and the column.
    """
    problems, empty = [], []
    found: Format | None = None
    first: dict[str, str] = {}
    for number, (line, where, columns) in enumerate(rows(Path(path)), start=1):
        if not isinstance(columns, dict):
            raise ValueError(f"{where}: expected an object of columns, got {type(columns).__name__}")
        found = found or formats.recognise(columns, where)
        row = Row(columns, where, found, number, seed)
        row.refuse_missing()
        item = found.read(row)
        if not item.question or not item.answer:
            empty.append(line)
            continue
        name = _id(row, item.own_id, source)
        if name in first:
            raise ValueError(
                f"{where}: expected an id of its own, got {name!r} as in {first[name]}; remove one of them"
            )
        first[name] = where
        problems.append(Problem(name, item.question, item.answer, source, {**_meta(columns, found), **item.meta}))
    if found is None or not problems:
        raise ValueError(f"{path}: expected at least one problem, got none")
    return Converted(problems, empty, found.name, found.shuffled)


def _id(row: Row, own: Any, source: str) -> str:
    if own is None or isinstance(own, float) or not str(own).strip():
        return f"{source}/{row.number}"
    return f"{source}/{own}" if str(own).isdecimal() else str(own)


def _meta(columns: Mapping[str, Any], found: Format) -> dict[str, Any]:
    """What goes along for graders and for tables by level or subject: plain values only, nulls and blanks left out."""
    kept = {name: columns.get(column) for column, name in found.kept.items()}
    return {
        name: value
        for name, value in kept.items()
        if isinstance(value, (str, int, float)) and value == value and value != ""  # NaN is not equal to itself
    }
