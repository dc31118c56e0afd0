"""TPU topologies by name: what a user types, what libtpu takes, and what a chip can do. Nothing here loads JAX."""

import dataclasses

SHAPES = {
    "v4": ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "8x8x8"),
    "v5e": ("1x1", "2x2", "2x4", "2x8", "4x4", "4x8", "8x8", "8x16", "16x16"),
    "v5p": ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "8x8x8", "16x16x16"),
    "v6e": ("1x1", "2x2", "2x4", "2x8", "4x4", "4x8", "8x8", "8x16", "16x16"),
    "tpu7x": ("2x2x1", "4x4x4"),
}
"""Shapes that exist. libtpu takes others too, and ends the process on some."""

DEVICES_A_CHIP = {"tpu7x": 2}
PRODUCTS = {"v4": ("v4", 2), "v5litepod": ("v5e", 1), "v5e": ("v5e", 1), "v5p": ("v5p", 2), "v6e": ("v6e", 1)}
"""Product's name before the dash -> family, and what the number behind it counts a chip: cores or chips."""


@dataclasses.dataclass(frozen=True)
class Chip:
    """What one device can do at most; of tpu7x a device is half a chip."""

    memory_gib: float  # that libtpu 0.0.42.1 lets a program have
    flops: float  # bf16, a second
    memory_bytes: float  # a second
    link_bytes: float  # a second, one link, one way


CHIPS = {
    "v4": Chip(30.75, 275e12, 1.23e12, 45e9),
    "v5e": Chip(15.75, 197e12, 0.82e12, 45e9),
    "v5p": Chip(95.74, 459e12, 2.77e12, 90e9),
    "v6e": Chip(31.25, 918e12, 1.64e12, 90e9),
    "tpu7x": Chip(94.75, 1153e12, 3.69e12, 100e9),
}


@dataclasses.dataclass(frozen=True)
class Topology:
    """One slice or several of them."""

    family: str
    shape: str
    slices: int = 1

    @property
    def name(self) -> str:
        """As libtpu takes it."""
        return f"{self.family}:{self.shape}"

    @property
    def devices(self) -> int:
        """In all slices."""
        return self.slices * _devices(self.family, self.shape)

    @property
    def chip(self) -> Chip:
        """What a device can do."""
        return CHIPS[self.family]


def parse(name: str, slices: int = 1) -> Topology:
    """A topology by its shape (`v5p:2x2x4`) or by a product's name (`v5p-32`, which counts cores, `v5litepod-16`).

    Raises:
      ValueError: one that does not exist, with those of the family that do.

    >>> parse("v5p-32") == parse("v5p:2x2x4"), parse("v5litepod-16", slices=2).devices
    (True, 32)
    """
    if slices < 1:
        raise ValueError(f"--slices: expected at least 1, got {slices}")
    family, shape = name.partition(":")[::2]
    if not shape and "-" in name:
        product, number = name.rsplit("-", 1)
        family, counted = PRODUCTS.get(product, ("", 1))
        sizes = {str(counted * _devices(family, shape)): shape for shape in SHAPES.get(family, ())}
        if family and number not in sizes:
            raise ValueError(
                f"--topology: expected {product}- and one of {', '.join(sizes)}, got {name}; for other shapes of "
                f"{family} write {family}:AxB"
            )
        shape = sizes.get(number, "")
    if family not in SHAPES:
        raise ValueError(
            f"--topology: expected a family of {', '.join(SHAPES)}, such as v5p:2x2x4 or v5litepod-16, got {name}"
        )
    if shape not in SHAPES[family]:
        raise ValueError(f"--topology: expected {family}: and one of {', '.join(SHAPES[family])}, got {name}")
    return Topology(family, shape, slices)


def _devices(family: str, shape: str) -> int:
    count = DEVICES_A_CHIP.get(family, 1)
    for side in shape.split("x"):
        count *= int(side)
    return count
