"""The least time a program can take on a topology, from what the compiler said: a prediction, not a measurement."""

import math

from jaxreason.config import Config, MeshConfig
from jaxreason.plan.compile import Finding
from jaxreason.plan.topology import Topology
from jaxreason.plan.work import Work

RING_LINKS = 2
"""Links of a chip that one ring uses, one to each side."""
PASSES = 2
"""An all-reduce sends everything twice round the ring."""


def bound(finding: Finding, config: Config, topology: Topology) -> dict[str, float | None]:
    """Seconds that the products, the memory and the links need at their peak, and the largest of them.

    Memory is a formula: see `moved`. Links carry what the collectives carry, on one ring.

    Returns:
      matmul_s, memory_s, links_s, bound_s of a call, and mfu: the share of the peak that `useful` products would have
      in that time. None where the program was not compiled.
    """
    if finding.flops is None or finding.flops_compiled is None or finding.arguments_gib is None:
        return {"matmul_s": None, "memory_s": None, "links_s": None, "bound_s": None, "mfu": None}
    chip = topology.chip
    matmul = max(finding.flops, finding.flops_compiled) / topology.devices / chip.flops
    sent = sum(size * (PASSES if kind == "all-reduce" else 1) for kind, (_, size) in finding.collectives.items())
    links = sent / (RING_LINKS * chip.link_bytes)
    memory = moved(finding.work, finding.arguments_gib * 2**30, config) / chip.memory_bytes
    slowest = max(matmul, memory, links)
    return {
        "matmul_s": matmul,
        "memory_s": memory,
        "links_s": links,
        "bound_s": slowest,
        "mfu": useful(finding.work, config) / topology.devices / chip.flops / slowest if slowest else None,
    }


def useful(work: Work, config: Config) -> float:
    """FLOPs of the products that the mathematics asks for, all devices together: 2 a weight and token and pass, and
    attention. What is computed again in the backward pass is not useful."""
    model = config.model
    layers = sum(_layer(config, y, model.num_experts_per_tok) for y in range(model.num_hidden_layers))
    head = model.vocab_size * model.hidden_size
    attended = 4.0 * model.num_attention_heads * model.head_dim * model.num_hidden_layers * work.pairs
    return work.passes * (2.0 * (layers * work.tokens + head * work.predicted) + attended)


def moved(work: Work, arguments: float, config: Config) -> float:
    """Bytes a device reads and writes at least.

    Weights: those a device computes with, whole along their width, once a pass of each micro-batch, or once a token
    when sampling; of experts as many as there are tokens for. The cache: its part of what `Work.cache_bytes` counts.
    The state: once in and once out, where there is one.

    Args:
      arguments: bytes of what the program is given on a device.
    """
    rows = work.tokens // work.trips  # an upper limit of the tokens of a round
    size = 2 if config.model.dtype == "bfloat16" else 4
    read = weights(config, rows, head=work.predicted > 0) * size * work.passes * work.trips
    state = 2 * arguments if work.passes > 1 else 0.0
    return read + work.cache_bytes / (parts(config.mesh, "batch") * parts(config.mesh, "kv_heads")) + state


def weights(config: Config, tokens: int | None = None, *, head: bool = True) -> float:
    """Weights that a device computes with: whole along their width, of experts as many as so many tokens reach."""
    model, mesh = config.model, config.mesh
    reached = model.num_experts if tokens is None else min(model.num_experts, model.num_experts_per_tok * tokens)
    layers = sum(_layer(config, y, reached, mesh) for y in range(model.num_hidden_layers))
    return layers + (model.vocab_size * model.hidden_size / parts(mesh, "vocab") if head else 0.0)


def _layer(config: Config, layer: int, experts: int, mesh: MeshConfig | None = None) -> float:
    """Weights of a layer with so many of its experts; on a mesh those that one device computes with."""
    model = config.model
    names = ("heads", "kv_heads", "mlp", "experts", "expert_mlp")
    heads, few, mlp, expert, inner = (parts(mesh, name) if mesh else 1 for name in names)
    width = model.hidden_size * model.head_dim
    attention = width * (2 * model.num_attention_heads / heads + 2 * model.num_key_value_heads / few)
    sparse, _ = model.layer_kind(layer)
    if not sparse:
        return attention + 3 * model.hidden_size * model.intermediate_size / mlp
    return attention + 3 * model.hidden_size * model.moe_intermediate_size * experts / (expert * inner)


def parts(mesh: MeshConfig, name: str) -> int:
    """Parts that the mesh splits an axis of this name into."""
    return math.prod(getattr(mesh, axis) for axis in getattr(mesh, name))
