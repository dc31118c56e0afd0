"""Compiling a program for a topology, and what the compiler says of it."""

import contextlib
import dataclasses
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import jax

from jaxreason.config import Config
from jaxreason.parallel import mesh as meshes
from jaxreason.parallel import rules
from jaxreason.plan import flops, hlo
from jaxreason.plan.absent import devices_of
from jaxreason.plan.programs import Program, bytes_held
from jaxreason.plan.topology import Topology
from jaxreason.plan.work import Work

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Finding:
    """What the compiler said. Sizes are GiB a device, FLOPs and bytes a call with all its loops run to their limits."""

    name: str
    work: Work
    calls: int  # in a step
    fits: bool  # with what stands beside it
    beside_gib: float  # what a run holds meanwhile and the program is not given
    reason: str = ""  # why it does not fit
    arguments_gib: float | None = None
    temporaries_gib: float | None = None
    peak_gib: float | None = None  # of the program alone
    largest: list[tuple[float, str]] = dataclasses.field(default_factory=list)  # GiB and type of the largest buffers
    state_aliased: bool | None = None
    flops: float | None = None  # all devices together, as traced
    flops_compiled: float | None = None  # the same, from the compiled program
    collectives: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)  # kind -> calls, bytes
    seconds: float = 0.0  # that compiling took


@contextlib.contextmanager
def on_topology(config: Config, topology: Topology) -> Iterator[Config]:
    """The mesh of the configuration over a topology is in force; yields the configuration with its sizes.

    Raises:
      ValueError: the mesh does not fit the topology, the model or the batch.
    """
    with devices_of(topology) as devices:
        sizes, _ = meshes.fit(config, devices, processes=2)  # as in training, every device has its part
        with jax.set_mesh(meshes.arrange(sizes, devices)), rules.RULES(sizes):
            yield dataclasses.replace(config, mesh=sizes)


def compile_for(program: Program, topology: Topology) -> Finding:
    """Compile, and read what came out; a program that needs too much memory is a finding, not an error."""
    began = time.monotonic()
    share = flops.expert_share(rules.RULES.value)
    counted = flops.traced(program.traced.jaxpr.jaxpr, program.work.trips, share, program.work.inner)
    dump = Path(tempfile.mkdtemp())
    try:
        options = {"xla_dump_to": str(dump), "xla_dump_hlo_as_text": True}
        compiled = program.traced.lower().compile(compiler_options=options)
        buffers = largest("".join(file.read_text() for file in dump.glob("*memory-usage-report.txt")))
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        said = re.search(
            r"Used [\d.]+\w* of [\d.]+\w* \w+|\([\d.]+\w*\) exceeds available HBM \([\d.]+\w*\)", str(error)
        )
        return Finding(
            program.name,
            program.work,
            program.calls,
            fits=False,
            beside_gib=program.beside / GIB,
            reason=said[0] if said else "out of memory",
            flops=counted,
            seconds=time.monotonic() - began,
        )
    finally:
        shutil.rmtree(dump)
    memory = compiled.memory_analysis()
    alias = memory.alias_size_in_bytes
    total = memory.argument_size_in_bytes + memory.output_size_in_bytes - alias + memory.temp_size_in_bytes
    peak = max(total, memory.peak_memory_in_bytes)
    fits = peak + program.beside <= topology.chip.memory_gib * GIB
    held = None if program.state is None else bytes_held(program.state)
    read = flops.Compiled(compiled.as_text() or "", program.work.trips, share, program.work.inner)
    return Finding(
        program.name,
        program.work,
        program.calls,
        fits=fits,
        beside_gib=program.beside / GIB,
        reason="" if fits else f"{(peak + program.beside) / GIB:.2f} of {topology.chip.memory_gib:g} GiB",
        arguments_gib=memory.argument_size_in_bytes / GIB,
        temporaries_gib=memory.temp_size_in_bytes / GIB,
        peak_gib=peak / GIB,
        largest=buffers,
        state_aliased=None if held is None else alias >= held,
        flops=counted,
        flops_compiled=read.flops * topology.devices,
        collectives=read.collectives,
        seconds=time.monotonic() - began,
    )


def largest(report: str, count: int = 3) -> list[tuple[float, str]]:
    """The largest buffers of XLA's memory usage report: GiB, and the arrays that live there one after the other, the
    largest first.

    >>> largest("  4.00MiB(100%);    4.00MiB;            0;                1; bf16[8], 2\u00d7f32[512,2048]")
    [(0.00390625, '2\u00d7f32[512,2048], bf16[8]')]
    """
    units = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": GIB}
    row = re.compile(r"^ *[\d.]+\w+\( *\d+%\); +([\d.]+)(\w+); +\d+; +\d+; (.*)$", re.M)
    found = {
        (float(size) * units[unit] / GIB, ", ".join(sorted(re.findall(r"(?:\d+×)?\w+\[[\d,]*\]", held), key=_size)[:3]))
        for size, unit, held in row.findall(report)
        if unit in units
    }
    return sorted(found, reverse=True)[:count]


def _size(array: str) -> int:
    return -hlo.largest_bytes(array)
