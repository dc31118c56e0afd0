"""The weighted length: by hand, against loops, and what must not change it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.rewards import importance
from tests.helpers import TOLERANCE
from tests.reference import rewards as reference
from tests.rewards.cases import chunks_of, random_case, scores_of

PHI = (1.0, 0.75, 0.5, 0.25, 0.0)


@pytest.fixture(autouse=True)
def strict_promotion():
    with jax.numpy_dtype_promotion("strict"):
        yield


def test_phi_by_hand():
    """Catches an off-by-one into the table: score 5 is free, score 1 pays in full, score 0 is no chunk."""
    assert importance.phi_of(jnp.array([[[5, 1, 2, 0]]]), PHI).tolist() == [[[0.0, 1.0, 0.75, 0.0]]]


@pytest.mark.parametrize("score", [1, 3, 5])
def test_centred_phi_gives_nothing_for_equal_scores(score):
    """Catches a mean that counts chunks which do not exist: all-equal scores must weigh 0.5 each."""
    value = jnp.array([[[score, score, score, 0]]])
    assert importance.phi_of(value, PHI, centred=True).tolist() == [[[0.5, 0.5, 0.5, 0.0]]]


def test_a_long_important_chunk_never_earns():
    """Catches a negative penalty: centred weights of a long chunk can be below 0."""
    phi = importance.phi_of(jnp.array([[[1, 1, 5]]]), PHI, centred=True)
    assert float(phi.min()) < 0
    assert importance.weighted_length(jnp.array([[[1.0, 1.0, 90.0]]]), phi).tolist() == [[0.0]]


def test_ratio_by_hand():
    """Catches a decayed mean that mixes the sums' decay: 0.9 * 1 + 0.25 + 0.75 over 0.9 * 2 + 2."""
    state = importance.initial_ratio()
    assert float(importance.ratio_of(state)) == 1.0
    state = importance.update_ratio(state, jnp.array([[0.25, 0.75, 9.0]]), jnp.array([[True, True, False]]))
    assert float(importance.ratio_of(state)) == 0.5
    state = importance.update_ratio(state, jnp.array([[1.0, 1.0]]), jnp.ones((1, 2), bool))
    np.testing.assert_allclose(importance.ratio_of(state), (0.9 * 1 + 2) / (0.9 * 2 + 2), rtol=TOLERANCE["sum"])


def test_steps_without_a_valid_row_keep_the_ratio():
    """Catches a ratio that decays to 0/0 while the helpers are broken for long."""
    state = importance.update_ratio(importance.initial_ratio(), jnp.array([[0.5]]), jnp.ones((1, 1), bool))
    for _ in range(3):
        state = importance.update_ratio(state, jnp.array([[jnp.nan]]), jnp.zeros((1, 1), bool))
    assert float(importance.ratio_of(state)) == 0.5


def test_ratios_of_one_give_one_exactly():
    """Catches an exponential mean of the form d*m + (1-d)*r, which rounds away from 1."""
    update = jax.jit(importance.update_ratio)
    state = importance.initial_ratio()
    rng = np.random.default_rng(0)
    for _ in range(40):
        state = update(state, jnp.ones((3, 5)), jnp.asarray(rng.random((3, 5)) < 0.5))
        assert float(importance.ratio_of(state)) == 1.0


@pytest.mark.parametrize("invalid", ["running_mean", "zero", "full"])
@pytest.mark.parametrize("centred", [False, True])
@given(seed=st.integers(0, 2**31))
def test_charged_length_against_loops(invalid, centred, seed):
    """Catches a cut response charged by its chunks, and a failed helper charged by somebody else's ratio."""
    case = random_case(seed)
    state = importance.RatioState(sum=jnp.float32(1.5), count=jnp.float32(4.0))
    usable = jnp.asarray(case["segment_valid"] & case["score_valid"])
    phi = importance.phi_of(scores_of(case).value, PHI, centred=centred)
    lengths, y = importance.measure(chunks_of(case), jnp.asarray(case["y"]), usable, "tokens")
    charged, new = importance.charged_length(
        importance.weighted_length(lengths, phi), y, usable, jnp.asarray(case["finished"]), state, invalid=invalid
    )
    expected, total, count = reference.charged_lengths(
        case,
        phi=PHI,
        invalid=invalid,
        ratio_sum=1.5,
        ratio_count=4.0,
        decay=importance.RATIO_DECAY,
        centred=centred,
    )
    np.testing.assert_allclose(charged, expected, rtol=TOLERANCE["sum"], atol=TOLERANCE["sum"])
    np.testing.assert_allclose([new.sum, new.count], [total, count], rtol=TOLERANCE["sum"])


def test_characters_by_hand():
    """Catches characters compared with a limit in tokens: 3 characters a token here, so 30 characters weigh as 10."""
    case = random_case(0, problems=1, rollouts=2, num_chunks=2)
    case |= {
        "y": np.array([[10, 7]], np.int32),
        "chunk_length": np.array([[[4, 6], [0, 0]]], np.int32),
        "characters": np.array([[[6, 24], [0, 0]]], np.int32),
        "segment_valid": np.array([[True, False]]),
    }
    lengths, y = importance.measure(
        chunks_of(case), jnp.asarray(case["y"]), jnp.asarray(case["segment_valid"]), "characters"
    )
    np.testing.assert_allclose(lengths, [[[2.0, 8.0], [0.0, 0.0]]], rtol=TOLERANCE["sum"])
    np.testing.assert_allclose(y, [[10.0, 7.0]], rtol=TOLERANCE["sum"])


@given(seed=st.integers(0, 2**31))
def test_shuffling_stays_inside_the_response(seed):
    """Catches scores moved onto chunks that do not exist, or between responses; gaps in the mask included."""
    rng = np.random.default_rng(seed)
    mask = rng.random((3, 4, 6)) < 0.6
    value = np.where(mask, rng.integers(1, 6, size=mask.shape), 0).astype(np.int32)
    got = np.asarray(importance.shuffle_scores(jax.random.key(seed), jnp.asarray(value), jnp.asarray(mask)))
    assert np.array_equal(got > 0, mask)
    assert np.array_equal(np.sort(got, -1), np.sort(value, -1))


def test_shuffling_reaches_every_order_equally():
    """Catches a biased or constant permutation: 3! orders over 6,000 rows, each within five standard errors."""
    value = jnp.broadcast_to(jnp.array([1, 2, 3, 0]), (100, 60, 4))
    got = importance.shuffle_scores(jax.random.key(1), value, value > 0)
    _, counts = np.unique(np.asarray(got).reshape(-1, 4), axis=0, return_counts=True)
    assert len(counts) == 6
    assert abs(counts - 1000).max() < 5 * np.sqrt(6000 * 5 / 36)
