"""Which tensor of a Hugging Face checkpoint is which part of the parameter tree.

A linear layer is stored [out in] there and [in out] here. Layers, and the experts in them, are tensors of their own
there and stacked here.
"""

from typing import NamedTuple

import jax

from jaxreason.config import ModelConfig
from jaxreason.policy import api

_OUTSIDE = {"embed_tokens": "model.embed_tokens.weight", "norm/scale": "model.norm.weight", "lm_head": "lm_head.weight"}
LINEAR = {f"{name}_proj": f"self_attn.{name}_proj" for name in "qkvo"}
LINEAR |= {f"{name}_proj": f"mlp.{name}_proj" for name in ("gate", "up", "down")} | {"router": "mlp.gate"}
"""A layer's matrices, and what they are called inside a layer of a checkpoint."""
_NORMS = {"input_layernorm": "input_layernorm", "post_attention_layernorm": "post_attention_layernorm"}
_NORMS |= {"q_norm": "self_attn.q_norm", "k_norm": "self_attn.k_norm"}


class Slab(NamedTuple):
    """One layer's part of a stacked leaf, or all of a leaf that is not stacked."""

    at: int | None
    """place in the leaf's first axis; None: the whole leaf"""
    layer: int
    """number of the layer; -1 before the layers, num_hidden_layers behind them"""
    names: tuple[str, ...]
    """the tensors: one, or one an expert, stacked along the slab's first axis"""
    stored: tuple[int, ...]
    """shape of each tensor in the checkpoint"""
    swapped: bool
    """whether the last two axes are stored the other way round"""
    experts: bool
    """whether the tensors are one an expert"""


def slabs(path: tuple[str, ...], shape: tuple[int, ...], config: ModelConfig) -> list[Slab]:
    """What fills a leaf.

    Args:
      path: keys from the root of the tree.
      shape: of the leaf.
    """
    if path[0] != "layers":
        layer = -1 if path[0] == "embed_tokens" else config.num_hidden_layers
        return [Slab(None, layer, (_OUTSIDE["/".join(path)],), shape, False, False)]
    run, rest = config.layer_runs[int(path[1])], path[2:]
    experts, swapped = rest[0] == "experts", rest[-1] not in ("scale", "bias")
    stored = shape[2:] if experts else shape[1:]
    found = []
    for at in range(run.count):
        layer = run.first + at
        begin = f"model.layers.{layer}."
        if experts:
            names = tuple(f"{begin}mlp.experts.{e}.{rest[1]}.weight" for e in range(shape[1]))
        elif rest[-1] == "scale":
            names = (f"{begin}{_NORMS[rest[0]]}.weight",)
        else:
            names = (f"{begin}{LINEAR[rest[0]]}.{'bias' if rest[-1] == 'bias' else 'weight'}",)
        found.append(Slab(at, layer, names, stored[::-1] if swapped else stored, swapped, experts))
    return found


def keys(path) -> tuple[str, ...]:
    """A path of jax.tree_util as plain keys."""
    return tuple(entry.key for entry in path)


def tensors(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that a checkpoint of this model has; not the head where it is the embedding."""
    found = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(api.shapes(config))[0]:
        for slab in slabs(keys(path), leaf.shape, config):
            found |= dict.fromkeys(slab.names, slab.stored)
    return found


def num_tensors(config: ModelConfig) -> int:
    """How many tensors `load` and `export` tell of."""
    return len(tensors(config))
