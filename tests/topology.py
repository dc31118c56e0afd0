"""Compiling for TPUs that are not here: libtpu needs to be told of a topology only, and executes nothing."""

import contextlib
import importlib.util
import os
from collections.abc import Iterator

import jax
import numpy as np
import pytest
from jax.experimental import topologies
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import AxisType, Mesh

QUIET = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # else a second process aborts on the lock file of the first
    "TPU_SKIP_MDS_QUERY": "1",  # no waiting for a cloud's metadata server
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "TPU_LOG_DIR": "disabled",
    "TPU_MIN_LOG_LEVEL": "3",
    "TPU_STDERR_LOG_LEVEL": "3",
}
"""Environment of libtpu; read when the first topology is asked for."""


@contextlib.contextmanager
def tpu_mesh(name: str, shape: tuple[int, int, int]) -> Iterator[Mesh]:
    """Put in force a mesh of replica x fsdp x tensor over the first chips of a topology such as v5e:2x2.

    Skips without libtpu, and for no other reason. The compilation cache is off inside: it can write what is compiled
    for chips that are not here, but warns when it reads it.
    """
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("needs libtpu, which compiles for TPUs on any x86-64 Linux: pip install jaxreason[tpu]")
    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
    devices = topologies.get_topology_desc(platform="tpu", topology_name=name).devices
    grid = np.array(devices[: int(np.prod(shape))]).reshape(shape)
    mesh = Mesh(grid, ("replica", "fsdp", "tensor"), axis_types=(AxisType.Auto,) * 3)
    before = jax.config.jax_enable_compilation_cache
    try:
        jax.config.update("jax_enable_compilation_cache", False)
        compilation_cache.reset_cache()
        with jax.set_mesh(mesh):
            yield mesh
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()
