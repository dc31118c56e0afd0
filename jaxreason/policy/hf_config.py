"""config.json of Qwen2, Qwen3 and Qwen3-MoE checkpoints, read into a ModelConfig and written from one.

A file is never half understood: every key is read, or known to change nothing here, or an error that names it. An
absent key has the default of the transformers class. DeepSeek-R1-Distill-Qwen is a Qwen2.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from jaxreason.config import ModelConfig

CLASSES = {"qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM", "qwen3_moe": "Qwen3MoeForCausalLM"}
"""model_type -> the transformers class with a language model's head."""

CHOSEN = ("path", "revision", "dtype", "param_dtype", "remat", "logp_chunk", "attention_implementation")
"""Fields of ModelConfig that say where from or how to compute, not what: a config.json doesn't set them."""

_COMMON = {
    "vocab_size": 151936,
    "max_position_embeddings": 32768,
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "num_attention_heads": 32,
}
_DENSE = _COMMON | {
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "max_window_layers": 28,
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "qwen2": _DENSE,
    "qwen3": _DENSE | {"head_dim": 128},
    "qwen3_moe": _COMMON
    | {
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 24,
        "num_key_value_heads": 4,
        "decoder_sparse_step": 1,
        "moe_intermediate_size": 768,
        "num_experts_per_tok": 8,
        "num_experts": 128,
        "norm_topk_prob": False,
    },
}
"""What the classes of transformers 5 take where a key is absent; a test compares."""
_MAY_BE_NULL = {"num_key_value_heads", "sliding_window"}

