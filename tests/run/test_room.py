"""What is computed at a time: the estimates beside the compiler's own account, and what follows from them."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.config import Config, GRPOConfig, LoraConfig, ModelConfig, OptimizerConfig, load
from jaxreason.grpo import optimizer, update
from jaxreason.policy import api, footprint, lora
from jaxreason.run import memory, room
from jaxreason.run.memory import Memory
from jaxreason.run.room import Asked
from jaxreason.sampling import stream
from jaxreason.sampling.query import Decoding, Query
from jaxreason.sampling.room import Room
from jaxreason.types import PromptBatch, TrainState, UpdateBatch

pytestmark = pytest.mark.slow

MIB = 2**20
SMALL = ModelConfig(
    vocab_size=16384,
    hidden_size=256,
    intermediate_size=1024,
    num_hidden_layers=3,
    num_attention_heads=8,
    num_key_value_heads=8,
    head_dim=32,
)
LARGE = dataclasses.replace(
    SMALL, hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2,
    head_dim=64, vocab_size=151936, tie_word_embeddings=False, dtype="bfloat16", param_dtype="bfloat16",
)  # fmt: skip
"""Qwen2.5-Coder-0.5B's shape; nothing of it is made."""
WITHIN = 0.15


def _bytes(tree) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _shape(*shape, dtype=jnp.int32) -> Any:
    return jax.ShapeDtypeStruct(shape, dtype)


@pytest.mark.parametrize(("dtype", "slots", "L", "T"), [("float32", 16, 64, 1024), ("bfloat16", 32, 256, 512)])
def test_what_sampling_takes_is_what_the_compiler_reserves(dtype, slots, L, T):
    """Catches an estimate that forgets the cache, a copy of it, the layers cut apart, or the logits."""
    model, N = dataclasses.replace(SMALL, dtype=dtype, param_dtype=dtype), 2 * slots
    params = api.shapes(model)
    layers = jax.eval_shape(functools.partial(api.unstack, config=model), params)
    key, some = jax.eval_shape(lambda: jax.random.key(0)), PromptBatch(tokens=_shape(N, L), length=_shape(N))
    how = Decoding(model, T, eos_ids=(1,), pad_id=0, room=Room(slots=slots))
    begin = functools.partial(stream._begin, how=how)
    state, requests, _ = jax.eval_shape(begin, Query(prompts=some, limit=_shape(N, 1)), key)
    numbers = _shape(dtype=jnp.float32), _shape()
    compiled = stream._advance.lower(layers, state, requests, key, *numbers, how=how).compile()
    found = compiled.memory_analysis()
    # Beside the program's own stand the parameters it was cut from: their embedding is the same array.
    reserved = _bytes(params["layers"]) + found.argument_size_in_bytes + found.temp_size_in_bytes
    taken = room.fitting([Asked(model, L, T, 1, N)], slots, room.ENOUGH)
    assert taken
    assert footprint.num_params(model) * footprint.number_size(dtype) + taken.bytes == pytest.approx(reserved, WITHIN)


@pytest.mark.parametrize("adapters", [LoraConfig(), LoraConfig(r=16)], ids=["whole", "adapters"])
@pytest.mark.parametrize(("dtype", "remat"), [("float32", False), ("float32", True), ("bfloat16", False)])
def test_what_an_update_takes_is_what_the_compiler_reserves(dtype, remat, adapters):
    """With adapters also that neither gradients nor moments of the frozen weights are held."""
    # Few layers are unrolled, and then nothing is computed again on CPU.
    model = dataclasses.replace(SMALL, dtype=dtype, remat=remat, logp_chunk=512, num_hidden_layers=12 if remat else 3)
    rows, length = 8, 256
    transformation, _ = optimizer.make_optimizer(OptimizerConfig(), 10)
    params = lora.shapes(model, adapters)
    state = jax.eval_shape(lambda p: TrainState(step=jnp.int32(0), params=p, opt_state=transformation.init(p)), params)
    start = [api.shapes(model)] if adapters.wanted else []
    ints, floats = _shape(4, rows, length), _shape(4, rows, length, dtype=jnp.float32)
    packed = UpdateBatch(
        tokens=ints, positions=ints, segments=ints, role=ints, weight=floats, advantage=floats, old_logp=floats,
        ref_logp=None, trainer_logp=None, candidates=None, num_micro=_shape(),
    )  # fmt: skip
    made = update.make_update(
        api.logp_fn(model, 1.0), transformation, GRPOConfig(), policy=functools.partial(lora.policy, config=adapters)
    )
    found = made.lower(state, packed, *start).compile().memory_analysis()
    reserved = found.argument_size_in_bytes + found.temp_size_in_bytes
    held = footprint.state(model, adapters, start=adapters.wanted)
    assert held == pytest.approx(_bytes(state) + _bytes(start), 1e-4)
    assert held + footprint.update(model, rows * length, adapters=adapters) == pytest.approx(reserved, WITHIN)


def test_a_laptop_holds_the_half_billion_model():
    """24 GiB of which others use some: all slots that pay, every page they may fill."""
    found = room.rows_that_fit([Asked(LARGE, prompt=1024, limit=2048, num_generations=1, rows=1319)], 12 * 2**30)
    assert found
    assert (found.slots, found.pages) == (32, 32 * 32)
    assert found.bytes < 8 * 2**30


