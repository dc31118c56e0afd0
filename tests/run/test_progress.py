"""What is printed where the output is no terminal."""

import pytest

from jaxreason.run import progress
from jaxreason.run.progress import Display


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_at_the_end_and_none_in_between(clock, capsys):
    with Display().bar("evaluate", 4, every=0) as advance:
        for _ in range(4):
            advance(1)
    assert capsys.readouterr().out.splitlines() == ["evaluate 4/4  0s, 0s left"]


def test_what_takes_long_shows_that_it_goes_on(clock, capsys):
    """Catches half an hour without a word: a batch that decodes tells of itself although none of its rows is done."""
    with Display().bar("evaluate", 4, every=0) as advance:
        for seconds, n in ((59, 0), (60, 0), (100, 1), (130, 1), (131, 2), (300, 0)):
            clock[0] = seconds
            advance(n)
    assert capsys.readouterr().out.splitlines() == [
        "evaluate 0/4  60s",
        "evaluate 2/4  130s, 130s left",
        "evaluate 4/4  131s, 0s left",
        "evaluate 4/4  300s, 0s left",
    ]
