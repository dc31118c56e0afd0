"""Demonstrations of the built-in task: true where they say so, as long as promised, and labelled back exactly."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.data.problems import Problem
from jaxreason.tasks.calculator.demonstrations import IMPORTANCE, NEEDED, NEEDLESS, Piece, demonstrate, label, repeated
from jaxreason.tasks.calculator.problems import generate, parse

TOKEN = re.compile(r"\\boxed\{|[a-z]+ ?|\n|[^a-z\n]")
"""How a tokenizer for this task cuts: signs and digits one by one, words with the space after them."""


def tokens(pieces) -> int:
    return len(TOKEN.findall("".join(piece.text for piece in pieces)))


@pytest.fixture(scope="module")
def demonstrations():
    rng = np.random.default_rng(0)
    return [(p, demonstrate(p, rng)) for p in generate(2001, seed=0, split="demo")]


def true(equation: str) -> bool:
    """Reference: left to right with brackets, Python's integers."""
    left, right = equation.split("=")
    start, *operations = re.findall(r"[-+*]?\d", left)
    return eval("(" * len(operations) + start + "".join(f"{o})" for o in operations)) % 7 == int(right)


def test_labels_come_back(demonstrations):
    """Would catch a form the labeller reads as another kind. Zero mismatches of about 22,000 lines."""
    for problem, pieces in demonstrations:
        assert label(problem.question, "".join(piece.text for piece in pieces)) == pieces


def test_every_equation_but_a_guess_is_true_and_follows(demonstrations):
    """Would catch a check that works out another step, a value that isn't carried over, or a wrong final digit."""
    for problem, pieces in demonstrations:
        value, steps = parse(problem.question)
        steps = ["".join(f"{s}{d}" for s, d in step) for step in steps]
        for piece in pieces:
            equations = re.findall(r"\d(?:[-+*]\d)+=\d", piece.text)
            if piece.kind != "guess":
                assert all(map(true, equations)), piece
            if piece.kind in ("step", "guess"):
                before, current = value, steps.pop(0)
                assert equations[0].startswith(f"{before}{current}=")
                value = int(equations[0][-1])
            if piece.kind in ("check", "second_check"):
                assert "".join(e[1:-2] for e in equations) == current
                assert equations[0][0] == str(before)
                assert all(a[-1] == b[0] for a, b in itertools.pairwise(equations))
                value = int(equations[-1][-1])
            if piece.kind == "restate":
                assert piece.text == f"so now it is {value}\n"
        assert steps == []
        assert pieces[-1] == Piece("answer", f"\\boxed{{{value}}}")


def test_checked_guesses_end_right(demonstrations):
    """Would catch a check that doesn't repair: with every guess checked the answer is the problem's."""
    checked = unchecked = 0
    for problem, pieces in demonstrations:
        kinds = [piece.kind for piece in pieces]
        right = pieces[-1].text == f"\\boxed{{{problem.answer}}}"
        if kinds.count("check") == kinds.count("guess"):
            checked += 1
            assert right
        else:
            unchecked += not right
    assert checked > 600
    assert unchecked > 400


def test_guesses_and_checks_come_as_often_as_said(demonstrations):
    """Would catch a swapped probability: 1,167 expected guesses put the standard error near .015 on each share."""
    guesses = right = checks = said = silent = 0
    for _, pieces in demonstrations:
        for piece, following in itertools.pairwise(pieces):
            if piece.kind == "guess":
                guesses += 1
                right += true(piece.text.rstrip("?\n"))
                checks += following.kind == "check"
                said += following.kind == "restate"
                silent += following.kind not in ("check", "restate")
    assert right / guesses == pytest.approx(0.5, abs=0.05)
    assert checks / guesses == pytest.approx(0.45, abs=0.05)
    # A greedy policy takes the likeliest continuation; it must not be the check, or training has nothing to teach it.
    assert said > checks * 1.1


def test_lengths_leave_half_to_save(demonstrations):
    """Would catch a table that no longer gives the lengths the experiments were planned with."""
    needed, written = {1: [], 2: [], 3: []}, {1: [], 2: [], 3: []}
    for problem, pieces in demonstrations:
        steps = parse(problem.question)[1]
        # A3+5=1\n is 7 tokens; a guess is 12 and its check 19; \boxed{1} is 3.
        needed[problem.meta["level"]].append(3 + sum(7 if len(step) == 1 else 31 for step in steps))
        written[problem.meta["level"]].append(tokens(pieces))
    need = [np.mean(needed[level]) for level in (1, 2, 3)]
    wrote = [np.mean(written[level]) for level in (1, 2, 3)]
    assert need == pytest.approx([17, 44.5, 75.5], abs=2)
    assert np.array(wrote) / need == pytest.approx([2.4, 2.3, 2.05], abs=0.15)
    assert 0.5 < 1 - sum(need) / sum(wrote) < 0.57
    assert wrote[2] <= 180
    assert np.percentile(written[3], 99) <= 215


