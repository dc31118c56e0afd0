"""Answers stated in words: which statement counts, what is taken of it, and where the reasoning before it ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.config import DataConfig
from jaxreason.data.problems import Problem
from jaxreason.tasks import boxed_math, stated_math
from jaxreason.tasks.grading import grade_answers
from jaxreason.tasks.opening import open_task, task_of
from jaxreason.tasks.reading import Reasoning
from tests.tasks.test_boxed_math import SPANS

STATED = [  # text, y, answer; by hand
    ("2+3=5\nThe answer is 5.", "2+3=5\n", "5"),
    ("a\n**Answer:** 42 apples", "a\n", "42 apples"),
    ("a\n**Final Answer**: $\\frac{3}{4}$", "a\n", "\\frac{3}{4}"),
    ("a\nThe final answer is: \\[ x = 3 \\]", "a\n", "x = 3"),
    ("a\nFinal answer:\n$$\n\\frac{1}{2}\n$$", "a\n", "\\frac{1}{2}"),
    ("a\nAnswer:\n\n42\nmore", "a\n", "42"),
    ("a\n### Answer\n\n**27**", "a\n", "27"),
    ("a\n#### 1,234", "a\n", "1,234"),
    ("a\nThe answer to the question is $18.", "a\n", "18"),
    ("a\nSo the answer is \\(\\frac{1}{2}\\).", "a\n", "\\frac{1}{2}"),
    ("a\nanswer = 3.5", "a\n", "3.5"),
    ("a\nThe answers are 2 and 3.", "a\n", "2 and 3"),
    ("a\nThe answer is 60 miles, because it is 120/2.", "a\n", "60 miles"),
    ("The final answer is $5$. I hope it is correct.", "", "5"),
    ("The answer is 5. No, the answer is 6.", "The answer is 5. No, the ", "6"),  # the last counts
    ("1+1=2 so 2*2=4 and the answer is 4", "1+1=2 so 2*2=4 and the ", "4"),  # one line is no way round the penalty
    ("the answer is 5</think>b\nThe answer is 6.", "the answer is 5b\n", "6"),
    ("the answer is 5</think>none", "the answer is 5none", None),  # the visible answer counts alone
    ("The answer is 5.\n\\boxed{6} or so", "The answer is 5.\n", "6"),  # a box wins
    ("The answer is 5.\n\\boxed{6", "", "5"),  # not one that is never closed
    ("a\nThe answer is not 5", "a\n", "not 5"),  # wrong, and nothing else is looked for
    ("She has 5. That is the answer.", "She has 5. That is the answer.", None),
    ("a\nThe answer is", "a\nThe answer is", None),
    ("a\nThe answer is " + "x" * 101, "a\nThe answer is " + "x" * 101, None),
]


@pytest.mark.parametrize(("text", "y", "answer"), STATED)
def test_read(text, y, answer):
    span = stated_math.read(text)
    mark = span.mark or (span.start, span.start)
    assert (text[span.start : mark[0]] + text[mark[1] : span.end], span.answer) == (y, answer)


@pytest.mark.parametrize("text", [text for text, _, answer in SPANS if answer is not None])
def test_a_box_is_read_as_before(text):
    assert stated_math.read(text) == boxed_math.read(text)


def test_published_protocols_see_no_statement():
    assert boxed_math.read("The answer is 5.").answer is None


def test_a_file_of_problems_is_read_with_statements_unless_it_says_otherwise():
    """Training, evaluation and helpers all take the task from here."""
    assert task_of(DataConfig(train="mine.jsonl")).read("The answer is 5.").answer == "5"
    assert task_of(DataConfig(train="mine.jsonl", task="boxed_math")).read("The answer is 5.").answer is None


def test_stated_answers_are_graded_by_value():
    problem = Problem("1", "How many?", "42")
    texts = ["**Answer:** 42 apples", "The answer is $42.00$.", "The answer is 41.", "The answer is 42 or 43."]
    found = [Reasoning("", [], [], stated_math.read(text).answer) for text in texts]
    grades = grade_answers(open_task("math"), found, [problem] * 4, None)
    assert grades.correct.tolist() == [True, True, False, False]


def test_many_statements_take_no_time():
    assert stated_math.read("answer to " * 50_000).answer is None
    assert stated_math.read("the answer is 1. " * 20_000).answer == "1"


@given(
    st.lists(st.sampled_from([*"a*$. \n#", "answer", " is ", ":", "\\[", "\\]", "</think>"]), max_size=20).map("".join)
)
def test_read_never_fails(text):
    span = stated_math.read(text)
    assert 0 <= span.start <= span.end <= len(text)
    assert span.answer is None or span.answer.strip()
