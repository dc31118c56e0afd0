"""Prefill and decode against the full forward pass."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.config import ModelConfig
from jaxreason.ops import attention, logprob
from jaxreason.policy import api
from tests.helpers import TOLERANCE

TINY = ModelConfig(
    vocab_size=29,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    initializer_range=0.3,
)
P, G, L, T = 3, 2, 6, 9
LENGTH = np.array([6, 1, 4], np.int32)
RNG = np.random.default_rng(0)
PROMPT = RNG.integers(0, 29, (P, L)).astype(np.int32)  # what stands in the padding must not matter either
COMPLETION = RNG.integers(0, 29, (P, G, T)).astype(np.int32)


def _params(config):
    return jax.jit(api.init, static_argnames="config")(jax.random.key(0), config=config)


def _decoded(config, prompt, length):
    """Logits [P G T+1 V] after the prompt and after each token of the completion, read one at a time."""
    params = _params(config)

    @jax.jit  # a new function each time, so that it is traced with the window of the moment
    def run(params):
        unstacked = api.unstack(params, config)
        hidden_PD, cache = api.prefill(unstacked, prompt, length, config=config, G=G, T=T)

        def body(cache, t):
            hidden_PGD, cache = api.decode(unstacked, cache, tokens_PGT[:, :, t], t, config=config)
            return cache, hidden_PGD

        tokens_PGT = jnp.asarray(COMPLETION[: len(prompt)])
        _, hidden_TPGD = jax.lax.scan(body, cache, jnp.arange(T))
        first_PG1D = jnp.broadcast_to(hidden_PD[:, None, None], (len(prompt), G, 1, hidden_PD.shape[-1]))
        hidden_PGSD = jnp.concatenate([first_PG1D, hidden_TPGD.transpose(1, 2, 0, 3)], axis=2)
        return logprob.head_logits(hidden_PGSD, api.head(params, config))

    return np.asarray(run(params))


def _full(config):
    """The same logits from one forward pass over prompt and completion."""
    want = np.zeros((P, G, T + 1, config.vocab_size), np.float32)
    rows = np.zeros((P * G, L + T), np.int32)
    for p in range(P):
        for g in range(G):
            row = np.concatenate([PROMPT[p, L - LENGTH[p] :], COMPLETION[p, g]])
            rows[p * G + g, : len(row)] = row
    positions = np.broadcast_to(np.arange(L + T, dtype=np.int32), rows.shape)
    logits = np.asarray(
        jax.jit(api.logits, static_argnames="config")(
            _params(config), rows, positions, np.ones_like(rows), config=config
        )
    )
    for p in range(P):
        first = LENGTH[p] - 1
        want[p] = logits[p * G : (p + 1) * G, first : first + T + 1]
    return want


@pytest.mark.parametrize("window", [4, 512])
@pytest.mark.parametrize(("qk_norm", "attention_bias", "tied"), [(True, False, True), (False, True, False)])
def test_prefill_and_decode_are_the_full_forward_pass(monkeypatch, window, qk_norm, attention_bias, tied):
    """At every place, for prompts of unequal length: catches positions counted from the padding, a cache written at the
    wrong place, a window that ends too early, rollouts of a group that share more than their prompt."""
    monkeypatch.setattr(attention, "READ", window)
    config = dataclasses.replace(TINY, qk_norm=qk_norm, attention_bias=attention_bias, tie_word_embeddings=tied)
    np.testing.assert_allclose(_decoded(config, PROMPT, LENGTH), _full(config), atol=TOLERANCE["logits"])


def test_more_padding_and_fewer_neighbours_change_nothing():
    """Catches padding that is attended to or counted, and prompts that see each other."""
    alone = _decoded(TINY, PROMPT[:2], LENGTH[:2])
    padded = np.concatenate([np.full((P, 5), 7, np.int32), PROMPT], axis=1)
    np.testing.assert_allclose(_decoded(TINY, padded, LENGTH)[:2], alone, atol=TOLERANCE["sum"])


def test_bfloat16_decodes_within_its_rounding():
    """Catches a cache of the wrong type; measured: a mean error of 0.008 of the logits' spread."""
    config = dataclasses.replace(TINY, dtype="bfloat16")
    got, want = _decoded(config, PROMPT, LENGTH), _full(TINY)
    assert np.abs(got - want).mean() < 0.02 * want.std()
