"""What a run does with low-rank adapters: which matrices get them, new ones, and the policy that they make.

Without adapters every function here leaves things as they are.
"""

import re
from typing import Any

import jax
import jax.numpy as jnp

from jaxreason.config import LoraConfig, ModelConfig
from jaxreason.config.lora import ALL_LINEAR
from jaxreason.policy import adapted, api, hf_names
from jaxreason.policy.adapted import Adapted
from jaxreason.types import Params

KEY = 5
"""Folded into the run's key, so that adapters share no randomness with weights that are made from nothing."""


def policy(trained: Params, base: Params | None, config: LoraConfig) -> Params:
    """The policy's parameters, from those that are trained: themselves, or frozen ones with adapters beside them.

    Args:
      trained: all of the policy, or its adapters.
      base: the policy before step 0, which adapters belong to; not read without them.
    """
    return Adapted(base=base, adapters=trained, scale=config.scale) if config.wanted else trained


def whole(params: Params) -> Params:
    """One tree like `api.init`'s, where it stands, every adapter merged into its matrix. The frozen parameters are
    donated: what no adapter changes is not copied."""
    if not isinstance(params, Adapted):
        return params

    def merge(base: Params, adapters: Params) -> Params:
        return adapted.merged(adapted.joined(Adapted(base=base, adapters=adapters, scale=params.scale)))

    places = jax.tree.map(lambda x: x.sharding, params.base)
    return jax.jit(merge, donate_argnums=0, out_shardings=places)(params.base, params.adapters)


def initial(params: Params, config: LoraConfig, seed: int) -> Params:
    """What is trained, before the first step: the policy itself, or adapters that change nothing yet.

    A is drawn as PEFT draws it, uniformly within 1 / sqrt(in), and B is 0, so that their product is. Both are float32
    whatever the policy's type is: they are small, and a step of 1e-5 would vanish in bfloat16.

    Args:
      params: the policy before step 0, or its shapes.
    """
    if not config.wanted:
        return params
    key = jax.random.fold_in(jax.random.key(seed), KEY)
    adapters: dict[str, Any] = {}
    for n, (run, module, shape) in enumerate(targets(params, config)):
        *stack, rows, columns = shape
        bound = rows**-0.5
        factors = {
            adapted.A: jax.random.uniform(
                jax.random.fold_in(key, n), (*stack, rows, config.r), jnp.float32, -bound, bound
            ),
            adapted.B: jnp.zeros((*stack, config.r, columns), jnp.float32),
        }
        adapters.setdefault(run, {})[module] = factors
    return {"layers": adapters}


def shapes(model: ModelConfig, config: LoraConfig) -> Params:
    """Shapes and types of what is trained of a model; nothing is allocated."""
    return jax.eval_shape(lambda: initial(api.shapes(model), config, 0))


def refuse(model: ModelConfig, config: LoraConfig) -> None:
    """Refuse adapters that this model cannot have.

    Raises:
      ValueError: as `targets`.
    """
    if config.wanted:
        targets(api.shapes(model), config)


def targets(params: Params, config: LoraConfig) -> list[tuple[str, str, tuple[int, ...]]]:
    """The matrices that get adapters: run of layers, module, and shape [layers in out], in the order of the layers.

    Args:
      params: or their shapes.

    Raises:
      ValueError: a pattern that matches none, one that matches experts or their router, a rank above what a matrix can
        have.
    """
    patterns = [pattern for pattern in config.target_modules if pattern != ALL_LINEAR]
    everything = len(patterns) < len(config.target_modules)
    found, used = [], set()
    for run, modules in params["layers"].items():
        for module, leaves in modules.items():
            if module in ("experts", "router"):
                inside = [f"mlp.experts.{name}" for name in leaves] if module == "experts" else ["mlp.gate"]
                _refuse_experts([ALL_LINEAR] if everything else sorted(_hits(patterns, inside)))
            elif "kernel" in leaves:
                hits = _hits(patterns, [hf_names.LINEAR[module]])
                used |= hits
                if hits or everything:
                    found.append((run, module, leaves["kernel"].shape))
    unused = [pattern for pattern in patterns if pattern not in used]
    if unused:
        names = {m for modules in params["layers"].values() for m in modules if m in hf_names.LINEAR and m != "router"}
        raise ValueError(
            f"lora.target_modules: expected each to match one of the layers' matrices ({', '.join(sorted(names))}), "
            f"got {unused[0]!r}, which matches none"
        )
    _, module, (*_, rows, columns) = min(found, key=lambda one: min(one[2][1:]))
    if config.r > min(rows, columns):
        raise ValueError(
            f"lora.r: expected at most {min(rows, columns)}, the smaller side of {module} [{rows} {columns}], got "
            f"{config.r}; lower it, or leave {module} out of lora.target_modules"
        )
    return found


def _hits(patterns: list[str], names: list[str]) -> set[str]:
    """The patterns that are all of some name, or all of what stands behind its last dot."""
    whole = [*names, *(name.rpartition(".")[2] for name in names)]
    return {pattern for pattern in patterns if any(re.fullmatch(pattern, name) for name in whole)}


def _refuse_experts(hits: list[str]) -> None:
    if hits:
        raise ValueError(
            f"lora.target_modules: expected no experts and no router, which have no adapters here, got {hits[0]!r}, "
            "which matches some; name the attention's, [q_proj,k_proj,v_proj,o_proj]"
        )
