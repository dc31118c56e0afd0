"""Which box is the answer, and where the reasoning before it ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.tasks.boxed_math import read

SPANS = [  # text, y, answer
    ("2+3=5\n\\boxed{5}", "2+3=5\n", "5"),
    ("\\boxed{5}", "", "5"),
    ("nothing", "nothing", None),
    ("a\nSo the answer is $\\boxed{\\frac{1}{2}}$.\nbye", "a\n", "\\frac{1}{2}"),
    ("\\boxed{1}\nno\n\\boxed{2}", "\\boxed{1}\nno\n", "2"),  # the last counts
    ("a\n\\boxed{1}\nb\n\\boxed{2", "a\n", "1"),  # the last one that closes
    ("a\n\\boxed{\\{1,2\\}}", "a\n", "\\{1,2\\}"),
    ("a\n\\boxed{\\left\\{1\\right.}", "a\n", "\\left\\{1\\right."),  # an escaped brace alone
    ("a {{ b\n\\boxed {7}", "a {{ b\n", "7"),
    ("a }} b\n\\boxed{\\boxed{7}}", "a }} b\n", "7"),
    ("a\n\\boxed{}", "a\n", ""),
    ("a\n\\boxed{ x\ny }", "a\n", "x\ny"),
    ("<think>\na\n</think>\nIt is \\boxed{5}", "a\n", "5"),
    ("a \\boxed{5}\n</think>\nIt is \\boxed{6}", "a \\boxed{5}\n", "6"),
    ("a \\boxed{5}\n</think>\nno box", "a \\boxed{5}\n\nno box", None),  # the visible answer counts alone
    ("a</think>b</think>\\boxed{1}", "a</think>b", "1"),  # a second thought is no way round the penalty
    ("<think>a</think>\nb\n\\boxed{1}", "a\nb\n", "1"),  # nor is text behind it
    ("a</think>2+3=5 so \\boxed{5}", "a2+3=5 so ", "5"),
    ("<think>\n\n</think>\n\nb\n\\boxed{1}", "b\n", "1"),  # thinking switched off
    ("\n</think>\n", "\n", None),
    ("<think>a\n\\boxed{5}", "a\n", "5"),
    ("<think>\\boxed{5}", "", "5"),
    ("", "", None),
]


@pytest.mark.parametrize(("text", "y", "answer"), SPANS)
def test_read(text, y, answer):
    """By hand: which box counts, and where y ends."""
    span = read(text)
    mark = span.mark or (span.start, span.start)
    assert (text[span.start : mark[0]] + text[mark[1] : span.end], span.answer) == (y, answer)


def test_reasoning_on_the_answer_line_is_part_of_y():
    """Otherwise leaving out line breaks would make any length free."""
    assert read("2+3=5 5*2=10 \\boxed{10}")[:2] == (0, 13)
    assert read("two plus three and then some more of this, so \\boxed{5}").end == 46
    assert read("Thus the final answer is: **\\boxed{5}**").end == 0


def test_many_open_boxes_take_no_time():
    """Scanning forward from every box would take minutes on such a text."""
    assert read("\\boxed{" * 200_000).answer is None


@given(st.lists(st.sampled_from([*"a\\{}1 \n", "\\boxed{", "<think>", "</think>"]), max_size=20).map("".join))
def test_read_never_fails(text):
    """Any text gives a span inside it, and an answer with no loose brace."""
    span = read(text)
    assert 0 <= span.start <= span.end <= len(text)
    if span.mark:
        assert text[slice(*span.mark)] == "</think>"
        assert span.start <= span.mark[0] < span.mark[1] <= span.end
    if span.answer is not None:
        depth = 0
        for i, c in enumerate(span.answer):
            escaped = (len(span.answer[:i]) - len(span.answer[:i].rstrip("\\"))) % 2
            depth += 0 if escaped else (c == "{") - (c == "}")
            assert depth >= 0
        assert depth == 0
