"""A mixture of experts whose experts are split over devices, against the same on one device."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.config import Config, MeshConfig, ModelConfig
from jaxreason.ops.attention_paged import Places
from jaxreason.parallel import rules
from jaxreason.parallel.mesh import on_mesh
from jaxreason.policy import api, cache, transformer
from tests.helpers import TOLERANCE, assert_same_array

E, D, F = 8, 16, 24
MODEL = ModelConfig(
    vocab_size=64, hidden_size=D, num_hidden_layers=2, num_attention_heads=2, head_dim=8, remat=True,
    num_experts=E, num_experts_per_tok=2, moe_intermediate_size=F, initializer_range=0.2,
)  # fmt: skip
S = 6
"""Tokens of a row: few, so that float32 sums of gradients agree within the tolerance on any processor. Over 12 the
scales of the first layer's norms, whose terms nearly cancel, were apart by 1.2e-6 on an AMD Zen 5."""
pytestmark = [pytest.mark.slow, pytest.mark.optimised]


def _of(config, params, tokens_BS):
    """Everything the policy computes: loss with gradients, what it is made of, logits, and one token decoded."""
    positions_BS = jnp.broadcast_to(jnp.arange(S, dtype=jnp.int32), tokens_BS.shape)
    rows = (tokens_BS, positions_BS, jnp.ones_like(tokens_BS))

    def loss(params):
        logp_BS, _, metrics = api.scored(params, *rows, config=config)
        return -logp_BS[:, 1:].mean(), (logp_BS, metrics)

    (value, parts), grads = jax.value_and_grad(loss, has_aux=True)(params)
    single = api.unstack(params, config)
    X = rules.parts_of("batch", len(tokens_BS))
    tokens_XNS = tokens_BS.reshape(X, -1, S)
    N = tokens_XNS.shape[1]
    own_XN = jnp.broadcast_to(jnp.arange(N, dtype=jnp.int32), (X, N))
    zero_XN, held_XN = jnp.zeros_like(own_XN), jnp.full_like(own_XN, S - 1)
    room = cache.empty(config, parts=X, prompts=N, length=S - 1, pages=N, page=4)
    read = api.read_prompts(single, room, tokens_XNS[:, :, :-1], held_XN, own_XN[..., None], config=config)
    places = Places(
        start=zero_XN, seat=own_XN, reader=own_XN[..., None], held=held_XN, table=own_XN[..., None], owner=own_XN,
        number=zero_XN,
    )  # fmt: skip
    h_XN1D, _ = api.decode(single, read, tokens_XNS[:, :, -1:], places, config=config)
    return value, parts, grads, api.logits(params, *rows, config=config), h_XN1D.reshape(len(tokens_BS), -1)


def _play(sizes: MeshConfig, batch: int):
    """Results on a mesh, the compiled program, and the shape of one device's part of an expert matrix."""
    tokens = np.random.default_rng(0).integers(0, 64, size=(batch, S)).astype(np.int32)
    with on_mesh(dataclasses.replace(Config(), model=MODEL, mesh=sizes)):
        places = rules.shardings(jax.eval_shape(lambda: api.init(jax.random.key(1), MODEL)))
        params = jax.jit(api.init, static_argnames="config", out_shardings=places)(jax.random.key(1), config=MODEL)
        out = (None, None, places, None, None)
        program = jax.jit(_of, static_argnums=0, out_shardings=out)
        compiled = program.lower(MODEL, params, rules.place(tokens, "batch")).compile()
        held = params["layers"]["0"]["experts"]["gate_proj"]
        results = jax.device_get(compiled(params, rules.place(tokens, "batch")))
        return results, compiled.as_text() or "", held.sharding.shard_shape(held.shape)


def _with_all_experts(text: str) -> set[str]:
    """Arrays of a program that are as large as the matrices of all E experts, whole along their inner width."""
    found = re.findall(r"\w+\[([\d,]+)\]", text)
    whole = [sides for sides in found if {E, F} <= {int(n) for n in sides.split(",")} and sides.count(",") >= 2]
    return {sides for sides in whole if np.prod([int(n) for n in sides.split(",")]) >= E * D * F}


@pytest.fixture(scope="module")
def play():
    """Each mesh and batch once."""
    return functools.cache(_play)


@pytest.fixture(autouse=True)
def _looped(monkeypatch):
    """Layers in a loop, as large models have them."""
    monkeypatch.setattr(transformer, "UNROLL", 1)


ALONE = MeshConfig(fsdp=1)
MESHES = {
    "8x1 experts fsdp": (MeshConfig(fsdp=8, experts=("fsdp",)), (2, 1, D, F)),
    "4x2": (MeshConfig(fsdp=4, tensor=2), (2, 4, D // 4, F)),
    "2x2x2 experts fsdp": (MeshConfig(replica=2, fsdp=2, tensor=2, experts=("fsdp",)), (2, 4, D, F // 2)),
    "2x2x2 experts both": (MeshConfig(replica=2, fsdp=2, tensor=2, experts=("fsdp", "tensor")), (2, 2, D, F)),
    "4x2 experts whole": (MeshConfig(fsdp=4, tensor=2, experts=()), (2, 8, D // 4, F // 2)),
}
"""Name -> mesh, and a device's part of a matrix [layers E D F]."""


CASES = [*((name, 8) for name in MESHES), ("2x2x2 experts both", 3)]
"""Mesh, and rows of the batch."""


@pytest.mark.parametrize(("name", "batch"), CASES)
def test_experts_split_over_devices_are_the_same_experts(play, name, batch):
    """Catches tokens that meet the experts of another device's numbering, gradients of experts or router summed twice
    or over too few devices, rows of others that leak into a sum, and rows that the mesh does not divide (3): these are
    refused in training, so they have no gradients here."""
    expected, _, _ = play(ALONE, batch)
    sizes, part = MESHES[name]
    results, _, held = play(sizes, batch)
    assert held == part
    _, _, grads, _, _ = expected
    assert np.abs(grads["layers"]["0"]["router"]["kernel"]).max() > 1000 * TOLERANCE["mesh"]
    if batch % 8:
        results, expected = ((value, parts, *others) for value, parts, _, *others in (results, expected))
    for (path, got), want in zip(jax.tree_util.tree_leaves_with_path(results), jax.tree.leaves(expected), strict=True):
        assert_same_array(got, want, jax.tree_util.keystr(path))


def test_no_device_holds_all_experts(play):
    """Catches experts that are gathered over the axis that splits them, in a layer, its gradient, or decoding. The
    same search finds them on one device."""
    _, text, _ = play(MESHES["4x2"][0], 8)
    assert not _with_all_experts(text)
    _, text, _ = play(ALONE, 8)
    assert _with_all_experts(text)
