"""How many tokens a prompt asks for, in every family of prompts."""

import pytest

from jaxreason.config import load
from jaxreason.data.problems import Problem
from jaxreason.run import setup
from jaxreason.tasks.asking import turns_of
from jaxreason.tasks.opening import open_task

ASKS = Problem("1", "What is 1+1?", "2", meta={"target_tokens": 60})


def test_the_question_is_followed_by_what_is_asked_for():
    """Catches a prompt of a model from scratch that is not told, and a task whose own conversation is changed."""
    for name in ("boxed_math", "calculator"):
        task = open_task(name)
        for bare in (True, False):
            plain = turns_of(task, Problem("1", "What is 1+1?", "2"), bare=bare)
            *first, last = turns_of(task, ASKS, bare=bare)
            assert first == plain[:-1]
            assert last == {**plain[-1], "content": plain[-1]["content"] + "\n\nThink for 60 tokens."}


def test_the_settings_ask_for_tokens_in_every_problem():
    """Catches held-out problems that are asked otherwise than those trained on."""
    data = load(None, ["--data.target_tokens=[20, 40]", "--data.test_size=30"]).data
    asked = [problem.meta["target_tokens"] for problem in setup.held_out(data)]
    assert len(asked) == 30
    assert min(asked) >= 20
    assert max(asked) <= 40
    assert len(set(asked)) > 5
    assert all("target_tokens" not in p.meta for p in setup.held_out(load(None, ["--data.test_size=30"]).data))


def test_a_method_that_needs_the_number_is_refused_without():
    """Catches a run that trains plain accuracy under the name of L1; a column of the data will do."""
    config = load(None, ["--reward.preset=l1_max"])
    with pytest.raises(ValueError, match=r"data.target_tokens: expected two numbers.*=l1_max .* problem 'b'"):
        setup.refuse_unasked([ASKS, Problem("b", "q", "a")], config)
    setup.refuse_unasked([ASKS], config)
    setup.refuse_unasked([Problem("b", "q", "a")], load(None, ["--reward.preset=grpo"]))
    with pytest.raises(ValueError, match=r"data.target_tokens: expected \[0, 0\], or two numbers of at least 1"):
        load(None, ["--data.target_tokens=[30, 20]"])
