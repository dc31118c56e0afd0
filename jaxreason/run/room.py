"""How many pages of keys and values the devices of a run hold: what `sampling.pages: auto` means."""

import dataclasses
import os

import jax

from jaxreason.config import Config
from jaxreason.parallel import hosts
from jaxreason.parallel.rules import parts_of, whole_batch
from jaxreason.sampling.room import PAGE, token_bytes

SHARE = 4
"""One part in so many of a device's memory is for the pages; the rest is for state, weights and an update."""


def with_pages(config: Config, memory: int | None = None) -> Config:
    """A configuration with `sampling.pages` in numbers, on the mesh in force.

    Every device has pages for one completion at least, however long; a slot takes more only as its completion grows.

    Args:
      memory: bytes of a device; None: of the devices in force, the smallest of all hosts.

    Raises:
      ValueError: fewer pages than a completion of sampling.max_completion_length needs on each device.
    """
    parts, limit = whole_batch(1), config.sampling.max_completion_length
    least = parts * -(-limit // PAGE)
    pages = config.sampling.pages
    if pages == "auto":
        memory = min(hosts.gather(device_memory())) if memory is None else memory
        models = (config.model, config.for_helpers.model)
        page = max(PAGE * token_bytes(model) // parts_of("kv_heads", model.num_key_value_heads) for model in models)
        pages = max(least, parts * (memory // SHARE // page))
    if pages < least:
        raise ValueError(
            f"sampling.pages: expected at least {least}, since a completion of sampling.max_completion_length={limit} "
            f"takes {least // parts} pages of {PAGE} tokens on its device, got {pages}; raise it"
        )
    return dataclasses.replace(config, sampling=dataclasses.replace(config.sampling, pages=pages))


def device_memory() -> int:
    """Bytes of memory of a device of this process; of a CPU the machine's, in equal shares."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // jax.local_device_count()
