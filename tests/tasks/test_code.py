"""Code problems: what is asked, which block is the program, who is to blame, and what is refused before a run."""

import dataclasses
import json
import os

import pytest

from jaxreason.config import Config, DataConfig
from jaxreason.data import code_tests
from jaxreason.data.problems import Problem, write_jsonl
from jaxreason.grading import clock, programs, sandbox
from jaxreason.grading.pool import Pool
from jaxreason.grading.sandbox import SandboxError
from jaxreason.tasks import code
from jaxreason.tasks.asking import turns_of
from jaxreason.tasks.grading import grade_answers, refuse_unfit
from jaxreason.tasks.opening import open_task
from jaxreason.tasks.reading import Reasoning
from tests import runs
from tests.sandboxed import needs_sandbox

SUMS = Problem(
    "sums", "Add two numbers.", code_tests.NO_SOLUTION, meta={"tests": [{"input": "1 2\n", "output": "3\n"}]}
)
ADD = Problem(
    "add",
    "Write add.",
    "def add(a, b):\n    return a + b\n",
    meta={"entry_point": "add", "tests": [{"args": [1, 2], "expected": 3}, {"args": [[1], [2]], "expected": [1, 2]}]},
)
CHECK = Problem(
    "twice",
    "Complete twice.",
    "def twice(x):\n    return shift(x) * 2",
    meta={
        "entry_point": "twice",
        "prelude": "def shift(x):\n    return x + 1\n\n\ndef twice(x):\n    '''Twice the next.'''\n",
        "check": "def check(candidate):\n    assert candidate(1) == 4\n    assert candidate(shift(1)) == 6",
    },
)
READ = [  # text, y, program; by hand
    ("Add.\n```python\nprint(1)\n```\nDone.", "Add.\n", "print(1)\n"),
    ("a\n```py\nx\n```\nno, b\n```Python\ny\n```", "a\n```py\nx\n```\nno, b\n", "y\n"),  # the last one counts
    ("a\n```python\nx\n```\nIt prints\n```\n5\n```", "a\n", "x\n"),  # an output is no program
    ("a\n```python\nx\n```\nRun it:\n```bash\npython x.py\n```", "a\n", "x\n"),
    ("a\n```\nprint(1)\n```", "a\n", "print(1)\n"),  # no language is given anywhere
    ("a\n```cpp\nint x;\n```", "a\n```cpp\nint x;\n```", None),
    ("a\n```python\nx\n```\nb\n```python\ny", "a\n", "x\n"),  # cut at the limit: the last one that is closed
    ("a\n```python\nx", "a\n```python\nx", None),
    ("a ```python x``` b", "a ```python x``` b", None),
    ("a\n```python\n\n```", "a\n```python\n\n```", None),
    ("<think>t\n```python\nx\n```\n</think>\nb\n```python\ny\n```", "t\n```python\nx\n```\n</think>\nb\n", "y\n"),
    ("t\n```python\nx\n```\n</think>\nnone", "t\n```python\nx\n```\n</think>\nnone", None),
    ("1. Do\n   ```python\n   x\n   ```", "1. Do\n", "   x\n"),
]


@pytest.mark.parametrize(("text", "y", "program"), READ)
def test_which_block_is_the_program(text, y, program):
    found = code.read(text)
    assert found.answer == program
    assert text[found.start : found.end] == y


def test_how_it_is_asked():
    """A function by its name, a program by its input and output; the question word for word."""
    task = open_task("code")
    (asked,) = turns_of(task, SUMS)
    assert asked["content"].startswith("Add two numbers.\n\n")
    assert "standard input" in asked["content"]
    (asked,) = turns_of(task, ADD)
    assert "the function add" in asked["content"]
    assert "standard input" not in asked["content"]


def _graded(problem: Problem, *answers: str | None) -> list[str]:
    task = open_task("code")
    found = [Reasoning("", [], [], answer) for answer in answers]
    with Pool(num_workers=1, timeout_s=10.0) as pool:
        grades = grade_answers(task, found, [problem] * len(answers), pool)
    assert grades.gradable.all()
    return [f"right: {s}" if right else s for right, s in zip(grades.correct, grades.status, strict=True)]


