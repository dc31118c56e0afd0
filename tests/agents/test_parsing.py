"""Reading what models write: the accepted form, and everything else named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.agents.parsing import SCORE_CAUSES, SEGMENT_CAUSES, parse_scores, parse_segments

SEGMENTS = [  # text, chunks or cause
    ("<seg>a</seg><seg>b</seg>", ["a", "b"]),
    (" \n<seg> a\n</seg>\n<seg>b</seg>\n", [" a\n", "b"]),
    ("<seg>a < b [1] <score></seg>", ["a < b [1] <score>"]),
    ("", "no_tags"),
    ("a b", "no_tags"),
    ("<seg", "no_tags"),
    ("<SEG>a</SEG>", "no_tags"),
    ("<seg>a", "unbalanced"),
    ("a</seg>", "text_outside"),
    ("</seg>a<seg>", "unbalanced"),
    ("<seg>a</seg></seg>", "unbalanced"),
    ("<seg>a</seg><seg>b", "unbalanced"),
    ("<seg>a<seg>b</seg></seg>", "nested"),
    ("<seg><seg>a</seg>", "nested"),
    ("Here: <seg>a</seg>", "text_outside"),
    ("<seg>a</seg> and <seg>b</seg>", "text_outside"),
    ("<seg>a</seg>!", "text_outside"),
    ("<seg>a</seg>\u00a0<seg>b</seg>", "text_outside"),  # only ASCII white space is white
    ("<seg></seg>", "empty_chunk"),
    ("<seg>a</seg><seg> \n</seg>", "empty_chunk"),
    ("<seg>a</seg>" * 4, "too_many"),
]


@pytest.mark.parametrize(("text", "expected"), SEGMENTS)
def test_segments(text, expected):
    """By hand: the one accepted form, and the name of every other."""
    chunks, cause = parse_segments(text, max_chunks=3)
    assert (cause if chunks is None else chunks) == expected
    assert cause in SEGMENT_CAUSES


def test_what_was_cut_is_truncated_even_if_it_reads_well():
    """Without its end token an answer was not finished: it would be learnt that stopping is unnecessary."""
    assert parse_segments("<seg>a</seg>", finished=False) == (None, "truncated")
    assert parse_scores("<score>[1]5</score>", 1, finished=False) == (None, "truncated")


LITERAL = [  # y, text, chunks or cause
    ("a<seg>b", "<seg>a<seg>b</seg>", ["a<seg>b"]),
    ("a</seg>b", "<seg>a</seg>b</seg>", ["a</seg>b"]),
    ("a</seg>b", "<seg>a</seg></seg><seg>b</seg>", ["a</seg>", "b"]),
    ("a</seg><seg>b", "<seg>a</seg><seg>b</seg>", ["a</seg><seg>b"]),  # the copy alone, one chunk
    ("<seg>a</seg>", "<seg><seg>a</seg></seg>", ["<seg>a</seg>"]),
    ("<seg>a</seg>", "<seg>a</seg>", ["a"]),  # y itself is a split, of another text: alignment refuses it
    ("a \n</seg> b", "<seg>a\n</seg> b</seg>", ["a\n</seg> b"]),
    ("a<seg>b", "<seg>ab<seg></seg>", "nested"),  # the tag stands elsewhere than in y
]


@pytest.mark.parametrize(("y", "text", "expected"), LITERAL)
def test_tags_inside_y(y, text, expected):
    """A reasoner that writes the tags can neither crash the parser nor place a border."""
    chunks, cause = parse_segments(text, y)
    assert (cause if chunks is None else chunks) == expected


SCORES = [
    ("<score>[1]5[2]1</score>", [5, 1]),
    ("\n<score> [1] 5\n[2]  1 </score> ", [5, 1]),
    ("", "no_tags"),
    ("<score>[1]5[2]1", "no_tags"),
    ("[1]5[2]1", "no_tags"),
    ("</score><score>", "text_outside"),
    ("Scores: <score>[1]5[2]1</score>", "text_outside"),
    ("<score>[1]5[2]1</score>.", "text_outside"),
    ("<score>[1]5[2]1</score><score>[1]5[2]1</score>", "text_outside"),
    ("<score>5 1</score>", "text_outside"),
    ("<score></score>", "count"),
    ("<score>[1]5</score>", "count"),
    ("<score>[1]5[2]1[3]1</score>", "count"),
    ("<score>[2]1[1]5</score>", "order"),
    ("<score>[1]5[1]5</score>", "order"),
    ("<score>[0]5[1]5</score>", "order"),
    ("<score>[01]5[2]5</score>", "order"),
    ("<score>[1]5[x]5</score>", "order"),
    ("<score>[1]0[2]1</score>", "range"),
    ("<score>[1]6[2]1</score>", "range"),
    ("<score>[1]5.0[2]1</score>", "range"),
    ("<score>[1]55[2]1</score>", "range"),
    ("<score>[1]-5[2]1</score>", "range"),
    ("<score>[1]５[2]1</score>", "range"),  # int() would take a full-width digit
    ("<score>[1][2]1</score>", "range"),
    ("<score>[1]high[2]1</score>", "range"),
    ("<score>[1]5,[2]1</score>", "range"),
    ("<score>[1]5[2]1[</score>", "range"),
    ("<score>[1]" + "9" * 9999 + "[2]1</score>", "range"),  # int() of so many digits raises
]


@pytest.mark.parametrize(("text", "expected"), SCORES)
def test_scores(text, expected):
    """By hand: exactly n integers of 1 to 5, in order; anything else is named."""
    values, cause = parse_scores(text, 2)
    assert (cause if values is None else values) == expected
    assert cause in SCORE_CAUSES


def test_no_chunks_need_no_scores():
    """The degenerate case."""
    assert parse_scores("<score></score>", 0) == ([], "ok")


FRAGMENTS = [
    "<seg>",
    "</seg>",
    "<score>",
    "</score>",
    "[1]",
    "[2]",
    "5",
    "1",
    "9",
    "a",
    " ",
    "\n",
    "数",
    "😀",
    "\udcf0",
    "\\",
]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12), st.lists(st.sampled_from(FRAGMENTS), max_size=6))
def test_parsers_never_fail_and_never_return_a_wrong_length(written, source):
    """Any mixture of fragments is read without an exception."""
    text, y = "".join(written), "".join(source)
    chunks, cause = parse_segments(text, y, max_chunks=3)
    assert cause in SEGMENT_CAUSES
    assert (chunks is None) == (cause != "ok")
    assert chunks is None or 1 <= len(chunks) <= 3
    for n in range(3):
        values, cause = parse_scores(text, n)
        assert cause in SCORE_CAUSES
        assert (values is None) == (cause != "ok")
        assert values is None or (len(values) == n and set(values) <= {1, 2, 3, 4, 5})
