"""The policy's forward pass against the NumPy decoder, and what packing and padding must not change."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.config import ModelConfig
from jaxreason.ops import attention
from jaxreason.policy import api, cache, transformer
from tests.helpers import TOLERANCE
from tests.reference import transformer as reference

TINY = ModelConfig(
    vocab_size=29,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    initializer_range=0.3,  # large enough that a wrong term shows
)
_logits = jax.jit(api.logits, static_argnames="config")
_token_logp = jax.jit(api.token_logp, static_argnames=("config", "temperature"))


@functools.cache
def _params(config, seed=0):
    """Random everywhere: at their initial values scales of 1 and biases of 0 would hide their absence."""
    params = jax.jit(api.init, static_argnames="config")(jax.random.key(seed), config=config)
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(seed)
    return tree.unflatten([x + jnp.asarray(0.2 * rng.standard_normal(x.shape), x.dtype) for x in leaves])


def _packed(lengths, S=12, seed=1):
    """One row: sequences one behind the other, positions from 0 in each, the tail unused."""
    rng = np.random.default_rng(seed)
    tokens, positions, segments = (np.zeros((1, S), np.int32) for _ in range(3))
    start = 0
    for number, length in enumerate(lengths, start=1):
        here = slice(start, start + length)
        tokens[0, here] = rng.integers(0, TINY.vocab_size, length)
        positions[0, here], segments[0, here] = np.arange(length), number
        start += length
    return tokens, positions, segments


@pytest.mark.parametrize("qk_norm", [True, False])
@pytest.mark.parametrize(("attention_bias", "tied"), [(False, True), (True, False)])
def test_logits_are_those_of_the_numpy_decoder(qk_norm, attention_bias, tied):
    """Catches a norm in the wrong place, a missing bias or residual, a rotation of the wrong pairs, the wrong head."""
    config = dataclasses.replace(TINY, qk_norm=qk_norm, attention_bias=attention_bias, tie_word_embeddings=tied)
    params = _params(config)
    row = _packed([7, 4])
    got = np.asarray(_logits(params, *row, config=config))[0]
    want = reference.logits(params, *(x[0] for x in row), config)
    np.testing.assert_allclose(got, want, atol=TOLERANCE["logits"])


def test_bfloat16_stays_within_its_rounding():
    """Catches a float32 part (norm, rotation, softmax, logits) that has slipped into bfloat16.

    Measured over three seeds: a mean error of 0.009 to 0.011 of the logits' spread; one rounding is up to 0.004.
    """
    config = dataclasses.replace(TINY, dtype="bfloat16")
    params = _params(TINY)
    row = _packed([11])
    got = np.asarray(_logits(params, *row, config=config))[0, :11]
    want = reference.logits(params, *(x[0] for x in row), TINY)[:11]
    assert got.dtype == np.float32
    assert np.abs(got - want).mean() < 0.02 * want.std()


@pytest.mark.parametrize("remat", [False, True])
def test_many_layers_in_a_loop_are_the_same_as_unrolled(monkeypatch, remat):
    """Deep stacks run as a loop, recomputed where `remat` says so: neither may change value or gradient."""
    row = _packed([6, 5])

    def value_and_gradient(config):
        def total(params):
            return api.token_logp(params, *row, config=config)[0][:, 1:6].sum()

        return jax.jit(jax.value_and_grad(total))(_params(TINY))

    value, gradient = value_and_gradient(TINY)
    monkeypatch.setattr(transformer, "UNROLL", 1)
    looped_value, looped_gradient = value_and_gradient(dataclasses.replace(TINY, remat=remat))
    np.testing.assert_allclose(looped_value, value, rtol=TOLERANCE["sum"])
    for a, b in zip(jax.tree.leaves(looped_gradient), jax.tree.leaves(gradient), strict=True):
        np.testing.assert_allclose(a, b, atol=TOLERANCE["logits"], rtol=TOLERANCE["logits"])


@pytest.mark.parametrize("block", [512, 5])
def test_packed_sequences_are_the_sequences_alone(monkeypatch, block):
    """Catches attention across a segment's border and positions that run on over it, in one piece and in blocks."""
    monkeypatch.setattr(attention, "BLOCK", block)
    params, (tokens, positions, segments) = _params(TINY), _packed([5, 1, 5])
    logp, entropy = jax.jit(functools.partial(api.token_logp, config=TINY))(params, tokens, positions, segments)
    for number, (start, length) in enumerate([(0, 5), (5, 1), (6, 5)], start=1):
        here = slice(start, start + length)
        alone = [np.zeros_like(tokens), positions * 0, segments * 0]
        alone[0][:, :length], alone[1][:, :length], alone[2][:, :length] = tokens[:, here], np.arange(length), number
        want_logp, want_entropy = _token_logp(params, *alone, config=TINY)
        # The first token of a sequence is predicted from nothing, so it is left out.
        np.testing.assert_allclose(logp[:, here][:, 1:], want_logp[:, 1:length], atol=TOLERANCE["sum"])
        np.testing.assert_allclose(entropy[:, here][:, 1:], want_entropy[:, 1:length], atol=TOLERANCE["sum"])


