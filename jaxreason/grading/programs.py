"""Is a program right? It runs in the sandbox; what it gives is compared out here, where it cannot see what is expected.

Three outcomes, as for every answer: `right`, `wrong`, and `error` when the sandbox or a data set's own test is what
failed. Whatever a program does once it runs is its own fault, also where it ends itself or runs out of memory: else
that would be a way out of a zero.
"""

import time
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from jaxreason.grading import clock, guest
from jaxreason.grading.sandbox import Guest, SandboxError, TimeUp, TooLong
from jaxreason.grading.verdicts import Verdict

TIME_LIMIT_S = 6.0
"""Seconds of the clock for one test, as LiveCodeBench has it."""
STATUS_CHARS = 200
RIGHT = Verdict("right", "tests", "ok")


def run_stdin(
    program: str, cases: Sequence[tuple[str, str]], prelude: str = "", time_limit_s: float = TIME_LIMIT_S
) -> Verdict:
    """Run a program once for each case until one fails.

    Args:
      program: Python's text.
      cases: standard input, and expected standard output, see `same_output`.
      prelude: text that goes before the program.
    """

    def runs(until: float) -> Verdict:
        with Guest("stdin", until, program=program, prelude=prelude) as sandbox:
            for number, (given, expected) in enumerate(cases, start=1):
                sandbox.until = min(until, time.monotonic() + time_limit_s)
                sandbox.send({"stdin": given})
                printed, fault = _given(sandbox.receive(), "out")
                if fault:
                    return _wrong(f"test {number}: {fault}")
                if not same_output(str(printed), expected):
                    return _wrong(f"test {number}: wrong output")
        return RIGHT

    return _bounded(runs)


def run_calls(
    program: str,
    entry_point: str,
    cases: Sequence[tuple[list, Any]],
    prelude: str = "",
    time_limit_s: float = TIME_LIMIT_S,
) -> Verdict:
    """Call a program's function, or the method of that name of its class Solution, once for each case until one fails.

    Args:
      cases: arguments, and the expected value; tuples count as lists.
    """

    def runs(until: float) -> Verdict:
        with Guest("calls", until, program=program, prelude=prelude, entry_point=entry_point) as sandbox:
            if fault := _given(sandbox.receive(), "loaded")[1]:
                return _wrong(fault)
            for number, (args, expected) in enumerate(cases, start=1):
                sandbox.until = min(until, time.monotonic() + time_limit_s)
                sandbox.send({"args": guest.encode(args), "kwargs": guest.encode({})})
                value, fault = _given(sandbox.receive(), "value")
                if fault:
                    return _wrong(f"test {number}: {fault}")
                if not _same_value(value, expected):
                    return _wrong(f"test {number}: wrong value")
        return RIGHT

    return _bounded(runs)


def run_check(program: str, entry_point: str, check: str, prelude: str = "") -> Verdict:
    """Run a data set's `check(candidate)`, as HumanEval has it, against a program's function.

    Each is in a sandbox of its own and only arguments and values go between them, as plain data: a program cannot read
    the assertions, and an object that equals everything does not come through.

    Args:
      prelude: text that both run first: HumanEval's prompt, with imports and helper functions.
    """

    def runs(until: float) -> Verdict:
        common = {"prelude": prelude, "entry_point": entry_point}
        with (
            Guest("calls", until, program=program, **common) as candidate,
            Guest("check", until, check=check, **common) as checker,
        ):
            if fault := _given(candidate.receive(), "loaded")[1]:
                return _wrong(fault)
            asked = False
            while (message := checker.receive()) is not None:
                if "broken" in message:
                    return Verdict("error", "none", f"check: {message['broken']}"[:STATUS_CHARS])
                if "passed" in message:
                    return RIGHT
                if "failed" in message:
                    return _wrong(f"check: {_name(message['failed'])}")
                candidate.send(message)
                reply = candidate.receive()
                if reply is None:
                    return _wrong("ended")
                checker.send({key: reply[key] for key in ("value", "raised") if key in reply})
                asked = True
        # A value can be too much for the checker; before there was one it is the sandbox that failed.
        return _wrong("check: ended") if asked else Verdict("error", "tests", "sandbox: the check ended")

    return _bounded(runs)


def same_output(printed: str, expected: str) -> bool:
    """Whether lines agree, but for white space at their ends and around the whole; or else numbers in them by value.

    Source: the rules of LiveCodeBench's own checker.

    >>> same_output("1 2 \\n3\\n", "1 2\\n3"), same_output("1.0 2", "1 2.00"), same_output("1\\n2", "1 2")
    (True, True, False)
    """
    ours, theirs = ([line.strip() for line in text.strip().split("\n")] for text in (printed, expected))
    if len(ours) != len(theirs):
        return False
    return all(a == b or _same_numbers(a, b) for a, b in zip(ours, theirs, strict=True))


def _same_numbers(ours: str, theirs: str) -> bool:
    a, b = ours.split(), theirs.split()
    try:
        return len(a) == len(b) and [Decimal(one) for one in a] == [Decimal(one) for one in b]
    except InvalidOperation:
        return False


def _same_value(found: Any, expected: Any) -> bool:
    try:
        return bool(_lists(guest.decode(found)) == _lists(expected))
    except Exception:  # what a hostile program sent in place of a value
        return False


def _lists(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_lists(one) for one in value]
    return {key: _lists(one) for key, one in value.items()} if isinstance(value, dict) else value


def _bounded(runs: Callable[[float], Verdict]) -> Verdict:
    """A verdict by the end of the answer's time, whatever happens."""
    try:
        return runs(clock.until())
    except TimeUp:
        return _wrong("timeout")
    except TooLong:
        return _wrong("too much output")
    except SandboxError as error:
        return Verdict("error", "tests", f"sandbox: {error}"[:STATUS_CHARS])


def _given(reply: dict | None, wanted: str) -> tuple[Any, str]:
    """What a program gave, and what it did in place of that; empty where nothing else."""
    if reply is None:
        return None, "ended"
    if reply.get("flood"):
        return None, "too much output"
    if "raised" in reply:
        return None, _name(reply["raised"])
    return reply.get(wanted), "" if wanted in reply else "ended"


def _name(found: object) -> str:
    """An exception's name, which a program may have made up."""
    text = str(found)[: guest.NAME_CHARS]
    return text if text.replace(" ", "_").isidentifier() else "raised"


def _wrong(status: str) -> Verdict:
    return Verdict("wrong", "tests", status)
