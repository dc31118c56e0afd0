"""The tensors of a Hugging Face checkpoint onto the devices, each device's own slices and no more.

A stacked leaf is filled on the devices, one layer at a time, so the host holds a tensor or two at a time, never a
model.
"""

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from jaxreason.config import ModelConfig
from jaxreason.policy import api, hf_names
from jaxreason.policy.hf_files import Tensors
from jaxreason.policy.hf_names import Slab
from jaxreason.types import Params

TYPES = {"BF16": np.dtype(ml_dtypes.bfloat16), "F32": np.dtype(np.float32)}
"""Types of stored tensors, as safetensors writes them."""
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
SHOWN = 4
"""Tensors named in an error, of each kind."""
ROWS = 4096
"""Rows of a head that are compared with the embedding's at a time."""


def load(
    folder: str | Path,
    config: ModelConfig,
    shardings: Params | None = None,
    advance: Callable[[int], None] = lambda n: None,
) -> Params:
    """The parameters of a checkpoint, as config.param_dtype.

    Args:
      folder: with model.safetensors, or its parts and their index.
      config: as `hf_config.model_config` read it there.
      shardings: tree of NamedSharding or SingleDeviceSharding like the parameters; None: all on the first device.
      advance: told how many more tensors are loaded; `hf_names.num_tensors(config)` in all.

    Raises:
      ValueError: no such files, or damaged ones; tensors that are missing, left over, of another shape or of another
        type than bfloat16 and float32, named; a stored head that is not the embedding it should be.
    """
    folder = Path(folder)
    tree = api.shapes(config)
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    one = SingleDeviceSharding(jax.devices()[0])
    placed = jax.tree.leaves(shardings or jax.tree.map(lambda _: one, tree))
    with Tensors(folder) as stored:
        types = _check(folder, stored, config)
        arrays = []
        for (path, leaf), sharding in zip(leaves, placed, strict=True):
            parts = hf_names.slabs(hf_names.keys(path), leaf.shape, config)
            arrays.append(_leaf(stored, types, leaf, parts, sharding, advance))
    return jax.tree.unflatten(structure, arrays)


def stored_type(folder: str | Path) -> str | None:
    """`bfloat16` or `float32`, the type that most numbers of a checkpoint are stored in; None for another.

    Raises:
      ValueError: no such files, or damaged ones.
    """
    sizes: dict[str, int] = {}
    with Tensors(Path(folder)) as stored:
        for shape, kind in stored.describe().values():
            sizes[kind] = sizes.get(kind, 0) + math.prod(shape)
    most = max(sizes, key=sizes.__getitem__, default="")
    return str(TYPES[most]) if most in TYPES else None


def _leaf(stored: Tensors, types, leaf, parts: Sequence[Slab], sharding: Sharding, advance) -> jax.Array:
    if parts[0].at is None:
        array = _converted(leaf.dtype, sharding)(_slab(stored, types, parts[0], leaf.shape, sharding))
        advance(1)
        return array
    stack = _empty(leaf.shape, leaf.dtype, sharding)()
    for part in parts:
        slab = _slab(stored, types, part, leaf.shape[1:], _behind_first(sharding, leaf.ndim))
        # Waiting keeps the host to one slab; without it they would queue up before a slower device.
        stack = jax.block_until_ready(_placed(sharding, part.swapped)(stack, slab, part.at))
        advance(len(part.names))
    return stack


def _slab(stored: Tensors, types, part: Slab, shape: tuple[int, ...], sharding: Sharding) -> jax.Array:
    """A slab on its devices, its last two axes and its type still as stored."""
    if part.swapped:
        shape, sharding = (*shape[:-2], shape[-1], shape[-2]), _swapped(sharding, len(shape))
    dtype = max((types[name] for name in part.names), key=lambda kind: kind.itemsize)
    held = {}  # a slice that several devices share is read once

    def read(index: Any) -> np.ndarray:
        bounds = tuple(s.indices(n)[:2] for s, n in zip(index, shape, strict=True))
        if bounds not in held:
            at = tuple(slice(*bound) for bound in bounds)
            if part.experts:
                held[bounds] = np.empty([high - low for low, high in bounds], dtype)
                for place, name in enumerate(part.names[at[0]]):
                    held[bounds][place] = stored.read(name, at[1:])
            else:
                held[bounds] = stored.read(part.names[0], at)
        return held[bounds]

    return jax.make_array_from_callback(shape, sharding, read)