def test_all_kinds_occur(demonstrations):
    """Would catch a kind that can't be chosen any more."""
    kinds = {piece.kind for _, pieces in demonstrations for piece in pieces}
    assert kinds == set(IMPORTANCE) - {"repeat"}
    assert set(IMPORTANCE) - NEEDLESS == {"step", "guess", "check", "answer"}


def test_repeated_lines(demonstrations):
    """Would catch repeats that the labels call needed, or an answer given twice."""
    rng, added = np.random.default_rng(0), 0
    for problem, pieces in demonstrations[:300]:
        more = repeated(pieces, rng, 0.5)
        assert label(problem.question, "".join(piece.text for piece in more)) == more
        assert [p for p in more if p.kind in NEEDED] == [p for p in pieces if p.kind in NEEDED]
        assert more[-1] == pieces[-1]
        added += len(more) - len(pieces)
    assert added / sum(
        p.kind in NEEDED - {"answer"} for _, some in demonstrations[:300] for p in some
    ) == pytest.approx(0.5, abs=0.06)
    assert repeated(pieces, rng, 0.0) == pieces


def test_same_generator_same_demonstration():
    """Would catch randomness from elsewhere."""
    problem = generate(3, seed=0, split="demo")[2]
    texts = {tuple(demonstrate(problem, np.random.default_rng(s))) for s in (0, 0, 1)}
    assert len(texts) == 2


QUESTION = "3;A+5;B*4+6-1;"


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("", []),
        ("A3+5=1\nB1*4+6-1=3?\nwait 1*4=4 4+6=3 3-1=2\n\\boxed{2}", ["step", "guess", "check", "answer"]),
        ("A3+5=2\n", ["step"]),  # a wrong step is a step
        ("A3+5=1\nA3+5=1\n", ["step", "repeat"]),  # once is enough
        ("A3+5=1\nA3+5=2\n", ["step", "malformed"]),  # nor twice with another result
        ("B1*4+6-1=3?\nB1*4+6-1=3?\nwait 1*4=4 4+6=3 3-1=2\n", ["guess", "repeat", "check"]),
        ("0*6=0\n0*6=0\n", ["malformed"] * 2),  # not the question's work, however true
        ("B1*4+6-1=3\nA3+5=1\n", ["guess", "malformed"]),  # skipping ahead is allowed, going back is not
        ("wait 1*4=4 4+6=3 3-1=2\n", ["malformed"]),  # nothing to check yet
        ("B1*4+6-1=3?\nwait 3+5=1\n", ["guess", "malformed"]),  # the check of something else
        ("B1*4+6-1=3?\nok going on\nwait 1*4=4 4+6=3 3-1=2\n", ["guess", "filler", "check"]),
        ("B1*4+6-1=3?\nagain 1*4=4 4+6=3 3-1=2 yes\n", ["guess", "check"]),  # by what it does, not by its word
        ("B1*4+6-1=3?\n" + "wait 1*4=4 4+6=3 3-1=2\n" * 2, ["guess", "check", "second_check"]),
        ("A3+5=1\\boxed{1}", ["step", "answer"]),  # missing newline
        ("\\boxed{1}\n", ["answer"]),
        ("\\boxed{1} so\n\\boxed{2}", ["answer", "malformed", "malformed"]),  # past the answer
        ("\\boxed{1", ["malformed"]),
        ("so now it is 1", ["restate"]),  # cut off, yet complete
        ("so now it\n\n", ["malformed", "malformed"]),
        ("check 3+5=1 yes\nmaybe 3*6=4 no\nhmm let me think\n", ["recheck", "detour", "filler"]),
    ],
)
def test_labels_by_hand(text, kinds):
    """Would catch a label that a policy could game, or a line that loses its kind to a neighbour."""
    assert [piece.kind for piece in label(QUESTION, text)] == kinds


fragments = st.sampled_from(
    ["A3+5=1", "B1*4+6-1=3?", "wait 1*4=4", "\\boxed{2}", "\\boxed{", "\n", " ", "so now it is 1"]
)


@given(st.lists(fragments | st.text(max_size=5), max_size=12).map("".join))
def test_labels_lose_nothing_and_never_raise(text):
    """Would catch a crash on odd text, or characters that belong to no piece."""
    pieces = label(QUESTION, text)
    assert "".join(piece.text for piece in pieces) == text
    assert all(piece.text and piece.kind in {*IMPORTANCE, "malformed"} for piece in pieces)


def test_foreign_question():
    """Would catch a demonstration of a question of another task."""
    with pytest.raises(ValueError, match="built-in arithmetic task"):
        demonstrate(Problem("a", "What is 1+1?", "2"), np.random.default_rng(0))
