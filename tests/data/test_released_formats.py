"""Each data set's columns against rows written by hand in the form of its release, and what no row may turn into."""

import collections
import csv
import json

import pytest

from jaxreason.cli import main
from jaxreason.data.problems import read_jsonl
from jaxreason.data.released import convert, golds

OLYMPIAD = {
    "id": 1606,
    "subfield": "Algebra",
    "context": None,
    "question": "Find all $x$ with $x^2=9$.",
    "solution": ["..."],
    "final_answer": ["$3$,$-3$"],
    "is_multiple_answer": True,
    "unit": None,
    "answer_type": "Numerical",
    "error": None,
}
SVAMP = {
    "Answer": 145.0,
    "Question": "How big is each group?",
    "Body": "There are 290 pears in 2 groups.",
    "Equation": "( 290.0 / 2.0 )",
    "Type": "Common-Division",
    "ID": "chal-777",
    "idx": 0,
}
MINERVA = {
    "problem": "How long?",
    "solution": "First $\\boxed{1}$, then $\\boxed{\\frac{1}{2}} \\mathrm{~s}$.",
    "idx": 7,
}
COLLEGE = {
    "data_source": "college_math.Calculus",
    "question_number": "exercise.1.2",
    "question": "Differentiate $x^2$.",
    "answer": "$2 x$",
    "license": "CC",
    "data_topic": "college_math.calculus",
}
GPQA = {
    "Question": "Which is a noble gas?",
    "Correct Answer": "argon\n",
    "Incorrect Answer 1": "iron",
    "Incorrect Answer 2": "neon, mixed with iron",
    "Incorrect Answer 3": 'so-called "air"',
    "Record ID": "rec1",
    "High-level domain": "Chemistry",
    "Subdomain": "",
}


def written(tmp_path, *rows, name="x.jsonl"):
    file = tmp_path / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def one(tmp_path, row, **kwargs):
    (problem,) = convert(written(tmp_path, row), "s", **kwargs).problems
    return problem


def test_olympiadbench(tmp_path):
    """Several answers become a plain list, a unit and the type stay for the grader, a proof is no problem to grade."""
    rows = [
        OLYMPIAD,
        OLYMPIAD
        | {"id": 2, "final_answer": ["45"], "is_multiple_answer": False, "unit": "minute", "context": "A boat."},
        OLYMPIAD | {"id": 3, "final_answer": None, "answer_type": None},
        OLYMPIAD | {"id": 4, "final_answer": ["see there"], "answer_type": "Need_human_evaluate"},
    ]
    found = convert(written(tmp_path, *rows), "ob")
    first, second = found.problems
    assert (first.id, first.answer) == ("ob/1606", "3, -3")
    assert first.meta == {"subfield": "Algebra", "is_multiple_answer": True, "answer_type": "Numerical"}
    assert second.answer == "45"
    assert second.meta["unit"] == "minute"
    assert second.question == f"A boat.\n\n{OLYMPIAD['question']}"
    assert found.empty == [3, 4]


@pytest.mark.parametrize(
    ("released", "expected"),
    [
        ("$69$,$84$", "69, 84"),
        ("54,108,135", "54, 108, 135"),  # no number of nine digits
        ("$(1,8,19), (2,7,13)$", "(1,8,19), (2,7,13)"),
        ("$\\left\\{1,2\\right\\}$, $[3,4)$", "\\left\\{1,2\\right\\}, [3,4)"),
        ("$221,$8$", "221, 8"),
        ("$1{,}000$, $2$", "1{,}000, 2"),
        ("$a x+b$, where $b$ is whole", "$a x+b$, where $b$ is whole"),
    ],
)
def test_several_answers_are_a_list_whose_commas_are_no_thousands(released, expected):
    assert golds.as_list(released) == expected


def test_svamp_mawps_and_their_whole_floats(tmp_path):
    """`145.0` as a gold would leave the rules for integers."""
    problem = one(tmp_path, SVAMP)
    assert problem.question == "There are 290 pears in 2 groups. How big is each group?"
    assert (problem.id, problem.answer, problem.meta) == ("chal-777", "145", {"type": "Common-Division"})
    mawps = [{"input": "1+1?", "target": 2.0}, {"input": "1/8?", "target": 0.125}, {"input": "?", "target": "1,200.0"}]
    found = convert(written(tmp_path, *mawps), "m").problems
    assert [p.answer for p in found] == ["2", "0.125", "1200"]
    assert [p.id for p in found] == ["m/1", "m/2", "m/3"]


