"""The text of a compiled program, one device's, taken apart: its computations, and how often a loop runs."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

_OP = re.compile(r"^\s*(ROOT )?%?([\w.\-]+) = (.*?) ([\w\-]+)\((.*)$")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{\s*$")
_CALLED = re.compile(r"(?:calls|to_apply|body|called_computations=\{)=?%?([\w.\-]+)")
_SAME = ("copy", "bitcast", "convert", "copy-done", "copy-start")


class Op(NamedTuple):
    """One line: `%name = shape kind(rest`."""

    name: str
    shape: str
    kind: str
    rest: str

    @property
    def operands(self) -> list[str]:
        """Names of what it is given."""
        return re.findall(r"%([\w.\-]+)", re.split(r"\)(?:, |$)", self.rest, maxsplit=1)[0])

    @property
    def called(self) -> list[str]:
        """Names of the computations it enters, or that a string of its attributes looks like."""
        return _CALLED.findall(self.rest)

    def attribute(self, name: str) -> str:
        """The name behind `name=%`, "" where there is none."""
        found = re.search(rf"\b{name}=%?([\w.\-]+)", self.rest)
        return found[1] if found else ""


class _Number(NamedTuple):
    """A number that is known but for the element of a tuple that it counts from; counter is None where none is."""

    counter: int | None
    plus: int


class Module:
    """Computations by name, each its operations by name in order."""

    def __init__(self, text: str):
        """Read the text; attributes may go on over several lines, which are skipped."""
        self.computations: dict[str, dict[str, Op]] = {}
        self.entry = ""
        self._roots: dict[str, Op] = {}
        name = None
        for line in text.splitlines():
            head = None if line.startswith(" ") else _HEAD.match(line)
            if head and "->" in line:
                name = head[2]
                self.computations[name] = {}
                self.entry = name if head[1] else self.entry
            elif name is not None and (found := _OP.match(line)):
                op = Op(*found.groups()[1:])
                self.computations[name][op.name] = op
                if found[1]:
                    self._roots[name] = op

    def rounds(self, loop: Op) -> int | None:
        """How often a `while` runs: (limit - start) / step, all three written in the program; None where one is not.

        A start that is not found is taken for 0.
        """
        if known := re.search(r"known_trip_count[^\d]*(\d+)", loop.rest):
            return int(known[1])
        condition, body = loop.attribute("condition"), loop.attribute("body")
        asked, after = self._compared(condition), self._roots.get(body)
        if asked is None or after is None or after.kind != "tuple":
            return None
        counter, limit = asked
        if counter >= len(after.operands):
            return None
        stepped = self._value(body, after.operands[counter], ())
        if stepped is None or stepped.counter != counter or stepped.plus <= 0:
            return None
        return max(0, -(-(limit - self._start(loop, counter)) // stepped.plus))

    def _compared(self, condition: str) -> tuple[int, int] | None:
        """(element of the loop's tuple that is counted, what it stays below)."""
        root, arguments, where = self._roots.get(condition), (), condition
        if root is not None and root.kind == "fusion" and root.called:
            arguments = tuple(self._value(condition, name, ()) for name in root.operands)
            where = root.called[0]
            root = self._roots.get(where)
        if root is None or root.kind != "compare" or len(root.operands) != 2:
            return None
        left, right = (self._value(where, name, arguments) for name in root.operands)
        if "direction=GT" in root.rest:
            left, right = right, left
        elif "direction=LT" not in root.rest:
            return None
        if left is None or right is None or left.counter is None or right.counter is not None:
            return None
        return left.counter, right.plus - left.plus

    def _start(self, loop: Op, counter: int) -> int:
        for ops in self.computations.values():
            if ops.get(loop.name) is loop and loop.operands and (given := ops.get(loop.operands[0])) is not None:
                if given.kind == "tuple" and counter < len(given.operands):
                    ops_name = next(name for name, held in self.computations.items() if held is ops)
                    found = self._value(ops_name, given.operands[counter], ())
                    return found.plus if found is not None and found.counter is None else 0
        return 0

    def _value(self, where: str, name: str, arguments: Sequence[_Number | None]) -> _Number | None:
        """An integer that is a constant, an element of the tuple that a loop carries, or a sum with such."""
        op = self.computations[where].get(name)
        if op is None:
            return None
        if op.kind == "constant":
            found = re.match(r"(-?\d+)\)", op.rest)
            return _Number(None, int(found[1])) if found else None
        if op.kind == "parameter":
            number = int(op.rest.split(")")[0])
            return arguments[number] if number < len(arguments) else None
        if op.kind == "get-tuple-element":
            source = self.computations[where].get(op.operands[0])
            found = re.search(r"index=(\d+)", op.rest)
            return _Number(int(found[1]), 0) if found and source and source.kind == "parameter" else None
        if op.kind in _SAME:
            return self._value(where, op.operands[0], arguments)
        if op.kind == "add" and len(op.operands) == 2:
            left, right = (self._value(where, operand, arguments) for operand in op.operands)
            if left is None or right is None or None not in (left.counter, right.counter):
                return None
            return _Number(right.counter if left.counter is None else left.counter, left.plus + right.plus)
        if op.kind == "fusion" and op.called and (root := self._roots.get(op.called[0])) is not None:
            given = tuple(self._value(where, operand, arguments) for operand in op.operands)
            return self._value(op.called[0], root.name, given)
        return None


_ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f32": 4, "s32": 4, "u32": 4, "f64": 8}


def arrays(shape: str) -> list[tuple[str, list[int]]]:
    """Type and sides of every array of a shape.

    >>> arrays("(bf16[2,3]{1,0:T(8,128)}, s32[])")
    [('bf16', [2, 3]), ('s32', [])]
    """
    return [(kind, [int(side) for side in sides.split(",") if side]) for kind, sides in _ARRAY.findall(shape)]


def sides(shape: str) -> list[int]:
    """Sides of the first array of a shape."""
    found = arrays(shape)
    return found[0][1] if found else []


def largest_bytes(shape: str) -> int:
    """Bytes of the largest array of a shape."""
    return max((BYTES.get(kind, 0) * math.prod(sides) for kind, sides in arrays(shape)), default=0)


def product(op: Op, shapes: Mapping[str, str]) -> float:
    """FLOPs of a `dot` or a `convolution`: 2 x elements that come out x elements that each is summed over."""
    out = math.prod(sides(op.shape))
    operands = op.operands
    if not operands:
        return 0.0
    if op.kind == "dot":
        left = sides(shapes.get(operands[0], ""))
        inner = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", op.rest)
        return 2.0 * out * math.prod(left[int(d)] for d in (inner[1].split(",") if inner and inner[1] else []))
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", op.rest)
    right = sides(shapes.get(operands[1], "")) if len(operands) > 1 else []
    if labels is None or len(right) != len(labels[2]):
        return 0.0
    # A window axis is summed over too, unless dilation or padding lets it hit one place only: then it is a batch axis.
    inner = right[labels[2].index("i")]
    window = re.search(r"window=\{([^}]*)\}", op.rest)
    fields = dict(part.split("=") for part in window[1].split()) if window else {}
    sizes = [int(n) for n in fields.get("size", "").split("x") if n]
    dilations = fields.get("lhs_dilate", "x".join("1" * len(sizes))).split("x")
    pads = fields.get("pad", "x".join(["0_0"] * len(sizes))).split("x")
    for size, dilation, pad in zip(sizes, dilations, pads, strict=False):
        if dilation == "1" and pad == "0_0":
            inner *= size
    return 2.0 * out * inner
