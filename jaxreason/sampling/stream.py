"""Sampling that is looked at while it goes on: one completion for a person who watches, many for a progress bar."""

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.config import ModelConfig
from jaxreason.parallel.rules import everywhere
from jaxreason.policy import api
from jaxreason.sampling import engine, methods
from jaxreason.sampling.room import Room
from jaxreason.types import Params, PromptBatch, Rollout

EVERY = 16
"""Tokens between two looks at one completion; each look waits for the device."""

BURST = 64
"""Passes between two looks at many."""

_advance = jax.jit(engine.advance, static_argnames=("config", "eos_ids", "method", "block"), donate_argnames=("state",))
_unstack = jax.jit(api.unstack, static_argnames="config")


def stream(
    params: Params,
    prompt: PromptBatch,
    key: jax.Array,
    temperature: float,
    *,
    config: ModelConfig,
    max_completion_length: int,
    eos_ids: tuple[int, ...],
    pad_id: int,
    method: methods.Method = methods.Method(),
) -> Iterator[list[int]]:
    """Sample one completion of one prompt, token for token what `engine.generate` gives with the same key.

    Args:
      params: from `api.unstack`, so that layers are cut apart once and not at every look.
      prompt: [1 L].

    Yields:
      The next tokens, up to EVERY of them, the one that ends the completion among them.
    """
    limit_PG = jnp.full((1, 1), max_completion_length, jnp.int32)
    state, requests, _ = _begin(prompt, limit_PG, key, config=config, T=max_completion_length, pad_id=pad_id)
    settings = {"config": config, "eos_ids": eos_ids, "method": method}
    shown, done = 0, False
    while not done:  # a row takes one pass a token
        state = _advance(params, state, requests, key, jnp.float32(temperature), jnp.int32(shown + EVERY), **settings)
        done = bool(state.queue.left.sum() == 0)
        written = int(state.length.sum() if done else state.slots.place.sum())
        yield np.asarray(state.tokens[0, 0, shown:written]).tolist()
        shown = written


def watched(
    params: Params,
    prompts: PromptBatch,
    limit_PG: jax.Array,
    key: jax.Array,
    temperature: float | jax.Array,
    number_P: jax.Array | None = None,
    expected_P: jax.Array | None = None,
    *,
    watch: Callable[[int], None],
    wait: Callable[[jax.Array], jax.Array] = jax.block_until_ready,
    config: ModelConfig,
    num_generations: int,
    max_completion_length: int,
    eos_ids: tuple[int, ...],
    pad_id: int,
    method: methods.Method = methods.Method(),
    room: Room = Room(),
) -> Rollout:
    """What `engine.generate` gives, with a look at it every BURST passes.

    Args:
      watch: is told how many groups are done.
      wait: returns an array when the device has made it, or raises to give up.
    """
    params = _unstack(params, config=config)
    state, requests, order_XP = _begin(
        prompts, limit_PG, key, number_P, expected_P, config=config, T=max_completion_length, pad_id=pad_id, room=room
    )
    settings = {"config": config, "eos_ids": eos_ids, "method": method, "block": room.block or 1}
    left, until = prompts.tokens.shape[0], 0
    while left:
        until += BURST
        state = _advance(params, state, requests, key, jnp.float32(temperature), jnp.int32(until), **settings)
        left = int(wait(_groups_left(state)))
        watch(prompts.tokens.shape[0] - left)
    return _collect(state, order_XP, num_generations)


@functools.partial(jax.jit, static_argnames=("config", "T", "pad_id", "room"))
def _begin(
    prompt: PromptBatch,
    limit_PG: jax.Array,
    key: jax.Array,
    number_P: jax.Array | None = None,
    expected_P: jax.Array | None = None,
    *,
    config: ModelConfig,
    T: int,
    pad_id: int,
    room: Room = Room(),
) -> tuple[engine.State, engine.Requests, jax.Array]:
    requests, order_XP = engine.arrange(prompt, engine.admitted(limit_PG, room), key, None, number_P, expected_P)
    return engine.begin(requests, config=config, T=T, pad_id=pad_id, room=room), requests, order_XP


@jax.jit
def _groups_left(state: engine.State) -> jax.Array:
    return everywhere((state.queue.left > 0).sum())


@functools.partial(jax.jit, static_argnames="G")
def _collect(state: engine.State, order_XP: jax.Array, G: int) -> Rollout:
    return everywhere(engine.collect(state, order_XP, G))
