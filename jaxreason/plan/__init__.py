"""What a configuration would need on TPUs that are not here: the programs of a training step, compiled for them.

Memory, collectives and FLOPs are the compiler's facts; times are lower bounds from them, never measurements.
"""

import dataclasses
import functools
import importlib.metadata
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

from jaxreason.config import Config
from jaxreason.plan.topology import Topology

Say = Callable[[str], None]


def plan(config: Config, topology: Topology, say: Say = lambda line: None, lengths: Sequence[int] = ()) -> dict:
    """Compile every program of a step for a topology.

    Args:
      say: is told what was assumed, and how compiling goes.
      lengths: of completions, which the bounds are for; none: all reach the limit.

    Returns:
      topology, devices, mesh, versions, slots and pages, and `programs`: for each what `compile.Finding` holds, and its
      bounds in seconds from `roofline.bound`.

    Raises:
      ValueError: libtpu is not installed, or the mesh does not fit.
    """
    _need_libtpu()
    from jaxreason.plan.prepare import prepare

    return _compiled(prepare(config, say), topology, say, lengths=lengths)


def search(config: Config, topology: Topology, say: Say = lambda line: None) -> dict:
    """Try mesh.tensor, grpo.micro_batch_rows and model.remat, and end at the quickest by estimate that fits.

    Returns:
      `settings` to paste, None where nothing that was tried fits; `tried`, a plan of each arrangement that was
      compiled, the last of them the one proposed, with `settings` of its own.

    Raises:
      ValueError: libtpu is not installed; no arrangement divides model and batch, or all need far too much memory.
    """
    _need_libtpu()

    from jaxreason.plan import choose
    from jaxreason.plan.estimate import estimate
    from jaxreason.plan.prepare import prepare
    from jaxreason.policy import api

    exp = prepare(config, say)
    shapes = api.shapes(exp.config.model)
    guess = functools.partial(estimate, tokenizer=exp.tokenizer, num_params=api.num_params(shapes), topology=topology)
    ordered, reason = choose.candidates(exp.config, topology, guess)
    if not ordered:
        raise ValueError(f"--search: {reason}")

    def compile_one(candidate: choose.Candidate, known: dict[Any, dict]) -> dict:
        return _compiled(dataclasses.replace(exp, config=candidate.config), topology, say, known)

    best, tried = choose.first_that_fits(ordered, compile_one, say)
    return {"settings": best and best.settings, "tried": tried}


def _compiled(
    exp: Any, topology: Topology, say: Say, known: dict[Any, dict] | None = None, lengths: Sequence[int] = ()
) -> dict:
    """A plan; where the sampling programs that others know are given, it ends at the first program that does not fit,
    and adds its own."""
    from jaxreason.parallel.mesh import refuse_vocabulary
    from jaxreason.plan import programs, roofline
    from jaxreason.plan.compile import compile_for, on_topology
    from jaxreason.run import room
    from jaxreason.run.memory import Memory
    from jaxreason.sampling.room import room_for

    found = []
    with on_topology(exp.config, topology) as placed:
        refuse_vocabulary(placed)
        there = int(topology.chip.memory_gib * 2**30)
        exp = room.fit_training(dataclasses.replace(exp, config=placed), elsewhere=Memory(there, there), refuse=False)
        placed = exp.config
        for name, trace in programs.of_a_step(exp, lengths):
            key = (name, placed.mesh)  # of two candidates of a search, sampling differs by the mesh alone
            one = None if known is None or not name.startswith("sample") else known.get(key)
            if one is None:
                say(f"compiling {name} for {topology.name}")
                finding = compile_for(trace(), topology)
                one = dataclasses.asdict(finding) | roofline.bound(finding, placed, topology)
                outcome = finding.reason or f"{(finding.peak_gib or 0.0) + finding.beside_gib:.2f} GiB"
                say(f"{name}: {outcome}, compiled in {finding.seconds:.0f} s")
            found.append(one)
            if known is not None:
                known[key] = one
                if not one["fits"]:
                    break
        rows = placed.data.prompts_per_step * placed.sampling.num_generations
        chosen = room_for(placed.sampling, rows, placed.sampling.max_completion_length)
    return {
        "topology": topology.name,
        "slices": topology.slices,
        "devices": topology.devices,
        "memory_gib": topology.chip.memory_gib,
        "mesh": {axis: getattr(placed.mesh, axis) for axis in ("replica", "fsdp", "tensor")},
        "slots": chosen.slots,
        "pages": chosen.pages,
        "mean_length": float(sum(lengths) / len(lengths)) if lengths else None,
        "libtpu": importlib.metadata.version("libtpu"),
        "programs": found,
    }


def _need_libtpu() -> None:
    if importlib.util.find_spec("libtpu") is None:
        raise ValueError(
            "plan: expected libtpu, which compiles for TPUs on any x86-64 Linux; pip install 'jaxreason[tpu]'"
        )
