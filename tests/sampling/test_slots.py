"""Refilled slots against a plain loop that reads everything anew for every token, and against each other."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.policy import api
from jaxreason.sampling import engine, methods, room
from jaxreason.sampling.engine import generate
from jaxreason.sampling.query import Decoding, Query
from jaxreason.sampling.room import Room
from jaxreason.types import PromptBatch
from tests.helpers import TOLERANCE
from tests.sampling.tiny import TINY, params_of

SLIDING = dataclasses.replace(TINY, num_hidden_layers=2, sliding_window=5, sliding_layers=(1,))
P, G, L, T, PAD, EOS = 5, 3, 6, 20, 148, tuple(range(0, 150, 12))
RNG = np.random.default_rng(0)
PROMPTS = PromptBatch(tokens=RNG.integers(0, 150, (P, L)).astype(np.int32), length=np.array([6, 1, 4, 3, 5], np.int32))
LIMIT = RNG.integers(1, T + 1, (P, G)).astype(np.int32)
LIMIT[0], LIMIT[3, 1] = T, 0
LIMIT[2] = 0  # a group of which nothing is wanted


def _sample(config=TINY, prompts=PROMPTS, limit=LIMIT, number=None, expected=None, **static):
    query = Query(prompts=prompts, limit=limit, number=number, expected=expected)
    how = Decoding(**{"config": config, "max_completion_length": T, "eos_ids": EOS, "pad_id": PAD} | static)
    rollout = generate(params_of(config), query, jax.random.key(7), jnp.float32(1), how)
    return jax.tree.map(np.asarray, rollout)


def _same(got, want):
    """The same tokens; log-probabilities up to the rounding of products of another number of rows."""
    np.testing.assert_array_equal(got.tokens, want.tokens)
    np.testing.assert_array_equal(got.length, want.length)
    np.testing.assert_array_equal(got.finished, want.finished)
    np.testing.assert_allclose(got.logp, want.logp, atol=TOLERANCE["sum"])


def _plain(config, limit):
    """Row by row and token by token, each from a forward pass over all tokens before it."""
    tokens, logp = np.full((P, G, T), PAD, np.int32), np.zeros((P, G, T), np.float32)
    length, finished = np.zeros((P, G), np.int32), np.zeros((P, G), bool)
    forward = jax.jit(functools.partial(api.logits, config=config))
    for p in range(P):
        for g in range(G):
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(7), p), g)
            row = PROMPTS.tokens[p, L - PROMPTS.length[p] :].tolist()
            while length[p, g] < limit[p, g] and not finished[p, g]:
                t = length[p, g]
                wide = np.zeros((1, L + T), np.int32)
                wide[0, : len(row)] = row
                places = np.arange(L + T, dtype=np.int32)[None]
                logits = forward(params_of(config), wide, places, np.ones_like(wide))[:, len(row) - 1]
                uniform = methods.uniforms(jax.random.fold_in(key, t))
                token, value = methods.draw(uniform[None], logits, jnp.float32(1))
                row.append(int(token[0]))
                tokens[p, g, t], logp[p, g, t] = row[-1], value[0]
                length[p, g] += 1
                finished[p, g] = row[-1] in EOS
    return tokens, logp, length, finished


@pytest.mark.parametrize("shares", [True, False])
def test_it_is_the_plain_loop(monkeypatch, shares):
    """A full layer and a sliding one, pages of 4, fewer slots than rows, fewer prompts held than there are. Catches a
    page that is read in the wrong order or by another row, a place counted from the slot's last row, a prompt read by
    another group, a window that forgets the prompt too early, and rows that write into what the next one reads."""
    monkeypatch.setattr(engine, "PAGE", 4)
    monkeypatch.setattr(engine, "READ_TOKENS", 2 * L)
    monkeypatch.setattr(engine, "copies_held", lambda B, P, G, shares: 3 if shares else B + G)
    got = _sample(SLIDING, room=Room(slots=4, shares=shares))
    tokens, logp, length, finished = _plain(SLIDING, LIMIT)
    np.testing.assert_array_equal(got.tokens, tokens)
    np.testing.assert_array_equal(got.length, length)
    np.testing.assert_array_equal(got.finished, finished)
    np.testing.assert_allclose(got.logp, logp, atol=TOLERANCE["sum"])
    assert len(set(length.ravel().tolist())) > 4


@pytest.mark.parametrize("slots", [1, 7, 14])
def test_the_number_of_slots_decides_no_token(slots):
    """Catches a key that is the slot's or the pass's, and one that is used up by whoever comes first."""
    _same(_sample(room=Room(slots=slots)), _sample())


def test_neither_order_nor_neighbours_decide_a_token(monkeypatch):
    """Bit for bit where the number of slots is the same. Catches draws by the place in the batch, and a group that
    answers for another after they were put in order."""
    monkeypatch.setattr(engine, "PAGE", 8)
    whole = _sample(room=Room(slots=6))
    longest_first = _sample(expected=np.array([1, 5, 2, 9, 3], np.float32), room=Room(slots=6))
    chex.assert_trees_all_equal(longest_first, whole)
    order = np.array([4, 1, 3, 0])
    some = PromptBatch(tokens=PROMPTS.tokens[order], length=PROMPTS.length[order])
    part = _sample(prompts=some, limit=LIMIT[order], number=order, room=Room(slots=6))
    for name in ("tokens", "logp", "length", "finished"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[order])
    other = _sample(prompts=some, limit=LIMIT[order], room=Room(slots=6))
    assert (other.tokens[0] != whole.tokens[4]).any(), "the number is part of the key"


@pytest.mark.parametrize(("pages", "shares"), [(5, True), (11, True), (11, False)])
def test_a_pool_too_small_for_all_sends_rows_back(monkeypatch, pages, shares):
    """With pages for one row or two at the limit. Catches a row that goes on without a page, one that is lost or drawn
    otherwise after it was sent back, a page that two rows own, and a loop that never ends."""
    monkeypatch.setattr(engine, "PAGE", 4)
    limit = np.full((P, G), T, np.int32)
    whole = _sample(limit=limit, eos_ids=(-1,))
    state, found = _state(limit, Room(slots=6, pages=pages, shares=shares))
    _same(found, whole)
    assert int(state.queue.sent_back[0]) > 0, "nothing was sent back, so nothing was tested"
    assert (np.asarray(state.queue.owner) == 6).all()
    assert (np.asarray(state.queue.party_of) == len(state.queue.left[0])).all()


def _state(limit, room):
    """Where the loop ends, and what it made, where no token ends a row."""
    how = Decoding(TINY, T, (-1,), PAD, room=room)
    requests, order = engine.arrange(Query(prompts=PROMPTS, limit=jnp.asarray(limit)), jax.random.key(7), how)
    state = engine.begin(requests, how)
    run = jax.jit(functools.partial(engine.advance, how=how))
    end = run(api.unstack(params_of(), TINY), state, requests, jax.random.key(7), jnp.float32(1))
    return end, jax.tree.map(np.asarray, engine.collect(end, order, G))


def test_a_slot_is_refilled_at_once():
    """Counts passes: every row takes as many as it has tokens, one row after the other where there is one slot. Catches
    a pass between two rows, and one for the last token."""
    one, found = _state(LIMIT, Room(slots=1))
    assert int(one.passes) == LIMIT.sum()
    few, same = _state(LIMIT, Room(slots=4))
    assert int(few.fed.sum()) == LIMIT.sum()
    assert int(few.passes) <= -(-LIMIT.sum() // 4) + T
    _same(same, found)


def test_the_last_requests_are_decoded_in_fewer_slots(monkeypatch):
    """Eight slots shrink to four and two, pages are short, and one run is looked at after every pass. Catches a row
    that is lost, one that reads another's pages or keeps its own for ever, slots that stay many, and rows that are
    dropped when a call ends while more are at work than the few slots hold."""
    monkeypatch.setattr(engine, "PAGE", 4)
    monkeypatch.setattr(room, "SHRUNK", 2)
    monkeypatch.setattr(room, "LEAST", 2)
    how = Decoding(TINY, T, (-1,), PAD, room=Room(slots=8, pages=7, shrinks=True))
    requests, order = engine.arrange(Query(prompts=PROMPTS, limit=jnp.asarray(LIMIT)), jax.random.key(7), how)
    begun, params = engine.begin(requests, how), api.unstack(params_of(), TINY)
    run = jax.jit(functools.partial(engine.advance, how=how))

    def advance(state, until):
        return run(params, state, requests, jax.random.key(7), jnp.float32(1), jnp.int32(until))

    at_once, state = advance(begun, 1000), begun
    for until in range(1, 1 + int(at_once.passes)):
        state = advance(state, until)
    assert not int(state.queue.left.sum()), "a row was dropped: looks in between cost passes"
    whole = _sample(eos_ids=(-1,))
    for end in (at_once, state):
        _same(jax.tree.map(np.asarray, engine.collect(end, order, G)), whole)
        assert 4 * int(end.passes) < int(end.computed) < 8 * int(end.passes)
        assert (np.asarray(end.queue.owner) == 8).all()
        assert (np.asarray(end.slots.row) == P * G).all()


def test_a_request_beyond_all_pages_is_refused_and_others_go_on(monkeypatch):
    """Three pages of 4 hold limits up to 12. Catches a request that waits for ever, one that is cut, and neighbours
    that draw otherwise beside it."""
    monkeypatch.setattr(engine, "PAGE", 4)
    monkeypatch.setattr(room, "PAGE", 4)
    got, whole = _sample(room=Room(slots=4, pages=3)), _sample()
    held = LIMIT <= 12
    assert 0 < (LIMIT[held] > 0).sum() < (LIMIT > 0).sum()
    assert (got.length[~held] == 0).all()
    assert not got.finished[~held].any()
    np.testing.assert_array_equal(got.tokens[held], whole.tokens[held])
    np.testing.assert_array_equal(got.length[held], whole.length[held])


def test_all_rows_at_their_first_token_and_no_rows():
    """Catches a loop that waits for a slot that nobody takes."""
    first = _sample(eos_ids=tuple(range(150)), room=Room(slots=2))
    np.testing.assert_array_equal(first.length, (LIMIT > 0).astype(np.int32))
    assert (first.finished == (LIMIT > 0)).all()
    none = _sample(limit=np.zeros_like(LIMIT), room=Room(slots=2))
    assert (none.length == 0).all()
    assert (none.tokens == PAD).all()


def test_one_program_serves_a_run():
    """Catches a value that has become static: limits, numbers, expected lengths."""
    numbers, expected = np.arange(P), np.ones(P, np.float32)
    _sample(number=numbers, expected=expected, room=Room(slots=4))
    size = generate._cache_size()
    _sample(limit=LIMIT[::-1], number=numbers[::-1], expected=2 * expected, room=Room(slots=4))
    assert generate._cache_size() == size
