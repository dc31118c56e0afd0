"""Devices of TPUs that are not here: libtpu needs to be told of a topology only, and executes nothing."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from jaxreason.plan.topology import Topology

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
"""Environment of libtpu, read when the first topology is asked for."""


@contextlib.contextmanager
def devices_of(topology: Topology) -> Iterator[Sequence[Any]]:
    """The devices of all slices, to compile for; the compilation cache is off inside.

    What is compiled for devices that are not here can be written to the cache, not read from it.
    """
    from jax.experimental import topologies
    from jax.experimental.compilation_cache import compilation_cache

    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
    options: dict[str, Any] = {"num_slices": topology.slices} if topology.slices > 1 else {}
    if topology.family == "v4":
        options["chip_config_name"] = "megacore"
    described = topologies.get_topology_desc(platform="tpu", topology_name=topology.name, **options)
    cached = jax.config.jax_enable_compilation_cache  # pyright: ignore[reportAttributeAccessIssue]
    try:
        jax.config.update("jax_enable_compilation_cache", False)
        compilation_cache.reset_cache()
        yield described.devices
    finally:
        jax.config.update("jax_enable_compilation_cache", cached)
        compilation_cache.reset_cache()