def test_less_memory_means_fewer_pages_then_fewer_rows_then_none():
    asked = [Asked(LARGE, prompt=1024, limit=32768, num_generations=1, rows=1319)]
    found = [room.rows_that_fit(asked, gib * 2**30) for gib in (64, 16, 6, 3, 2)]
    all_of_them, fewer_pages, fewer_rows, *_, none = found
    assert all_of_them
    assert fewer_pages
    assert fewer_rows
    assert (all_of_them.slots, all_of_them.pages) == (32, 32 * 512)
    assert fewer_pages.slots == 32
    assert fewer_pages.pages < all_of_them.pages
    assert 0 < fewer_rows.slots < 32
    assert none is None


@given(
    st.integers(1, 200),
    st.integers(1, 4000),
    st.integers(2, 40000),
    st.integers(1, 16),
    st.floats(0, 64),
    st.booleans(),
)
def test_what_fits_takes_no_more_than_there_is(rows, prompt, limit, generations, gib, two):
    rows = -(-rows // generations) * generations
    asked = [Asked(LARGE, prompt, limit, generations, rows), Asked(SMALL, 2 * prompt, limit, 1, rows)][: 1 + two]
    found = room.rows_that_fit(asked, gib * 2**30)
    if found is None:
        return
    assert found.bytes <= gib * 2**30
    assert 1 <= found.slots <= max(1, rows)
    assert found.pages >= -(-limit // 64)


def _evaluated(
    free_gib: float, *overrides: str, model: ModelConfig = LARGE, monkeypatch: pytest.MonkeyPatch
) -> tuple[Config, str]:
    config = dataclasses.replace(load(None, ["--data.max_prompt_length=256", *overrides]), model=model)
    monkeypatch.setattr(memory, "of_device", lambda: Memory(int(free_gib * 2**30), 24 * 2**30))
    lines = []
    return room.fit_evaluation(config, 64, lines.append), "\n".join(lines)


def test_what_was_chosen_is_told_in_a_line(monkeypatch):
    config, line = _evaluated(16, "--sampling.max_completion_length=2048", monkeypatch=monkeypatch)
    assert (config.sampling.slots, config.sampling.pages) == (32, 1024)
    assert line.startswith("evaluation: 32 rows at a time, ")
    assert line.endswith(" of 16.0 GiB estimated")


@pytest.mark.parametrize(
    ("free", "overrides", "says"),
    [
        (
            2,
            [],
            r"memory: evaluation needs \d.\d GiB \(1.3 GiB before anything is sampled\), got 2.0 GiB free; lower sam",
        ),
        (8, ["--sampling.slots=3000"], r"got 8.0 GiB free; leave out sampling.slots=3000, or lower sampling.max_compl"),
        (
            8,
            ["--sampling.slots=32", "--sampling.pages=9999"],
            "leave out sampling.slots=32 and sampling.pages=9999, or",
        ),
        (
            8,
            ["--sampling.pages=1", "--sampling.max_completion_length=640"],
            "sampling.pages: expected at least 10, since",
        ),
    ],
)
def test_what_cannot_fit_is_refused_with_numbers_and_remedy(monkeypatch, free, overrides, says):
    with pytest.raises(ValueError, match=says):
        _evaluated(free, "--sampling.max_completion_length=16384", *overrides, monkeypatch=monkeypatch)


def test_float32_is_told_of_bfloat16(monkeypatch):
    wide = dataclasses.replace(LARGE, dtype="float32", param_dtype="float32")
    with pytest.raises(ValueError, match=r"or set model.dtype and model.param_dtype to bfloat16"):
        _evaluated(3, model=wide, monkeypatch=monkeypatch)


def test_a_platform_that_does_not_tell_is_trusted(monkeypatch):
    monkeypatch.setattr(memory, "of_device", lambda: None)
    config = room.fit_evaluation(dataclasses.replace(Config(), model=LARGE), 64)
    assert config.sampling.slots == 32


def test_micro_batches_are_as_large_as_memory_holds(monkeypatch):
    """The numbers of memory are chosen between those of 8 and of 4 rows, by the same formula."""
    model = dataclasses.replace(SMALL, num_hidden_layers=24)
    config = dataclasses.replace(load(None, ["--reward.preset=grpo", "--grpo.row_length=512"]), model=model)
    monkeypatch.setattr(room.sizes, "row_limits", lambda *_: {"reason": 200})
    held = 1000 * MIB
    between = held + footprint.update(model, 6 * 512)
    there = Memory(int(between / room._share()), 2**40)
    fitted = room._micro_batches(config, None, there, held, refuse=True)  # pyright: ignore[reportArgumentType]
    assert fitted.grpo.micro_batch_rows == 4
    config = dataclasses.replace(config, grpo=dataclasses.replace(config.grpo, micro_batch_rows=32))
    with pytest.raises(ValueError, match=r"grpo.micro_batch_rows=32 of .* set grpo.micro_batch_rows to auto, or set"):
        room._micro_batches(config, None, there, held, refuse=True)  # pyright: ignore[reportArgumentType]


def test_evaluations_that_run_on_get_their_own_pages_and_remedy(monkeypatch):
    """Catches pages counted for rollouts, which end earlier, and advice to shorten what is not too long."""
    long = ["--sampling.max_completion_length=64", "--evaluation.max_completion_length=640"]
    with pytest.raises(
        ValueError, match=r"sampling.pages: expected at least 10, since a completion of 640 tokens takes 10"
    ):
        _evaluated(8, "--sampling.pages=1", *long, monkeypatch=monkeypatch)
    with pytest.raises(ValueError, match=r"got 2.0 GiB free; lower evaluation.max_completion_length=16384"):
        _evaluated(2, "--evaluation.max_completion_length=16384", *long[:1], monkeypatch=monkeypatch)
