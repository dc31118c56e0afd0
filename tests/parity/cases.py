"""Tiny models of every kind that transformers and the policy are compared on: config.json, weights and inputs.

Weights come from the tensors' names, not from either implementation, so a case is the same wherever it is made.
Needs no torch.
"""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

V, D, C, TRAINED = 48, 32, 16, 24
LENGTHS = (37, 5, 18)
"""Tokens of the three prompts; the longest is beyond TRAINED, the length that stretched embeddings were trained on."""
NEW = 64
"""Tokens of the greedy continuation."""
EVERY = 6
"""Of the logits, those at every sixth token are kept in the stored values."""

_BASE = {
    "vocab_size": V,
    "hidden_size": D,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 5 * TRAINED,
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
    "rope_theta": 10000.0,
}
_MOE = {
    "model_type": "qwen3_moe",
    "head_dim": C,
    "num_experts": 6,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "norm_topk_prob": True,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "tie_word_embeddings": False,
}


def _llama(**changes):
    return {**_BASE, "model_type": "llama", **changes}


def _smollm3(**changes):
    return {**_BASE, "model_type": "smollm3", "pad_token_id": None, **changes}


def _qwen2(**changes):
    return {**_BASE, "model_type": "qwen2", **changes}


def _qwen3(**changes):
    return {**_BASE, "model_type": "qwen3", "head_dim": C, **changes}


def _moe(**changes):
    return {**_BASE, **_MOE, **changes}


def _yarn(**changes):
    return {"rope_type": "yarn", "factor": 5.0, "original_max_position_embeddings": TRAINED, **changes}


def _llama3(**changes):
    return {
        **{"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": TRAINED},
        **{"low_freq_factor": 1.0, "high_freq_factor": 4.0, **changes},
    }


