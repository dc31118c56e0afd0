"""What a run takes of one GPU's memory, by formula alone: no GPU is needed, and nothing is compiled."""

import os
from collections.abc import Callable

from jaxreason.config import Config
from jaxreason.ops.attention_mesh import elsewhere
from jaxreason.parallel import mesh as meshes
from jaxreason.plan.prepare import prepare
from jaxreason.policy import footprint
from jaxreason.run import room
from jaxreason.run import state as run_state
from jaxreason.run.memory import GIB, Memory

FRACTION = 0.75
"""Of a GPU's memory what JAX takes, if its environment does not say otherwise."""
VARIABLES = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")


def plan(config: Config, gib: float, say: Callable[[str], None] = lambda line: None) -> dict:
    """Memory of a training run on one GPU.

    Args:
      gib: the card's memory.
      say: is told what was assumed.

    Returns:
      memory_gib and free_gib (that JAX takes of it); held_gib throughout; update_gib and sampling_gib beside that, one
      after the other; params and trained_params; slots, pages, packed_rows and row_length.

    Raises:
      ValueError: it does not fit, with the remedy; or the configuration wants several devices.
    """
    if gib <= 0:
        raise ValueError(f"--gpu: expected the GPU's memory in GiB, above 0, got {gib:g}")
    free = int(_fraction() * gib * GIB)
    with elsewhere("gpu"):
        exp = prepare(config, say)
        meshes.fit(exp.config, range(1))
        exp = room.fit_training(exp, elsewhere=Memory(free, free))
        held, update, sampling = (size / GIB for size in room.taken(exp))
    config = exp.config
    return {
        "memory_gib": gib,
        "free_gib": free / GIB,
        "held_gib": held,
        "update_gib": update,
        "sampling_gib": sampling,
        "params": footprint.num_params(config.model),
        "trained_params": footprint.num_trained(config.model, config.lora),
        "rank": config.lora.r,
        "start_held": run_state.keeps_start(config),
        "slots": config.sampling.slots,
        "pages": config.sampling.pages,
        "packed_rows": config.grpo.packed_rows,
        "row_length": config.grpo.row_length,
    }


def lines(found: dict) -> list[str]:
    """What `plan` returns, a line a fact."""
    if found["rank"]:
        state = "the frozen policy, which is the starting policy as well; adapters with Adam's two moments"
    else:
        state = f"the policy with Adam's two moments{'; the starting policy' if found['start_held'] else ''}"
    rank = f" in adapters of rank {found['rank']}" if found["rank"] else ""
    peak = found["held_gib"] + max(found["update_gib"], found["sampling_gib"])
    return [
        f"one GPU of {found['memory_gib']:g} GiB, of which JAX takes {found['free_gib']:.1f}; "
        f"{found['params'] / 1e6:,.0f}M parameters, {found['trained_params'] / 1e6:,.1f}M trained{rank}",
        f"{'held':10}{found['held_gib']:7.2f} GiB  {state}",
        f"{'update':10}{found['update_gib']:7.2f} GiB  {found['packed_rows']} packed rows of {found['row_length']} "
        "tokens a micro-batch, gradients, logits",
        f"{'sampling':10}{found['sampling_gib']:7.2f} GiB  {found['slots']} slots, {found['pages']} pages of keys and "
        "values, layers cut apart for decoding",
        f"fits: {peak:.2f} GiB, held and the larger of the other two; estimates by formula, nothing was compiled",
    ]


def _fraction() -> float:
    for variable in VARIABLES:
        if given := os.environ.get(variable):
            return float(given)
    return FRACTION
