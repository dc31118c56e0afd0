"""Matrix-product FLOPs of a program, counted twice: in what was traced (global), and in what was compiled (a device).

Where both agree, no device repeats a product that another one makes. What happens inside a kernel is in neither text;
attention's and that of experts are added to both by one formula each.

A device multiplies those rows that chose an expert of its own. How many these are is data, so both counts take its fair
share of the rows it has room for: they agree on the work of an even spread, and neither knows of the busiest device.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxreason.config import MeshConfig
from jaxreason.plan import hlo

COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
KERNELS = {"splash_mha_fwd": 2, "splash_mha_dkv": 4, "splash_mha_dq": 3}
"""Start of a kernel's name -> how many products of the size of the scores it makes for each query head. Both backward
kernels of splash attention make the scores and their gradients again."""

GROUPED = ("ragged-dot-none", "tgmm")
"""What stands in the names of kernels by groups of rows; the arrays to multiply are the last two they are given."""


def kernel(name: str, operands: Sequence[Sequence[int]]) -> float:
    """FLOPs of a kernel: of splash attention the half of the scores that the causal mask leaves; of others 0.

    Args:
      operands: their shapes; of splash attention two tables of blocks [.. q kv], which a sliding window makes narrower
        on one side, queries [.. H S C], keys [.. J S C], and others.

    >>> kernel("splash_mha_fwd_segmented", [(1, 2, 2), (1, 2, 2), (4, 1024, 128), (2, 1024, 128)])
    1073741824.0
    """
    products = next((count for start, count in KERNELS.items() if name.startswith(start)), 0)
    if not products:
        return 0.0
    _, table, queries, keys = operands[:4]
    share = min(0.5, min(table[-2:]) / max(table[-2:]))
    return 2.0 * products * math.prod(queries) * keys[-2] * share


def grouped(rows: Sequence[int], other: Sequence[int]) -> float:
    """FLOPs of a product by groups of rows: [M D] with a matrix a group [G D F], or for their gradient with [M F].

    >>> grouped((8, 4), (3, 4, 5)) == grouped((8, 4), (8, 5)) == 2 * 8 * 4 * 5
    True
    """
    return 2.0 * rows[0] * math.prod(other[1:]) * (1 if len(other) == 3 else rows[1])


def expert_share(mesh: MeshConfig | None) -> float:
    """The share of its rows that a device multiplies with experts of its own."""
    return 1.0 if mesh is None else 1.0 / math.prod(getattr(mesh, axis) for axis in mesh.experts)


def traced(jaxpr: Any, trips: float, share: float = 1.0, inner: float | None = None) -> float:
    """FLOPs of all devices together.

    Args:
      jaxpr: an open jaxpr.
      trips: rounds of a `while` whose number is not written in the program.
      share: `expert_share` of the mesh in force.
      inner: the same of a `while` inside of such a one; None: as many.
    """
    within = trips if inner is None else inner
    total = 0.0
    for eqn in jaxpr.eqns:
        name, params = eqn.primitive.name, eqn.params
        if name == "dot_general":
            (left, _), _ = params["dimension_numbers"]
            summed = math.prod(eqn.invars[0].aval.shape[d] for d in left)
            total += 2.0 * summed * math.prod(eqn.outvars[0].aval.shape)
        elif name in ("ragged_dot", "ragged_dot_general"):
            total += share * grouped(*(v.aval.shape for v in eqn.invars[:2]))
        elif params.get("name") == "tgmm":  # a function of Pallas around a kernel without a name
            turned, other = (v.aval.shape for v in eqn.invars[:2])
            total += share * grouped(turned[::-1], other)
        elif name == "pallas_call":
            total += kernel(params["name"] or "", [v.aval.shape for v in eqn.invars])
        elif name == "cond":
            total += max(traced(branch.jaxpr, trips, share, inner) for branch in params["branches"])
        elif name == "while":
            total += _while_trips(eqn, trips) * traced(params["body_jaxpr"].jaxpr, within, share)
        else:
            times = params["length"] if name == "scan" else params["mesh"].size if name == "shard_map" else 1
            total += times * sum(traced(held, trips, share, inner) for held in _inner(params))
    return total


def _while_trips(eqn: Any, trips: float) -> float:
    """A `fori_loop` between numbers that the program holds says how often it runs."""
    literals = [v.val for v in eqn.invars if hasattr(v, "val") and np.ndim(v.val) == 0]
    numbers = [int(v) for v in literals if isinstance(v, int | np.integer) and not isinstance(v, bool)]
    return numbers[1] - numbers[0] if len(numbers) == 2 and numbers[0] == 0 < numbers[1] else trips


def _inner(params: Mapping[str, Any]) -> list[Any]:
    found = []
    for value in params.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            if hasattr(one, "jaxpr") and hasattr(one.jaxpr, "eqns"):
                found.append(one.jaxpr)
            elif hasattr(one, "eqns"):
                found.append(one)
    return found


class Compiled:
    """What a compiled program does on one device: its `flops`, and its `collectives`, kind -> (calls, bytes)."""

    def __init__(self, text: str, trips: float, share: float = 1.0, inner: float | None = None):
        """Read the text; the other arguments are as for `traced`."""
        self.share, self.flops, self.collectives = share, 0.0, {}
        self._inner = trips if inner is None else inner
        self._module = hlo.Module(text)
        self._walk(self._module.entry, 1.0, trips)

    def _walk(self, name: str, times: float, trips: float) -> None:
        ops = self._module.computations.get(name, {})
        shapes = {op.name: op.shape for op in ops.values()}
        for op in ops.values():
            if op.kind == "while":
                rounds = self._module.rounds(op)
                self._walk(op.attribute("body"), times * (trips if rounds is None else rounds), self._inner)
            elif op.kind == "conditional":
                self._walk_longest(op, times, trips)
            elif op.kind in ("dot", "convolution"):
                self.flops += times * hlo.product(op, shapes)
            elif op.kind.removesuffix("-start") in COLLECTIVES:
                self._collective(op, name, times)
            elif op.kind in ("fusion", "call", "custom-call", "async-start"):
                if "tpu_custom_call" in op.rest:
                    given = re.search(r"operand_layout_constraints=\{(.*?\})\}", op.rest)
                    sides = [side for _, side in hlo.arrays(given[1] if given else "")]
                    self.flops += times * kernel(op.name, sides)
                    if any(name in op.name for name in GROUPED):
                        self.flops += times * self.share * grouped(*sides[-2:])
                for inner in op.called:
                    self._walk(inner, times, trips)

    def _walk_longest(self, op: hlo.Op, times: float, trips: float) -> None:
        """Of several branches the one with the most FLOPs."""
        before, best = (self.flops, dict(self.collectives)), None
        branches = re.findall(r"%([\w.\-]+)", (re.search(r"branch_computations=\{(.*?)\}", op.rest) or [""])[0])
        branches += re.findall(r"(?:true|false)_computation=%?([\w.\-]+)", op.rest)
        for branch in branches:
            self.flops, self.collectives = before[0], dict(before[1])
            self._walk(branch, times, trips)
            if best is None or self.flops > best[0]:
                best = (self.flops, dict(self.collectives))
        self.flops, self.collectives = best or before

    def _collective(self, op: hlo.Op, computation: str, times: float) -> None:
        """One that runs beside products is written down at its start, in each of these, and at its end: it counts at
        its start. An all-reduce of which each device keeps a part is a reduce-scatter."""
        ops = self._module.computations[computation].values()
        if "chain_id=" in op.rest and not any('"AsyncCollectiveStart"' in other.rest for other in ops):
            return
        kind = op.kind.removesuffix("-start")
        if kind == "all-reduce" and "all-reduce-scatter" in computation:
            kind = "reduce-scatter"
        count, size = self.collectives.get(kind, (0.0, 0.0))
        self.collectives[kind] = (count + times, size + times * hlo.largest_bytes(op.shape))
