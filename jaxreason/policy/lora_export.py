"""Adapters as a folder that peft and vLLM open: adapter_config.json and adapter_model.safetensors.

PEFT stores a factor turned, as it stores a linear layer: lora_A.weight [r in] and lora_B.weight [out r], under the name
of the layer behind `base_model.model.`.
"""

import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxreason.config import LoraConfig, ModelConfig
from jaxreason.policy import adapted, hf_export, hf_names
from jaxreason.policy.hf_export import TOKENIZER, Dtype, exporting, refuse_target, write_json, write_part
from jaxreason.types import Params

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def export(
    adapters: Params,
    model: ModelConfig,
    config: LoraConfig,
    to: str | Path,
    *,
    tokenizer: str | Path,
    base: str = "",
    revision: str = "",
    dtype: Dtype = "float32",
) -> Path:
    """Write adapters; what was written is read again and compared. With several hosts, all call this and one writes.

    Args:
      adapters: on any sharding.
      to: folder to make.
      tokenizer: folder whose tokenizer files go along.
      base: folder or hub id of the checkpoint that they belong to; empty where only the run holds it.
      revision: of a hub id.

    Raises:
      ValueError: the target holds something, or the file reads back otherwise than it was written.
    """
    to = Path(to).expanduser().absolute()
    refuse_target(to)
    held = {name: np.ascontiguousarray(x.astype(hf_export.DTYPES[dtype])) for name, x in _tensors(adapters, model)}
    with exporting(to) as part:
        if part is not None:
            write_part(part / WEIGHTS, held)
            write_json(part / CONFIG, description(adapters, model, config, base, revision))
            for name in TOKENIZER:
                if (Path(tokenizer) / name).is_file():
                    shutil.copyfile(Path(tokenizer) / name, part / name)
    return to


def description(adapters: Params, model: ModelConfig, config: LoraConfig, base: str, revision: str) -> dict[str, Any]:
    """What adapter_config.json holds.

    target_modules are names of layers, not the run's patterns: PEFT takes one that ends a layer's name behind a dot.
    Of a model with experts they say which of the layers called gate_proj is meant.
    """
    modules = sorted({module for run in adapters["layers"].values() for module in run})
    alpha = config.lora_alpha
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base or None,
        "revision": revision or None,
        "inference_mode": True,
        "r": config.r,
        "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
        "lora_dropout": 0.0,
        "target_modules": [hf_names.LINEAR[module] for module in modules] if model.num_experts else modules,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "modules_to_save": None,
        "use_rslora": False,
        "use_dora": False,
    }


def _tensors(adapters: Params, model: ModelConfig) -> list[tuple[str, np.ndarray]]:
    found = []
    for run, modules in adapters["layers"].items():
        first = model.layer_runs[int(run)].first
        for module, factors in modules.items():
            for factor in (adapted.A, adapted.B):
                for at, matrix in enumerate(_fetched(factors[factor])):
                    layer = f"base_model.model.model.layers.{first + at}.{hf_names.LINEAR[module]}"
                    found.append((f"{layer}.{factor}.weight", matrix.T))
    return found


def _fetched(x: jax.Array) -> np.ndarray:
    """A whole leaf on the host: adapters are small."""
    return np.asarray(x if x.is_fully_addressable else multihost_utils.process_allgather(x, tiled=True))
