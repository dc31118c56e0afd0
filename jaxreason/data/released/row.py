"""One row of a released file: what it holds, and the words for what is wrong with it."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

from jaxreason.data.released import golds


class Item(NamedTuple):
    """What one row gives. An empty question or answer: there is nothing to ask, or nothing to grade against."""

    question: str
    answer: str
    own_id: Any = None
    meta: Mapping[str, Any] = {}


class Format(NamedTuple):
    """A data set's columns and how a row of it is read."""

    name: str
    columns: tuple[str, ...]  # those it is told by; every row has them
    read: Callable[["Row"], Item]
    kept: Mapping[str, str] = {}  # column -> its name in meta
    shuffled: bool = False  # whether the seed decides anything


@dataclasses.dataclass(frozen=True)
class Row:
    """One row, where it stands, and the words for what is wrong with it."""

    columns: Mapping[str, Any]
    where: str
    format: Format
    number: int
    """of the row, from 1"""
    seed: int

    def text(self, column: str) -> str:
        """Text of a column; "" where it is null."""
        value = self.columns.get(column)
        if value is not None and not isinstance(value, str):
            self.refuse(column, "text", golds.shown(value), "put it in quotes")
        return (value or "").strip()

    def code(self, column: str) -> str:
        """As `text`, with white space at both ends as it stands."""
        self.text(column)
        return self.columns.get(column) or ""

    def gold(self, column: str) -> str:
        """A column as a right answer; "" where it is null or empty."""
        try:
            return golds.text_of(self.columns.get(column))
        except ValueError as error:
            self.refuse(column, "an answer as text or a number", str(error), "write the one right answer as text")

    def number_text(self, column: str) -> str:
        """As `gold`, for data sets whose answers are numbers."""
        text = golds.text_of(golds.without_thousands(self.gold(column)))
        try:
            float(text or "0")
        except ValueError:
            self.refuse(column, f"a number, as {self.format.name} has", golds.shown(text), "correct or remove the row")
        return text

    def refuse_missing(self) -> None:
        """Refuse a row without a column of its data set."""
        for column in self.format.columns:
            if column not in self.columns:
                self.refuse(column, f"a column of {self.format.name}", "none", "correct or remove the row")

    def refuse(self, column: str, expected: str, got: str, remedy: str) -> NoReturn:
        """Raise the ValueError that names the line and the column."""
        raise ValueError(f"{self.where}: column {column}: expected {expected}, got {got}; {remedy}")
