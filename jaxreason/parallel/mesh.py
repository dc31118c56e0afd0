"""From the configuration to a mesh that fits the devices, the model and the batch, or one line that says why not.

The mesh of a run is ambient (`jax.set_mesh`): inside jit `jax.sharding.get_abstract_mesh()` and a `jax.shard_map`
without `mesh` see it. Nothing here allocates on a device.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from jaxreason.config import Config, MeshConfig, ModelConfig
from jaxreason.parallel import rules

AXES = ("replica", "fsdp", "tensor")


def refuse_indivisible(config: Config) -> None:
    """Refuse a mesh whose axes don't divide what they split; mesh.fsdp must be a number here.

    A model.vocab_size of 0 is not known yet and is not checked.

    Raises:
      ValueError: naming the field, the number it must be a multiple of, and what to change.
    """
    data, grpo = config.data, config.grpo
    sizes = [
        ("data.prompts_per_step", data.prompts_per_step, "batch"),
    ]
    if grpo.micro_batch_rows != "auto":
        sizes.append(("grpo.micro_batch_rows", grpo.micro_batch_rows, "batch"))
    sizes += _sizes(config.model, "model")
    if config.agents.separate:
        sizes += _sizes(config.helper_model, "helper_model")
    if config.warmup.max_steps:
        sizes.append(("warmup.rows_per_step", config.warmup.rows_per_step, "batch"))
    for field, size, logical in sizes:
        axes = getattr(config.mesh, logical)
        parts = math.prod(getattr(config.mesh, axis) for axis in axes)
        if size % parts:
            product = " x ".join(f"mesh.{axis}={getattr(config.mesh, axis)}" for axis in axes)
            raise ValueError(
                f"{field}: expected a multiple of {parts} ({product}), which split it, got {size}; change either"
            )


def _sizes(model: ModelConfig, section: str) -> list[tuple[str, int, str]]:
    """Field, size and logical name of every axis of a model that a mesh may split."""
    names = [
        ("hidden_size", "embed"),
        ("num_attention_heads", "heads"),
        ("num_key_value_heads", "kv_heads"),
        ("vocab_size", "vocab"),
        ("num_experts", "experts"),
    ]
    kinds = {run.sparse for run in model.layer_runs}
    if False in kinds:
        names.append(("intermediate_size", "mlp"))
    if True in kinds:
        names.append(("moe_intermediate_size", "expert_mlp"))
    return [(f"{section}.{name}", getattr(model, name), logical) for name, logical in names]


def refuse_vocabulary(config: Config) -> None:
    """The same on the mesh in force, once model.vocab_size is known."""
    if rules.RULES.value is not None:
        refuse_indivisible(dataclasses.replace(config, mesh=rules.RULES.value))


def fit(config: Config, devices: Sequence[Any], *, processes: int = 1) -> tuple[MeshConfig, str]:
    """Decide every size of the mesh.

    Args:
      devices: there are.
      processes: of the run; several of them use all devices or none.

    Returns:
      The mesh's section with numbers, and a line about devices that stay idle ("" where none does).

    Raises:
      ValueError: the mesh does not fit the devices, the model or the batch.
    """
    asked, count = config.mesh, len(devices)
    fixed = asked.replica * asked.tensor
    total = fixed if asked.fsdp == -1 else fixed * asked.fsdp
    if count % total or (processes > 1 and asked.fsdp != -1 and total != count):
        wanted = "all" if processes > 1 else "a divisor"
        fsdp = "" if asked.fsdp == -1 else f" x mesh.fsdp={asked.fsdp}"
        raise ValueError(
            f"mesh: expected {wanted} of the {count} devices, got mesh.replica={asked.replica}{fsdp} x "
            f"mesh.tensor={asked.tensor}; change these"
        )

    def with_fsdp(number: int) -> Config:
        return dataclasses.replace(config, mesh=dataclasses.replace(asked, fsdp=number))

    if asked.fsdp != -1:
        refuse_indivisible(config)
        return asked, f"mesh: {total} of {count} devices, as configured" if total < count else ""
    left = count // fixed
    reason = ""
    for number in [n for n in range(left, 0, -1) if left % n == 0]:
        try:
            refuse_indivisible(with_fsdp(number))
        except ValueError as error:
            if processes > 1:
                raise
            reason = reason or str(error)
        else:
            return with_fsdp(number).mesh, reason and f"mesh: {number * fixed} of {count} devices; {reason}"
    raise ValueError(reason)


def grid(sizes: MeshConfig, devices: Sequence[Any]) -> np.ndarray:
    """The first devices in a grid [replica fsdp tensor] that follows their links; slices stand apart along `replica`.

    Raises:
      ValueError: mesh.replica is no multiple of the number of slices.
    """
    shape = tuple(getattr(sizes, axis) for axis in AXES)
    devices = list(devices)[: math.prod(shape)]
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    if slices == 1:
        return mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    if sizes.replica % slices:
        raise ValueError(
            f"mesh.replica: expected a multiple of {slices}, the slices, whose links are slow, got {sizes.replica}; "
            "change it"
        )
    inner = (sizes.replica // slices, sizes.fsdp, sizes.tensor)
    return mesh_utils.create_hybrid_device_mesh(inner, (slices, 1, 1), devices, allow_split_physical_axes=True)


def arrange(sizes: MeshConfig, devices: Sequence[Any]) -> Mesh:
    """The mesh of such a grid. Its axes are Auto: the compiler follows the constraints of `rules`."""
    return Mesh(grid(sizes, devices), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def describe() -> str:
    """The devices in use, in words.

    >>> describe()
    '1 cpu'
    """
    mesh = jax.sharding.get_mesh()
    if mesh.empty or mesh.size == 1:
        return f"1 {jax.default_backend()}"
    return f"{mesh.size} {jax.default_backend()} (" + " x ".join(f"{k} {n}" for k, n in mesh.shape.items()) + ")"


@contextlib.contextmanager
def on_mesh(config: Config, say: Callable[[str], None] = lambda line: None) -> Iterator[Mesh]:
    """Everything inside runs on the mesh of the configuration: arrays, jitted functions, `rules`.

    Args:
      say: is told of devices that stay idle.

    Raises:
      ValueError: see `fit`.
    """
    sizes, idle = fit(config, jax.devices(), processes=jax.process_count())
    if idle:
        say(idle)
    mesh = arrange(sizes, jax.devices())
    with jax.set_mesh(mesh), rules.RULES(sizes):
        yield mesh