def test_minerva_takes_the_last_box_of_the_solution(tmp_path):
    problem = one(tmp_path, MINERVA | {"type": "Astronomy"})
    assert (problem.id, problem.answer, problem.meta) == ("s/7", "\\frac{1}{2}", {"type": "Astronomy"})


@pytest.mark.parametrize(
    ("solution", "expected"),
    [
        ("$\\boxed 5$.", "5"),
        ("\\fbox{a}", "a"),
        ("\\boxed{\\{1,\\}}", "\\{1,\\}"),
        ("\\boxed{\\text{even}} \\boxedx", "\\text{even}"),
        ("none", ""),
        ("\\boxed{1", ""),
    ],
)
def test_the_last_box(solution, expected):
    assert golds.last_box(solution) == expected


def test_college_math_is_not_taken_for_gsm8k(tmp_path):
    """It has GSM8K's two columns and no `####`."""
    problem = one(tmp_path, COLLEGE)
    assert (problem.id, problem.answer) == ("college_math.Calculus/exercise.1.2", "$2 x$")
    assert problem.meta == {"subject": "college_math.calculus"}


def gpqa_file(tmp_path, number):
    file = tmp_path / f"gpqa{number}.csv"
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, list(GPQA))
        writer.writeheader()
        writer.writerows(GPQA | {"Record ID": f"rec{i}"} for i in range(number))
    return file


def test_gpqa_shuffles_by_the_seed_and_the_row(tmp_path):
    """The right choice is released first: unshuffled, `A` would always win."""
    found = convert(gpqa_file(tmp_path, 400), "gpqa", seed=3)
    letters = collections.Counter(p.answer for p in found.problems)
    assert set(letters) == set("ABCD")
    assert min(letters.values()) > 70
    for problem in found.problems:
        assert f"({problem.answer}) argon\n" in problem.question
        assert problem.meta["choices"]["ABCD".index(problem.answer)] == "argon"
    assert found.problems[0].meta["subject"] == "Chemistry"
    assert "subfield" not in found.problems[0].meta
    again = convert(gpqa_file(tmp_path, 10), "gpqa", seed=3)  # an order depends on nothing but seed and id
    assert again.problems == found.problems[:10]
    other = convert(gpqa_file(tmp_path, 400), "gpqa", seed=4)
    assert 50 < sum(a.answer != b.answer for a, b in zip(found.problems, other.problems, strict=True)) < 400


def test_the_seed_on_the_command_line(tmp_path, capsys):
    file = gpqa_file(tmp_path, 8)
    assert main(["data", "convert", str(file), "--to", str(tmp_path / "a.jsonl"), "--seed", "5"]) == 0
    assert "order of --seed=5" in capsys.readouterr().out
    assert read_jsonl(tmp_path / "a.jsonl") == convert(file, "gpqa8", seed=5).problems
    plain = written(tmp_path, MINERVA)
    assert main(["data", "convert", str(plain), "--to", str(tmp_path / "b.jsonl"), "--seed", "5"]) == 2
    assert "--seed: expected with choices to shuffle only" in capsys.readouterr().err
    assert not (tmp_path / "b.jsonl").exists()


