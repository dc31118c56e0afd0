"""Advantages against loops, and the properties a group-relative score must have."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.grpo import advantage
from tests.helpers import TOLERANCE
from tests.reference import grpo as reference

SCALES = ["group", "batch", "none"]


@pytest.fixture(autouse=True)
def strict_promotion():
    with jax.numpy_dtype_promotion("strict"):
        yield


def random_rewards(seed):
    """Multiples of 1/64, so that sums are exact and a constant can be added without rounding."""
    rng = np.random.default_rng(seed)
    reward = (rng.integers(-64, 65, size=(4, 6)) / 64).astype(np.float32)
    reward[0] = reward[0, 0]
    keep = rng.random((4, 6)) < 0.7
    keep[1] = np.arange(6) == 2
    return reward, keep


def test_by_hand():
    """Catches a sample standard deviation (n-1): rewards 1, 0, 0, 1 have population deviation 0.5."""
    reward, keep = jnp.array([[1.0, 0.0, 0.0, 1.0, 7.0]]), jnp.array([[True, True, True, True, False]])
    got = advantage.group_relative(reward, keep, scale="group")
    np.testing.assert_allclose(got, [[1, -1, -1, 1, 0]], rtol=TOLERANCE["sum"])
    got = advantage.group_relative(reward, keep, scale="none")
    np.testing.assert_allclose(got, [[0.5, -0.5, -0.5, 0.5, 0]], rtol=TOLERANCE["elementwise"])


@pytest.mark.parametrize("scale", SCALES)
@given(seed=st.integers(0, 2**31))
def test_against_loops(scale, seed):
    """Catches rows left out that still count in a mean or a deviation."""
    reward, keep = random_rewards(seed)
    got = advantage.group_relative(jnp.asarray(reward), jnp.asarray(keep), scale=scale)
    np.testing.assert_allclose(got, reference.group_relative(reward, keep, scale), atol=TOLERANCE["sum"])


@pytest.mark.parametrize("value", [0.0, 0.1, 0.7, 1.1, 10.1, -0.3, 1e-30])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("rollouts", [2, 3, 7, 8, 24])
def test_identical_rewards_give_exactly_zero(value, scale, rollouts):
    """Catches the float trap: the mean of equal float32 numbers rounds, and dividing by its error made 0.49 of 10.1."""
    reward = jnp.full((3, rollouts), value, jnp.float32).at[2, 0].add(1.0)
    keep = jnp.ones((3, rollouts), bool)
    got = advantage.group_relative(reward, keep, scale=scale)
    assert not np.asarray(got[:2]).any()
    assert np.asarray(got[2]).all()
    assert advantage.zero_spread(reward, keep).tolist() == [True, True, False]


def test_rounding_is_no_spread_but_a_small_length_term_is():
    """Catches an absolute tolerance, which would swallow a small alpha or take the last digit of 10.1 for a signal."""
    next_float = np.nextafter(np.float32(10.1), np.float32(11))
    rewards = jnp.array([[10.1, next_float], [1.0, 1.0 - 1e-4], [0.0, 1e-9]], jnp.float32)
    assert advantage.zero_spread(rewards, jnp.ones((3, 2), bool)).tolist() == [True, False, False]


@pytest.mark.parametrize("scale", SCALES)
@given(seed=st.integers(0, 2**31), order=st.permutations(range(6)), shift=st.integers(-8, 8))
def test_permutation_and_shift(scale, seed, order, shift):
    """Catches an advantage that depends on a rollout's place, or on what the whole group shares.

    The batch's deviation is that of raw rewards, so the shift there goes to all groups alike.
    """
    reward, keep = random_rewards(seed)
    order = np.array(order)
    plain = np.asarray(advantage.group_relative(jnp.asarray(reward), jnp.asarray(keep), scale=scale))
    moved = advantage.group_relative(jnp.asarray(reward[:, order]), jnp.asarray(keep[:, order]), scale=scale)
    np.testing.assert_allclose(moved, plain[:, order], atol=TOLERANCE["sum"])
    by_group = np.full((4, 1), shift) if scale == "batch" else shift * np.arange(4)[:, None]
    shifted = (reward + by_group).astype(np.float32)
    got = advantage.group_relative(jnp.asarray(shifted), jnp.asarray(keep), scale=scale)
    np.testing.assert_allclose(got, plain, atol=TOLERANCE["sum"])


@pytest.mark.parametrize("scale", SCALES)
def test_rows_left_out_may_hold_anything(scale):
    """Catches NaN rewards of ungradable rows spreading through 0 * NaN."""
    reward, keep = random_rewards(0)
    dirty = np.where(keep, reward, np.nan)
    got = advantage.group_relative(jnp.asarray(dirty), jnp.asarray(keep), scale=scale)
    plain = advantage.group_relative(jnp.asarray(reward), jnp.asarray(keep), scale=scale)
    assert np.array_equal(got, plain)


def test_broadcast():
    """Catches an advantage on padding."""
    got = advantage.broadcast(jnp.array([[2.0, -1.0]]), jnp.array([[1, 3]]), 3)
    assert got.tolist() == [[[2.0, 0.0, 0.0], [-1.0, -1.0, -1.0]]]


@pytest.mark.parametrize("scale", SCALES)
@given(seed=st.integers(0, 2**31))
def test_length_among_payers_against_loops(scale, seed):
    """Catches rows that do not pay entering the mean of those that do, and rows that are not kept paying."""
    rng = np.random.default_rng(seed)
    outcome, keep = random_rewards(seed)
    cost = (rng.integers(0, 64, size=outcome.shape) / 64).astype(np.float32)
    paying = rng.random(outcome.shape) < 0.5
    arrays = (outcome, cost, keep, paying)
    got = advantage.length_relative(*map(jnp.asarray, arrays), scale=scale)
    np.testing.assert_allclose(got, reference.length_relative(*arrays, scale), atol=TOLERANCE["sum"])


@pytest.mark.parametrize("price", [0.5, 2.0, 100.0])
def test_no_price_makes_being_wrong_pay(price):
    """Catches a baseline over the whole group: at a price of 2 the three right answers, of cost 2 on average, would
    together stand below the wrong one. Among themselves their lengths sum to nothing, at any price."""
    right = jnp.array([[True, True, True, False]])
    outcome, cost = right.astype(jnp.float32), price * jnp.array([[1.5, 1.0, 0.5, 0.0]])
    keep = jnp.ones((1, 4), bool)
    got = np.asarray(advantage.length_relative(outcome, cost, keep, right, scale="none"))
    np.testing.assert_allclose(got[0, 3], -0.75, rtol=TOLERANCE["sum"])
    np.testing.assert_allclose(got[0, :3], 0.25 + price * np.array([-0.5, 0, 0.5]), rtol=TOLERANCE["sum"])


@pytest.mark.parametrize("scale", SCALES)
def test_all_paying_is_the_whole_reward_against_the_group(scale):
    """Catches two meanings of a group's comparison."""
    outcome, keep = random_rewards(3)
    cost = np.abs(random_rewards(4)[0])
    got = advantage.length_relative(*map(jnp.asarray, (outcome, cost, keep, keep)), scale=scale)
    plain = advantage.group_relative(jnp.asarray(outcome - cost), jnp.asarray(keep), scale=scale)
    np.testing.assert_allclose(got, plain, atol=TOLERANCE["sum"])


