"""How devices are arranged, and what is split over them."""

import dataclasses
from typing import Literal

from jaxreason.config.require import require

Axes = tuple[Literal["replica", "fsdp", "tensor"], ...]
"""Mesh axes that something is split over; none: every device holds all of it."""


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices in a grid of replica x fsdp x tensor, and which of these axes splits what."""

    replica: int = 1
    """copies of the parameters, each with rows of its own (data parallelism between slices)"""
    fsdp: int = -1
    """parts that parameters and optimiser are cut into, each with rows of its own; -1: the devices that are left, or in
    one process as many of them as divide model and batch"""
    tensor: int = 1
    """devices that share each row, every one with some of the heads (for fast links)"""
    batch: Axes = ("replica", "fsdp")
    """splits prompts, rollouts, caches and packed rows"""
    embed: Axes = ("fsdp",)
    """splits the width D of parameters and optimiser state"""
    vocab: Axes = ("tensor",)
    """splits the vocabulary"""
    heads: Axes = ("tensor",)
    """splits query heads"""
    kv_heads: Axes = ("tensor",)
    """splits key/value heads, in caches too"""
    mlp: Axes = ("tensor",)
    """splits the inner width of the feed-forward layers"""
    experts: Axes = ("fsdp",)
    """splits the experts of a mixture"""

    def __post_init__(self):
        require(self.replica >= 1, "mesh.replica", "at least 1", self.replica)
        require(self.fsdp == -1 or self.fsdp >= 1, "mesh.fsdp", "at least 1, or -1 for the devices left", self.fsdp)
        require(self.tensor >= 1, "mesh.tensor", "at least 1", self.tensor)
        for field in dataclasses.fields(self)[3:]:
            axes = getattr(self, field.name)
            require(len(set(axes)) == len(axes), f"mesh.{field.name}", "each axis at most once", axes)