def test_a_row_alone_is_the_row_in_a_batch():
    """Catches rows that see each other."""
    params = _params(TINY)
    rows = [np.concatenate(x) for x in zip(*(_packed([9 - n, n + 1], seed=n) for n in range(4)), strict=True)]
    batch = _logits(params, *rows, config=TINY)
    for n in range(4):
        alone = _logits(params, *(x[n : n + 1] for x in rows), config=TINY)
        np.testing.assert_allclose(alone[0], batch[n], atol=TOLERANCE["sum"])


def test_token_logp_is_about_the_token_itself():
    """Entry s is the log-softmax of the logits at s-1, read at tokens[s]: catches a shift by one either way."""
    params, row = _params(TINY), _packed([12])
    config = dataclasses.replace(TINY, logp_chunk=5)
    logp, _ = _token_logp(params, *row, config=config, temperature=0.7)
    want = reference.log_softmax(reference.logits(params, *(x[0] for x in row), TINY) / 0.7)
    np.testing.assert_allclose(logp[0, 1:], want[np.arange(11), row[0][0, 1:]], atol=TOLERANCE["logits"])


def test_candidates_stand_beside_the_token_they_were_drawn_with():
    """Catches candidates shifted against tokens, and a free token counted among its neighbour's candidates."""
    params, row = _params(TINY), _packed([12])
    tokens_S = row[0][0]
    candidates = np.full((1, 12, 3), -1, np.int32)
    candidates[0, ::2, 0], candidates[0, ::2, 2] = tokens_S[::2], (tokens_S[::2] + 5) % TINY.vocab_size
    logp, _ = _token_logp(params, *row, candidates, config=TINY)
    scores = reference.logits(params, *(x[0] for x in row), TINY)
    for s in range(1, 12):
        columns = candidates[0, s, [0, 2]] if s % 2 == 0 else np.arange(TINY.vocab_size)
        want = reference.log_softmax(scores[s - 1, columns])[list(columns).index(tokens_S[s])]
        np.testing.assert_allclose(logp[0, s], want, atol=TOLERANCE["logits"])


def test_a_position_beyond_the_row_is_not_taken_for_another():
    """Angles come from a table as long as the row; catches positions past its end read as its last entry."""
    tokens, positions, segments = _packed([6], S=6)
    assert np.isnan(np.asarray(_logits(_params(TINY), tokens, positions + 3, segments, config=TINY))[0, 3:]).all()


def test_parameters_are_counted_and_tied():
    """Catches a head that exists though it is tied, which the optimiser would then train."""
    params = _params(TINY)
    layer = 16 * 32 * 2 + 2 * 16 * 16 + 3 * 16 * 24 + 2 * 16 + 2 * 8
    assert api.num_params(params) == 29 * 16 + 2 * layer + 16
    untied = dataclasses.replace(TINY, tie_word_embeddings=False)
    assert api.num_params(_params(untied)) == api.num_params(params) + 29 * 16


def test_the_configured_attention_is_the_one_that_runs():
    """Catches a setting that is read by nobody, in the rows' pass or in the prompts'."""
    config = dataclasses.replace(TINY, attention_implementation="splash")
    params = jax.eval_shape(lambda key: api.init(key, TINY), jax.random.key(0))
    row = jax.ShapeDtypeStruct((1, 4), jnp.int32)
    one = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    room = jax.eval_shape(lambda: cache.empty(config, parts=1, prompts=1, length=4, pages=1, page=4))
    with pytest.raises(ValueError, match=r"model.attention_implementation: splash needs a TPU, got platform cpu"):
        jax.eval_shape(functools.partial(api.logits, config=config), params, row, row, row)
    read = functools.partial(api.read_prompts, config=config)
    tokens = jax.ShapeDtypeStruct((1, 1, 4), jnp.int32)
    unstacked = jax.eval_shape(functools.partial(api.unstack, config=config), params)
    with pytest.raises(ValueError, match=r"model.attention_implementation: splash needs a TPU, got platform cpu"):
        jax.eval_shape(read, unstacked, room, tokens, one, jax.ShapeDtypeStruct((1, 1, 1), jnp.int32))
