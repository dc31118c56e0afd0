"""A kernel on several devices: each attends to the rows and the heads that it holds.

The compiler cannot split what it cannot look into, so a kernel is called once a device, under `jax.shard_map`, on the
mesh in force (`jax.set_mesh`).
"""

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.sharding import AxisType, PartitionSpec

Axes = tuple[str, ...]


_ELSEWHERE: contextvars.ContextVar[str | None] = contextvars.ContextVar("platform", default=None)


@contextlib.contextmanager
def elsewhere(name: str) -> Iterator[None]:
    """Formulas inside are for this platform, such as "gpu". Nothing may be traced there: it would be of a program that
    can run here."""
    before = _ELSEWHERE.set(name)
    try:
        yield
    finally:
        _ELSEWHERE.reset(before)


def platform() -> str:
    """What the code being traced is for: the mesh in force knows, since it may be of devices that are not here."""
    if (name := _ELSEWHERE.get()) is not None:
        return name
    device: Any = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None else device.platform


def split(axes: Axes, size: int) -> Axes:
    """The axes of the mesh in force among these; () if they don't divide an array's axis of that size."""
    mesh = jax.sharding.get_abstract_mesh()
    kinds = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    free = tuple(axis for axis in axes if axis in kinds and kinds[axis] != AxisType.Manual)
    return () if size % count(free) else free


def count(axes: Axes) -> int:
    """Devices along these axes of the mesh in force; 1 for no axes."""
    mesh = jax.sharding.get_abstract_mesh()
    return math.prod(mesh.shape[axis] for axis in axes)


def per_device(
    attend: Callable[..., jax.Array],
    q_BSHC: jax.Array,
    k_BSJC: jax.Array,
    v_BSJC: jax.Array,
    segments_BS: jax.Array,
    *,
    batch: Axes,
    heads: Axes,
) -> jax.Array:
    """Call attend(q, k, v, segments) on every device of the mesh in force, or just once without one.

    Args:
      batch, heads: axes of the mesh over which rows and heads are split. Axes that the mesh lacks are skipped; rows or
        key heads that don't divide evenly are not split, and then every device does the whole of them.
    """
    rows, columns = split(batch, q_BSHC.shape[0]), split(heads, k_BSJC.shape[2])
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.size <= 1 or AxisType.Manual in mesh.axis_types:
        return attend(q_BSHC, k_BSJC, v_BSJC, segments_BS)
    one = PartitionSpec(rows or None, None, columns or None, None)
    # Pallas calls carry no types of what varies over the mesh, so these cannot be checked.
    return jax.shard_map(
        attend, in_specs=(one, one, one, PartitionSpec(rows or None, None)), out_specs=one, check_vma=False
    )(q_BSHC, k_BSJC, v_BSJC, segments_BS)
