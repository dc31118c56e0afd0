"""A completion handed out in pieces is the one that is sampled in one go."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.config import ModelConfig
from jaxreason.policy import api
from jaxreason.sampling import stream as room
from jaxreason.sampling.engine import generate
from jaxreason.sampling.methods import Method
from jaxreason.sampling.query import Decoding, Query
from jaxreason.types import PromptBatch

CONFIG = ModelConfig(
    vocab_size=150,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=8,
    initializer_range=0.4,
)
PROMPT = PromptBatch(tokens=np.array([[0, 7, 30, 90]], np.int32), length=np.array([3], np.int32))
T = 2 * room.EVERY + 5


@pytest.fixture(scope="module")
def params():
    return jax.jit(api.init, static_argnames="config")(jax.random.key(0), config=CONFIG)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_pieces_are_the_whole(params, temperature):
    """A cache or a key that did not survive the stop between two pieces would change what follows."""
    for eos_ids in ((-1,), tuple(range(0, 150, 12))):
        how = Decoding(CONFIG, T, eos_ids, 0, Method(top_p=0.9))
        query = Query(prompts=PROMPT, limit=np.full((1, 1), T, np.int32))
        whole = generate(params, query, jax.random.key(3), jnp.float32(temperature), how)
        pieces = list(room.stream(api.unstack(params, CONFIG), PROMPT, jax.random.key(3), temperature, how))
        length = int(whole.length[0, 0])
        assert [token for piece in pieces for token in piece] == np.asarray(whole.tokens)[0, 0, :length].tolist()
        assert all(len(piece) == room.EVERY for piece in pieces[:-1])
        assert bool(whole.finished[0, 0]) == (pieces[-1][-1] in eos_ids)
    assert length < T  # the second case did end early