@functools.cache
def _empty(shape: tuple[int, ...], dtype, sharding: Sharding):
    return jax.jit(lambda: jnp.zeros(shape, dtype), out_shardings=sharding)


@functools.cache
def _converted(dtype, sharding: Sharding):
    return jax.jit(lambda x: x.astype(dtype), out_shardings=sharding)


@functools.cache
def _placed(sharding: Sharding, swapped: bool):
    def place(stack, slab, at):
        slab = jnp.swapaxes(slab, -1, -2) if swapped else slab
        return jax.lax.dynamic_update_index_in_dim(stack, slab.astype(stack.dtype), at, 0)

    return jax.jit(place, donate_argnums=0, out_shardings=sharding)


def _axes(sharding: Sharding, rank: int) -> tuple[NamedSharding | None, list]:
    """A sharding and the mesh axes of each array axis; None for one device."""
    if isinstance(sharding, SingleDeviceSharding):
        return None, []
    if not isinstance(sharding, NamedSharding):
        raise TypeError(f"shardings: expected NamedSharding or SingleDeviceSharding, got {type(sharding).__name__}")
    return sharding, [*sharding.spec, *[None] * (rank - len(sharding.spec))]


def _behind_first(sharding: Sharding, rank: int) -> Sharding:
    named, axes = _axes(sharding, rank)
    return sharding if named is None else named.update(spec=PartitionSpec(*axes[1:]))


def _swapped(sharding: Sharding, rank: int) -> Sharding:
    named, axes = _axes(sharding, rank)
    return sharding if named is None else named.update(spec=PartitionSpec(*axes[:-2], axes[-1], axes[-2]))


def _check(folder: Path, stored: Tensors, config: ModelConfig) -> dict[str, np.dtype]:
    """The type of every stored tensor; refuse a checkpoint that is not this model's."""
    wanted, held = hf_names.tensors(config), stored.describe()
    spare = {HEAD} if config.tie_word_embeddings else set()
    faults = [
        _some("missing", [name for name in wanted if name not in held]),
        _some("left over", sorted(held.keys() - wanted.keys() - spare)),
        _some(
            "of another shape",
            [
                f"{name} {list(held[name][0])} instead of {list(shape)}"
                for name, shape in wanted.items()
                if name in held and held[name][0] != shape
            ],
        ),
        _some(
            "neither bfloat16 nor float32",
            [f"{name} {kind}" for name, (_, kind) in held.items() if name in wanted and kind not in TYPES],
        ),
    ]
    if any(faults):
        raise ValueError(
            f"{folder}: expected the tensors of its config.json, got {'; '.join(filter(None, faults))}. "
            "Were weights and config.json of one checkpoint downloaded whole?"
        )
    if config.tie_word_embeddings and HEAD in held:
        _check_head(folder, stored, held)
    return {name: TYPES[held[name][1]] for name in wanted}


def _some(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} {what}: {', '.join(names[:SHOWN])}{more}"


def _check_head(folder: Path, stored: Tensors, held: dict[str, tuple[tuple[int, ...], str]]) -> None:
    """A head stored beside the embedding it is tied to: another one would silently be lost."""
    same = held[HEAD] == held[EMBEDDING]
    size = held[EMBEDDING][0][0]
    for row in range(0, size, ROWS) if same else ():
        rows = (slice(row, min(row + ROWS, size)), slice(None))
        one, other = stored.read(HEAD, rows), stored.read(EMBEDDING, rows)
        same = same and one.tobytes() == other.tobytes()
    if not same:
        raise ValueError(
            f"{folder}: {HEAD} is not {EMBEDDING}, though config.json says tie_word_embeddings=true; "
            "set it to false there if the head is meant to be its own"
        )
