"""Problems and the one file format they come in: JSON lines of {id, question, answer, source, meta}.

This module must not know what a tokenizer, a grader or a task is.
"""

import dataclasses
import hashlib
import json
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class Problem:
    """A question and the answer it is graded against."""

    id: str
    """unique within a file"""
    question: str
    answer: str
    """as a grader compares it: a string, also where it is a number"""
    source: str = ""
    """where it comes from, e.g. `arithmetic/level1`; metrics can be split by it"""
    meta: dict = dataclasses.field(default_factory=dict, hash=False)
    """anything else that JSON can hold"""


TARGET_TOKENS = "target_tokens"
"""In a problem's meta: how many tokens its prompt asks for."""
_FIELDS = tuple(field.name for field in dataclasses.fields(Problem))
_REQUIRED = ("id", "question", "answer")
_COLUMNS = (*_REQUIRED, "source")


def columns(problems: Iterable[Problem]) -> tuple[str, ...]:
    """What a reward function sees of problems: id, question, answer, source, and every key that some meta has."""
    found = {key for problem in problems for key in problem.meta}
    return (*_COLUMNS, *sorted(found - set(_COLUMNS)))


def column(problem: Problem, name: str) -> Any:
    """A problem's value in a column; None where its meta has no such key."""
    return getattr(problem, name) if name in _COLUMNS else problem.meta.get(name)


def ask_for_tokens(problems: Sequence[Problem], low: int, high: int, *, seed: int) -> list[Problem]:
    """Problems whose prompts ask for a number of tokens, uniform in low..high; one that asks for some already stays.

    The draw depends on the seed and the problem's id only.
    """

    def drawn(problem: Problem) -> int:
        return random.Random(f"{seed} {problem.id}").randint(low, high)

    return [
        problem
        if TARGET_TOKENS in problem.meta
        else dataclasses.replace(problem, meta=problem.meta | {TARGET_TOKENS: drawn(problem)})
        for problem in problems
    ]


def read_jsonl(path: str | Path) -> list[Problem]:
    """Read problems, one JSON object a line, in file order. Blank lines are skipped.

    Raises:
      ValueError: `PATH:LINE: field ...: expected ..., got ...` for the first bad line or repeated id; no such file, or
        one without problems.
    """
    problems, first_line = [], {}
    for number, line in _lines(path):
        problem = _parse(line, f"{path}:{number}")
        if problem.id in first_line:
            raise ValueError(
                f"{path}:{number}: field id: expected an id of its own, "
                f"got {problem.id!r} as in line {first_line[problem.id]}"
            )
        first_line[problem.id] = number
        problems.append(problem)
    if not problems:
        raise ValueError(f"{path}: expected at least one problem, got an empty file")
    return problems


def line_numbers(path: str | Path) -> list[int]:
    """The line that each of `read_jsonl`'s problems stands in."""
    return [number for number, _ in _lines(path)]


def write_jsonl(problems: Sequence[Problem], path: str | Path) -> None:
    """Write problems so that `read_jsonl` reads them back equal. The file appears whole or not at all.

    Raises:
      ValueError: nothing to write, a repeated id, or a field that `read_jsonl` would refuse.
    """
    if not problems:
        raise ValueError(f"{path}: expected at least one problem to write, got none")
    lines, seen = [], set()
    for number, problem in enumerate(problems, start=1):
        line = to_json(problem).encode("utf-8", "surrogatepass")
        if _parse(line, f"{path}:{number}").id in seen:
            raise ValueError(f"{path}:{number}: field id: expected an id of its own, got {problem.id!r} twice")
        seen.add(problem.id)
        lines.append(line)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_bytes(b"\n".join(lines) + b"\n")
    os.replace(part, path)


def to_json(problem: Problem) -> str:
    """One line of JSON, without the newline."""
    return json.dumps(dataclasses.asdict(problem), ensure_ascii=False)


def fingerprint(problems: Sequence[Problem]) -> str:
    """Sixteen letters that change with any field of any problem, and with their order."""
    return hashlib.sha256("\n".join(map(to_json, problems)).encode()).hexdigest()[:16]


def _lines(path: str | Path) -> Iterator[tuple[int, bytes]]:
    """Lines with something on them, and their numbers."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: expected a JSONL file of problems, got {error.strerror or error}") from None
    # Split at \n alone: str.splitlines would also cut at U+2028, which JSON allows inside a string.
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if line.strip():
            yield number, line


def _parse(line: bytes, where: str) -> Problem:
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: expected UTF-8, got byte {line[error.start]:#04x}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: expected a JSON object, got a syntax error: {error.msg} at {error.colno}") from None
    except RecursionError:
        raise ValueError(f"{where}: expected a JSON object, got one nested too deeply") from None
    if not isinstance(row, dict):
        raise ValueError(f"{where}: expected a JSON object, got {type(row).__name__}")
    for name in row:
        if name not in _FIELDS:
            raise ValueError(
                f"{where}: field {name}: expected only {', '.join(_FIELDS)}, got another; put it inside meta"
            )
    for name in _REQUIRED:
        if name not in row:
            raise ValueError(f"{where}: field {name}: expected a string, got no such field")
    for name in _COLUMNS:
        value = row.get(name, "")
        if not isinstance(value, str):
            raise ValueError(f"{where}: field {name}: expected a string, got {value!r}; put it in quotes")
        if name in _REQUIRED and not value.strip():
            raise ValueError(f"{where}: field {name}: expected some text, got {value!r}")
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise ValueError(f"{where}: field {name}: expected Unicode text, got half of a surrogate pair")
    if not isinstance(meta := row.get("meta", {}), dict):
        raise ValueError(f"{where}: field meta: expected an object, got {meta!r}")
    tokens = meta.get(TARGET_TOKENS, 1)
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 1:
        raise ValueError(f"{where}: field meta.{TARGET_TOKENS}: expected a whole number of at least 1, got {tokens!r}")
    return Problem(**row)
