"""Sampling that is looked at while it goes on: one completion for a person who watches, many for a progress bar."""

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.parallel.rules import everywhere
from jaxreason.policy import api
from jaxreason.sampling import engine
from jaxreason.sampling.query import Decoding, Query
from jaxreason.types import Params, PromptBatch, Rollout

EVERY = 16
"""Tokens between two looks at one completion; each look waits for the device."""

BURST = 64
"""Passes between two looks at many."""

_advance = jax.jit(engine.advance, static_argnames="how", donate_argnames=("state",))
_unstack = jax.jit(api.unstack, static_argnames="config")


def stream(
    params: Params, prompt: PromptBatch, key: jax.Array, temperature: float, how: Decoding
) -> Iterator[list[int]]:
    """Sample one completion of one prompt, token for token what `engine.generate` gives with the same key.

    Args:
      params: from `api.unstack`, so that layers are cut apart once and not at every look.
      prompt: [1 L].

    Yields:
      The next tokens, up to EVERY of them, the one that ends the completion among them.
    """
    query = Query(prompts=prompt, limit=jnp.full((1, 1), how.max_completion_length, jnp.int32))
    state, requests, _ = _begin(query, key, how)
    shown, done = 0, False
    while not done:  # a row takes one pass a token
        state = _advance(params, state, requests, key, jnp.float32(temperature), jnp.int32(shown + EVERY), how=how)
        done = bool(state.queue.left.sum() == 0)
        written = int(state.length.sum() if done else state.slots.place.sum())
        yield np.asarray(state.tokens[0, 0, shown:written]).tolist()
        shown = written


def watched(
    params: Params,
    query: Query,
    key: jax.Array,
    temperature: float | jax.Array,
    how: Decoding,
    *,
    watch: Callable[[int], None],
    wait: Callable[[jax.Array], jax.Array] = jax.block_until_ready,
) -> Rollout:
    """What `engine.generate` gives, with a look at it every BURST passes.

    Args:
      watch: is told how many groups are done.
      wait: returns an array when the device has made it, or raises to give up.
    """
    params = _unstack(params, config=how.config)
    state, requests, order_XP = _begin(query, key, how)
    (P, G), until = query.limit.shape, 0
    left = P
    while left:
        until += BURST
        state = _advance(params, state, requests, key, jnp.float32(temperature), jnp.int32(until), how=how)
        left = int(wait(_groups_left(state)))
        watch(P - left)
    return _collect(state, order_XP, G)


@functools.partial(jax.jit, static_argnames="how")
def _begin(query: Query, key: jax.Array, how: Decoding) -> tuple[engine.State, engine.Requests, jax.Array]:
    requests, order_XP = engine.arrange(query, key, how)
    return engine.begin(requests, how), requests, order_XP


@jax.jit
def _groups_left(state: engine.State) -> jax.Array:
    return everywhere((state.queue.left > 0).sum())


@functools.partial(jax.jit, static_argnames="G")
def _collect(state: engine.State, order_XP: jax.Array, G: int) -> Rollout:
    return everywhere(engine.collect(state, order_XP, G))
