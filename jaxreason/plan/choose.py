"""The quickest arrangement of a configuration that fits: mesh.tensor, micro-batch and remat, found with few compiles.

Candidates are put in order by `estimate`, and compiled in that order until one fits.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from jaxreason.config import Config
from jaxreason.parallel import mesh as meshes
from jaxreason.plan.estimate import Estimate
from jaxreason.plan.topology import Topology

TENSORS = (1, 2, 4, 8, 16)
ROWS = (1, 2, 4, 8)
"""Packed rows of a micro-batch on each part of the batch."""
MOST = 8
"""Candidates that are compiled at most."""
HOPELESS = 1.5
"""Times the memory there is, by the estimate, above which a candidate is not compiled."""


class Candidate(NamedTuple):
    """A configuration, and in which settings it is another than it was."""

    config: Config
    estimate: Estimate

    @property
    def settings(self) -> dict[str, Any]:
        """To paste behind `jaxreason train CONFIG`."""
        config = self.config
        mesh = {f"mesh.{axis}": getattr(config.mesh, axis) for axis in ("replica", "fsdp", "tensor")}
        return mesh | {"grpo.micro_batch_rows": config.grpo.micro_batch_rows, "model.remat": config.model.remat}


def candidates(
    config: Config, topology: Topology, estimate: Callable[[Config], Estimate]
) -> tuple[list[Candidate], str]:
    """What the devices, the model and the batch allow and the estimate does not rule out, the quickest first; and why
    something was refused.

    Args:
      estimate: of a configuration with the mesh's sizes.
    """
    found, reason = [], ""
    replica = max(config.mesh.replica, topology.slices)
    for tensor in TENSORS:
        if topology.devices % (tensor * replica):
            continue
        fsdp = topology.devices // (tensor * replica)
        mesh = dataclasses.replace(config.mesh, replica=replica, fsdp=fsdp, tensor=tensor)
        for rows in ROWS:
            for remat in (False, True):
                one = dataclasses.replace(
                    config,
                    mesh=mesh,
                    grpo=dataclasses.replace(config.grpo, micro_batch_rows=rows * replica * fsdp),
                    model=dataclasses.replace(config.model, remat=remat),
                )
                try:
                    meshes.fit(one, range(topology.devices), processes=2)
                except ValueError as error:
                    reason = reason or str(error)
                    continue
                found.append(Candidate(one, estimate(one)))
    limit = HOPELESS * topology.chip.memory_gib
    likely = [c for c in found if c.estimate.gib <= limit]
    if found and not likely:
        least = min(c.estimate.gib for c in found)
        reason = f"the least that any arrangement needs is about {least:.0f} GiB a device; take more or larger devices"
    fits = topology.chip.memory_gib
    return sorted(likely, key=lambda c: (c.estimate.gib > fits, c.estimate.seconds, c.estimate.gib)), reason


def first_that_fits(
    ordered: list[Candidate],
    compile_one: Callable[[Candidate, dict[Any, dict]], dict],
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Candidate | None, list[dict]]:
    """Compile in order until one fits.

    A candidate whose estimate for the program that did not fit before is not smaller is passed over.

    Args:
      compile_one: (candidate, sampling programs already compiled, by mesh) -> a plan that ends at the first program
        that does not fit.

    Returns:
      The first that fits, None where none of those tried does; the plans of all that were compiled.
    """
    tried, known = [], {}
    ceilings = {"update": float("inf"), "sample": float("inf")}
    for number, candidate in enumerate(ordered):
        estimate = candidate.estimate
        if estimate.update_gib >= ceilings["update"] or estimate.sample_gib >= ceilings["sample"]:
            continue
        if len(tried) == MOST:
            break
        written = " ".join(f"--{name}={value}".lower() for name, value in candidate.settings.items())
        say(
            f"candidate {number + 1} of {len(ordered)}: {written} (about {estimate.gib:.1f} GiB, "
            f"{estimate.seconds:.3g} s by estimate)"
        )
        found = compile_one(candidate, known)
        tried.append(found | {"settings": candidate.settings})
        if all(program["fits"] for program in found["programs"]):
            return candidate, tried
        failed = found["programs"][-1]["name"]
        part = "sample" if failed.startswith("sample") else "update"
        ceilings[part] = min(ceilings[part], getattr(estimate, f"{part}_gib"))
    return None, tried
