"""Code problems as released, against rows written by hand, and files that want to do something to their reader."""

import base64
import json
import pickle
import zlib

import pytest

from jaxreason.cli import main
from jaxreason.data import code_tests
from jaxreason.data.problems import read_jsonl
from jaxreason.data.released import convert
from jaxreason.data.released.code import pickled_text
from jaxreason.tasks import code
from tests.sandboxed import needs_sandbox

HUMANEVAL = {
    "task_id": "Test/0",
    "prompt": "def double(x: int) -> int:\n    '''Twice x.'''\n",
    "entry_point": "double",
    "canonical_solution": "    return 2 * x\n",
    "test": "\n\nMETADATA = {}\n\n\ndef check(candidate):\n    assert candidate(3) == 6\n",
}


def packed(tests: list, protocol: int = 4) -> str:
    """As LiveCodeBench writes private tests."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(tests), protocol=protocol))).decode()


STDIN = {
    "question_title": "Sum",
    "question_content": "Add two numbers.",
    "platform": "atcoder",
    "question_id": "abc1_a",
    "contest_id": "abc1",
    "contest_date": "2024-01-01T00:00:00",
    "starter_code": "",
    "difficulty": "easy",
    "public_test_cases": json.dumps([{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]),
    "private_test_cases": packed([{"input": "5 6\n", "output": "11\n", "testtype": "stdin"}]),
    "metadata": "{}",
}
FUNCTIONAL = STDIN | {
    "question_id": "1",
    "starter_code": "class Solution:\n    def add(self, a: List[int], b: int) -> int:\n        ",
    "public_test_cases": json.dumps([{"input": "[1, 2]\n3", "output": "6", "testtype": "functional"}]),
    "private_test_cases": json.dumps([{"input": "[]\n3", "output": "3", "testtype": "functional"}]),
    "metadata": json.dumps({"func_name": "add"}),
}


def written(folder, *rows):
    file = folder / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def test_humaneval(tmp_path):
    """The indentation of a solution is code; the question shows the function."""
    found = convert(written(tmp_path, HUMANEVAL), "he")
    (problem,) = found.problems
    assert (found.format, problem.id) == ("HumanEval", "Test/0")
    assert problem.answer == "def double(x: int) -> int:\n    '''Twice x.'''\n    return 2 * x\n"
    assert "```python\ndef double(x: int) -> int:\n    '''Twice x.'''\n```" in problem.question
    assert code_tests.read(problem.meta, "p").entry_point == "double"


def test_livecodebench(tmp_path):
    """Public and private tests, packed or not; a method is called by its name with a line an argument."""
    found = convert(written(tmp_path, STDIN, FUNCTIONAL), "lcb")
    assert found.format == "LiveCodeBench"
    sums, add = (code_tests.read(problem.meta, "p") for problem in found.problems)
    assert sums.runs == [("1 2\n", "3\n"), ("5 6\n", "11\n")]
    assert add.calls == [([[1, 2], 3], 6), ([[], 3], 3)]
    assert add.entry_point == "add"
    assert found.problems[1].question.endswith("def add(self, a: List[int], b: int) -> int:\n```")
    assert [problem.id for problem in found.problems] == ["abc1_a", "lcb/1"]
    assert found.problems[0].meta["difficulty"] == "easy"
    assert found.problems[0].answer == code_tests.NO_SOLUTION


@needs_sandbox
def test_livecodebench_is_graded(tmp_path):
    """Solutions lean on imports that their sites make; pow is Python's own and not that of math."""
    sums, add = convert(written(tmp_path, STDIN, FUNCTIONAL), "lcb").problems
    method = "class Solution:\n    def add(self, a: List[int], b: int) -> int:\n        return {} + b\n"
    assert code.grade("print(sum(map(int, input().split())) * pow(2, 0, 3))", sums).outcome == "right"
    assert code.grade("print(3)", sums).status == "test 2: wrong output"
    assert code.grade(method.format("reduce(lambda x, y: x + y, a, 0)"), add).outcome == "right"
    assert code.grade(method.format("3"), add).status == "test 2: wrong value"


