"""Code problems as they are released: HumanEval and LiveCodeBench. Nothing is run here, and nothing unpickled."""

import json
import pickletools
from typing import Any

from jaxreason.data import code_tests
from jaxreason.data.released.row import Item, Row

PRELUDE = "\n".join(
    [
        "import bisect, collections, datetime, functools, heapq, itertools, math, operator, random, re, string, sys",
        "from bisect import *",
        "from collections import *",
        "from functools import *",
        "from heapq import *",
        "from itertools import *",
        "from math import *",
        "from typing import *",
        "from builtins import *",  # pow is not the one of math
        "",
    ]
)
"""What goes before an answer to LiveCodeBench: its solutions count on such imports, as their sites make them."""
PACKED_CHARS = 20_000
"""Tests longer than this as JSON are packed."""


def humaneval(row: Row) -> Item:
    """A function to complete; its tests are `check(candidate)`, its answer the released solution."""
    prompt, name = row.code("prompt"), row.text("entry_point")
    if not name.isidentifier():
        row.refuse("entry_point", "the name of the function", repr(name), "correct or remove the row")
    if "def check(" not in row.code("test"):
        row.refuse("test", "code that defines check(candidate)", "none", "correct or remove the row")
    meta = {"entry_point": name, "prelude": prompt, "check": row.code("test")}
    asked = f"Complete this Python function.\n\n```python\n{prompt.strip()}\n```" if prompt.strip() else ""
    return Item(asked, prompt + row.code("canonical_solution"), row.columns.get("task_id"), meta)


def livecodebench(row: Row) -> Item:
    """A program or a method, with public and private tests."""
    question, starter = row.text("question_content"), row.code("starter_code").rstrip()
    tests = [_test(row, test) for column in ("public_test_cases", "private_test_cases") for test in _cases(row, column)]
    if not tests:
        row.refuse("public_test_cases", "at least one test", "none", "correct or remove the row")
    meta: dict[str, Any] = {"prelude": PRELUDE, "time_limit_s": 6}
    if any("args" in test for test in tests):
        meta["entry_point"] = _function(row)
    code_tests.read(meta | {"tests": tests}, row.where)
    long = len(json.dumps(tests)) > PACKED_CHARS
    meta["tests"] = code_tests.pack(tests) if long else tests
    if starter:
        question += f"\n\nBegin with this code.\n\n```python\n{starter}\n```"
    return Item(question, code_tests.NO_SOLUTION, row.columns.get("question_id"), meta)


def _cases(row: Row, column: str) -> list:
    """A column's tests: JSON, or base64 of zlib of a pickle of JSON."""
    text = row.text(column)
    if not text:
        return []
    try:
        found = json.loads(text if text.startswith("[") else pickled_text(code_tests.inflate(text)))
    except (ValueError, RecursionError) as error:
        row.refuse(column, "tests as LiveCodeBench has them", f"{error}"[:100], "download the file again")
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        row.refuse(column, "a list of tests", repr(found)[:60], "download the file again")
    return found


def pickled_text(data: bytes) -> str:
    """The string that a pickle holds. It is read as a list of instructions and never carried out, so that no file can
    make this process do anything; a pickle of anything but one string is refused.

    Raises:
      ValueError: another pickle, or none.
    """
    texts = []
    for operation, value, _ in pickletools.genops(data):
        if operation.name in ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"):
            texts.append(value)
        elif operation.name not in ("PROTO", "FRAME", "MEMOIZE", "BINPUT", "LONG_BINPUT", "STOP"):
            raise ValueError(f"expected a pickle of one string, got the instruction {operation.name} in it")
    if len(texts) != 1:
        raise ValueError(f"expected a pickle of one string, got {len(texts)}")
    return texts[0]


def _test(row: Row, test: dict) -> dict:
    """One test in this project's form, see `data.code_tests`."""
    given, expected = test.get("input"), test.get("output")
    if not isinstance(given, str) or not isinstance(expected, str):
        row.refuse("public_test_cases", "input and output as texts", repr(test)[:60], "correct or remove the row")
    if test.get("testtype") != "functional":
        return {"input": given, "output": expected}
    try:
        args = [json.loads(line) for line in given.split("\n") if line.strip()]
        return {"args": args, "expected": json.loads(expected)}
    except (ValueError, RecursionError):
        row.refuse("public_test_cases", "JSON on every line", repr(test)[:60], "correct or remove the row")


def _function(row: Row) -> str:
    """The function that is called, from the column `metadata`."""
    held = row.columns.get("metadata")
    try:
        name = (json.loads(held) if isinstance(held, str) else held or {}).get("func_name")
    except (ValueError, AttributeError):
        name = None
    if not isinstance(name, str) or not name.isidentifier():
        row.refuse("metadata", "func_name, the function that is called", repr(held)[:60], "correct or remove the row")
    return name
