"""The least time a program can take on a topology, from what the compiler said: a prediction, not a measurement."""

from jaxreason.config import Config
from jaxreason.plan.compile import Finding
from jaxreason.plan.topology import Topology

RING_LINKS = 2
"""Links of a chip that one ring uses, one to each side."""
PASSES = 2
"""An all-reduce sends everything twice round the ring."""


def bound(finding: Finding, config: Config, topology: Topology) -> dict[str, float | None]:
    """Seconds that the products, the memory and the links need at their peak, and the largest of them.

    Memory is a formula: the weights a device computes with, once a forward or backward pass of each micro-batch, or
    once a token when sampling. Links carry what the collectives carry, on one ring.

    Returns:
      matmul_s, memory_s, links_s, bound_s, and mfu: the products' share of the bound. None where the program was not
      compiled.
    """
    if finding.flops is None or finding.flops_compiled is None or finding.arguments_gib is None:
        return {"matmul_s": None, "memory_s": None, "links_s": None, "bound_s": None, "mfu": None}
    chip = topology.chip
    matmul = max(finding.flops, finding.flops_compiled) / topology.devices / chip.flops
    sent = sum(size * (PASSES if kind == "all-reduce" else 1) for kind, (_, size) in finding.collectives.items())
    links = sent / (RING_LINKS * chip.link_bytes)
    memory = _moved(finding, config) / chip.memory_bytes
    slowest = max(matmul, memory, links)
    useful = finding.flops / topology.devices / chip.flops
    return {
        "matmul_s": matmul,
        "memory_s": memory,
        "links_s": links,
        "bound_s": slowest,
        "mfu": useful / slowest if slowest else None,
    }


def _moved(finding: Finding, config: Config) -> float:
    """Bytes a device reads of its weights, whole along their width, and writes of its state."""
    model = config.model
    layer = model.hidden_size * model.head_dim * (2 * model.num_attention_heads + 2 * model.num_key_value_heads)
    layer += 3 * model.hidden_size * model.intermediate_size
    weights = (model.num_hidden_layers * layer + model.vocab_size * model.hidden_size) / config.mesh.tensor
    size = 2 if model.dtype == "bfloat16" else 4
    if finding.name.startswith("sample"):
        return weights * size * max(1, config.sampling.max_completion_length)
    rounds = max(1, finding.tokens // (config.grpo.micro_batch_rows * config.grpo.row_length))
    passes = 3 if finding.name == "update" else 1
    return weights * size * passes * rounds + 2 * (finding.arguments_gib or 0.0) * 2**30
