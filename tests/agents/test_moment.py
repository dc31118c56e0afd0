"""What length methods are told of a text: where the answer stands, where y closes, whether it goes round."""

import numpy as np
import pytest

from jaxreason.agents.moment import RUN, answer_at, closes_at, goes_round, prefix_end
from jaxreason.tasks.boxed_math import read
from jaxreason.tasks.reading import find_reasoning
from tests.agents.stand_in import StandIn


def reading(*pieces: bytes):
    tokenizer = StandIn()
    ids = [tokenizer.intern(piece) for piece in pieces]
    return find_reasoning(ids, tokenizer, read), tokenizer, len(ids)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"2+3", b"=5", b", so", b" 5.", b"\n\\boxed{5}"], 2),
        ([b"15", b" and", b" 5", b"7", b"\n\\boxed{5}"], 0),
        ([b"5.5", b" or 5", b"\n\\boxed{5}"], 2),
        ([b"2+", b"3=", b"1", b"5", b"!", b"\n\\boxed{15}"], 4),
        ([b"\xc3\xa9", b"5", b" 7", b"\n\\boxed{7}"], 3),
        ([b"nothing", b"\n\\boxed{5}"], 0),
        ([b"no answer"], 0),
        ([b"a (x+1)", b"\n\\boxed{(x+1)}"], 1),
    ],
)
def test_where_the_answer_first_stands(pieces, expected):
    """Catches a digit inside a number, a place counted in characters, and an answer read as a pattern."""
    y, tokenizer, _ = reading(*pieces)
    assert answer_at(y, tokenizer) == expected


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"so 5.", b" Wait", b", 5", b"\n\\boxed{5}"], 1),
        ([b"<think>", b"so 5.", b" ", b"Wait", b", 5", b"</think>", b"5", b"\n\\boxed{5}"], 2),
        ([b"so ", b"5", b"\n", b"check", b"\n\\boxed{5}"], 3),
        ([b"so 5, W", b"ait", b"\n\\boxed{5}"], 1),
        ([b"so 5", b"\n\\boxed{5}"], -1),
        ([b"so 4. Wait", b"\n\\boxed{5}"], -1),
        ([b"no answer"], -1),
    ],
)
def test_where_the_necessary_prefix_ends(pieces, expected):
    """Catches a place in y taken for one in the completion, and a token that the prefix shares with what follows."""
    y, tokenizer, _ = reading(*pieces)
    assert prefix_end(y, tokenizer) == expected


def test_where_y_closes():
    """Catches a token of y, or one that is not there: behind the thought where one is closed, else behind y."""
    for pieces, expected in (
        ([b"a", b"b", b"</think>", b"c", b"\n", b"\\boxed{5}"], 2),
        ([b"2+3", b"=5\n", b"\\boxed{", b"5}"], 2),
        ([b"no", b" answer"], -1),
        ([b"\\boxed{5}"], -1),
    ):
        y, _, length = reading(*pieces)
        assert closes_at(y, length) == expected
    y, _, length = reading(b"no", b" answer")
    assert closes_at(y, length + 1) == 2  # the end token


def test_going_round_is_a_run_of_tokens_three_times():
    """Catches a phrase that is said often taken for a loop, and a loop that is cut in its third round."""
    rng = np.random.default_rng(0)
    part = rng.integers(1000, size=RUN + 9).tolist()
    assert not goes_round([*part, *part])
    assert not goes_round([*part, *part, *part[: RUN - 1]])
    assert goes_round([*part, *part, *part[:RUN]])
    assert goes_round([7] * (RUN + 2))
    assert not goes_round([7] * (RUN + 1))
    assert not goes_round([])
    phrase = part[: RUN - 1]
    assert not goes_round([x for n in range(20) for x in [*phrase, 2000 + n]])