def random_credit_case(seed, *, split_share=0.75):
    rng = np.random.default_rng(seed)
    shape, num_chunks, num_tokens = (3, 5), 4, 14
    length = rng.integers(4, num_tokens + 1, size=shape)
    split = rng.random(shape) < split_share
    chunk_id = np.full((*shape, num_tokens), num_chunks)
    share = np.zeros((*shape, num_chunks), np.float32)
    for i in np.ndindex(*shape):
        n = int(rng.integers(1, num_chunks + 1))
        y = length[i] - 1 if length[i] > n else length[i]
        if split[i] and y >= n:
            chunk_id[i][:y] = np.sort(np.concatenate([np.arange(n), rng.integers(0, n, size=y - n)]))
            share[i] = np.bincount(chunk_id[i][:y], minlength=num_chunks)[:num_chunks] * rng.choice(
                [0, 0.25, 0.5, 1], size=num_chunks
            )
    outcome = rng.integers(0, 2, size=shape).astype(np.float32)
    cost = (rng.integers(0, 32, size=shape) / 64).astype(np.float32)
    cost = np.where(split & (share.sum(-1) == 0), 0, cost).astype(np.float32)
    keep = rng.random(shape) < 0.8
    paying = (outcome > 0) | (rng.random((shape[0], 1)) < 0.5)  # everybody, or right answers only
    return {
        "outcome_PG": outcome,
        "cost_PG": cost,
        "share_PGK": share,
        "split_PG": split,
        "chunk_id_PGT": chunk_id,
        "length_PG": length,
        "keep_PG": keep,
        "paying_PG": paying,
    }


@pytest.mark.parametrize("scale", SCALES)
@given(seed=st.integers(0, 2**31))
def test_chunk_credit_against_loops(scale, seed):
    """Catches cost on the wrong chunk, rows left out that count in a baseline, and padding that gets credit."""
    case = random_credit_case(seed)
    got = advantage.chunk_credit(**{k: jnp.asarray(v) for k, v in case.items()}, scale=scale)
    expected = reference.chunk_credit(*case.values(), scale)
    np.testing.assert_allclose(got, expected, rtol=TOLERANCE["sum"], atol=TOLERANCE["sum"])


