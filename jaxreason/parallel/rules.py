"""What stands on which devices: a logical name for each axis of each array, and the mesh axes a name is split over.

The names of parameters are in `PARAMETERS`; which mesh axes a name means is `config.MeshConfig`. Both the mesh and the
section are ambient inside `mesh.on_mesh`; without it every function here leaves arrays where they are.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding

from jaxreason.config import MeshConfig

Names = Sequence[str | None]
"""A name an axis; None for an axis that is never split."""

RULES = jax.make_user_context(None)
"""The MeshConfig in force. JAX keeps it among what a compiled program depends on."""

PARAMETERS: dict[str, tuple[str | None, ...]] = {
    "embed_tokens": ("vocab", "embed"),
    "lm_head": ("vocab", "embed"),
    "norm/scale": (None,),
    "input_layernorm/scale": (None, None),
    "post_attention_layernorm/scale": (None, None),
    "q_norm/scale": (None, None),
    "k_norm/scale": (None, None),
    "q_proj/kernel": (None, "embed", "heads"),
    "k_proj/kernel": (None, "embed", "kv_heads"),
    "v_proj/kernel": (None, "embed", "kv_heads"),
    "q_proj/bias": (None, "heads"),
    "k_proj/bias": (None, "kv_heads"),
    "v_proj/bias": (None, "kv_heads"),
    "o_proj/kernel": (None, "heads", "embed"),
    "gate_proj/kernel": (None, "embed", "mlp"),
    "up_proj/kernel": (None, "embed", "mlp"),
    "down_proj/kernel": (None, "mlp", "embed"),
    "router/kernel": (None, None, None),
    "experts/gate_proj": (None, "experts", "expert_embed", "expert_mlp"),
    "experts/up_proj": (None, "experts", "expert_embed", "expert_mlp"),
    "experts/down_proj": (None, "experts", "expert_mlp", "expert_embed"),
    "ns_coeffs": (None,),  # Muon's constants
    "ahead/tokens": (None, None, None),  # completions in a checkpoint, which every host reads
    "ahead/logp": (None, None, None),
    "ahead/length": (None, None),
    "ahead/finished": (None, None),
}
"""The end of a parameter's path -> the names of its axes; a layer's parameters have the layers in front."""
for _kernel in [name for name in PARAMETERS if name.endswith("_proj/kernel")]:
    *_stack, _rows, _columns = PARAMETERS[_kernel]
    # An adapter's factors are cut as the matrix they belong to, and never along the rank.
    PARAMETERS[_kernel.replace("kernel", "lora_A")] = (*_stack, _rows, None)
    PARAMETERS[_kernel.replace("kernel", "lora_B")] = (*_stack, None, _columns)


def names_of(path: tuple[Any, ...], ndim: int) -> tuple[str | None, ...]:
    """The names of a leaf's axes: of a parameter, of optimiser state that copies its shape, or of a number.

    Args:
      path: as `jax.tree_util` gives it. What stands before the parameter's own path does not matter.
      ndim: axes of the leaf; one fewer than in the table where a layer was taken out of its stack.

    Raises:
      ValueError: a leaf that the table does not know, or another number of axes.
    """
    if ndim == 0:
        return ()
    keys = [str(getattr(key, "key", getattr(key, "name", ""))) for key in path]
    names = PARAMETERS.get("/".join(keys[-2:])) or PARAMETERS.get(keys[-1] if keys else "")
    if names is not None and ndim in (len(names), len(names) - ("layers" in keys)):
        return names[len(names) - ndim :]
    where = jax.tree_util.keystr(path, simple=True, separator="/")
    raise ValueError(f"{where}: an array of {ndim} axes is not in parallel/rules.py; add the names of its axes")


def spec(names: Names, shape: Sequence[int], rules: MeshConfig, sizes: dict[str, int]) -> PartitionSpec:
    """The partition of one array.

    An axis that its part of the mesh does not divide is not split: a single question is answered on every device.

    Args:
      names: one an axis.
      sizes: mesh axis -> devices along it.

    Raises:
      ValueError: another number of axes, or two axes split over the same mesh axis.
    """
    if len(names) != len(shape):
        raise ValueError(f"names: expected {len(shape)}, one an axis of {tuple(shape)}, got {tuple(names)}")
    parts: list[tuple[str, ...] | None] = []
    used: dict[str, str] = {}
    for name, size in zip(names, shape, strict=True):
        axes = () if name is None else getattr(rules, name)
        if size % math.prod(sizes[axis] for axis in axes):
            axes = ()
        for axis in axes:
            if axis in used:
                raise ValueError(
                    f"mesh.{name}: expected other axes than mesh.{used[axis]}={getattr(rules, used[axis])}, since both "
                    f"split one array, got {axes}; change either"
                )
            used[axis] = name or ""
        parts.append(tuple(axes) or None)
    return PartitionSpec(*parts)


def shard(x: jax.Array, *names: str | None) -> jax.Array:
    """Say inside a jitted function how an array is split; () says that every device holds all of it."""
    mesh = jax.sharding.get_abstract_mesh()
    if RULES.value is None or mesh.size == 1:
        return x
    names = names or (None,) * x.ndim
    return jax.lax.with_sharding_constraint(x, spec(names, x.shape, RULES.value, dict(mesh.shape)))


def everywhere(tree: Any) -> Any:
    """Say inside a jitted function that every device holds all of these arrays, so that each host can read them."""
    return jax.tree.map(shard, tree)


def place(tree: Any, *names: str | None) -> Any:
    """Put host arrays on the mesh. On several hosts, each has the same whole arrays and keeps its part.

    Args:
      names: of the first axes; the others are not split. A number has none.
    """

    def put(x):
        if RULES.value is None:
            return jnp.asarray(x)
        mesh = jax.sharding.get_mesh()
        x = np.asarray(x)
        known = (*names, *(None,) * x.ndim)[: x.ndim]
        sharding = NamedSharding(mesh, spec(known, x.shape, RULES.value, dict(mesh.shape)))
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jax.tree.map(put, tree)


def whole_batch(rows: int) -> int:
    """The next number of rows, from this one on, that splits evenly over the mesh.

    >>> whole_batch(5)
    5
    """
    if RULES.value is None:
        return rows
    shape = jax.sharding.get_mesh().shape
    parts = math.prod(shape[axis] for axis in RULES.value.batch)
    return -(-rows // parts) * parts


def parts_of(name: str, size: int) -> int:
    """Into how many parts an axis of this name and size is split; 1 where they don't divide it, or without a mesh.

    >>> parts_of("batch", 6)
    1
    """
    mesh = jax.sharding.get_abstract_mesh()
    if RULES.value is None or mesh.size == 1:
        return 1
    parts = math.prod(mesh.shape[axis] for axis in getattr(RULES.value, name))
    return parts if size % parts == 0 else 1


def replicated() -> NamedSharding | None:
    """What stands whole on every device of the mesh; None without a mesh."""
    return None if RULES.value is None else NamedSharding(jax.sharding.get_mesh(), PartitionSpec())


def shardings(tree: Any) -> Any:
    """Where parameters, optimiser state and the numbers beside them stand: a sharding for every leaf.

    Args:
      tree: arrays or their shapes, with parameters somewhere inside.

    Raises:
      ValueError: a leaf that `PARAMETERS` does not know, or axes that collide.
    """
    if RULES.value is None:
        return jax.tree.map(lambda _: SingleDeviceSharding(jax.devices()[0]), tree)
    mesh, rules = jax.sharding.get_mesh(), RULES.value

    def one(path, x):
        return NamedSharding(mesh, spec(names_of(path, x.ndim), x.shape, rules, dict(mesh.shape)))

    return jax.tree_util.tree_map_with_path(one, tree)


def abstract_rows(shapes: Any, *names: str | None) -> Any:
    """Shapes with the shardings that `place` would give arrays of these shapes."""
    rules = RULES.value
    if rules is None:
        return shapes
    mesh = jax.sharding.get_mesh()

    def one(x):
        known = (*names, *(None,) * x.ndim)[: x.ndim]
        return jax.ShapeDtypeStruct(
            x.shape, x.dtype, sharding=NamedSharding(mesh, spec(known, x.shape, rules, dict(mesh.shape)))
        )

    return jax.tree.map(one, shapes)


def abstract(shapes: Any) -> Any:
    """Shapes with their shardings, as a restore wants them."""
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, shardings(shapes))


def whole_width() -> Any:
    """A context in which nothing is cut along its width: for code that uses parameters as `gathered` leaves them."""
    return RULES(None if RULES.value is None else dataclasses.replace(RULES.value, embed=()))


def gathered(params: Any) -> Any:
    """Say inside a jitted function that parameters are whole along their width, as a loop of decoding wants them.

    Cut ones would be gathered anew for every token. Heads, vocabulary and experts stay split.
    """
    if RULES.value is None:
        return params
    rules = dataclasses.replace(RULES.value, embed=())
    sizes = dict(jax.sharding.get_abstract_mesh().shape)

    def one(path, x):
        return jax.lax.with_sharding_constraint(x, spec(names_of(path, x.ndim), x.shape, rules, sizes))

    return jax.tree_util.tree_map_with_path(one, params)
