"""Experts on several devices: each computes those it holds, for every token that chose them.

Experts are split over the axes `mesh.experts`. Along an axis that does not split tokens (`tensor`) the tokens are there
already, and the devices' results are added. Along one that does (`fsdp`) the tokens are gathered first and the sums
scattered back, which moves tokens instead of experts: less where tokens are few. Nothing is dropped and every shape is
static, so a device has room for all those tokens' choices, though about 1/n of them are its own.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType, PartitionSpec

from jaxreason.parallel.rules import RULES, spec


def over_devices(
    mix: Callable[..., jax.Array],
    x_ND: jax.Array,
    weight_Nk: jax.Array,
    expert_Nk: jax.Array,
    gate_EDF: jax.Array,
    up_EDF: jax.Array,
    down_EFD: jax.Array,
) -> jax.Array:
    """Call mix(x, weight, expert, gate, up, down, first) on every device of the mesh in force with its own experts,
    `first` being the number of the first one, and add the results up. Without a mesh it is called once.

    The width of matrices that are cut along it is gathered for the call, as that of every dense layer is.
    """
    mesh, rules = jax.sharding.get_abstract_mesh(), RULES.value
    if rules is None or mesh.size == 1 or AxisType.Manual in mesh.axis_types:
        return mix(x_ND, weight_Nk, expert_Nk, gate_EDF, up_EDF, down_EFD, 0)
    sizes = dict(mesh.shape)
    wide = spec(("experts", "expert_embed", "expert_mlp"), gate_EDF.shape, rules, sizes)
    experts, embed, mlp = (_axes(part) for part in wide)
    batch = _axes(spec(("batch", None), x_ND.shape, rules, sizes)[0])
    tokens = tuple(axis for axis in batch if axis in experts + mlp)
    partial = tuple(axis for axis in experts + mlp if axis not in batch)

    def local(x_ND, weight_Nk, expert_Nk, gate_EDF, up_EDF, down_EFD):
        if embed:
            gate_EDF, up_EDF = (jax.lax.all_gather(w, embed, axis=1, tiled=True) for w in (gate_EDF, up_EDF))
            down_EFD = jax.lax.all_gather(down_EFD, embed, axis=2, tiled=True)
        if tokens:
            x_ND, weight_Nk, expert_Nk = (
                jax.lax.all_gather(x, tokens, axis=0, tiled=True) for x in (x_ND, weight_Nk, expert_Nk)
            )
        first = jax.lax.axis_index(experts) * gate_EDF.shape[0] if experts else 0
        out_ND = mix(x_ND, weight_Nk, expert_Nk, gate_EDF, up_EDF, down_EFD, first)
        if tokens:
            out_ND = jax.lax.psum_scatter(out_ND, tokens, scatter_dimension=0, tiled=True)
        return out_ND[None]

    rows, tall = PartitionSpec(batch or None, None), PartitionSpec(wide[0], wide[2], wide[1])
    # Kernels carry no types of what varies over the mesh, so these are not checked. What each device adds to a sum
    # stands along an axis of its own: without types a sum in here would be added up once more on the way back.
    parts_nND = jax.shard_map(
        local,
        in_specs=(rows, rows, rows, wide, wide, tall),
        out_specs=PartitionSpec(partial or None, batch or None, None),
        check_vma=False,
    )(x_ND, weight_Nk, expert_Nk, gate_EDF, up_EDF, down_EFD)
    return jax.lax.reduce_sum(parts_nND, axes=(0,))


def _axes(part: Any) -> tuple[str, ...]:
    """Of one entry of a PartitionSpec."""
    return () if part is None else (part,) if isinstance(part, str) else tuple(part)