def test_long_tests_are_packed(tmp_path):
    """A benchmark's tests are megabytes a problem; what comes back is equal, halves of surrogates and all."""
    tests = [{"input": "\ud800" + "7" * 30_000, "output": "é"}]
    assert len(code_tests.pack(tests)) < 1000
    assert code_tests.unpack(code_tests.pack(tests)) == tests
    many = json.dumps([{"input": "9" * 30_000, "output": "1", "testtype": "stdin"}])
    (problem,) = convert(written(tmp_path, STDIN | {"public_test_cases": many}), "lcb").problems
    assert isinstance(problem.meta["tests"], str)
    assert code_tests.read(problem.meta, "p").runs == [("9" * 30_000, "1"), ("5 6\n", "11\n")]


class Hostile:
    def __reduce__(self):
        return (open, ("/tmp/pickle-was-run", "w"))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_is_read_and_never_carried_out(protocol):
    assert pickled_text(pickle.dumps("[1, 2, 'é']", protocol=protocol)) == "[1, 2, 'é']"
    for other in (Hostile(), ["a"], {"a": "b"}, 3):
        with pytest.raises(ValueError, match="expected a pickle of one string"):
            pickled_text(pickle.dumps(other, protocol=protocol))
    with pytest.raises(ValueError, match=r"expected|pickle|not enough"):
        pickled_text(pickle.dumps("abc", protocol=protocol)[:-3])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (HUMANEVAL | {"entry_point": ""}, "column entry_point: expected the name of the function, got ''"),
        (HUMANEVAL | {"test": "assert True"}, "column test: expected code that defines check(candidate)"),
        (STDIN | {"public_test_cases": "[]", "private_test_cases": ""}, "expected at least one test, got none"),
        (STDIN | {"private_test_cases": "!"}, "column private_test_cases: expected tests as LiveCodeBench has them"),
        (
            STDIN | {"private_test_cases": base64.b64encode(zlib.compress(pickle.dumps(Hostile()))).decode()},
            "instruction",
        ),
        (STDIN | {"public_test_cases": "[1]"}, "column public_test_cases: expected a list of tests"),
        (STDIN | {"public_test_cases": '[{"input": 3}]'}, "expected input and output as texts"),
        (FUNCTIONAL | {"metadata": "{}"}, "column metadata: expected func_name"),
        (
            FUNCTIONAL | {"public_test_cases": '[{"input": "x", "output": "1", "testtype": "functional"}]'},
            "expected JSON",
        ),
        (FUNCTIONAL | {"private_test_cases": STDIN["private_test_cases"]}, "meta.tests: expected tests of one kind"),
    ],
)
def test_a_bad_row_is_named(tmp_path, row, message):
    with pytest.raises(ValueError, match=r"rows.jsonl:1") as refused:
        convert(written(tmp_path, row), "s")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_bomb_is_not_unpacked(monkeypatch):
    """A kilobyte can hold a gigabyte."""
    monkeypatch.setattr(code_tests, "MOST_BYTES", 10_000)
    with pytest.raises(ValueError, match="expected all of it and at most"):
        code_tests.inflate(base64.b64encode(zlib.compress(b"0" * 10**7)).decode())
    assert code_tests.inflate(base64.b64encode(zlib.compress(b"0" * 10**4)).decode()) == b"0" * 10**4


@needs_sandbox
def test_solutions_are_run_where_problems_are_converted(tmp_path, capsys):
    """A problem whose own solution fails would punish every right answer."""
    bad = HUMANEVAL | {"task_id": "Test/1", "canonical_solution": "    return x\n"}
    file = written(tmp_path, HUMANEVAL, bad)
    assert main(["data", "convert", str(file), "--to", str(tmp_path / "a.jsonl")]) == 0
    shown = capsys.readouterr().out
    assert "warning: 1 of 2 solutions fail their tests" in shown
    assert "Test/1: check: AssertionError" in shown
    assert len(read_jsonl(tmp_path / "a.jsonl")) == 2
    assert main(["data", "convert", str(written(tmp_path, STDIN)), "--to", str(tmp_path / "b.jsonl")]) == 0
    assert "no solutions are released" in capsys.readouterr().out
