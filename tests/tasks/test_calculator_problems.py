"""The built-in task against a calculator written another way, and the promises of its splits."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.tasks.calculator import problems as arithmetic
from jaxreason.tasks.calculator.problems import evaluate, generate, is_test, parse


def by_brackets(question: str) -> int:
    """Reference: Python's own integers, brackets forcing left to right, one remainder at the end."""
    start, *operations = re.findall(r"[-+*]?\d", question)
    return eval("(" * len(operations) + start + "".join(f"{o})" for o in operations)) % 7


def test_answers_against_brackets():
    """Would catch precedence of *, a remainder of the wrong sign, or an operation left out."""
    for problem in generate(600, seed=3, split="train"):
        assert problem.answer == str(by_brackets(problem.question)), problem.question
    assert evaluate("3;A+5;B*2;C*4+6-1;") == 6  # 8=1, 2, 8=1, 7=0, -1=6
    assert evaluate("0;A-6;B-6;") == 2


def test_levels_have_the_steps_they_promise():
    """Would catch levels swapped, unequal shares, or a size that never comes."""
    sizes = {1: set(), 2: set(), 3: set()}
    problems = generate(900, seed=0, split="train")
    for problem in problems:
        lengths = [len(step) for step in parse(problem.question)[1]]
        assert set(lengths) <= {1, 3}
        sizes[problem.meta["level"]].add((lengths.count(1), lengths.count(3)))
        assert problem.source == f"arithmetic/level{problem.meta['level']}"
    assert sizes == {1: {(2, 0)}, 2: {(1, 1), (2, 1)}, 3: {(1, 2), (2, 2)}}
    assert [p.meta["level"] for p in problems] == [1, 2, 3] * 300


def test_splits_never_share_a_question_whatever_the_seed():
    """Would catch a held-out question in training: the space of level 1 is small enough to meet at once."""
    train = {p.question for seed in (0, 1) for p in generate(4000, seed=seed, levels=(1,), split="train")}
    demo = {p.question for p in generate(4000, seed=0, levels=(1,), split="demo")}
    test = {p.question for seed in (0, 7) for p in generate(300, seed=seed, levels=(1,), split="test")}
    assert not test & (train | demo)
    assert len(train | demo | test) > 2800  # of 7*21*21 = 3087: nothing large is lost
    assert all(map(is_test, test))


@given(st.integers(0, 2**40), st.sampled_from(["train", "test", "demo"]), st.integers(0, 60))
def test_same_arguments_same_problems_and_prefixes(seed, split, count):
    """Would catch hidden global randomness, or a longer set that doesn't extend the shorter one."""
    longer = generate(60, seed=seed, split=split)
    assert generate(count, seed=seed, split=split) == longer[:count]


def test_seeds_and_splits_differ():
    """Would catch a seed that is ignored."""
    drawn = [
        tuple(p.question for p in generate(30, seed=s, split=split)) for s in (0, 1) for split in ("train", "demo")
    ]
    assert len(set(drawn)) == 4


def test_ids_are_unique_although_train_repeats_questions():
    """Would catch a training file that can't be read back for duplicate ids."""
    problems = generate(6000, seed=0, levels=(1,), split="train")
    assert len({p.question for p in problems}) < 3000
    assert len({p.id for p in problems}) == 6000


def test_more_test_problems_than_questions():
    """Would catch an endless search, and counts the eighth of level 1 by hand's way: enumerate, then take them all."""
    exist = arithmetic._test_questions(1)
    assert 300 < exist < 480  # 3087 / 8 = 386, give or take
    everything = generate(exist, seed=5, levels=(1,), split="test")
    assert len({p.question for p in everything}) == exist
    with pytest.raises(ValueError, match=rf"at most {exist} different test questions of level 1, got a share of"):
        generate(3 * exist + 1, seed=5, split="test")


def test_bad_arguments():
    """Would catch a silent empty set or an index error far from its cause."""
    for arguments in ({"count": -1}, {"levels": ()}, {"levels": (4,)}, {"levels": (1, 1)}, {"split": "dev"}):
        with pytest.raises(ValueError, match=r"expected"):
            generate(**{"count": 3, "seed": 0, "split": "train", **arguments})
    for question in ("", "3", "3;", "3;A+7;", "3;A+5", "3;A5;", "10;A+1;", "3;A+1;\n", "3;+1;", "3;B+1;", "3;A+1;C+1;"):
        with pytest.raises(ValueError, match="built-in arithmetic task"):
            parse(question)
