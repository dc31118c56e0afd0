"""One step of the whole method on one device and on eight of them in three arrangements: the same numbers."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from jaxreason import config, train, warmup
from jaxreason.config import MeshConfig
from jaxreason.grading.pool import Pool
from jaxreason.grpo import batch, optimizer, update
from jaxreason.parallel.mesh import on_mesh
from jaxreason.parallel.rules import place
from jaxreason.policy import api
from jaxreason.run import setup
from jaxreason.run import state as run_state
from jaxreason.run.programs import make_programs
from tests.helpers import TOLERANCE, assert_same_array
from tests.runs import TINY

MESHES = [(8, 1), (4, 2), (2, 2, 2)]
"""fsdp x tensor, or replica x fsdp x tensor."""
pytestmark = pytest.mark.slow
SETTINGS = [
    "--reward.preset=scma",
    "--model.num_key_value_heads=2",
    "--model.num_hidden_layers=2",
    "--model.tie_word_embeddings=false",
    "--data.prompts_per_step=8",
    "--grpo.micro_batch_rows=8",
    "--grpo.beta=[0.01, 0.0, 0.0]",
    "--model.logp_chunk=64",
    "--sampling.num_generations=8",
    "--sampling.max_completion_length=32",
    "--optimizer.learning_rate=1e-3",
]
SEPARATE = [
    "--agents.helper_policy=separate",
    "--agents.helpers=one",
    "--run.seed=3",  # of the third of all seeds in which an untrained policy is right now and then, so that both learn
    # Adam's first step is nearly a sign, which shows the rounding of a gradient near 0; with this epsilon it is none.
    "--optimizer.adam_epsilon=1e-3",
    "--helper_model.hidden_size=16",
    "--helper_model.intermediate_size=32",
    "--helper_model.num_hidden_layers=1",
    "--helper_model.num_attention_heads=2",
    "--helper_model.num_key_value_heads=2",
    "--helper_model.head_dim=8",
]
"""A policy of the helpers' own, half the size."""


def _arranged(shape) -> MeshConfig:
    *replica, fsdp, tensor = shape
    return MeshConfig(replica=replica[0] if replica else 1, fsdp=fsdp, tensor=tensor)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return setup.prepare(config.load(TINY, SETTINGS), folder)


def _built(config, seed: int):
    """A policy that was never trained, where its parameters stand on the mesh in force."""
    places = run_state.placement(run_state.shape_of_start(config))
    return jax.jit(api.init, static_argnames="config", out_shardings=places)(jax.random.key(seed), config=config.model)


def _play(prepared, mesh: MeshConfig):
    """The metrics of a step, the state after it, and where that stands."""
    exp = dataclasses.replace(prepared, config=dataclasses.replace(prepared.config, mesh=mesh))
    with on_mesh(exp.config), Pool(0) as pool:
        tools = make_programs(exp, pool)
        places = run_state.placement(run_state.shape_of_state(exp.config))
        start = _built(exp.config, 0)
        helper_start = _built(exp.config.for_helpers, 1) if run_state.trains_helper(exp.config) else None
        begin = jax.jit(lambda p, helper: run_state.new_state(p, exp.config, helper), out_shardings=places)
        state, row, *_ = train.step(begin(start, helper_start), start, 0, tools, helper_start=helper_start)
        jax.tree.map(lambda x, place: None if x.sharding.is_equivalent_to(place, x.ndim) else 1 / 0, state, places)
        row = {k: v for k, v in row.items() if "time" not in k and "second" not in k}
        return row, jax.device_get(state), state


@pytest.fixture(scope="module")
def alone(prepared):
    return _play(prepared, MeshConfig(fsdp=1))


