"""Where steps begin by rule, in text and on tokens."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.agents.boundaries import End, places, starts
from jaxreason.config import AgentsConfig
from jaxreason.data.tokenizer import text_of
from tests.agents.stand_in import StandIn


def pieces(text: str) -> list[str]:
    borders = [0, *(at for at, _ in starts(text)), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(borders)]


@pytest.mark.parametrize(
    "steps",
    [
        ["It costs 3.5 dollars. ", "That is 1,000.50 in all. ", "Done"],
        ["Fruit, e.g. apples, i.e. food, vs. meat etc. is cheap. ", "Mr. Smith pays at 5 p.m. on Monday"],
        ["1. Add them.\n", "2. Multiply. ", "Then go on.\n", "**3.** Stop"],
        ["(a) First.\n", "(b) Second.\n", "1)\n  With its text below. ", "And more"],
        ["We have\n", "$$x = 1. Y\n = 2$$\n", "so it is 2"],
        ["Then \\[\na = 1.\n\nb = 2\n\\]. ", "So what"],
        ["A sum \\begin{align}1\n2\\end{align}, ", "and on"],
        ["The price is $5. ", "It fell to \\(x = 3. \\) again! ", "Why? ", '"Because." ', "So"],
        ["Never closed \\[ x = 1.\n", "Text like any other. ", "End"],
        ["No. ", "Wait... ", "Yes... but no"],
        ["第一步。", "第二步！", "好"],
        ["```python\n", "a = 1.5\n", "```\n", "Done."],
        ["One paragraph\n\n\n", "and the next"],
    ],
)
def test_steps_of_texts(steps):
    """Catches the point of a number, an abbreviation or an item's number taken for an end, and a formula cut in two."""
    assert pieces("".join(steps)) == steps


def test_strengths():
    """A paragraph is stronger than a line, a line than a sentence."""
    assert [kind for _, kind in starts("A b. C d\nE f\n\nG h $$x$$ I")] == [
        End.SENTENCE,
        End.LINE,
        End.PARAGRAPH,
        End.LINE,
    ]


def chosen(tokens: list[str], max_chunks=32) -> list[str]:
    tokenizer = StandIn()
    ids = [tokenizer.intern(token.encode()) for token in tokens]
    return [tokens[t] for t in np.flatnonzero(places(ids, tokenizer, max_chunks=max_chunks))]


def test_places_are_whole_tokens():
    """The space may stand before the token, in it, or in the one before; inside a token's ink no chunk can begin."""
    assert chosen(["It is", " 3", ".", "5", ".", " Then", " go"]) == [" Then"]
    assert chosen(["It is so", ".", "\n\n", "Then", " go"]) == ["Then"]
    assert chosen(["It is so", ".\n\n", "  ", "\n", "Then", " go"]) == ["Then"]
    assert chosen(["It is. So", " it is. And it was. Now", " we go. ", "Then", " on"]) == ["Then"]


def test_of_too_many_places_the_strong_ones_stay_spread_over_the_text():
    """Catches a long chain whose split is always invalid, and one whose places all lie at its start."""
    tokens = [piece for n in range(40) for piece in (f" Step {n}", " is", " done", ".\n\n" if n % 4 == 3 else ".")]
    found = chosen(tokens, max_chunks=11)
    assert found == [" Step 3", *(f" Step {n}" for n in range(4, 40, 4))]  # one of every sixteen tokens
    assert chosen(tokens, max_chunks=1) == []


@given(
    st.lists(st.sampled_from(["a", "B", ".", " ", "\n", "3", "é", "数", "。", "$$", "\\["]), max_size=30),
    st.integers(0, 99),
)
def test_any_tokens_of_any_text(parts, seed):
    """Broken characters included: never an error, never more places than chunks, never before white space."""
    rng, tokenizer = random.Random(seed), StandIn()
    ids = tokenizer.encode_at_random("".join(parts).encode(), rng, longest=4)
    found = places(ids, tokenizer, max_chunks=4)
    assert found.shape == (len(ids),)
    assert found.sum() <= 3
    for t in np.flatnonzero(found):
        assert tokenizer.token_bytes(ids[t]).strip()
        assert text_of(ids[:t], tokenizer).strip()


@pytest.mark.parametrize(
    ("settings", "natural", "calibrated"),
    [
        ({}, False, False),  # the built-in policies draw as they did
        ({"prompts": "chat"}, True, True),
        ({"prompts": "plain", "chunk_length": 0}, True, False),
        ({"prompts": "chat", "decoding": "free"}, False, False),  # the paper's free text
        ({"prompts": "chat", "boundaries": "any"}, False, False),
        ({"boundaries": "natural"}, True, True),
    ],
)
def test_where_the_rule_holds(settings, natural, calibrated):
    """A released model gets it by default."""
    config = AgentsConfig(**settings)
    assert (config.natural, config.calibrated) == (natural, calibrated)
