"""Filters on hand-worked logits, and draws against the distribution they claim to come from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.sampling import methods
from tests.helpers import TOLERANCE

# Probabilities 0.4, 0.3, 0.2, 0.1, out of order.
P = np.array([0.2, 0.4, 0.1, 0.3])
LOGITS = np.log(P).astype(np.float32)[None]


def _kept(method, logits=LOGITS, kept=None):
    kept = None if kept is None else np.array([kept])
    return np.isfinite(np.asarray(methods.filter_logits(methods.Method(**method), jnp.asarray(logits), kept)))[0]


def _uniform(seed, n):
    return jax.vmap(methods.uniforms)(jax.random.split(jax.random.key(seed), n))


@pytest.mark.parametrize(
    ("method", "want"),
    [
        ({}, [1, 1, 1, 1]),
        ({"top_k": 1}, [0, 1, 0, 0]),
        ({"top_k": 3}, [1, 1, 0, 1]),
        ({"top_k": 9}, [1, 1, 1, 1]),
        ({"top_p": 0.3}, [0, 1, 0, 0]),  # the first always stays
        ({"top_p": 0.6}, [0, 1, 0, 1]),  # 0.4 does not reach 0.6, 0.7 does
        ({"top_p": 0.8}, [1, 1, 0, 1]),
        ({"top_p": 0.95}, [1, 1, 1, 1]),
        ({"min_p": 0.6}, [0, 1, 0, 1]),  # at least 0.24
        ({"min_p": 0.3}, [1, 1, 0, 1]),  # at least 0.12
        ({"top_k": 2, "top_p": 0.5}, [0, 1, 0, 0]),  # of 4/7 and 3/7 the first alone reaches a half
        ({"top_k": 3, "min_p": 0.7}, [0, 1, 0, 1]),
    ],
)
def test_filters_by_hand(method, want):
    """Catches an inclusive border made exclusive, order lost in the sort, and filters that don't see each other."""
    assert _kept(method).tolist() == [bool(w) for w in want]


def test_ties():
    """Of equal logits top-k keeps all at the border, min-p all at the floor, top-p as many as it takes, in order."""
    equal = np.array([[1.0, 3.0, 1.0, 1.0, 3.0]], np.float32)
    assert _kept({"top_k": 1}, equal).tolist() == [False, True, False, False, True]
    assert _kept({"top_k": 3}, equal).all()
    assert _kept({"min_p": 1 - 1e-6}, equal).tolist() == [False, True, False, False, True]
    assert _kept({"top_p": 0.4}, equal).tolist() == [False, True, False, False, False]


def test_the_token_that_was_drawn_stays():
    """Catches a trainer that gives a sampled token probability 0 once the policy has moved it out of the kept set."""
    assert _kept({"top_k": 1}, kept=2).tolist() == [False, True, True, False]
    got = methods.filter_logits(methods.Method(top_p=0.3), jnp.asarray(LOGITS), np.array([0]))
    np.testing.assert_array_equal(np.asarray(got)[0, :2], LOGITS[0, :2])


def test_greedy_takes_the_first_of_the_largest_whatever_the_key():
    """Catches noise at temperature 0, and a log-probability of 0 instead of the distribution's."""
    logits = jnp.asarray([[0.0, 2.0, 2.0, 1.0]])
    for seed in range(3):
        index, logp = methods.draw(_uniform(seed, 1), logits, jnp.float32(0))
        assert index.tolist() == [1]
        np.testing.assert_allclose(logp, jax.nn.log_softmax(logits)[:, 1], atol=TOLERANCE["elementwise"])


def test_logp_is_of_the_token_drawn():
    """Catches a log-probability read at another index than the one returned; refused tokens are in neither."""
    logits = jnp.where(jnp.arange(300)[None] % 3 == 0, -jnp.inf, jax.random.normal(jax.random.key(0), (50, 300)))
    index, logp = methods.draw(_uniform(1, 50), logits, jnp.float32(1))
    want = jax.nn.log_softmax(logits)[jnp.arange(50), index]
    np.testing.assert_allclose(logp, want, atol=TOLERANCE["sum"])


@pytest.mark.parametrize("V", [7, 128, 300])
def test_draws_follow_the_softmax(V):
    """Chi-square of 20,000 draws over at most 15 bins, one block of columns and several.

    At this seed it passes or fails for ever; for a correct sampler the chance to fail would have been 1e-4 a size.
    Catches a block drawn uniformly, a running sum off by one, columns beyond the vocabulary.
    """
    n, bins = 20_000, min(V, 15)
    row_V = 1.5 * np.random.default_rng(V).standard_normal(V)
    p_V = np.exp(row_V) / np.exp(row_V).sum()
    logits = jnp.broadcast_to(jnp.asarray(row_V, jnp.float32), (n, V))
    index, _ = jax.jit(methods.draw)(_uniform(5, n), logits, jnp.float32(1))
    counts = np.bincount(np.asarray(index), minlength=V)
    assert len(counts) == V
    bin_V = np.random.default_rng(0).permutation(V) % bins
    seen, expected = (np.bincount(bin_V, weights=x) for x in (counts, n * p_V))
    assert expected.min() > 5
    critical = {7: 27.86, 15: 42.58}[bins]  # upper 1e-4 points of chi-square at 6 and 14 degrees of freedom
    assert ((seen - expected) ** 2 / expected).sum() < critical


@pytest.mark.parametrize("V", [5, 300])
def test_a_refused_token_is_never_drawn(V):
    """Most columns are -inf, the last ones among them; 20,000 draws.

    Catches a random number that falls behind the last running sum, or a plateau of it taken for a token.
    """
    allowed = np.arange(V) % 4 == 1
    logits = jnp.broadcast_to(jnp.where(allowed, 0.0, -jnp.inf), (20_000, V))
    index, logp = jax.jit(methods.draw)(_uniform(0, 20_000), logits, jnp.float32(1))
    assert allowed[np.asarray(index)].all()
    np.testing.assert_allclose(logp, -np.log(allowed.sum()), atol=TOLERANCE["sum"])


def test_the_ends_of_the_random_numbers_stay_inside():
    """Uniform numbers of exactly 0 and of the largest below 1: too rare to be met by sampling, each fatal if wrong."""
    weight = np.array([[0.0, 0.3, 0.0, 0.7, 0.0]] * 2, np.float32)
    uniform = np.array([0.0, np.nextafter(np.float32(1), np.float32(0))], np.float32)
    assert methods._first_past(jnp.asarray(uniform), jnp.asarray(weight)).tolist() == [1, 3]


def test_rounding_of_the_running_sum_draws_nothing_of_weight_zero():
    """Aims at every border between a weight and the zeros behind it, where sums of another order may creep up by a bit.

    Catches a place of weight 0 taken because its running sum is one rounding above the one before.
    """
    rng = np.random.default_rng(0)
    weight = (rng.random((400, 100)) * (rng.random((400, 100)) < 0.3)).astype(np.float32)
    sums = np.asarray(jnp.cumsum(jnp.asarray(weight), axis=-1))
    aims = (sums / sums[:, -1:])[:, :-1]
    place = jax.jit(jax.vmap(methods._first_past, in_axes=(1, None), out_axes=1))(jnp.asarray(aims), weight)
    assert (np.take_along_axis(weight, np.asarray(place), axis=1) > 0).all()
