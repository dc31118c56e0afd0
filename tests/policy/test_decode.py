"""Prompts and passes of decoding against the full forward pass."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.config import ModelConfig
from jaxreason.ops import logprob
from jaxreason.ops.attention_paged import Places
from jaxreason.policy import api, cache
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


def _decoded(config, prompt, length, width=1):
    """Logits [P G T V] after the last token of the prompt and after each token of the completion but the last, which
    are fed `width` at a time."""
    params, Z = _params(config), 4
    N, pages = len(prompt) * G, -(-T // Z)
    row = np.arange(N, dtype=np.int32)
    own = np.arange(N * pages, dtype=np.int32)
    fed = np.concatenate([np.repeat(prompt[:, -1:], G, 0), COMPLETION[: len(prompt)].reshape(N, T)[:, :-1]], 1)

    @jax.jit
    def run(params):
        unstacked = api.unstack(params, config)
        room = cache.empty(config, parts=1, prompts=len(prompt), length=prompt.shape[1] - 1, pages=len(own), page=Z)
        at = jnp.arange(len(prompt))[None, :, None]
        held = api.read_prompts(unstacked, room, jnp.asarray(prompt)[None, :, :-1], length[None] - 1, at, config=config)

        def body(held, t):
            places = Places(
                start=jnp.full(N, t), seat=row, reader=row.reshape(-1, G), held=length - 1,
                table=own.reshape(N, pages), owner=own // pages, number=own % pages,
            )  # fmt: skip
            tokens_NW = jax.lax.dynamic_slice_in_dim(fed, t, width, axis=1)
            places = jax.tree.map(lambda x: jnp.asarray(x, jnp.int32)[None], places)
            hidden_1NWD, held = api.decode(unstacked, held, tokens_NW[None], places, config=config)
            return held, hidden_1NWD[0]

        _, hidden_TNWD = jax.lax.scan(body, held, jnp.arange(0, T, width))
        hidden_NTD = hidden_TNWD.transpose(1, 0, 2, 3).reshape(N, T, -1)
        return logprob.head_logits(hidden_NTD, api.head(params, config)).reshape(len(prompt), G, T, -1)

    return np.asarray(run(params))


def _full(config):
    """The same logits from one forward pass over prompt and completion."""
    want = np.zeros((P, G, T, config.vocab_size), np.float32)
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
        want[p] = logits[p * G : (p + 1) * G, first : first + T]
    return want


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("window", [0, 4])
@pytest.mark.parametrize(("qk_norm", "attention_bias", "tied"), [(True, False, True), (False, True, False)])
def test_prompts_and_passes_are_the_full_forward_pass(width, window, qk_norm, attention_bias, tied):
    """At every place, for prompts of unequal length: catches positions counted from the padding, a cache written at the
    wrong place, a window that ends too early, rollouts of a group that share more than their prompt, and tokens of one
    pass that do not see each other."""
    config = dataclasses.replace(TINY, qk_norm=qk_norm, attention_bias=attention_bias, tie_word_embeddings=tied)
    config = dataclasses.replace(config, sliding_window=window, sliding_layers=(0,) if window else ())
    np.testing.assert_allclose(_decoded(config, PROMPT, LENGTH, width), _full(config), atol=TOLERANCE["logits"])


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
