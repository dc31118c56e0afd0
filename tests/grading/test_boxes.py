"""Extraction: which box is the answer, and that hostile texts cost no time."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.grading.answers import boxed, grade
from jaxreason.grading.boxes import MAX_ANSWER_CHARS
from jaxreason.tasks.boxed_math import read


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"so \boxed{5}", "5"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),  # a regex up to the first brace would give \frac{1
        (r"\boxed{3} no, \boxed{4}.", "4"),  # the last, not the first
        (r"\boxed{3}" + "\n\n" + r"Wait. \boxed{4}", "4"),
        (r"\boxed{5}</think>It is 6.", None),  # a box in the thoughts is no answer
        (r"a</think>\boxed{1}</think>\boxed{2}", "2"),
        (r"\boxed{5} then \boxed{6", "5"),  # cut at the limit: the open box does not count
        (r"\boxed{\boxed{7}}", "7"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),  # escaped braces do not nest
        (r"\boxed {7}", "7"),
        (r"\\boxed{5}", None),  # a line break, then a word
        (r"$\boxed{5}$ or $\boxed{6}$", "5, 6"),  # side by side: one list
        (r"\boxed{1}, \boxed{2} and \boxed{3}", "1, 2, 3"),
        (r"\boxed{5}, \boxed{5}", "5"),
        (r"\boxed{5} \text{ or } \boxed{6}", "5, 6"),
        (r"\boxed 5", None),
        ("5", None),
        ("", None),
        (r"\boxed{" + "1" * 301 + "}", None),
        (r"\boxed{}", ""),
    ],
)
def test_which_box_is_the_answer(text, expected):
    assert boxed(text) == expected


@pytest.mark.parametrize("between", [" or ", ", ", " and ", " ", "", "\n", r" \text{ or } ", r"\quad", "$ or $"])
@pytest.mark.parametrize("gold", ["5", "6"])
def test_boxing_two_answers_side_by_side_never_wins(between, gold):
    """Else a model would box every candidate."""
    assert grade(boxed(rf"So \boxed{{5}}{between}\boxed{{6}}"), gold).outcome == "wrong"
    assert grade(boxed(rf"So \boxed{{6}}{between}\boxed{{5}}"), gold).outcome == "wrong"


def test_two_boxes_are_right_where_two_answers_are_asked_for():
    assert grade(boxed(r"$x=\boxed{5}$ or $x=\boxed{6}$"), "6").outcome == "right"  # not side by side: the last
    assert grade(boxed(r"\boxed{5} and \boxed{6}"), "5,6").outcome == "right"


_PIECES = st.sampled_from(
    ["\\boxed{", "{", "}", "\\", "5", " ", "\\boxed", "or", ", ", "\\{", "\\}", "</think>", "a\n", "$"]
)


@given(st.lists(_PIECES, max_size=40).map("".join))
def test_the_reasoner_and_the_grader_read_the_same_answer(text):
    """Two extractions that differ would reward one answer and show another."""
    answer = read(text).answer
    assert boxed(text) == (answer if answer is None or len(answer) <= MAX_ANSWER_CHARS else None)


@given(st.lists(_PIECES, max_size=40).map("".join))
def test_a_box_is_what_balances(text):
    """Against a reader of characters with a stack; of boxes without a neighbour."""
    answer = boxed(text)
    found = _last_box_by_hand(text.rsplit("</think>", 1)[-1])
    if found is None:
        assert answer is None
    elif answer is not None and ", " not in answer:
        assert answer == found


def _last_box_by_hand(text: str) -> str | None:
    stack, last, i = [], None, 0
    while i < len(text):
        box = re.match(r"\\boxed\s*\{", text[i:])
        if box:
            stack.append((i, i + box.end()))
            i += box.end()
        elif text[i] == "\\":
            i += 2
        else:
            if text[i] == "{":
                stack.append(None)
            if text[i] == "}" and stack:
                opener = stack.pop()
                if opener and (last is None or opener[0] > last[0]):
                    last = opener[0], text[opener[1] : i].strip()
            i += 1
    return last and last[1]


@pytest.mark.parametrize("unit", ["\\boxed{", "\\boxed{1}", "\\boxed ", "{", "\\boxed{1} or ", "\\boxed{x", "}"])
def test_a_long_text_of_boxes_takes_steps_in_proportion(unit):
    """It was quadratic: 4,000 open boxes took 3.5 s. Counted in steps of the pattern, not in seconds."""
    steps = []
    for n in (1000, 2000):
        import sys

        count = 0

        def trace(frame, event, arg):
            nonlocal count
            count += 1
            return trace

        old = sys.gettrace()
        sys.settrace(trace)
        try:
            boxed(unit * n)
        finally:
            sys.settrace(old)
        steps.append(count)
    assert steps[1] <= 2.1 * steps[0] + 100