def test_chunk_credit_by_hand():
    """Catches the free chunk left without its credit.

    Both right; row 0 has a free chunk and one that costs 0.4, row 1 the free chunk only. b = (0, 0.2): the costly chunk
    gets -0.2, the end of row 1, which never opened it, +0.2, and the free chunks 0.
    """
    got = advantage.chunk_credit(
        jnp.ones((1, 2)),
        jnp.array([[0.4, 0.0]]),
        jnp.array([[[0.0, 3.0], [0.0, 0.0]]]),
        jnp.ones((1, 2), bool),
        jnp.array([[[0, 1, 1, 2], [0, 0, 2, 2]]]),
        jnp.array([[4, 3]]),
        jnp.ones((1, 2), bool),
        jnp.ones((1, 2), bool),
        scale="none",
    )
    np.testing.assert_allclose(got, [[[0.0, -0.2, -0.2, 0.0], [0.0, 0.0, 0.2, 0.0]]], atol=TOLERANCE["elementwise"])


@given(seed=st.integers(0, 2**31))
def test_chunk_credit_moves_credit_and_makes_none(seed):
    """Catches a baseline that is not centred: over chunks and end, a row's credit is its sequence-level advantage."""
    case = random_credit_case(seed, split_share=1.0)
    case["outcome_PG"][:] = 1.0
    case["paying_PG"][:] = True
    num_chunks = case["share_PGK"].shape[-1]
    token = np.asarray(advantage.chunk_credit(**{k: jnp.asarray(v) for k, v in case.items()}, scale="none"))
    sequence = reference.group_relative(-case["cost_PG"].astype(np.float64), case["keep_PG"], "none")
    for i in np.ndindex(*case["keep_PG"].shape):
        ids, values = case["chunk_id_PGT"][i][: case["length_PG"][i]], token[i]
        if num_chunks in ids:  # a row whose completion holds an end to credit
            first = [values[np.flatnonzero(ids == k)[0]] for k in np.unique(ids)]
            np.testing.assert_allclose(sum(first), sequence[i], atol=TOLERANCE["sum"])


def test_chunk_credit_without_a_split_is_the_sequence_level_advantage():
    """Catches responses whose helpers failed dropping out of the length pressure."""
    case = random_credit_case(11, split_share=0.0)
    got = advantage.chunk_credit(**{k: jnp.asarray(v) for k, v in case.items()}, scale="group")
    plain = advantage.length_relative(
        *(jnp.asarray(case[f"{name}_PG"]) for name in ("outcome", "cost", "keep", "paying")), scale="group"
    )
    expected = advantage.broadcast(plain, jnp.asarray(case["length_PG"]), got.shape[-1])
    np.testing.assert_allclose(got, expected, rtol=TOLERANCE["sum"], atol=TOLERANCE["sum"])


@pytest.mark.parametrize("scale", SCALES)
@given(seed=st.integers(0, 2**31))
def test_positions_against_loops(scale, seed):
    """Catches a mean over positions, rows that leave the statistics behind their end, and a row that is not kept."""
    rng = np.random.default_rng(seed)
    reward, keep = random_rewards(seed)
    needless, T = (reward - rng.integers(0, 9, size=reward.shape) / 64).astype(np.float32), 5
    where, length = rng.random((*reward.shape, T)) < 0.4, rng.integers(1, T + 1, size=reward.shape)
    got = advantage.positionwise(
        jnp.asarray(reward), jnp.asarray(needless), jnp.asarray(where), jnp.asarray(length), jnp.asarray(keep),
        scale=scale,
    )  # fmt: skip
    at = [np.where(where[..., t], needless, reward) for t in range(T)]
    # The deviation of a batch is that over all positions: their rows as groups of one batch.
    expected = reference.group_relative(np.concatenate(at), np.concatenate([keep] * T), scale).reshape(T, *reward.shape)
    inside = np.arange(T) < length[..., None]
    np.testing.assert_allclose(got, np.moveaxis(expected, 0, -1) * inside, atol=TOLERANCE["sum"])


def test_without_needless_tokens_every_position_has_the_sequence_s_advantage():
    """Catches a statistic that positions change."""
    reward, keep = random_rewards(3)
    length = jnp.full(reward.shape, 4)
    arrays = (
        jnp.asarray(reward),
        jnp.asarray(reward) - 1,
        jnp.zeros((*reward.shape, 4), bool),
        length,
        jnp.asarray(keep),
    )
    got = advantage.positionwise(*arrays, scale="group")
    whole = advantage.group_relative(jnp.asarray(reward), jnp.asarray(keep), scale="group")
    np.testing.assert_array_equal(got, advantage.broadcast(whole, length, 4))
