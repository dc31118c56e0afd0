"""One completion, handed out while it is written: for a person who watches."""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.config import ModelConfig
from jaxreason.sampling import engine, methods
from jaxreason.types import Params, PromptBatch

EVERY = 16
"""Tokens between two looks at what was written; each look waits for the device."""


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
    state, requests = _begin(prompt, key, config=config, T=max_completion_length, pad_id=pad_id)
    shown, done = 0, False
    while not done:
        state = _advance(
            params,
            state,
            requests,
            key,
            jnp.float32(temperature),
            jnp.int32(shown + EVERY),
            config=config,
            eos_ids=eos_ids,
            method=method,
        )
        done = bool(state.queue.left.sum() == 0)
        written = int(state.length.sum() if done else state.slots.place.sum())
        yield np.asarray(state.tokens[0, 0, shown:written]).tolist()
        shown = written


@functools.partial(jax.jit, static_argnames=("config", "T", "pad_id"))
def _begin(prompt: PromptBatch, key: jax.Array, *, config: ModelConfig, T: int, pad_id: int):
    """One row, which takes one pass a token."""
    requests, _ = engine.arrange(prompt, jnp.full((1, 1), T, jnp.int32), key)
    return engine.begin(requests, config=config, T=T, pad_id=pad_id), requests


_advance = jax.jit(engine.advance, static_argnames=("config", "eos_ids", "method", "block"), donate_argnames=("state",))