@pytest.mark.parametrize("shape", MESHES, ids=lambda shape: "x".join(map(str, shape)))
def test_a_step_on_a_mesh_is_the_step_on_one_device(prepared, alone, shape):
    """Catches a statistic taken over a device's rows, a gradient summed twice, rows in another order, a role's key that
    depends on the mesh, and a constraint or cache that follows other rows than its prompt."""
    row, state, placed = _play(prepared, _arranged(shape))
    assert row["grad_norm"] > 0
    _compare(row, state, *alone[:2])
    embedding = placed.train.params["embed_tokens"]
    *_, fsdp, tensor = shape
    V, D = embedding.shape
    assert embedding.sharding.shard_shape(embedding.shape) == (V // tensor, D // fsdp)


def _compare(row, state, expected_row, expected_state):
    assert row.keys() == expected_row.keys()
    for name, value in expected_row.items():
        if value is None:
            assert row[name] is None, name
        else:
            np.testing.assert_allclose(row[name], value, rtol=TOLERANCE["mesh"], atol=TOLERANCE["mesh"], err_msg=name)
    _same_arrays(state, expected_state)


def _same_arrays(tree, expected_tree):
    for (path, got), expected in zip(
        jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(expected_tree), strict=True
    ):
        name = jax.tree_util.keystr(path)
        if ".nu" in name:  # squares of gradients, whose rounding is twice that of what they are squares of
            got, expected = np.sqrt(got), np.sqrt(expected)
        assert_same_array(got, expected, name)


def test_a_step_of_two_policies_on_a_mesh_is_the_step_on_one_device(tmp_path):
    """Catches helpers whose state stands where the policy's would, and a batch that only one of the two may see."""
    exp = setup.prepare(config.load(TINY, [*SETTINGS, *SEPARATE]), tmp_path)
    row, state, placed = _play(exp, _arranged((2, 2, 2)))
    assert row["grad_norm"] > 0
    assert row["helper/grad_norm"] > 0
    _compare(row, state, *_play(exp, MeshConfig(fsdp=1))[:2])
    assert placed.helper is not None
    embedding = placed.helper.params["embed_tokens"]
    V, D = embedding.shape
    assert embedding.sharding.shard_shape(embedding.shape) == (V // 2, D // 2)


@pytest.fixture(scope="module")
def adapters(tmp_path_factory):
    """The run with adapters, and its step on one device."""
    # Adam's first step is nearly a sign, which shows the rounding of a gradient near 0; with this epsilon it is none.
    settings = [*SETTINGS, "--lora.r=4", "--optimizer.adam_epsilon=1e-3"]
    exp = setup.prepare(config.load(TINY, settings), tmp_path_factory.mktemp("adapters"))
    return exp, _play(exp, MeshConfig(fsdp=1))[:2]


@pytest.mark.parametrize("shape", MESHES, ids=lambda shape: "x".join(map(str, shape)))
def test_a_step_of_adapters_on_a_mesh_is_the_step_on_one_device(adapters, shape):
    """Catches factors cut otherwise than their matrix, or along the rank, and a merged layer that is part of one."""
    exp, one = adapters
    row, state, placed = _play(exp, _arranged(shape))
    assert row["grad_norm"] > 0
    _compare(row, state, *one)
    *_, fsdp, tensor = shape
    for module, rows, columns in (("q_proj", fsdp, tensor), ("down_proj", tensor, fsdp)):
        a, b = (placed.train.params["layers"]["0"][module][name] for name in ("lora_A", "lora_B"))
        assert a.sharding.shard_shape(a.shape) == (a.shape[0], a.shape[1] // rows, 4)
        assert b.sharding.shard_shape(b.shape) == (b.shape[0], 4, b.shape[2] // columns)


def test_a_supervised_start_on_a_mesh_is_the_start_on_one_device(prepared):
    """A sheet of equations, then a batch of demonstrations. Catches a loss averaged over a device's rows, and an
    optimiser of matrices that orthogonalises the part that a device holds."""
    few = dataclasses.replace(prepared.config.data, demonstrations=40, helper_demonstrations=40)
    # Small rates: Muon makes as much of a gradient's smallest parts, and of their rounding, as of the largest.
    short = dataclasses.replace(
        prepared.config.warmup, max_steps=2, drill_steps=1, learning_rate=1e-3, adam_learning_rate=2e-4
    )
    found = []
    for shape in ((2, 2, 2), (1, 1)):
        conf = dataclasses.replace(prepared.config, mesh=_arranged(shape), data=few, warmup=short)
        with on_mesh(conf):
            start = _built(conf, 0)
            begun = jax.device_get(start)
            found.append(jax.device_get(warmup.run(start, conf, prepared.tokenizer)))
    _same_arrays(*found)
    before, after = (np.asarray(params["layers"]["0"]["q_proj"]["kernel"]) for params in (begun, found[1]))
    assert np.linalg.norm(after - before) > 1000 * TOLERANCE["mesh"] * np.linalg.norm(before)


def test_ten_updates_of_a_split_state_are_one_program_that_reuses_its_memory(prepared):
    """Catches shardings that drift from step to step, and a state that is held twice because its donation was refused.
    A batch of other sequences, and of none, is no new program."""
    exp = dataclasses.replace(prepared, config=dataclasses.replace(prepared.config, mesh=_arranged((2, 2, 2))))
    traces = []
    logp = api.logp_fn(exp.config.model)

    def counted(*arguments):
        traces.append(1)
        return logp(*arguments)

    with on_mesh(exp.config):
        shapes = run_state.shape_of_state(exp.config).train
        places = run_state.placement(shapes)
        transformation, _ = optimizer.make_optimizer(exp.config.optimizer, 10)
        run = update.make_update(counted, transformation, exp.config.grpo, state_shardings=places)
        build = jax.jit(
            lambda key: run_state.new_state(api.init(key, exp.config.model), exp.config).train, out_shardings=places
        )
        state = build(jax.random.key(0))
        shape = batch.Shape(max_micro=3, micro_batch_rows=8, row_length=16)
        for seed in range(10):
            packed = place(batch.pack(_sequences(seed, 2 * seed), shape, with_ref=True), None, "batch")
            if seed == 0:
                memory = run.lower(state, packed).compile().memory_analysis()
                held = sum(
                    math.prod(place.shard_shape(x.shape)) * x.dtype.itemsize
                    for x, place in zip(jax.tree.leaves(shapes), jax.tree.leaves(places), strict=True)
                )
                assert memory.alias_size_in_bytes >= held
                traces.clear()
            before = state.params["embed_tokens"]
            state, _ = run(state, packed)
            assert before.is_deleted()
        assert int(state.step) == 10
    assert run._cache_size() == 1
    assert len(traces) <= 2  # value and gradient, traced for their shapes and for their program


def _sequences(seed: int, count: int) -> list[batch.PackItem]:
    rng = np.random.default_rng(seed)
    ones = np.ones(6, np.float32)
    return [
        batch.PackItem(
            prompt=rng.integers(0, 60, size=4), completion=rng.integers(0, 60, size=6), role=0, old_logp=-3 * ones,
            weight=ones, advantage=rng.normal(size=6).astype(np.float32), ref_logp=-3 * ones,
        )
        for _ in range(count)
    ]  # fmt: skip
