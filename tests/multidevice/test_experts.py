"""A mixture of experts whose experts are split over devices, against the same on one device."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxreason.config import Config, MeshConfig, ModelConfig
from jaxreason.parallel import rules
from jaxreason.parallel.mesh import on_mesh
from jaxreason.policy import api
from tests.helpers import TOLERANCE

MODEL = ModelConfig(
    vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, head_dim=8,
    num_experts=8, num_experts_per_tok=2, moe_intermediate_size=16, initializer_range=0.2,
)  # fmt: skip


def _gradients(sizes: MeshConfig):
    rng = np.random.default_rng(0)
    config = dataclasses.replace(Config(), model=MODEL, mesh=sizes)
    tokens = rng.integers(0, 64, size=(8, 12)).astype(np.int32)
    rows = (tokens, np.tile(np.arange(12, dtype=np.int32), (8, 1)), np.ones((8, 12), np.int32))

    def loss(params, *rows):
        return -api.token_logp(params, *rows, config=MODEL)[0][:, 1:].mean()

    with on_mesh(config):
        places = rules.shardings(jax.eval_shape(lambda: api.init(jax.random.key(1), MODEL)))
        params = jax.jit(api.init, static_argnames="config", out_shardings=places)(jax.random.key(1), config=MODEL)
        value, grads = jax.jit(jax.value_and_grad(loss), out_shardings=(None, places))(
            params, *rules.place(rows, "batch")
        )
        held = params["layers"]["0"]["experts"]["gate_proj"]
        return float(value), jax.device_get(grads), held.sharding.shard_shape(held.shape)


@pytest.fixture(scope="module")
def alone():
    return _gradients(MeshConfig(fsdp=1))


@pytest.mark.parametrize("sizes", [(1, 8, 1), (2, 2, 2)], ids=["8", "2x2x2"])
def test_experts_split_over_devices_are_the_same_experts(alone, sizes):
    """Catches tokens that meet the experts of another device's numbering, and gradients of experts summed twice."""
    value, grads, held = _gradients(MeshConfig(*sizes))
    np.testing.assert_allclose(value, alone[0], rtol=TOLERANCE["mesh"])
    for got, expected in zip(*map(jax.tree.leaves, (grads, alone[1])), strict=True):
        np.testing.assert_allclose(got, expected, rtol=TOLERANCE["mesh"], atol=TOLERANCE["mesh"])
    _, fsdp, tensor = sizes
    assert held == (2, 8 // fsdp, 16, 16 // tensor)
