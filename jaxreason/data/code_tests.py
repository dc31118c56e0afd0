"""The tests of a code problem, as its `meta` holds them.

    {"tests": [{"input": "1 2\\n", "output": "3\\n"}]}                    a program, by standard input and output
    {"tests": [{"args": [1, 2], "expected": 3}], "entry_point": "add"}  a function, by arguments and values
    {"check": "def check(candidate): ...", "entry_point": "add"}        a function, by a data set's own code

Beside them may stand `prelude`, Python that goes before an answer, and `time_limit_s`, seconds for one test. A long
list of tests may be packed (`pack`): base64 of zlib of its JSON.
"""

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

NO_SOLUTION = "no solution is released"
"""A problem's answer where it has tests alone."""
MOST_BYTES = 2**28
"""Of the tests of one problem, unpacked."""


class CodeTests(NamedTuple):
    """Tests of one of three kinds: `check` is not empty, or else `calls` or `runs` is not."""

    runs: list[tuple[str, str]]  # standard input and output
    calls: list[tuple[list, Any]]  # arguments and value
    check: str = ""  # Python that defines check(candidate)
    entry_point: str = ""  # the function asked for, of calls and check
    prelude: str = ""
    time_limit_s: float | None = None

    @property
    def count(self) -> int:
        """How many tests; a check counts as one."""
        return len(self.runs) + len(self.calls) + bool(self.check)


def has_tests(meta: Mapping[str, Any]) -> bool:
    """Whether a problem's answers are graded by running them."""
    return "tests" in meta or ("check" in meta and "entry_point" in meta)


def read(meta: Mapping[str, Any], where: str) -> CodeTests:
    """Read and check the tests of a problem.

    Args:
      where: the problem, in words.

    Raises:
      ValueError: no tests, or some that are none; names `where` and the field.
    """

    def refuse(field: str, expected: str, got: object) -> ValueError:
        return ValueError(f"{where}: meta.{field}: expected {expected}, got {got!r:.60}")

    common = {}
    for field in ("entry_point", "prelude", "check"):
        if not isinstance(value := meta.get(field, ""), str):
            raise refuse(field, "text", value)
        common[field] = value
    limit = meta.get("time_limit_s")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int | float) or not limit > 0):
        raise refuse("time_limit_s", "seconds above 0", limit)
    found = CodeTests([], [], **common, time_limit_s=limit)
    tests = meta.get("tests", [])
    if isinstance(tests, str):
        try:
            tests = unpack(tests)
        except ValueError as error:
            raise ValueError(f"{where}: meta.tests: {error}") from None
    if not isinstance(tests, list):
        raise refuse("tests", "a list of tests", tests)
    if not tests and not found.check:
        raise refuse(
            "tests", "tests of code, which `jaxreason data convert` writes for HumanEval and LiveCodeBench", tests
        )
    for test in tests:
        if not isinstance(test, dict):
            raise refuse("tests", "objects", test)
        if isinstance(test.get("input"), str) and isinstance(test.get("output"), str):
            found.runs.append((test["input"], test["output"]))
        elif isinstance(test.get("args"), list) and "expected" in test:
            found.calls.append((test["args"], test["expected"]))
        else:
            raise refuse("tests", "{input, output} as texts or {args, expected}", test)
    if bool(found.runs) + bool(found.calls) + bool(found.check) > 1:
        raise refuse("tests", "tests of one kind", "several")
    if not found.runs and not found.entry_point.isidentifier():
        raise refuse("entry_point", "the name of the function that is tested", found.entry_point)
    return found


def pack(tests: list[dict]) -> str:
    """Tests as short text; `unpack` gives them back."""
    return base64.b64encode(
        zlib.compress(json.dumps(tests, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    ).decode()


def unpack(text: str) -> Any:
    """What `pack` was given.

    Raises:
      ValueError: text that it did not write.
    """
    return json.loads(inflate(text).decode("utf-8", "surrogatepass"))


def inflate(text: str) -> bytes:
    """Bytes of base64 of zlib, up to MOST_BYTES.

    Raises:
      ValueError: something else, or more.
    """
    try:
        unpacking = zlib.decompressobj()
        found = unpacking.decompress(base64.b64decode(text, validate=True), MOST_BYTES)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"expected base64 of zlib, got {text[:20]!r}... ({error})") from None
    if not unpacking.eof:
        raise ValueError(f"expected all of it and at most {MOST_BYTES >> 20} MiB, got another length")
    return found
