"""Names of axes and what they are split over."""

import dataclasses

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from jaxreason.config import Config, MeshConfig, ModelConfig
from jaxreason.grpo.optimizer import make_optimizer
from jaxreason.parallel import rules
from jaxreason.parallel.mesh import on_mesh
from jaxreason.policy import api
from jaxreason.warmup import make_optimizer as make_warmup_optimizer

SIZES = {"replica": 2, "fsdp": 2, "tensor": 2}
SMALL = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "head_dim": 4}
MODELS = {
    "qwen3": ModelConfig(**SMALL),
    "qwen2": ModelConfig(**SMALL, qk_norm=False, attention_bias=True, tie_word_embeddings=False),
    "experts": ModelConfig(**SMALL, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=8, dense_layers=(0,)),
}
MESH = dataclasses.replace(Config(), mesh=MeshConfig(replica=2, fsdp=2, tensor=2))


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_every_parameter_and_optimiser_state_has_a_place(model):
    """Catches a new parameter that would silently be whole on every device, and moments that stand elsewhere."""
    shapes = api.shapes(model)
    config = Config()
    for optimizer in (make_optimizer(config.optimizer, 1)[0], make_warmup_optimizer(config.warmup)):
        with on_mesh(MESH):
            tree = jax.eval_shape(lambda p, o=optimizer: (p, o.init(p)), shapes)
            params, state = rules.shardings(tree)
        for path, place in jax.tree_util.tree_leaves_with_path(params):
            x = next(x for other, x in jax.tree_util.tree_leaves_with_path(shapes) if other == path)
            parts = x.size // np.prod(place.shard_shape(x.shape))
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            whole = name.endswith(("scale", "router/kernel"))
            assert parts == (1 if whole else 2 if name.endswith("bias") else 4), name
        held = sum(x.size for x in jax.tree.leaves(tree[1]))
        cut = sum(np.prod(s.shard_shape(x.shape)) for x, s in zip(*map(jax.tree.leaves, (tree[1], state)), strict=True))
        assert cut < held / 3


def test_an_unknown_parameter_is_refused():
    with on_mesh(MESH), pytest.raises(ValueError, match=r"layers/q_proj/scale: an array of 2 axes is not in"):
        rules.shardings({"layers": {"q_proj": {"scale": np.zeros((2, 3))}}})
    with on_mesh(MESH), pytest.raises(ValueError, match="q_proj/kernel: an array of 4 axes"):
        rules.shardings({"layers": {"q_proj": {"kernel": np.zeros((2, 3, 4, 5))}}})


def test_axes_that_collide_are_refused():
    config = MeshConfig(vocab=("fsdp",))
    with pytest.raises(ValueError, match=r"mesh.embed: expected other axes than mesh.vocab=\('fsdp',\)"):
        rules.spec(("vocab", "embed"), (8, 8), config, SIZES)


def test_what_does_not_divide_is_whole():
    """One question on a mesh for many."""
    spec = rules.spec(("batch", "kv_heads", None), (6, 2, 5), MeshConfig(), SIZES)
    assert spec == PartitionSpec(None, ("tensor",), None)
    spec = rules.spec(("batch", None), (8, 2), MeshConfig(batch=()), SIZES)
    assert spec == PartitionSpec(None, None)


def test_host_arrays_are_placed_and_read_back():
    rows = {"tokens": np.arange(24).reshape(8, 3), "count": np.int32(3)}
    with on_mesh(MESH):
        placed = rules.place(rows, "batch")
        assert placed["tokens"].sharding.shard_shape((8, 3)) == (2, 3)
        whole = jax.jit(rules.everywhere)(placed)
        assert whole["tokens"].sharding.is_fully_replicated
        assert rules.whole_batch(5) == 8
    np.testing.assert_array_equal(placed["tokens"], rows["tokens"])
    assert int(placed["count"]) == 3
    assert len(rules.place(rows, "batch")["tokens"].devices()) == 1


def test_rules_are_part_of_what_a_program_depends_on():
    """Catches a program compiled under one set of rules and used under another."""
    split = jax.jit(lambda x: rules.shard(x, "batch"))
    with on_mesh(MESH):
        assert not split(np.zeros(8)).sharding.is_fully_replicated
    whole = dataclasses.replace(MESH, mesh=dataclasses.replace(MESH.mesh, batch=()))
    with on_mesh(whole):
        assert split(np.zeros(8)).sharding.is_fully_replicated
    assert len(split(np.zeros(8)).devices()) == 1
