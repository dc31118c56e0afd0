"""Whatever a machine allows must parse, align without loss, and fit the limits."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.agents import prompts, roles
from jaxreason.agents.alignment import align
from jaxreason.agents.constraints import score_constraint, segment_constraint, tag_tokens
from jaxreason.agents.parsing import parse_scores, parse_segments
from jaxreason.config import AgentsConfig
from jaxreason.data.tokenizer import text_of
from tests.agents.stand_in import StandIn, marked

TAGS = ["<seg>", "</seg>", "<", "</", "seg>", "</seg", ">"]
TEXT = st.lists(st.sampled_from([*TAGS, " ", "\n", "a", "2+3=5", "é", "数", "😀", "{", "[1]"]), max_size=14).map(
    "".join
)


def walk(constraint, row, rng, eos_id, split=0.5):
    """Sample one row: the second edge, where there is one, with probability `split`."""
    token, step = np.asarray(constraint.token)[row], np.asarray(constraint.next)[row]
    state, ids, free = 0, [], 0
    while True:
        edges = np.flatnonzero(token[state] >= 0)
        assert len(edges) >= 1
        assert edges.tolist() == list(range(len(edges)))
        assert len(set(token[state, edges].tolist())) == len(edges)
        free += len(edges) > 1
        edge = rng.choice(edges.tolist()) if len(edges) > 2 else int(len(edges) > 1 and rng.random() < split)
        if token[state, edge] == eos_id:
            assert step[state, edge] == state
            return ids, free
        ids.append(int(token[state, edge]))
        state = int(step[state, edge])
        assert len(ids) <= token.shape[0]


@given(TEXT, st.sampled_from([StandIn, marked]), st.integers(0, 2**32 - 1), st.binary(max_size=3))
def test_segments_are_always_lossless(text, make, seed, tail):
    """Any tokens of any y, literal tags and broken characters included: what is sampled parses and aligns exactly."""
    rng, tokenizer = random.Random(seed), make()
    y_ids = tokenizer.encode_at_random(text.encode() + tail, rng)
    y = text_of(y_ids, tokenizer)
    if not y.encode("utf-8", "surrogateescape").strip():
        return
    constraint = segment_constraint([y_ids], tokenizer, max_tokens=len(y_ids) + rng.randint(0, 2))
    for split in (0.0, 0.5, 1.0):
        ids, _ = walk(constraint, 0, rng, tokenizer.eos_id, split)
        chunks, cause = parse_segments(text_of(ids, tokenizer), y)
        assert cause == "ok"
        chunk_T = align(y_ids, chunks, tokenizer, exact_whitespace=True)
        assert chunk_T is not None
        assert set(chunk_T.tolist()) == set(range(len(chunks)))  # every chunk owns a token


def test_a_row_of_marks_by_hand():
    """Open, then at each place the next token or a new chunk, then close and end."""
    tokenizer = marked()
    a, b, c = (tokenizer.intern(p) for p in (b"a", b"b", b"\n"))
    open_id, close_id = tokenizer.intern(b"<seg>"), tokenizer.intern(b"</seg>")
    constraint = segment_constraint([[a, b, c], []], tokenizer, max_tokens=3)
    token, step = np.asarray(constraint.token), np.asarray(constraint.next)
    assert token.shape == step.shape == (2, 10, 2)
    assert token[0].tolist() == [
        [open_id, -1],
        [a, -1],
        [b, close_id],  # a new chunk may begin before b
        [open_id, -1],
        [b, -1],
        [c, -1],  # but not before white space
        [open_id, -1],
        [c, -1],
        [close_id, -1],
        [tokenizer.eos_id, -1],
    ]
    assert step[0, :, 0].tolist() == [1, 2, 5, 4, 5, 8, 7, 8, 9, 9]
    assert step[0, 2, 1] == 3
    assert token[1, 0].tolist() == [tokenizer.eos_id, -1]
    assert step[1, 0, 0] == 0


def test_a_border_that_could_be_read_as_text_is_not_offered():
    """y goes on with the tag itself: a real border there would be taken for the literal one."""
    tokenizer = marked()
    a, space, tag = (tokenizer.intern(p) for p in (b"a", b" ", b"</seg>"))
    one = tokenizer.intern(b"</seg")
    end = tokenizer.intern(b">")
    for y in ([a, tag, a], [a, one, end, a], [a, space, one, end, a]):
        constraint = segment_constraint([y], tokenizer, max_tokens=len(y))
        ids, free = walk(constraint, 0, random.Random(0), tokenizer.eos_id, split=1.0)
        chunks, _ = parse_segments(text_of(ids, tokenizer), text_of(y, tokenizer))
        assert chunks[0].replace(" ", "").startswith("a</seg")
        assert free >= 1  # after the tag the choice is back


def test_every_other_place_is_free():
    """A machine that forbade too much would make coarse splits and pass every other test."""
    tokenizer = marked()
    y = [tokenizer.intern(bytes([byte])) for byte in b"2+3=5;5*2=10"]
    ids, free = walk(segment_constraint([y], tokenizer, max_tokens=20), 0, random.Random(0), tokenizer.eos_id, 1.0)
    assert free == len(y) - 1
    assert len(ids) == 3 * len(y)


def test_segment_shapes_do_not_depend_on_the_rows():
    """One compilation serves every batch."""
    tokenizer = StandIn()
    ids = tokenizer.encode_batch(["abc", "defgh", ""])
    shapes = {segment_constraint(rows, tokenizer, max_tokens=9).token.shape for rows in (ids, [ids[2]] * 3)}
    assert shapes == {(3, 9 * (tag_tokens(tokenizer) + 1) + 1, 2)}


def test_segment_rows_fit_their_limit_up_to_the_maximum_of_chunks():
    """The limit of a role must not cut an answer the machine allows with K chunks."""
    tokenizer, config = StandIn(), AgentsConfig(max_chunks=4)
    (y,) = tokenizer.encode_batch(["abcd"])
    ids, _ = walk(segment_constraint([y], tokenizer, max_tokens=4), 0, random.Random(0), tokenizer.eos_id, 1.0)
    assert len(ids) + 1 <= int(roles.segment_limit(4, config, tag_tokens=tag_tokens(tokenizer)))


def test_too_long_a_text_is_refused():
    """It would be cut silently and every row of it invalid."""
    with pytest.raises(ValueError, match="at most max_tokens=2 tokens, got 3"):
        segment_constraint([[2, 3, 4]], StandIn(), max_tokens=2)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=5), st.sampled_from(["marks", "chat"]), st.integers(0, 99))
def test_scores_are_always_valid(n_rows, form, seed):
    """Whatever digits are drawn, the answer has exactly n of them and the form of the warm start."""
    config = AgentsConfig(prompts=form, max_chunks=12)
    tokenizer, rng = marked(12), random.Random(seed)
    constraint = score_constraint(n_rows, tokenizer, config)
    assert constraint.token.shape == score_constraint([0] * len(n_rows), tokenizer, config).token.shape
    for row, n in enumerate(n_rows):
        ids, free = walk(constraint, row, rng, tokenizer.eos_id)
        assert free == n
        if n == 0:
            assert ids == []
            continue
        text = text_of(ids, tokenizer)
        values, cause = parse_scores(text, n)
        assert cause == "ok"
        assert text == prompts.score_text(values, config)
        assert len(ids) + 1 <= int(roles.score_limit(n, config))


def test_every_score_can_be_drawn():
    """A digit left out would bias the scorer for ever."""
    tokenizer = marked()
    constraint = score_constraint([1], tokenizer, AgentsConfig())
    (state,) = np.flatnonzero((np.asarray(constraint.token)[0] >= 0).sum(1) == 5)
    assert text_of(np.asarray(constraint.token)[0, state].tolist(), tokenizer) == "12345"


def test_score_refusals():
    """Too many chunks, and a tokenizer without digits of their own."""
    with pytest.raises(ValueError, match=r"agents\.max_chunks=2"):
        score_constraint([3], marked(2), AgentsConfig(max_chunks=2))

    class Pairs(StandIn):
        def encode_bytes(self, text):
            return [self.intern(b""), *super().encode_bytes(text)]

    with pytest.raises(ValueError, match="each of the digits 1 to 5 to be one token"):
        score_constraint([1], Pairs(), AgentsConfig())
