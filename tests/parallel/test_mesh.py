"""Which mesh a configuration gets, and the line that refuses one."""

import dataclasses

import jax
import pytest

from jaxreason.config import Config, load
from jaxreason.parallel import mesh

EXPERTS = ("--model.num_experts=9", "--model.moe_intermediate_size=33")


def _config(*overrides: str) -> Config:
    return load(None, overrides)


@pytest.mark.parametrize(
    ("overrides", "sizes"),
    [
        ((), (1, 8, 1)),
        (("--mesh.tensor=2",), (1, 4, 2)),
        (("--mesh.replica=2", "--mesh.tensor=2"), (2, 2, 2)),
        (("--mesh.fsdp=4",), (1, 4, 1)),
        (("--data.prompts_per_step=12",), (1, 4, 1)),
        (("--data.prompts_per_step=7",), (1, 1, 1)),
        (("--model.hidden_size=12", "--mesh.replica=2"), (2, 4, 1)),
    ],
)
def test_the_mesh_fits_devices_and_batch(overrides, sizes):
    """By itself fsdp takes all devices, or as many as divide what it splits, and says so."""
    got, idle = mesh.fit(_config(*overrides), jax.devices())
    assert (got.replica, got.fsdp, got.tensor) == sizes
    used = got.replica * got.fsdp * got.tensor
    assert (f"mesh: {used} of 8 devices" in idle) == (used < 8)
    built = mesh.arrange(got, jax.devices())
    assert dict(built.shape) == dict(zip(mesh.AXES, sizes, strict=True))
    assert set(built.axis_types) == {jax.sharding.AxisType.Auto}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("--mesh.tensor=3",), "mesh: expected a divisor of the 8 devices, got mesh.replica=1 x mesh.tensor=3"),
        (("--mesh.fsdp=16",), "mesh: expected a divisor of the 8 devices, got mesh.replica=1 x mesh.fsdp=16"),
        (("--mesh.tensor=4",), "model.num_key_value_heads: expected a multiple of 4 (mesh.tensor=4), which split it"),
        (("--mesh.fsdp=8", "--data.prompts_per_step=12"), "data.prompts_per_step: expected a multiple of 8"),
        (("--mesh.fsdp=8", "--grpo.micro_batch_rows=4"), "grpo.micro_batch_rows: expected a multiple of 8"),
        (("--mesh.fsdp=8", "--model.hidden_size=12"), "model.hidden_size: expected a multiple of 8"),
        (("--mesh.tensor=2", "--model.intermediate_size=33"), "model.intermediate_size: expected a multiple of 2"),
        (("--mesh.tensor=2", "--model.vocab_size=401"), "model.vocab_size: expected a multiple of 2"),
        (("--mesh.fsdp=8", "--warmup.max_steps=1", "--warmup.rows_per_step=4"), "warmup.rows_per_step"),
        (("--mesh.replica=2", "--mesh.fsdp=4", "--data.prompts_per_step=4"), "mesh.replica=2 x mesh.fsdp=4"),
        (("--mesh.tensor=2", *EXPERTS), "model.num_experts: expected a multiple of 2 (mesh.tensor=2), which split it"),
        (("--mesh.fsdp=2", "--mesh.experts=[fsdp]", *EXPERTS), "model.num_experts: expected a multiple of 2"),
        (("--mesh.tensor=2", "--mesh.experts=[]", *EXPERTS), "model.moe_intermediate_size: expected a multiple of 2"),
    ],
)
def test_a_mesh_that_does_not_fit_is_refused(overrides, message):
    with pytest.raises(ValueError) as refused:
        mesh.fit(_config(*overrides), jax.devices())
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_several_processes_use_all_devices_or_none():
    """A process without a device in the mesh could not take part in its collectives."""
    with pytest.raises(ValueError, match="mesh: expected all of the 8 devices"):
        mesh.fit(_config("--mesh.fsdp=4"), jax.devices(), processes=2)
    with pytest.raises(ValueError, match=r"data\.prompts_per_step: expected a multiple of 8"):
        mesh.fit(_config("--data.prompts_per_step=12"), jax.devices(), processes=2)


def test_slices_stand_apart_along_replica():
    """Parameters would otherwise be gathered over the slow links between slices."""

    @dataclasses.dataclass(frozen=True)
    class Chip:
        id: int
        slice_index: int
        platform: str = "cpu"
        device_kind: str = "cpu"
        process_index: int = 0

    chips = [Chip(n, n // 4) for n in range(8)]
    sizes = _config("--mesh.replica=2", "--mesh.fsdp=4").mesh
    grid = mesh.grid(sizes, chips)
    assert [{chip.slice_index for chip in row.flat} for row in grid] == [{0}, {1}]
    with pytest.raises(ValueError, match=r"mesh\.replica: expected a multiple of 2, the slices"):
        mesh.grid(_config("--mesh.fsdp=8").mesh, chips)