@needs_sandbox
def test_programs_by_input_and_output():
    """The last one's output is right and its ending is not."""
    programs_and_verdicts = {
        "print(sum(map(int, input().split())))": "right: ok",
        "import sys\nprint(sum(int(x) for x in sys.stdin.read().split()), '')": "right: ok",
        "def main():\n    print(3.0)\nif __name__ == '__main__':\n    main()": "right: ok",
        "print(3)\nexit()": "right: ok",
        "import threading\nthreading.Thread(target=lambda: print(3)).start()": "right: ok",
        "out = open(1, 'w')\nout.write('3')": "right: ok",  # never closed
        "import atexit\natexit.register(print, 3)": "right: ok",
        "import io, sys\nsys.stdout = io.TextIOWrapper(open(1, 'wb'))\nprint(3)": "right: ok",
        "import sys\nsys.stdout.close()": "test 1: wrong output",
        "print(4)": "test 1: wrong output",
        "print(3": "test 1: SyntaxError",
        "input()\ninput()": "test 1: EOFError",
        "print(3, flush=True)\n1 / 0": "test 1: ZeroDivisionError",
        "print(3, flush=True)\nimport os\nos.abort()": "test 1: killed",
    }
    found = _graded(SUMS, *programs_and_verdicts, None)
    assert found == [*programs_and_verdicts.values(), "no_answer"]


@needs_sandbox
def test_every_test_counts():
    """A program that knows the first test is wrong at the second."""
    problem = dataclasses.replace(SUMS, meta={"tests": [*SUMS.meta["tests"], {"input": "2 2", "output": "4"}]})
    assert _graded(problem, "print(3)", "print(sum(map(int, input().split())))") == [
        "test 2: wrong output",
        "right: ok",
    ]


@needs_sandbox
def test_functions_by_arguments_and_values():
    answers = {
        "def add(a, b):\n    return a + b": "right: ok",
        "class Solution:\n    def add(self, a, b):\n        return a + b": "right: ok",
        "def add(a, b):\n    return a + b if a == 1 else (1, 2)": "right: ok",  # JSON has no tuples
        "def add(a, b):\n    print('noise')\n    return a + b": "right: ok",
        "def add(a, b):\n    return 3": "test 2: wrong value",
        "def add(a):\n    return 3": "test 1: TypeError",
        "def sub(a, b):\n    return 3": "no add",
        "def add(a, b):\n    return object()": "test 1: TypeError",
        "def add(": "SyntaxError",
        "raise KeyError": "KeyError",
    }
    assert _graded(ADD, *answers) == list(answers.values())


@needs_sandbox
def test_functions_by_a_check():
    """The prelude's helper is there for both sides; a body alone completes it."""
    answers = {
        CHECK.answer: "right: ok",
        "    return shift(x) + shift(x)": "right: ok",
        "    pass": "check: AssertionError",
        "def twice(x):\n    return 4": "check: AssertionError",
        "def twice(x):\n    return 1 / 0": "check: ZeroDivisionError",
        "def twice(x):\n    return nowhere": "check: NameError",
        "twice = 3": "check: TypeError",
    }
    assert _graded(CHECK, *answers) == list(answers.values())


@needs_sandbox
@pytest.mark.parametrize(
    "check", ["def check(candidate", "x = 1", "def check(candidate):\n    nowhere", "import numpy"]
)
def test_a_check_that_is_broken_blames_no_answer(check):
    """It is an error and not asked again: the same test would break again."""
    problem = dataclasses.replace(CHECK, meta=CHECK.meta | {"check": check})
    found = code.grade(CHECK.answer, problem)
    assert (found.outcome, found.grader) == ("error", "none")
    assert found.status.startswith("check: ")


def test_a_sandbox_that_fails_blames_no_answer(monkeypatch, tmp_path):
    """Neither where bwrap is gone, nor where it refuses, nor where it never starts."""
    for text, expected in (
        (None, "sandbox: expected bubblewrap's bwrap"),
        (
            "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n",
            "sandbox: bwrap: No permissions",
        ),
        ("#!/bin/sh\nexec sleep 60\n", "sandbox: bwrap: not started in time"),
    ):
        if text:
            (tmp_path / "bwrap").write_text(text)
            (tmp_path / "bwrap").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin" if text else str(tmp_path))
        monkeypatch.setattr(clock, "OUTSIDE_S", 1.0)
        sandbox.command.cache_clear()
        for problem in (SUMS, ADD, CHECK):
            found = code.grade("print(3)", problem)
            assert (found.outcome, found.grader) == ("error", "tests")  # the pool asks once more
            assert found.status.startswith(expected)
    sandbox.command.cache_clear()