def test_ids_that_are_bare_numbers_get_the_source(tmp_path):
    """AIME's and AMC's ids are 0, 1, ...: files put together would clash."""
    rows = [{"problem": "1+1?", "answer": 2, "id": 0}, {"problem": "1+2?", "answer": "3", "id": "t/1"}]
    assert [p.id for p in convert(written(tmp_path, *rows), "aime25").problems] == ["aime25/0", "t/1"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(["2"], "2"), ([7], "7"), (27.0, "27"), ("27.0", "27"), (-0.5, "-0.5"), (1e-7, "0.0000001"), ("3,5", "3,5")],
)
def test_values_that_are_answers(tmp_path, value, expected):
    """`['2']`, `27.0` and `1e-07` were golds once."""
    assert one(tmp_path, {"problem": "?", "answer": value}).answer == expected


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (["2", "3"], "a list, ['2', '3']"),
        ({"value": 2}, "an object, {'value': 2}"),
        (float("nan"), "no number, nan"),
        (True, "a truth value, True"),
        (["2", None], "a list"),
        ([["2"]], "a list, ['2']"),
        ("['2']", "a list printed as text"),
    ],
)
def test_values_that_are_no_answer_are_refused_by_line_and_column(tmp_path, value, got):
    file = written(tmp_path, {"problem": "?", "answer": "1"}, {"problem": "?", "answer": value})
    with pytest.raises(ValueError, match="column answer: expected an answer as text or a number, got ") as error:
        convert(file, "s")
    assert str(error.value).startswith(f"{file}:2: ")
    assert f"got {got}" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("end", "expected"),
    [("3,5", "3,5"), ("1,234,567", "1234567"), ("$1,080", "$1080"), ("1,2,300", "1,2,300"), ("12,34", "12,34")],
)
def test_gsm8k_loses_thousands_separators_alone(tmp_path, end, expected):
    """`3,5` once became 35."""
    assert one(tmp_path, {"question": "?", "answer": f"So.\n#### {end}"}).answer == expected


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([MINERVA, {"question": "?", "answer": "#### 1"}], ":2: column problem: expected a column of Minerva"),
        ([MINERVA | {"solution": "so 5"}], ":1: column solution: expected a result in"),
        ([OLYMPIAD | {"image_1": {"bytes": ""}}], ":1: column image_1: expected a problem in text alone"),
        ([OLYMPIAD | {"final_answer": ["1", "2"], "is_multiple_answer": False}], ":1: column final_answer: expected"),
        ([SVAMP | {"Answer": "many"}], ":1: column Answer: expected a number"),
        ([SVAMP | {"Question": 5}], ":1: column Question: expected text, got 5"),
        ([GPQA | {"Incorrect Answer 2": ""}], ":1: column Incorrect Answer 2: expected a choice"),
        ([{"question_content": "?", "public_test_cases": "[]"}], ":1: column public_test_cases: expected at least"),
        ([MINERVA, MINERVA], ":2: expected an id of its own, got 's/7' as in"),
    ],
)
def test_a_row_that_is_not_understood_is_named(tmp_path, rows, message):
    file = written(tmp_path, *rows)
    with pytest.raises(ValueError, match="expected") as error:
        convert(file, "s")
    assert str(error.value).startswith(f"{file}{message}")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", 'problem,answer\n"a\nb",1\n2\n', ":4: expected 2 cells as in the first line, got 1"),
        ("x.csv", 'problem,answer\n"a,1\n', "expected CSV"),
        ("x.jsonl", '{"problem": "?", "answer": 1}\n{', ":2: expected JSON, got a syntax error"),
        ("x.jsonl", '{"problem": "?", "answer": ' + "9" * 5000 + "}", ":1: expected JSON, got"),
        ("x.jsonl", "[" * 100_000, "nested too deeply"),
    ],
)
def test_a_broken_file_is_named_by_line(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match="expected") as error:
        convert(tmp_path / name, "s")
    assert message in str(error.value)


def test_the_commands_name_every_answer_that_cannot_be_graded(tmp_path, capsys):
    """By line, id and reason: who has to mend forty thousand lines needs all three."""
    rows = [{"problem": "?", "answer": answer, "id": f"t{i}"} for i, answer in enumerate(["1", "", "\\frac{1}{", "2"])]
    to = tmp_path / "to.jsonl"
    assert main(["data", "convert", str(written(tmp_path, *rows)), "--to", str(to)]) == 0
    out = capsys.readouterr().out
    assert "1 rows have no question or no answer, first row 2" in out
    assert main(["data", "prepare", str(to), "--to", str(tmp_path / "built")]) == 0
    for said in (out, capsys.readouterr().out):
        assert f"1 of 3 answers of {to} cannot be graded" in said
        assert "line 2 (t2): its form" in said
