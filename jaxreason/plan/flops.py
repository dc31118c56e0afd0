"""Matrix-product FLOPs of a program, counted twice: in what was traced (global), and in what was compiled (a device).

Where both agree, no device repeats a product that another one makes. Kernels are in neither count.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f32": 4, "s32": 4, "u32": 4, "f64": 8}
COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")


def traced(jaxpr: Any, trips: int) -> float:
    """FLOPs of all devices together.

    Args:
      jaxpr: an open jaxpr.
      trips: rounds of a `while` whose number is not written in the program.
    """
    total = 0.0
    for eqn in jaxpr.eqns:
        name, params = eqn.primitive.name, eqn.params
        if name == "dot_general":
            (left, _), _ = params["dimension_numbers"]
            inner = math.prod(eqn.invars[0].aval.shape[d] for d in left)
            total += 2.0 * inner * math.prod(eqn.outvars[0].aval.shape)
        elif name in ("ragged_dot", "ragged_dot_general"):
            total += 2.0 * eqn.invars[0].aval.shape[-1] * math.prod(eqn.outvars[0].aval.shape)
        elif name == "pallas_call":
            continue
        elif name == "cond":
            total += max(traced(branch.jaxpr, trips) for branch in params["branches"])
        elif name == "while":
            total += _while_trips(eqn, trips) * traced(params["body_jaxpr"].jaxpr, trips)
        else:
            times = params["length"] if name == "scan" else params["mesh"].size if name == "shard_map" else 1
            total += times * sum(traced(inner, trips) for inner in _inner(params))
    return total


def _while_trips(eqn: Any, trips: int) -> int:
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


_OP = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (.*?) ([\w\-]+)\((.*)$")
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")


class Compiled:
    """The text of a compiled program, one device's."""

    def __init__(self, text: str, trips: int):
        """Read the text; `trips` as for `traced`."""
        self.trips, self.flops, self.collectives = trips, 0.0, {}
        self._computations: dict[str, list[tuple[str, str, str, str]]] = {}
        self._entry = ""
        name = None
        for line in text.splitlines():
            head = re.match(r"^(ENTRY )?%?([\w.\-]+) .*\{\s*$", line)
            if head and "->" in line and not line.startswith(" "):
                name = head[2]
                self._computations[name] = []
                self._entry = name if head[1] else self._entry
            elif name is not None and (op := _OP.match(line)):
                self._computations[name].append((op[1], op[2], op[3], op[4]))
        self._walk(self._entry, 1.0)

    def _walk(self, name: str, times: float) -> None:
        ops = self._computations.get(name, [])
        shapes = {op: shape for op, shape, _, _ in ops}
        for _, shape, kind, rest in ops:
            called = re.findall(r"(?:calls|to_apply|body|called_computations=\{)=?%?([\w.\-]+)", rest)
            if kind == "while":
                body = re.search(r"body=%?([\w.\-]+)", rest)
                condition = re.search(r"condition=%?([\w.\-]+)", rest)
                if body and condition:
                    self._walk(body[1], times * self._rounds(condition[1], body[1], rest))
                continue
            if kind == "conditional":
                before, best = (self.flops, dict(self.collectives)), None
                branches = re.findall(r"%([\w.\-]+)", (re.search(r"branch_computations=\{(.*?)\}", rest) or [""])[0])
                branches += re.findall(r"(?:true|false)_computation=%?([\w.\-]+)", rest)
                for branch in branches:
                    self.flops, self.collectives = before[0], dict(before[1])
                    self._walk(branch, times)
                    if best is None or self.flops > best[0]:
                        best = (self.flops, dict(self.collectives))
                self.flops, self.collectives = best or before
                continue
            if kind in ("dot", "convolution"):
                self.flops += times * _product(shape, kind, rest, shapes)
            base = kind.removesuffix("-start")
            if base in COLLECTIVES and not kind.endswith("-done"):
                count, size = self.collectives.get(base, (0.0, 0.0))
                arrays = [_size(*found) for found in _ARRAY.findall(shape)]
                self.collectives[base] = (count + times, size + times * max(arrays, default=0))
                continue
            if kind in ("fusion", "call", "custom-call", "async-start"):
                for inner in called:
                    if inner in self._computations:
                        self._walk(inner, times)

    def _rounds(self, condition: str, body: str, rest: str) -> int:
        if known := re.search(r"known_trip_count[^\d]*(\d+)", rest):
            return int(known[1])
        constants = [
            int(number)
            for _, shape, kind, text in self._computations.get(condition, [])
            if kind == "constant" and shape.startswith(("s32[]", "u32[]")) and (number := text.split(")")[0]).isdigit()
        ]
        if len(constants) != 1:
            return self.trips
        steps = [
            int(m[1])
            for _, shape, kind, text in self._computations.get(body, [])
            if kind == "constant" and shape.startswith("s32[]") and (m := re.match(r"(\d+)\)", text))
        ]
        step = 2 if steps and 1 not in steps and 2 in steps else 1
        return max(1, constants[0] // step)


def _size(kind: str, sides: str) -> int:
    return BYTES.get(kind, 0) * math.prod(int(side) for side in sides.split(",") if side)


def _sides(shape: str) -> list[int]:
    found = _ARRAY.search(shape)
    return [int(side) for side in found[2].split(",") if side] if found else []


def _product(shape: str, kind: str, rest: str, shapes: Mapping[str, str]) -> float:
    """2 x elements that come out x elements that each is summed over."""
    out = math.prod(_sides(shape))
    operands = re.findall(r"%([\w.\-]+)", rest.split("), ")[0])
    if not operands:
        return 0.0
    if kind == "dot":
        left = _sides(shapes.get(operands[0], ""))
        inner = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", rest)
        return 2.0 * out * math.prod(left[int(d)] for d in (inner[1].split(",") if inner and inner[1] else []))
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", rest)
    right = _sides(shapes.get(operands[1], "")) if len(operands) > 1 else []
    if labels is None or len(right) != len(labels[2]):
        return 0.0
    # A window axis is summed over too, unless dilation or padding lets it hit one place only: then it is a batch axis.
    inner = right[labels[2].index("i")]
    window = re.search(r"window=\{([^}]*)\}", rest)
    fields = dict(part.split("=") for part in window[1].split()) if window else {}
    sizes = [int(n) for n in fields.get("size", "").split("x") if n]
    dilations = fields.get("lhs_dilate", "x".join("1" * len(sizes))).split("x")
    pads = fields.get("pad", "x".join(["0_0"] * len(sizes))).split("x")
    for size, dilation, pad in zip(sizes, dilations, pads, strict=False):
        if dilation == "1" and pad == "0_0":
            inner *= size
    return 2.0 * out * inner
