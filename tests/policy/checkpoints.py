"""Random Hugging Face checkpoints, written from the formats' description alone: hub names, and safetensors by hand.

Nothing here uses the package's names or the safetensors library, so a mistake there can't hide here.
"""

import json
import struct
from pathlib import Path

import ml_dtypes
import numpy as np

CONFIGS = {
    "llama": {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": [2, 3],
        "hidden_act": "silu",
        "hidden_size": 24,
        "initializer_range": 0.02,
        "intermediate_size": 40,
        "is_llama_config": True,
        "max_position_embeddings": 512,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "num_key_value_heads": 2,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_interleaved": False,
        "rope_scaling": {
            "factor": 32.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 64,
            "rope_type": "llama3",
        },
        "rope_theta": 500000.0,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "transformers.js_config": {"kv_cache_dtype": {"fp16": "float16"}},
        "transformers_version": "4.45.0",
        "use_cache": True,
        "vocab_size": 64,
    },
    "smollm3": {
        "architectures": ["SmolLM3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": 24,
        "initializer_range": 0.02,
        "intermediate_size": 40,
        "layer_types": ["full_attention"] * 4,
        "max_position_embeddings": 512,
        "max_window_layers": 28,
        "mlp_bias": False,
        "model_type": "smollm3",
        "pad_token_id": 3,
        "no_rope_layer_interval": 4,
        "no_rope_layers": [1, 1, 1, 0],
        "num_attention_heads": 4,
        "num_hidden_layers": 4,
        "num_key_value_heads": 2,
        "pretraining_tp": 2,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 5000000.0,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": False,
        "use_sliding_window": False,
        "vocab_size": 64,
    },
    "qwen2": {
        "architectures": ["Qwen2ForCausalLM"],
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": 24,
        "initializer_range": 0.02,
        "intermediate_size": 40,
        "max_position_embeddings": 512,
        "max_window_layers": 21,
        "model_type": "qwen2",
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "sliding_window": 4096,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.44.0",
        "use_cache": True,
        "use_mrope": False,
        "use_sliding_window": False,
        "vocab_size": 64,
    },
    "qwen3": {
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "eos_token_id": 2,
        "head_dim": 16,
        "hidden_act": "silu",
        "hidden_size": 24,
        "intermediate_size": 40,
        "max_position_embeddings": 512,
        "max_window_layers": 2,
        "model_type": "qwen3",
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "sliding_window": 8,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_sliding_window": True,
        "vocab_size": 64,
    },
    "qwen3_moe": {
        "architectures": ["Qwen3MoeForCausalLM"],
        "attention_bias": False,
        "decoder_sparse_step": 1,
        "head_dim": 16,
        "hidden_act": "silu",
        "hidden_size": 24,
        "intermediate_size": 40,
        "max_position_embeddings": 512,
        "max_window_layers": 3,
        "mlp_only_layers": [1],
        "model_type": "qwen3_moe",
        "moe_intermediate_size": 12,
        "norm_topk_prob": True,
        "num_attention_heads": 4,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "num_hidden_layers": 3,
        "num_key_value_heads": 2,
        "output_router_logits": False,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 1000000.0,
        "router_aux_loss_coef": 0.001,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_sliding_window": False,
        "vocab_size": 64,
    },
}
"""One of each class with the keys that hub files have, at toy sizes; head_dim differs from D / H where it may."""


def shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor, as the hub has them."""
    V, D, F = config["vocab_size"], config["hidden_size"], config["intermediate_size"]
    H, J = config["num_attention_heads"], config["num_key_value_heads"]
    C = config.get("head_dim", D // H)
    found = {"model.embed_tokens.weight": (V, D), "model.norm.weight": (D,)}
    if not config["tie_word_embeddings"]:
        found["lm_head.weight"] = (V, D)
    for y in range(config["num_hidden_layers"]):
        layer = f"model.layers.{y}."
        found[f"{layer}input_layernorm.weight"] = found[f"{layer}post_attention_layernorm.weight"] = (D,)
        for name, out in (("q", H * C), ("k", J * C), ("v", J * C)):
            found[f"{layer}self_attn.{name}_proj.weight"] = (out, D)
            if config["model_type"] == "qwen2":
                found[f"{layer}self_attn.{name}_proj.bias"] = (out,)
        found[f"{layer}self_attn.o_proj.weight"] = (D, H * C)
        if config["model_type"] in ("qwen3", "qwen3_moe"):
            found[f"{layer}self_attn.q_norm.weight"] = found[f"{layer}self_attn.k_norm.weight"] = (C,)
        if config["model_type"] == "qwen3_moe" and y not in config["mlp_only_layers"]:
            found[f"{layer}mlp.gate.weight"] = (config["num_experts"], D)
            E = config["moe_intermediate_size"]
            for e in range(config["num_experts"]):
                found |= _mlp(f"{layer}mlp.experts.{e}.", D, E)
        else:
            found |= _mlp(f"{layer}mlp.", D, F)
    return found


def _mlp(begin: str, D: int, F: int) -> dict[str, tuple[int, ...]]:
    return {f"{begin}{name}_proj.weight": (D, F) if name == "down" else (F, D) for name in ("gate", "up", "down")}


def random(config: dict, dtype: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Random tensors, all of them different; norms near 1."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    return {
        name: (rng.standard_normal(shape) * 0.2 + name.endswith("norm.weight")).astype(kind)
        for name, shape in shapes(config).items()
    }


def write(folder: Path, config: dict, tensors: dict[str, np.ndarray], files: int = 1) -> Path:
    """A checkpoint's folder with a tokenizer's and generation's files, its tensors spread over some files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    for name, text in OTHERS.items():
        (folder / name).write_bytes(text.encode())
    if files == 1:
        write_safetensors(folder / "model.safetensors", tensors)
        return folder
    placed = {name: f"model-{i % files + 1:05d}-of-{files:05d}.safetensors" for i, name in enumerate(tensors)}
    for file in set(placed.values()):
        write_safetensors(folder / file, {name: tensors[name] for name in tensors if placed[name] == file})
    index = {"metadata": {"total_size": sum(x.nbytes for x in tensors.values())}, "weight_map": placed}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


OTHERS = {
    "generation_config.json": '{ "eos_token_id": [2, 3],\n "temperature": 0.6}',
    "tokenizer.json": '{"version":  "1.0"}\r\n',
    "tokenizer_config.json": '{"tokenizer_class":"Qwen2Tokenizer"}',
    "chat_template.jinja": "{{ messages }} \n",
    "merges.txt": "a b\n",
    "vocab.json": '{"a":0}',
    "model.bin": "not to be copied",
}
"""Odd white space shows whether files are copied or written anew."""


def write_safetensors(file: Path, tensors: dict[str, np.ndarray]) -> None:
    """Header length (8 bytes, little endian), header (JSON), data."""
    header, at, data = {"__metadata__": {"format": "pt"}}, 0, []
    for name, tensor in tensors.items():
        kind = {"bfloat16": "BF16", "float32": "F32", "float16": "F16"}[str(tensor.dtype)]
        data.append(tensor.tobytes())
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [at, at + len(data[-1])]}
        at += len(data[-1])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data))


def read_safetensors(file: Path) -> dict[str, np.ndarray]:
    """What `write_safetensors`, or anyone, wrote."""
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    kinds = {"BF16": ml_dtypes.bfloat16, "F32": np.float32, "F16": np.float16}
    return {
        name: np.frombuffer(data[slice(*entry["data_offsets"])], kinds[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__"
    }


def read(folder: Path) -> dict[str, np.ndarray]:
    """All tensors of a folder."""
    return {k: v for file in sorted(folder.glob("*.safetensors")) for k, v in read_safetensors(file).items()}
