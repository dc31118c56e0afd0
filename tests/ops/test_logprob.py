"""Log-probabilities of tokens against float64 NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.ops import logprob
from jaxreason.sampling import methods
from tests.helpers import TOLERANCE
from tests.reference.transformer import log_softmax

RNG = np.random.default_rng(0)
N, D, V = 13, 6, 17
HIDDEN = RNG.standard_normal((N, D), np.float32)
HEAD = RNG.standard_normal((V, D), np.float32)
TARGET = RNG.integers(0, V, N).astype(np.int32)
SCORES = HIDDEN.astype(np.float64) @ HEAD.astype(np.float64).T


_token_logp = jax.jit(logprob.token_logp, static_argnames=("chunk", "temperature", "transform"))


def _candidates():
    """Three candidates in every second row, the target among them, one slot empty; the others free."""
    few = np.full((N, 4), -1, np.int32)
    for n in range(0, N, 2):
        others = [v for v in RNG.permutation(V) if v != TARGET[n]][:2]
        few[n, :3] = RNG.permutation([TARGET[n], *others])
    return few


@pytest.mark.parametrize("shape", [(D,), (1, D), (1, 1, D), (N, D)])
def test_logits_of_a_row_alone_are_those_it_has_beside_others(shape):
    """Catches a single row, which a CPU multiplies as two in bfloat16, that comes back twice or in another shape."""
    hidden, head = jnp.asarray(HIDDEN, "bfloat16"), jnp.asarray(HEAD, "bfloat16")
    some = hidden.reshape(-1)[: np.prod(shape)].reshape(shape)
    got = jax.jit(logprob.head_logits)(some, head)
    assert got.shape == (*shape[:-1], V)
    assert got.dtype == "float32"
    exact = np.asarray(some, np.float64) @ np.asarray(head, np.float64).T
    np.testing.assert_allclose(got, exact, atol=TOLERANCE["sum"])


@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.0])
def test_free_rows_are_the_log_softmax(temperature):
    """Catches a temperature applied after the softmax, and an entropy of the wrong distribution."""
    logp, entropy = _token_logp(HIDDEN, HEAD, TARGET, None, chunk=100, temperature=temperature)
    want = log_softmax(SCORES / temperature)
    np.testing.assert_allclose(logp, want[np.arange(N), TARGET], atol=TOLERANCE["sum"])
    np.testing.assert_allclose(entropy, -(np.exp(want) * want).sum(-1), atol=TOLERANCE["sum"])


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_constrained_rows_are_the_log_softmax_over_their_candidates(temperature):
    """Catches a normalisation over all of V, empty slots that count, and rows of the two kinds mixed up."""
    few = _candidates()
    logp, entropy = _token_logp(HIDDEN, HEAD, TARGET, few, chunk=100, temperature=temperature)
    for n in range(N):
        columns = few[n][few[n] >= 0] if n % 2 == 0 else np.arange(V)
        want = log_softmax(SCORES[n, columns] / temperature)
        np.testing.assert_allclose(logp[n], want[list(columns).index(TARGET[n])], atol=TOLERANCE["sum"])
        np.testing.assert_allclose(entropy[n], -(np.exp(want) * want).sum(), atol=TOLERANCE["sum"])


def test_one_candidate_is_certain():
    """A forced token teaches nothing: catches one whose log-probability or gradient is not exactly 0."""
    few = np.where(np.arange(4) == 0, TARGET[:, None], -1).astype(np.int32)

    def total(hidden):
        return _token_logp(hidden, HEAD, TARGET, few, chunk=100)[0].sum()

    value, gradient = jax.jit(jax.value_and_grad(total))(HIDDEN)
    assert value == 0
    assert not gradient.any()


def test_a_target_that_was_not_allowed_is_impossible_and_finite():
    """Catches a NaN, or a probability borrowed from an empty slot, where the record of a draw is broken."""
    few = np.full((N, 3), -1, np.int32)
    few[:, 0], few[:, 1] = (TARGET + 1) % V, (TARGET + 2) % V
    logp, vjp = jax.vjp(lambda h: _token_logp(h, HEAD, TARGET, few, chunk=100)[0], HIDDEN)
    assert (logp < -1e29).all()
    assert np.isfinite(vjp(np.ones(N, np.float32))[0]).all()


@pytest.mark.parametrize("chunk", [1, 5, 12])
@pytest.mark.parametrize("constrained", [False, True])
def test_chunks_change_neither_value_nor_gradient(chunk, constrained):
    """Catches the padding of the last chunk reaching a gradient, and rows in the wrong order."""
    few = _candidates() if constrained else None
    weight = RNG.standard_normal(N, np.float32)

    def value_and_gradient(chunk):
        def total(hidden, head):
            logp, entropy = _token_logp(hidden, head, TARGET, few, chunk=chunk, temperature=0.9)
            return (logp * weight).sum(), (logp, entropy)

        gradient, values = jax.jit(jax.grad(total, (0, 1), has_aux=True))(HIDDEN, HEAD)
        return (*values, *gradient)

    for part, whole in zip(value_and_gradient(chunk), value_and_gradient(100), strict=True):
        np.testing.assert_allclose(part, whole, atol=TOLERANCE["sum"])


@pytest.mark.parametrize("constrained", [False, True])
def test_gradient_is_target_minus_probability(constrained):
    """d logp / d logits = 1[target] - softmax over what was allowed: catches a gradient into refused columns."""
    few = _candidates() if constrained else None
    weight = RNG.standard_normal(N)

    def total(hidden):
        return (_token_logp(hidden, HEAD, TARGET, few, chunk=100)[0] * weight.astype(np.float32)).sum()

    want = np.zeros((N, D))
    for n in range(N):
        columns = few[n][few[n] >= 0] if constrained and n % 2 == 0 else np.arange(V)
        p = np.exp(log_softmax(SCORES[n, columns]))
        want[n] = weight[n] * ((columns == TARGET[n]) - p) @ HEAD[columns].astype(np.float64)
    np.testing.assert_allclose(jax.jit(jax.grad(total))(HIDDEN), want, atol=TOLERANCE["sum"])


def test_a_filter_keeps_the_target_and_stays_finite():
    """Top-1 with targets that are not the likeliest: catches the -inf of refused tokens in value, entropy, gradient."""
    transform = functools.partial(methods.filter_logits, methods.Method(top_k=1))

    def both(hidden):
        return _token_logp(hidden, HEAD, TARGET, None, chunk=5, transform=transform)

    (logp, entropy), vjp = jax.vjp(both, HIDDEN)
    for n in range(N):
        columns = sorted({int(SCORES[n].argmax()), int(TARGET[n])})
        want = log_softmax(SCORES[n, columns])
        np.testing.assert_allclose(logp[n], want[columns.index(TARGET[n])], atol=TOLERANCE["sum"])
        np.testing.assert_allclose(entropy[n], -(np.exp(want) * want).sum(), atol=TOLERANCE["sum"])
    assert np.isfinite(vjp((np.ones(N, np.float32), np.zeros(N, np.float32)))[0]).all()


def test_candidate_logits_are_columns_of_the_head():
    """Catches the empty slot's -1 read as the last column."""
    few = _candidates()[::2]
    got = np.asarray(logprob.candidate_logits(HIDDEN[::2], HEAD, few))
    assert (got[few < 0] == -np.inf).all()
    want = np.take_along_axis(SCORES[::2], np.maximum(few, 0), axis=1)
    np.testing.assert_allclose(got[few >= 0], want[few >= 0], atol=TOLERANCE["sum"])


def test_expected_candidate_by_hand():
    """Candidates of probability 1/4 and 3/4 in slots 1 and 2: catches empty slots that count, and rows without any."""
    hidden = np.array([[0.0, np.log(3.0)], [0.0, 0.0]], np.float32)
    head = np.eye(2, dtype=np.float32)
    candidates = np.array([[-1, 0, 1], [-1, -1, -1]], np.int32)
    got = logprob.expected_candidate(hidden, head, candidates)
    np.testing.assert_allclose(got, [1.75, 0.0], atol=TOLERANCE["elementwise"])