_READ = {"model_type", "architectures", "head_dim", "layer_types", "rope_parameters", "rope_scaling", "rope_theta"}
_READ_MOE = {"num_local_experts", "mlp_only_layers"}
_MUST_BE: dict[str, tuple[Any, str]] = {
    "hidden_act": ("silu", "the only activation here"),
    "attention_dropout": (0, "nothing here drops out"),
    "attention_bias": (False, "o_proj has no bias here"),
    "use_mrope": (False, "positions are one-dimensional here"),
    "partial_rotary_factor": (1, "all of a head is rotated here"),
    "is_encoder_decoder": (False, "decoders only"),
    "add_cross_attention": (False, "decoders only"),
    "quantization_config": (None, "take the unquantized checkpoint"),
    "compression_config": (None, "take the unquantized checkpoint"),
    "auto_map": (None, "code of a checkpoint is never run"),
    "per_layer_config": (None, "layers differ only in their window and experts here"),
    "pruned_heads": (None, "all heads are there"),
    "original_max_position_embeddings": (None, "move it into rope_parameters"),
}
"""Keys with one value that is understood (null and empty count as absent), and why or what to do."""
_IRRELEVANT = {
    # The type of the stored tensors, which say it themselves; where the file came from.
    *("dtype", "torch_dtype", "transformers_version", "_name_or_path", "name_or_path", "_commit_hash"),
    *("unsloth_version", "unsloth_fixed", "_attn_implementation_autoset", "attn_implementation"),
    "_attn_implementation",
    # What a model class of transformers returns, or keeps, beside logits.
    *("use_cache", "output_attentions", "output_hidden_states", "return_dict", "output_router_logits"),
    *("router_aux_loss_coef", "chunk_size_feed_forward", "torchscript", "use_bfloat16", "tf_legacy_loss"),
    *(
        "is_decoder",
        "tie_encoder_decoder",
        "tie_last_hidden_states",
        "cross_attention_hidden_size",
        "experts_implementation",
    ),
    # The tokenizer's and generation's business.
    *("bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "decoder_start_token_id", "tokenizer_class"),
    *("prefix", "task_specific_params", "assistant_confidence_threshold", "assistant_lookbehind", "bad_words_ids"),
    *("begin_suppress_tokens", "diversity_penalty", "do_sample", "early_stopping", "encoder_no_repeat_ngram_size"),
    *("encoder_repetition_penalty", "epsilon_cutoff", "eta_cutoff", "exponential_decay_length_penalty"),
    *("forced_bos_token_id", "forced_eos_token_id", "length_penalty", "max_length", "min_length"),
    *("no_repeat_ngram_size", "num_assistant_tokens", "num_assistant_tokens_schedule", "num_beam_groups", "num_beams"),
    *("num_return_sequences", "output_scores", "remove_invalid_values", "repetition_penalty"),
    *("return_dict_in_generate", "suppress_tokens", "target_lookbehind", "temperature", "top_k", "top_p", "typical_p"),
    # Heads that this class has not.
    *("finetuning_task", "id2label", "label2id", "num_labels", "problem_type"),
}
"""Keys that change nothing in logits."""
_ROPE = {
    "default": set(),
    "linear": {"factor"},
    "yarn": {
        *("factor", "original_max_position_embeddings", "beta_fast", "beta_slow"),
        *("attention_factor", "mscale", "mscale_all_dim", "truncate"),
    },
}
"""Kinds of rotary embedding and their keys beside rope_type and rope_theta."""


def model_config(folder: str | Path, base: ModelConfig | None = None) -> ModelConfig:
    """The shape that a checkpoint's config.json describes.

    Args:
      folder: with a config.json.
      base: whose fields in CHOSEN are kept; None for their defaults.

    Raises:
      ValueError: no such file, another kind of model, or a key that is not understood.
    """
    file = Path(folder) / "config.json"
    return parse(read_json(file), str(file), base)


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
      ValueError: no such file, or something else in it.
    """
    try:
        found = json.loads(file.read_text())
    except FileNotFoundError:
        raise ValueError(f"{file}: expected the folder of a Hugging Face checkpoint, got no such file") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{file}: expected a JSON object, got: {error}; download it again") from None
    if not isinstance(found, dict):
        raise ValueError(f"{file}: expected a JSON object, got {type(found).__name__}; download it again")
    return found


def parse(raw: dict[str, Any], where: str, base: ModelConfig | None = None) -> ModelConfig:
    """`model_config` of a file that was read; errors begin with `where`."""
    kind = raw.get("model_type")
    if not isinstance(kind, str) or kind not in CLASSES:
        raise ValueError(f"{where}: model_type: expected one of {', '.join(CLASSES)}, got {kind!r}")
    if (raw.get("architectures") or [CLASSES[kind]]) != [CLASSES[kind]]:
        raise ValueError(f"{where}: architectures: expected {[CLASSES[kind]]}, got {raw['architectures']!r}")
    _refuse_unknown(raw, kind, where)
    value = {key: _typed(raw, key, default, where) for key, default in DEFAULTS[kind].items()}
    heads, layers = value["num_attention_heads"], value["num_hidden_layers"]
    head_dim = _typed(raw, "head_dim", value.get("head_dim", 0), where) or value["hidden_size"] // max(heads, 1)
    window, sliding = _windows(raw, kind, value, where)
    shape: dict[str, Any] = {
        key: value[key]
        for key in (
            *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
            *("max_position_embeddings", "rms_norm_eps", "tie_word_embeddings", "initializer_range"),
        )
    } | {
        "num_key_value_heads": heads if value["num_key_value_heads"] is None else value["num_key_value_heads"],
        "head_dim": head_dim,
        "qk_norm": kind != "qwen2",
        "attention_bias": kind == "qwen2",
        "sliding_window": window,
        "sliding_layers": sliding,
        **_rope(raw, value["max_position_embeddings"], where),
        **{name: getattr(_NO_EXPERTS, name) for name in _EXPERT_FIELDS},
    }
    if kind == "qwen3_moe":
        shape |= {name: value[name] for name in ("num_experts", "num_experts_per_tok", "moe_intermediate_size")}
        shape |= {"norm_topk_prob": value["norm_topk_prob"], "dense_layers": _dense(raw, value, layers, where)}
    try:
        return dataclasses.replace(base or ModelConfig(), **shape)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


_NO_EXPERTS = ModelConfig()
_EXPERT_FIELDS = ("num_experts", "num_experts_per_tok", "moe_intermediate_size", "norm_topk_prob", "dense_layers")


def _refuse_unknown(raw: dict, kind: str, where: str) -> None:
    known = _READ | _IRRELEVANT | set(DEFAULTS[kind])
    known |= _READ_MOE | {"max_window_layers"} if kind == "qwen3_moe" else set()
    for key, found in raw.items():
        if key in _MUST_BE:
            expected, why = _MUST_BE[key]
            # Qwen2's class has biases on q, k and v whatever this key says.
            allowed = (True,) if (key, kind) == ("attention_bias", "qwen2") else (expected,)
            if found not in (*allowed, None) and found != {}:
                raise ValueError(f"{where}: {key}: expected {allowed[0]!r}, got {found!r}; {why}")
        elif key not in known:
            raise ValueError(
                f"{where}: {key}: not understood (its value is {found!r}); remove it if it changes nothing, "
                "else this model is not supported"
            )
    one, other = raw.get("num_experts"), raw.get("num_local_experts")
    if one is not None and other is not None and one != other:
        raise ValueError(f"{where}: num_experts: expected num_local_experts={other!r}, got {one!r}; make them equal")


def _typed(raw: dict, key: str, default: Any, where: str) -> Any:
    if key == "num_experts" and key not in raw:  # transformers 5 writes it under another name
        raw = {key: raw.get("num_local_experts", default)}
    found = raw.get(key, default)
    if found is None and (key in _MAY_BE_NULL or not default):
        return None if default else default
    if isinstance(default, float) and isinstance(found, int) and not isinstance(found, bool):
        return float(found)
    if type(found) is not type(default):
        raise ValueError(f"{where}: {key}: expected {_NAMES[type(default)]}, got {found!r}")
    return found


_NAMES = {int: "a whole number", float: "a number", bool: "true or false"}


def _windows(raw: dict, kind: str, value: dict, where: str) -> tuple[int, tuple[int, ...]]:
    """(window, layers that have it)."""
    layers = range(value["num_hidden_layers"])
    window = value["sliding_window"] if value["use_sliding_window"] else None
    first = 0 if kind == "qwen3_moe" else value["max_window_layers"]
    sliding = tuple(y for y in layers if window is not None and y >= first)
    types = raw.get("layer_types")
    if types is not None:
        named = {"full_attention", "sliding_attention"}
        if not isinstance(types, list) or len(types) != len(layers) or not set(types) <= named:
            raise ValueError(
                f"{where}: layer_types: expected full_attention or sliding_attention for each of {len(layers)} layers, "
                f"got {types!r}"
            )
        given = tuple(y for y in layers if types[y] == "sliding_attention")
        if (given and window is None) or (kind == "qwen3_moe" and given != sliding):
            raise ValueError(
                f"{where}: layer_types: expected the layers that use_sliding_window={value['use_sliding_window']} and "
                f"sliding_window={value['sliding_window']} give a window, {list(sliding)}, got {list(given)}"
            )
        sliding = given
    return (window or 0) if sliding else 0, sliding


def _dense(raw: dict, value: dict, layers: int, where: str) -> tuple[int, ...]:
    """Layers without experts."""
    only, step = raw.get("mlp_only_layers") or [], value["decoder_sparse_step"]
    if not isinstance(only, list) or not all(type(y) is int for y in only):
        raise ValueError(f"{where}: mlp_only_layers: expected a list of layers, got {only!r}")
    if step < 1:
        raise ValueError(f"{where}: decoder_sparse_step: expected at least 1, got {step}")
    return tuple(y for y in range(layers) if y in only or (y + 1) % step)


def _rope(raw: dict, limit: int, where: str) -> dict[str, Any]:
    """The rope fields, from rope_parameters (transformers 5), or rope_theta and rope_scaling (before it), or both."""
    new, old = (raw.get(key) or {} for key in ("rope_parameters", "rope_scaling"))
    for key, found in (("rope_parameters", new), ("rope_scaling", old)):
        if not isinstance(found, dict):
            raise ValueError(f"{where}: {key}: expected an object, got {found!r}")
    new, old = ({"rope_type" if k == "type" else k: v for k, v in found.items()} for found in (new, old))
    if raw.get("rope_theta") is not None:
        old["rope_theta"] = raw["rope_theta"]
    # What only one generation of keys says would be lost on the readers of the other.
    for key in sorted(new.keys() & old.keys()):
        if new[key] != old[key]:
            raise ValueError(
                f"{where}: rope_parameters: {key} is {new[key]!r}, but {old[key]!r} in rope_theta or rope_scaling; "
                "make them equal"
            )
    rope = {k: v for k, v in (old | new).items() if v is not None}
    kind = rope.pop("rope_type", "default")
    if not isinstance(kind, str) or kind not in _ROPE:
        raise ValueError(f"{where}: rope_type: expected one of {', '.join(_ROPE)}, got {kind!r}")
    if rope.pop("partial_rotary_factor", 1) != 1:
        raise ValueError(f"{where}: rope_parameters: partial_rotary_factor: expected 1; all of a head is rotated here")
    theta = rope.pop("rope_theta", 10000.0)
    if unknown := sorted(rope.keys() - _ROPE[kind]):
        raise ValueError(f"{where}: rope_parameters: {unknown[0]}: not understood for rope_type {kind}")
    if kind != "default" and "factor" not in rope:
        raise ValueError(f"{where}: rope_parameters: factor: expected a number for rope_type {kind}, got none")
    original = rope.get("original_max_position_embeddings", limit if kind == "yarn" else 0)
    found = {
        "rope_type": kind,
        "rope_theta": theta,
        "rope_factor": rope.get("factor", 1.0),
        "rope_original_max_position_embeddings": original,
        # 0 means the default to transformers too.
        "rope_beta_fast": rope.get("beta_fast") or 32.0,
        "rope_beta_slow": rope.get("beta_slow") or 1.0,
        "rope_attention_factor": rope.get("attention_factor", 0.0),
        "rope_mscale": rope.get("mscale", 0.0),
        "rope_mscale_all_dim": rope.get("mscale_all_dim", 0.0),
        "rope_truncate": rope.get("truncate", True),
    }
    for key, value in found.items():
        default = getattr(_NO_EXPERTS, key)
        found[key] = _typed({key.removeprefix("rope_"): value}, key.removeprefix("rope_"), default, where)
    return found | {"rope_type": kind}


def to_json(config: ModelConfig, source: dict[str, Any] | None, dtype: str, where: str) -> dict[str, Any]:
    """The config.json of a model, with the keys of transformers 5 and of those before it.

    transformers 4 reads a file of 5 without a word and takes rope_theta for 10000 and num_experts for 128, so both are
    written.

    Args:
      source: config.json of the checkpoint that the model came from, whose other keys stay; None where there is none.
      dtype: of the tensors stored beside it.
      where: begins an error.

    Raises:
      ValueError: no class of transformers has this shape.
    """
    kind = (source or {}).get("model_type") or (
        "qwen3_moe" if config.num_experts else "qwen3" if config.qk_norm else "qwen2"
    )
    Y = config.num_hidden_layers
    first = min(config.sliding_layers, default=Y)
    rope: dict[str, Any] = {"rope_type": config.rope_type}
    if config.rope_type != "default":
        rope["factor"] = config.rope_factor
    if config.rope_type == "yarn":
        rope |= {
            "original_max_position_embeddings": config.rope_original_max_position_embeddings
            or config.max_position_embeddings,
            "beta_fast": config.rope_beta_fast,
            "beta_slow": config.rope_beta_slow,
            "truncate": config.rope_truncate,
        }
        for key in ("attention_factor", "mscale", "mscale_all_dim"):
            if getattr(config, f"rope_{key}"):
                rope[key] = getattr(config, f"rope_{key}")
    written: dict[str, Any] = {key: getattr(config, key) for key in DEFAULTS[kind] if hasattr(config, key)}
    written |= {
        "model_type": kind,
        "architectures": [CLASSES[kind]],
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "attention_dropout": 0.0,
        "max_position_embeddings": config.max_position_embeddings or DEFAULTS[kind]["max_position_embeddings"],
        "use_sliding_window": bool(config.sliding_layers),
        "sliding_window": config.sliding_window or None,
        "rope_parameters": rope | {"rope_theta": config.rope_theta},
        "rope_theta": config.rope_theta,
        "rope_scaling": None if config.rope_type == "default" else rope,
        "dtype": dtype,
        "torch_dtype": dtype,
        "use_cache": True,
    }
    if kind == "qwen3_moe":
        written |= {
            "num_local_experts": config.num_experts,
            "decoder_sparse_step": 1,
            "mlp_only_layers": list(config.dense_layers),
        }
    else:
        kinds = ["sliding_attention" if y in config.sliding_layers else "full_attention" for y in range(Y)]
        written |= {"max_window_layers": first, "layer_types": kinds}
    if kind != "qwen2":
        written["attention_bias"] = False
    whole = (source or {}) | written
    described = dataclasses.replace(
        config,
        max_position_embeddings=written["max_position_embeddings"],
        rope_original_max_position_embeddings=rope.get("original_max_position_embeddings", 0),
    )
    read_back = parse(whole, where, config)
    for field in dataclasses.fields(ModelConfig):
        expected, got = getattr(described, field.name), getattr(read_back, field.name)
        if expected != got and not (field.name in _EXPERT_FIELDS and kind != "qwen3_moe" and not config.num_experts):
            raise ValueError(f"{where}: model.{field.name}={expected!r} can't be said in a config.json of {kind}")
    return whole
