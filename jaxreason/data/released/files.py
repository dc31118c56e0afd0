"""The rows of a file, whatever form it has: JSON lines, one JSON array, CSV or Parquet."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KINDS = "a file of JSON lines, a JSON array, CSV or Parquet"


def rows(path: Path) -> Iterator[tuple[int, str, Any]]:
    """Every row: its line (its number where a file has no lines of its own), where it stands in words, its columns.

    Raises:
      ValueError: a file that cannot be read, naming the line.
    """
    try:
        if path.suffix == ".parquet":
            return _numbered(path, _parquet(path))
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path}: expected {KINDS}, got {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected UTF-8 text or a name that ends in .parquet, got neither") from None
    if path.suffix == ".csv":
        return _csv(path, text)
    if text.lstrip().startswith("["):
        return _numbered(path, _json(text, str(path)))
    return _json_lines(path, text)


def _numbered(path: Path, found: list[Any]) -> Iterator[tuple[int, str, Any]]:
    return ((number, f"{path}: row {number}", row) for number, row in enumerate(found, start=1))


def _json_lines(path: Path, text: str) -> Iterator[tuple[int, str, Any]]:
    # Split at \n alone: str.splitlines would also cut at U+2028, which JSON allows inside a string.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"{path}:{number}"
            yield number, where, _json(line, where)


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: expected JSON, got a syntax error: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise ValueError(f"{where}: expected JSON, got one nested too deeply") from None
    except ValueError as error:  # a number of thousands of digits
        raise ValueError(f"{where}: expected JSON, got: {error}") from None


def _csv(path: Path, text: str) -> Iterator[tuple[int, str, Any]]:
    """A row's line is the one it ends in; quoted cells may hold line breaks."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        for cells in reader:
            where = f"{path}:{reader.line_num}"
            if not cells:
                continue
            if len(cells) != len(header):
                raise ValueError(f"{where}: expected {len(header)} cells as in the first line, got {len(cells)}")
            yield reader.line_num, where, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num}: expected CSV, got: {error}") from None


def _parquet(path: Path) -> list[dict]:
    if not path.is_file():
        raise FileNotFoundError(2, "No such file or directory")
    try:
        import pyarrow.parquet
    except ImportError:
        raise ValueError(f"{path}: expected pyarrow to read Parquet, got none; pip install pyarrow") from None
    try:
        return pyarrow.parquet.read_table(path).to_pylist()
    except pyarrow.ArrowException as error:
        raise ValueError(f"{path}: expected a Parquet file, got: {' '.join(str(error).split())}") from None
