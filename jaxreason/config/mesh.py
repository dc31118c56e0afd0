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
    experts: Axes = ("tensor",)
    """splits the experts of a mixture: a device computes those it holds. Over an axis that splits rows too (fsdp), the
    tokens of its devices are gathered for it, so that suits few tokens. What embed and mlp have besides cuts an
    expert's matrices as it cuts a dense layer's"""

    @property
    def expert_embed(self) -> Axes:
        """What splits the width D of experts' matrices."""
        return tuple(axis for axis in self.embed if axis not in self.experts)

    @property
    def expert_mlp(self) -> Axes:
        """What splits the inner width of an expert."""
        return tuple(axis for axis in self.mlp if axis not in self.experts)

    def __post_init__(self):
        require(self.replica >= 1, "mesh.replica", "at least 1", self.replica)
        require(self.fsdp == -1 or self.fsdp >= 1, "mesh.fsdp", "at least 1, or -1 for the devices left", self.fsdp)
        require(self.tensor >= 1, "mesh.tensor", "at least 1", self.tensor)
        for field in dataclasses.fields(self)[3:]:
            axes = getattr(self, field.name)
            require(len(set(axes)) == len(axes), f"mesh.{field.name}", "each axis at most once", axes)


@dataclasses.dataclass(frozen=True)
class DistributedConfig:
    """The processes of a run on several hosts, the same command on each."""

    coordinator_address: str = ""
    """host:port of process 0; empty: what the TPU machines say, or a process of its own elsewhere"""
    num_processes: int = 0
    """processes there are; 0: as the TPU machines say; 1: this one alone"""
    process_id: int = -1
    """number of this process, from 0; -1: as the TPU machines say"""

    def __post_init__(self):
        require(self.num_processes >= 0, "distributed.num_processes", "at least 0", self.num_processes)
        if self.coordinator_address:
            require(self.num_processes >= 1, "distributed.num_processes", "at least 1 with an address", 0)
            require(
                0 <= self.process_id < self.num_processes,
                "distributed.process_id",
                f"in 0..{self.num_processes - 1}",
                self.process_id,
            )
