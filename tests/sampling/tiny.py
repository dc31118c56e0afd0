"""The policy of the sampler's tests: of seconds, and sure enough of its tokens that a wrong key or place shows."""

import functools

import jax

from jaxreason.config import ModelConfig
from jaxreason.policy import api

TINY = ModelConfig(
    vocab_size=150,  # more than one block of `methods.draw`
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=1,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    initializer_range=0.4,
)


@functools.cache
def params_of(config=TINY):
    return jax.jit(api.init, static_argnames="config")(jax.random.key(0), config=config)
