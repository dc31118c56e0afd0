"""Filters against a sort in NumPy, and the search below them: exact, ties and infinities included, without a sort."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.sampling import border, methods
from jaxreason.sampling.methods import Method
from tests.topology import tpu_mesh

# No probability is a fraction of the few ties in the rows: at 3 of 5 and 0.6 the last digit would decide.
METHODS = {
    "p": Method(top_p=0.711),
    "k": Method(top_k=3),
    "min": Method(min_p=0.2),
    "k_p": Method(top_p=0.611, top_k=4),
    "p_min": Method(top_p=0.911, min_p=0.3),
    "all": Method(top_p=0.811, top_k=5, min_p=0.15),
    "k_beyond": Method(top_k=99_999),
}


def _sorted(method: Method, row_V: np.ndarray) -> np.ndarray:
    """Which tokens of a row stay, by a stable sort and float64."""
    order = np.argsort(-row_V, kind="stable")
    down, stays = row_V[order].astype(np.float64), np.ones(len(row_V), bool)
    if 0 < method.top_k < len(row_V):
        stays &= down >= down[method.top_k - 1]
    if method.top_p < 1:
        weight = np.where(stays, np.exp(down - down[0]), 0.0)
        before = np.concatenate([[0.0], np.cumsum(weight)[:-1]]) / weight.sum()
        stays &= before < method.top_p
    if method.min_p > 0:
        stays &= down >= np.float32(down[0]) + np.log(np.float32(method.min_p))
    found = np.zeros(len(row_V), bool)
    found[order] = stays
    return found & (row_V > -np.inf)


def _kept(method: Method, logits_NV: np.ndarray) -> np.ndarray:
    return np.isfinite(np.asarray(jax.jit(methods.filter_logits, static_argnums=0)(method, jnp.asarray(logits_NV))))


def _rows(V: int, seed: int) -> np.ndarray:
    """Smooth, peaked, large, with ties in the thousands, mostly -inf, of one token, uniform, of both zeros."""
    rng = np.random.default_rng(seed)
    smooth = rng.standard_normal(V)
    holes = np.where(rng.random(V) < 0.9, -np.inf, smooth)
    holes[rng.integers(V)] = 1.0
    one = np.full(V, -np.inf)
    one[rng.integers(V)] = -3.0
    return np.stack(
        [
            *(smooth, 6 * smooth, -np.abs(smooth) - 1e-30, 1e4 * smooth, np.round(2 * smooth) / 2, np.round(smooth)),
            *(holes, one, np.zeros(V), np.full(V, -7.25), np.where(rng.random(V) < 0.5, 0.0, -0.0)),
        ]
    ).astype(np.float32)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("V", [1, 11, 300, 5003])
def test_the_kept_set_is_that_of_a_sort(V, name):
    """Catches a border one token off, ties that all stay or all go, -0 taken for less than 0, a part of the row that
    misses a large logit, and padding that is counted."""
    rows = np.concatenate([_rows(V, seed) for seed in range(3)])
    for row, found in zip(rows, _kept(METHODS[name], rows), strict=True):
        np.testing.assert_array_equal(found, _sorted(METHODS[name], row))


@given(st.lists(st.integers(-6, 6) | st.just(-99), min_size=30, max_size=30), st.sampled_from(sorted(METHODS)))
def test_few_distinct_values(logits, name):
    """Most borders are ties. Catches filters applied in another order than documented."""
    rows = np.array([x if x > -99 else -np.inf for x in logits], np.float32).reshape(3, 10) / 4
    rows[:, 3] = np.maximum(rows[:, 3], -8.0)
    for row, found in zip(rows, _kept(METHODS[name], rows), strict=True):
        np.testing.assert_array_equal(found, _sorted(METHODS[name], row))


@pytest.mark.parametrize("rows_apart", [False, True])
def test_likely_tokens_of_one_column(rows_apart):
    """A long row's likeliest tokens all fall into one column of the part that is looked at first, so the whole row is
    needed, in one row alone or in each. Catches an answer from the part alone."""
    V, step = 8192, 8192 // border.COLUMN
    rows = np.random.default_rng(0).standard_normal((3, V)).astype(np.float32) - 12
    rows[0 if rows_apart else slice(None), 5::step] = np.linspace(3, 4, border.COLUMN, dtype=np.float32)
    for method in (Method(top_p=0.9), Method(top_k=border.COLUMN - 3), Method(top_p=0.5, top_k=30)):
        got = _kept(method, rows)
        for row, found in zip(rows, got, strict=True):
            np.testing.assert_array_equal(found, _sorted(method, row))


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=9), st.data())
def test_the_search_finds_any_number(values, data):
    """The k-th largest of any numbers: subnormal, both zeros, both infinities. Catches an order of bits that is not the
    order of numbers, and a sum of bounds that overflows."""
    tiny = np.finfo(np.float32).tiny
    values = [0.0 if abs(v) < tiny else v for v in values]  # XLA may take a subnormal number for 0
    row, k = np.array(values, np.float32), data.draw(st.integers(1, len(values)))
    low, high = (jnp.full((1, 1), x, jnp.float32) for x in (-jnp.inf, jnp.inf))
    got = border.search(lambda b: (jnp.asarray(row)[None] >= b).sum(1, keepdims=True) >= k, low, high)
    found = float(got[0, 0])
    assert (0.0 if abs(found) < tiny else found) == np.sort(row)[-k]


def test_the_nth_marked_place():
    """Catches a block taken one too late, and a place beyond the row."""
    rng = np.random.default_rng(0)
    for V in (1, 100, 128, 129, 1000):
        marked = rng.random((40, V)) < 0.2
        n = rng.integers(1, max(marked.sum(1).max(), 1) + 1, (40, 1))
        got = np.asarray(border.nth(jnp.asarray(marked), jnp.asarray(n)))[:, 0]
        for row, k, place in zip(marked, n[:, 0], got, strict=True):
            places = np.flatnonzero(row)
            assert place == (places[k - 1] if k <= len(places) else V - 1)


def test_no_gradient_through_the_choice():
    """The gradient is that of a softmax over a fixed set. Catches one through the border, which a token there has."""
    logits = jnp.asarray(np.random.default_rng(1).standard_normal((1, 50)).astype(np.float32))
    method = Method(top_p=0.6, min_p=0.05)
    stays = jnp.asarray(_kept(method, np.asarray(logits)))

    def first(transform):
        return lambda x: jax.nn.log_softmax(transform(x))[0, jnp.argmax(x)]

    got = jax.grad(first(lambda x: methods.filter_logits(method, x)))(logits)
    want = jax.grad(first(lambda x: jnp.where(stays, x, -jnp.inf)))(logits)
    np.testing.assert_array_equal(np.asarray(got), np.asarray(want))


def test_greedy_looks_at_no_filter():
    """The logits are such that a filter would change the log-probability. Catches a search that greedy decoding pays
    for, seen in what it would do."""
    logits = jnp.asarray(np.random.default_rng(2).standard_normal((4, 60)).astype(np.float32))
    token, logp = methods.sample(jnp.full((4, 2), 0.9), logits, jnp.float32(0.0), Method(top_p=0.3, top_k=2))
    np.testing.assert_array_equal(token, logits.argmax(1))
    np.testing.assert_allclose(logp, jax.nn.log_softmax(logits).max(1), rtol=1e-6)


def test_sampled_tokens_and_their_log_probabilities_are_of_the_kept_set():
    """Catches a draw from unscaled or unfiltered logits."""
    logits = jnp.asarray(np.random.default_rng(3).standard_normal((300, 40)).astype(np.float32))
    method, temperature = Method(top_p=0.7, top_k=9), 0.5
    token, logp = methods.sample(
        jax.random.uniform(jax.random.key(1), (300, 2)), logits, jnp.float32(temperature), method
    )
    want = jax.nn.log_softmax(methods.filter_logits(method, logits / temperature))
    np.testing.assert_allclose(logp, want[jnp.arange(300), token], atol=1e-5)


@pytest.mark.tpu_aot
def test_the_program_for_a_tpu_sorts_nothing():
    """Catches a library call that is a sort on the TPU, such as top_k."""
    method = Method(top_p=0.9, top_k=50, min_p=0.01)
    with tpu_mesh("v5e:2x2", (1, 1, 1)) as mesh:
        place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        logits = jax.ShapeDtypeStruct((8, 16_384), jnp.float32, sharding=place)
        uniform = jax.ShapeDtypeStruct((8, 2), jnp.float32, sharding=place)
        one = jax.ShapeDtypeStruct((), jnp.float32, sharding=place)
        text = jax.jit(methods.sample, static_argnums=3).lower(uniform, logits, one, method).compile().as_text()
    assert text is not None
    assert " conditional(" in text
    for operation in (" sort(", "TopK", "ApproxTopK", "PartialReduce"):
        assert operation not in text
