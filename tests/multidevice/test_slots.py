"""Slots on a mesh of eight devices: the tokens of one device, whatever their number and wherever a request lands."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.config import Config, MeshConfig, ModelConfig
from jaxreason.parallel.mesh import on_mesh
from jaxreason.parallel.rules import place
from jaxreason.policy import api
from jaxreason.sampling import room
from jaxreason.sampling.engine import generate
from jaxreason.sampling.query import Decoding, Query
from jaxreason.sampling.room import Room
from jaxreason.types import PromptBatch
from tests.helpers import TOLERANCE

MODEL = ModelConfig(
    vocab_size=160,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=1,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    initializer_range=0.4,
)
P, G, L, T = 8, 3, 6, 20
RNG = np.random.default_rng(0)
PROMPTS = PromptBatch(
    tokens=RNG.integers(0, 160, (P, L)).astype(np.int32), length=RNG.integers(1, L + 1, P).astype(np.int32)
)
ORDER = RNG.permutation(P)
EOS = tuple(range(0, 160, 12))


def _sampled(mesh: MeshConfig, how_many: Room, order=None):
    """Completions in the order of PROMPTS, asked for in another."""
    order = np.arange(P) if order is None else order
    with on_mesh(dataclasses.replace(Config(), model=MODEL, mesh=mesh)):
        params = jax.jit(functools.partial(api.init, config=MODEL))(jax.random.key(0))
        query = Query(
            prompts=PromptBatch(tokens=PROMPTS.tokens[order], length=PROMPTS.length[order]),
            limit=np.full((P, G), T, np.int32),
            number=order.astype(np.int32),
            expected=RNG.random(P).astype(np.float32),
        )
        rollout = generate(
            params, place(query, "batch"), jax.random.key(7), jnp.float32(1), Decoding(MODEL, T, EOS, 0, room=how_many)
        )
    return jax.tree.map(lambda x: np.asarray(x)[np.argsort(order)], rollout)


@pytest.fixture(scope="module")
def alone():
    return _sampled(MeshConfig(fsdp=1), Room())


@pytest.mark.parametrize(
    ("mesh", "shares"),
    [(MeshConfig(fsdp=8), True), (MeshConfig(replica=2, fsdp=2, tensor=2), False)],
    ids=["8", "2x2x2"],
)
def test_a_mesh_draws_what_one_device_draws(alone, mesh, shares, monkeypatch):
    """Prompts in another order, so that each lands on another device; the slots of a part shrink to two; rows share a
    copy of their prompt, or do not. Catches a key that is a device's own, a part that ends before the others or shrinks
    before they can, and rows given back in the order they began in."""
    monkeypatch.setattr(room, "SHRUNK", 2)
    monkeypatch.setattr(room, "LEAST", 2)
    got = _sampled(mesh, Room(slots=16, shrinks=True, shares=shares), ORDER)
    np.testing.assert_array_equal(got.tokens, alone.tokens)
    np.testing.assert_array_equal(got.length, alone.length)
    np.testing.assert_allclose(got.logp, alone.logp, atol=TOLERANCE["sum"])
    assert len(set(alone.length.ravel().tolist())) > 5
