"""Problems as data sets are released, turned into this project's own: GSM8K, and those in the columns of MATH.

Rows are told apart by their columns. A file is JSON lines, one JSON array, or Parquet. Nothing is downloaded here.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxreason.data.problems import Problem

_FINAL = "####"
_KEPT = ("level", "subject", "type")
"""Columns that go into meta, where a data set has them."""


class Converted(NamedTuple):
    """The problems of a file, and which of its rows gave none."""

    problems: list[Problem]
    empty: list[int]  # rows, from 1, without a question or without an answer


def convert(path: str | Path, source: str) -> Converted:
    """Read a released file.

    GSM8K: `question`, and `answer` that ends in `#### 1,234`; what is kept of it is `1234`. MATH, DeepScaleR, AIME and
    their like: `problem` and `answer`. An id is the row's own `unique_id` or `id`, else the source and the row's
    number.

    Args:
      source: goes into every problem, e.g. `gsm8k/train`; evaluations are split by it.

    Raises:
      ValueError: a file that cannot be read, or a row of other columns.
    """
    problems, empty = [], []
    for number, row in enumerate(_rows(Path(path)), start=1):
        where = f"{path}: row {number}"
        if not isinstance(row, dict):
            raise ValueError(f"{where}: expected an object of columns, got {type(row).__name__}")
        question, answer = _read(row, where)
        if not question.strip() or not answer.strip():
            empty.append(number)
            continue
        own = row.get("unique_id", row.get("id"))
        problems.append(
            Problem(
                id=f"{source}/{number}" if own is None else str(own),
                question=question.strip(),
                answer=answer.strip(),
                source=source,
                meta={name: row[name] for name in _KEPT if row.get(name) is not None},
            )
        )
    if not problems:
        raise ValueError(f"{path}: expected at least one problem, got none")
    return Converted(problems, empty)


def _read(row: dict[str, Any], where: str) -> tuple[str, str]:
    """Question and answer of one row."""
    answer = row.get("answer")
    if "question" in row and isinstance(answer, str) and _FINAL in answer:
        return str(row["question"]), answer.rpartition(_FINAL)[2].strip().replace(",", "")
    if "problem" in row and "answer" in row:
        return str(row["problem"] or ""), "" if answer is None else str(answer)
    if "question" in row and isinstance(answer, str):
        raise ValueError(
            f"{where}: field answer: expected it to end in `{_FINAL}` and the result, as GSM8K's do, got none; "
            "a file of {id, question, answer} needs no conversion"
        )
    raise ValueError(
        f"{where}: expected the columns question and answer (GSM8K) or problem and answer, got {', '.join(row)}"
    )


def _rows(path: Path) -> Sequence[Any]:
    try:
        if path.suffix == ".parquet":
            return _parquet(path)
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path}: expected a JSON, JSONL or Parquet file, got {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected UTF-8 text or a name that ends in .parquet, got neither") from None
    try:
        if text.lstrip().startswith("["):
            return json.loads(text)
        # Split at \n alone: str.splitlines would also cut at U+2028, which JSON allows inside a string.
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: expected JSON, got a syntax error: {error.msg} at character {error.pos}") from None


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
