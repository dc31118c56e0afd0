"""What a configuration would need on TPUs that are not here: the programs of a training step, compiled for them.

Memory, collectives and FLOPs are the compiler's facts; times are lower bounds from them, never measurements.
"""

import dataclasses
import importlib.metadata
import importlib.util
from collections.abc import Callable

from jaxreason.config import Config
from jaxreason.plan.topology import Topology

ARRANGEMENTS = (1, 2, 4, 8, 16)
"""Sizes of mesh.tensor that a search tries."""


def plan(config: Config, topology: Topology, say: Callable[[str], None] = lambda line: None) -> dict:
    """Compile every program of a step for a topology.

    Returns:
      topology, devices, mesh, versions, and `programs`: for each what `compile.Finding` holds, `step` and `bound`
      seconds from `roofline.bound`.

    Raises:
      ValueError: libtpu is not installed, or the mesh does not fit.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise ValueError(
            "plan: expected libtpu, which compiles for TPUs on any x86-64 Linux; pip install 'jaxreason[tpu]'"
        )
    from jaxreason.parallel.mesh import refuse_vocabulary
    from jaxreason.plan import programs, roofline
    from jaxreason.plan.compile import compile_for, on_topology
    from jaxreason.plan.prepare import prepare

    exp = prepare(config, say)
    found = []
    with on_topology(exp.config, topology) as placed:
        refuse_vocabulary(placed)
        exp = dataclasses.replace(exp, config=placed)
        for name, trace in programs.of_a_step(exp):
            say(f"compiling {name} for {topology.name}")
            finding = compile_for(trace(), topology)
            found.append(dataclasses.asdict(finding) | roofline.bound(finding, placed, topology))
            outcome = f"{finding.peak_gib:.2f} GiB" if finding.peak_gib else finding.reason
            say(f"{name}: {outcome}, compiled in {finding.seconds:.0f} s")
    return {
        "topology": topology.name,
        "slices": topology.slices,
        "devices": topology.devices,
        "memory_gib": topology.chip.memory_gib,
        "mesh": {axis: getattr(placed.mesh, axis) for axis in ("replica", "fsdp", "tensor")},
        "libtpu": importlib.metadata.version("libtpu"),
        "programs": found,
    }


def search(config: Config, topology: Topology, say: Callable[[str], None] = lambda line: None) -> list[dict]:
    """Plans of all arrangements of the devices that fit model and batch, the quickest that fits in memory first.

    Raises:
      ValueError: none fits model and batch.
    """
    plans, refusals = [], []
    for tensor in ARRANGEMENTS:
        if topology.devices % (tensor * config.mesh.replica):
            continue
        mesh = dataclasses.replace(config.mesh, tensor=tensor, fsdp=-1)
        try:
            plans.append(plan(dataclasses.replace(config, mesh=mesh), topology, say))
        except ValueError as error:
            refusals.append(str(error))
    if not plans:
        raise ValueError(refusals[0])
    return sorted(plans, key=lambda p: (not all(x["fits"] for x in p["programs"]), total_seconds(p)))


def total_seconds(found: dict) -> float:
    """The lower bound of all programs of a step together."""
    return sum(program["bound_s"] or 0.0 for program in found["programs"])