def test_without_a_sandbox_nothing_is_run(monkeypatch, capsys, tmp_path):
    """A run is refused in a line with the remedy, and no program of any kind has run."""
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    sandbox.command.cache_clear()
    sandbox.unavailable.cache_clear()
    with pytest.raises(SandboxError, match="apt-get install bubblewrap"):
        sandbox.command()
    assert code.grade(f"open({str(tmp_path / 'ran')!r}, 'w')", SUMS).outcome == "error"
    assert not (tmp_path / "ran").exists()
    write_jsonl([dataclasses.replace(SUMS, id=str(i)) for i in range(8)], tmp_path / "p.jsonl")
    assert runs.train(tmp_path / "run", *_with(tmp_path / "p.jsonl")) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        "jaxreason: error: data.task=code: programs run in a sandbox and never without: expected bubble"
    )
    assert "apt-get install bubblewrap" in said
    assert said.count("\n") == 1
    sandbox.command.cache_clear()
    sandbox.unavailable.cache_clear()


def _with(file) -> list[str]:
    none = ["--warmup.max_steps=0", "--warmup.drill_steps=0", "--grading.num_workers=1"]
    return ["--data.task=code", f"--data.train={file}", f"--data.test={file}", *none]


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({}, "meta.tests: expected tests of code, which `jaxreason data convert` writes"),
        ({"tests": []}, "meta.tests: expected tests of code"),
        ({"tests": [{"input": "1"}]}, "meta.tests: expected {input, output} as texts or {args, expected}, got"),
        ({"tests": [{"args": [1], "expected": 2}]}, "meta.entry_point: expected the name of the function"),
        ({"check": "def check(c): pass"}, "meta.entry_point: expected the name of the function"),
        ({"tests": "no"}, "meta.tests: expected base64 of zlib"),
        (
            {"tests": [{"input": "", "output": ""}], "time_limit_s": 0},
            "meta.time_limit_s: expected seconds above 0, got 0",
        ),
    ],
)
def test_problems_without_tests_are_refused_before_a_run(capsys, tmp_path, meta, expected):
    (tmp_path / "p.jsonl").write_text(json.dumps({"id": "a", "question": "q", "answer": "a", "meta": meta}) + "\n")
    assert runs.train(tmp_path / "run", *_with(tmp_path / "p.jsonl")) == 2
    said = capsys.readouterr().err
    assert said.startswith("jaxreason: error: data.task=code: problem 'a': ")
    assert expected in said
    assert said.count("\n") == 1


def test_other_tasks_ask_nothing_of_the_machine():
    refuse_unfit(open_task("boxed_math"), [Problem("a", "q", "1")])
    assert Config(data=DataConfig(task="code", train="x.jsonl")).data.task == "code"


@pytest.mark.parametrize(
    ("printed", "expected", "same"),
    [
        ("1\n2\n", "1\n2", True),
        ("  1  \n 2", "1\n2", True),
        ("1 2", "1\n2", False),
        ("1.50", "1.5", True),
        ("0.30000000000000004", "0.3", False),
        ("1e3", "1000", True),
        ("YES", "yes", False),
        ("1  2", "1 2", True),
        ("a  b", "a b", False),
        ("", "", True),
        ("NaN", "NaN", True),
        ("NaN 1", "NaN 1.0", False),
        ("sNaN 1", "1 1", False),
    ],
)
def test_outputs_are_the_same(printed, expected, same):
    assert programs.same_output(printed, expected) == same


def test_a_grader_ends_before_its_worker_is_killed(monkeypatch):
    """Else every answer that is slow would cost a worker."""
    monkeypatch.setattr(clock.time, "monotonic", lambda: 100.0)
    monkeypatch.setattr(clock, "_until", None)
    assert clock.until() == 100.0 + clock.OUTSIDE_S
    clock.start(10.0)
    assert clock.until() == 109.75
    clock.start(1.0)
    assert clock.until() == 100.9
