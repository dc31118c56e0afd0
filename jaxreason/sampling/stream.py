"""One completion, handed out while it is written: for a person who watches."""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.config import ModelConfig
from jaxreason.sampling import generate, methods
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
    """Sample one completion of one prompt, token for token what `generate` gives with the same key.

    Args:
      params: from `api.unstack`, so that layers are cut apart once and not at every look.
      prompt: [1 L].

    Yields:
      The next tokens, up to EVERY of them, the one that ends the completion among them.
    """
    limit_11 = jnp.full((1, 1), max_completion_length, jnp.int32)
    state = _begin(params, prompt, limit_11, config=config, T=max_completion_length, pad_id=pad_id)
    shown = 0
    while shown < max_completion_length:
        until = jnp.int32(min(shown + EVERY, max_completion_length))
        state = _advance(
            params,
            state,
            limit_11,
            key,
            jnp.float32(temperature),
            until,
            config=config,
            eos_ids=eos_ids,
            pad_id=pad_id,
            method=method,
        )
        length = int(state.length[0, 0])
        yield np.asarray(state.tokens[0, 0, shown:length]).tolist()
        shown = length
        if bool(state.done[0, 0]):
            return


_begin = jax.jit(functools.partial(generate.begin, G=1), static_argnames=("config", "T", "pad_id"))
_advance = jax.jit(
    generate.advance, static_argnames=("config", "eos_ids", "pad_id", "method"), donate_argnames=("state",)
)
