"""What a configuration would need, by formula alone: good enough to say which one to compile first."""

from typing import NamedTuple

from jaxreason.config import Config
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.plan import roofline
from jaxreason.plan.programs import packed_work
from jaxreason.plan.sampling import reasoner_work
from jaxreason.plan.topology import Topology
from jaxreason.policy import footprint
from jaxreason.run import programs
from jaxreason.run import state as run_state
from jaxreason.sampling.engine import copies_held
from jaxreason.sampling.room import PAGE, room_for

GIB = 2**30


class Estimate(NamedTuple):
    """Of a step's two largest programs on one device."""

    update_gib: float
    sample_gib: float
    seconds: float

    @property
    def gib(self) -> float:
        """The larger of the two."""
        return max(self.update_gib, self.sample_gib)


def estimate(config: Config, tokenizer: Tokenizer, num_params: int, topology: Topology) -> Estimate:
    """Memory and time of update and sampling.

    Args:
      config: its mesh in numbers, its vocabulary known.
    """
    shape = programs.update_shapes(config, tokenizer)[-1]
    update, sample = packed_work(shape, 3), reasoner_work(config)
    batch = roofline.parts(config.mesh, "batch")
    tokens = shape.micro_batch_rows * shape.row_length / batch
    T = config.sampling.max_completion_length
    room = room_for(config.sampling, config.data.prompts_per_step * config.sampling.num_generations, T)
    size = 2 if config.model.dtype == "bfloat16" else 4
    weights = roofline.weights(config) * size
    head = config.model.vocab_size * config.model.hidden_size / config.mesh.tensor
    logits = max(config.model.logp_chunk / batch, 1) * config.model.vocab_size / config.mesh.tensor
    split = config.mesh.fsdp * config.mesh.tensor
    params = num_params * footprint.number_size(config.model.param_dtype)
    trained, adapted = params, config.lora.wanted
    if adapted:
        trained = footprint.num_trained(config.model, config.lora) * footprint.FLOAT32
    # What is trained with Adam's moments, and the starting policy.
    held = (3 * trained + (params if run_state.keeps_start(config) else 0)) / split
    # Sums of gradients; the head, its gradient and a copy; logits, their gradient and one more.
    update_bytes = (
        held
        + trained / split
        + (1 if adapted else 3) * head * size
        + 3 * logits * 4
        + footprint.activations(config.model, tokens, config.mesh.tensor)
    )
    P, G = config.data.prompts_per_step, config.sampling.num_generations
    cache = copies_held(room.slots, P, G, room.shares) * config.data.max_prompt_length
    cache += room.pages * PAGE or room.slots * T
    cache *= footprint.token_bytes(config.model)
    cache /= batch * roofline.parts(config.mesh, "kv_heads")
    sample_bytes = held + weights + cache
    sample_bytes += 2 * room.slots / batch * config.model.vocab_size / config.mesh.tensor * 4
    chip = topology.chip
    again = 4 / 3 if config.model.remat else 1.0
    products = roofline.useful(update, config) * again / topology.devices / chip.flops
    seconds = products + sent(config, update.trips, tokens, weights) / (roofline.RING_LINKS * chip.link_bytes)
    drawn = roofline.moved(sample, 0.0, config) / chip.memory_bytes
    drawn += roofline.useful(sample, config) / topology.devices / chip.flops
    return Estimate(update_bytes / GIB, sample_bytes / GIB, seconds + drawn)


def sent(config: Config, rounds: int, tokens: float, weights: float) -> float:
    """Bytes an update sends through a device's links: weights to where they are used and gradients back, once each
    pass of a micro-batch, and two sums of the activations a layer and pass where devices share rows."""
    passes = 3 if config.model.remat else 2
    gathered = (passes + 1) * weights * rounds if config.mesh.fsdp > 1 else 0.0
    size = 2 if config.model.dtype == "bfloat16" else 4
    summed = 2 * (passes + 1) * roofline.PASSES * tokens * size * config.model.hidden_size
    shared = summed * config.model.num_hidden_layers * rounds if config.mesh.tensor > 1 else 0.0
    return gathered + shared
