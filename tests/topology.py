"""Compiling for TPUs that are not here."""

import contextlib
import importlib.util
from collections.abc import Iterator

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh

from jaxreason.plan.absent import devices_of
from jaxreason.plan.topology import parse


@contextlib.contextmanager
def tpu_mesh(name: str, shape: tuple[int, int, int]) -> Iterator[Mesh]:
    """Put in force a mesh of replica x fsdp x tensor over the first chips of a topology such as v5e:2x2.

    Skips without libtpu, and for no other reason.
    """
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("needs libtpu, which compiles for TPUs on any x86-64 Linux: pip install jaxreason[tpu]")
    with devices_of(parse(name)) as devices:
        grid = np.array(devices[: int(np.prod(shape))]).reshape(shape)
        mesh = Mesh(grid, ("replica", "fsdp", "tensor"), axis_types=(AxisType.Auto,) * 3)
        with jax.set_mesh(mesh):
            yield mesh