CASES: dict[str, dict[str, Any]] = {
    "llama_tied": _llama(rms_norm_eps=1e-5),
    "llama_untied_mha": _llama(tie_word_embeddings=False, num_key_value_heads=4, rope_theta=100000.0),
    "llama_llama3": _llama(rope_scaling=_llama3(), rope_theta=500000.0, head_dim=C),
    "llama_llama3_mixed": _llama(
        rope_scaling=_llama3(low_freq_factor=0.5, high_freq_factor=8.0, factor=32.0), tie_word_embeddings=False
    ),
    "smollm3": _smollm3(num_hidden_layers=5, no_rope_layers=[1, 0, 1, 0, 1]),
    "smollm3_interval": _smollm3(num_hidden_layers=4, no_rope_layer_interval=3, tie_word_embeddings=False),
    "smollm3_sliding": _smollm3(
        num_hidden_layers=4, no_rope_layers=[0, 1, 1, 0], use_sliding_window=True, sliding_window=7
    ),
    "qwen2_tied": _qwen2(),
    "qwen2_untied_mha": _qwen2(tie_word_embeddings=False, num_key_value_heads=4),
    "qwen3_tied": _qwen3(),
    "qwen3_untied": _qwen3(tie_word_embeddings=False, rms_norm_eps=1e-5),
    "qwen3_mqa": _qwen3(num_key_value_heads=1, num_attention_heads=6),
    "qwen3_theta": _qwen3(rope_theta=1000000.0),
    "qwen3_linear": _qwen3(rope_scaling={"rope_type": "linear", "factor": 3.0}),
    "qwen2_yarn": _qwen2(rope_scaling=_yarn(), tie_word_embeddings=False),
    "qwen3_yarn_factor": _qwen3(rope_scaling=_yarn(attention_factor=1.4, beta_fast=8.0, beta_slow=0.5, truncate=False)),
    "qwen3_yarn_mscale": _qwen3(rope_scaling=_yarn(mscale=1.5, mscale_all_dim=0.7)),
    "qwen2_sliding": _qwen2(
        num_hidden_layers=3, use_sliding_window=True, sliding_window=7, max_window_layers=1, tie_word_embeddings=False
    ),
    "qwen3_sliding_between": _qwen3(
        num_hidden_layers=3,
        use_sliding_window=True,
        sliding_window=9,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "moe": _moe(),
    "moe_not_normalised": _moe(norm_topk_prob=False, num_experts_per_tok=3, tie_word_embeddings=True),
    "moe_every_second": _moe(num_hidden_layers=4, decoder_sparse_step=2, num_key_value_heads=4),
    "moe_dense_first_sliding": _moe(
        num_hidden_layers=3, mlp_only_layers=[0], num_experts_per_tok=1, use_sliding_window=True, sliding_window=11
    ),
    "moe_yarn": _moe(rope_scaling=_yarn(), num_experts_per_tok=6),
}
"""Name -> config.json."""


def shapes(raw: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a checkpoint's tensors, as they are released."""
    H, J, width = raw["num_attention_heads"], raw["num_key_value_heads"], raw["hidden_size"]
    head = raw.get("head_dim", width // H)
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (V, width), "model.norm.weight": (width,)}
    if not raw["tie_word_embeddings"]:
        found["lm_head.weight"] = (V, width)

    def mlp(prefix, inner):
        found[f"{prefix}.gate_proj.weight"] = found[f"{prefix}.up_proj.weight"] = (inner, width)
        found[f"{prefix}.down_proj.weight"] = (width, inner)

    for y in range(raw["num_hidden_layers"]):
        layer = f"model.layers.{y}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            found[f"{layer}.{norm}.weight"] = (width,)
        for name, heads in (("q", H), ("k", J), ("v", J)):
            found[f"{layer}.self_attn.{name}_proj.weight"] = (heads * head, width)
            if raw["model_type"] == "qwen2":
                found[f"{layer}.self_attn.{name}_proj.bias"] = (heads * head,)
            elif name != "v" and raw["model_type"] in ("qwen3", "qwen3_moe"):
                found[f"{layer}.self_attn.{name}_norm.weight"] = (head,)
        found[f"{layer}.self_attn.o_proj.weight"] = (width, H * head)
        experts = raw.get("num_experts", 0)
        if experts and (y + 1) % raw["decoder_sparse_step"] == 0 and y not in raw["mlp_only_layers"]:
            found[f"{layer}.mlp.gate.weight"] = (experts, width)
            for e in range(experts):
                mlp(f"{layer}.mlp.experts.{e}", raw["moe_intermediate_size"])
        else:
            mlp(f"{layer}.mlp", raw["intermediate_size"])
    return found


def weights(name: str) -> dict[str, np.ndarray]:
    """Random float32 tensors of a case: scales around 1, biases and matrices large enough that each of them shows."""

    def one(tensor: str, shape: tuple[int, ...]) -> np.ndarray:
        rng = np.random.default_rng(zlib.crc32(f"{name}/{tensor}".encode()))
        random = rng.standard_normal(shape)
        if len(shape) == 1:
            return (0.3 * random + ("norm" in tensor)).astype(np.float32)
        size = 0.5 if "embed" in tensor or "lm_head" in tensor else 1.5 / np.sqrt(shape[1])
        return (size * random).astype(np.float32)

    return {tensor: one(tensor, shape) for tensor, shape in shapes(CASES[name]).items()}


def write(name: str, folder: Path) -> Path:
    """The case as a checkpoint: config.json and model.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CASES[name]))
    safetensors.numpy.save_file(weights(name), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def prompts(name: str) -> list[np.ndarray]:
    """Three prompts, int32, of LENGTHS tokens."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return [rng.integers(0, V, length).astype(np.int32) for length in LENGTHS]


def many(name: str) -> list[np.ndarray]:
    """Ninety-six prompts of 40 tokens, for the mean rounding error of two implementations.

    With experts a few per cent of the tokens have two experts so close that rounding exchanges them; these are wrong by
    twenty times as much as the others and make a third of the mean. Among 480 tokens a handful of them decides, and
    either implementation may come out ahead; among 3840 they even out.
    """
    rng = np.random.default_rng(zlib.crc32(f"{name}/many".encode()))
    return list(rng.integers(0, V, (96, 40)).astype(np.int32))


def padded(rows: list[np.ndarray], *, left: bool) -> tuple[np.ndarray, np.ndarray]:
    """(tokens, mask), int32 [rows, longest]; the padding holds a token that occurs elsewhere too."""
    longest = max(len(row) for row in rows)
    tokens, mask = np.full((len(rows), longest), 7, np.int32), np.zeros((len(rows), longest), np.int32)
    for r, row in enumerate(rows):
        here = slice(longest - len(row), None) if left else slice(len(row))
        tokens[r, here], mask[r, here] = row, 1
    return tokens, mask
