"""config.json of Llama, SmolLM3, Qwen2, Qwen3 and Qwen3-MoE checkpoints, read into a ModelConfig and written from one.

A file is never half understood: every key is read, or known to change nothing here, or an error that names it. An
absent key has the default of the transformers class.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from jaxreason.config import ModelConfig
from jaxreason.policy.hf_families import FAMILIES, IRRELEVANT, KNOWN_OTHERS, MAY_BE_NULL, MUST_BE, READ, Family

CHOSEN = ("path", "revision", "dtype", "param_dtype", "remat", "logp_chunk", "attention_implementation")
"""Fields of ModelConfig that say where from or how to compute, not what: a config.json doesn't set them."""

_ROPE = {
    "default": set(),
    "linear": {"factor"},
    "llama3": {"factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"},
    "yarn": {
        *("factor", "original_max_position_embeddings", "beta_fast", "beta_slow"),
        *("attention_factor", "mscale", "mscale_all_dim", "truncate"),
    },
}
"""Kinds of rotary embedding and their keys beside rope_type and rope_theta."""
_ROPE_NEEDS = {"default": (), "linear": ("factor",), "yarn": ("factor",), "llama3": tuple(sorted(_ROPE["llama3"]))}


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
    if not isinstance(kind, str) or kind not in FAMILIES:
        why = f"; {KNOWN_OTHERS[kind]}" if kind in KNOWN_OTHERS else ""
        raise ValueError(f"{where}: model_type: expected one of {', '.join(FAMILIES)}, got {kind!r}{why}")
    family = FAMILIES[kind]
    if (raw.get("architectures") or [family.architecture]) != [family.architecture]:
        raise ValueError(f"{where}: architectures: expected {[family.architecture]}, got {raw['architectures']!r}")
    _refuse_unknown(raw, family, where)
    value = {key: _typed(raw, key, default, where) for key, default in family.defaults.items()}
    heads, layers = value["num_attention_heads"], value["num_hidden_layers"]
    head_dim = _typed(raw, "head_dim", value.get("head_dim", 0), where) or value["hidden_size"] // max(heads, 1)
    if kind == "llama" and value["hidden_size"] % max(heads, 1):
        raise ValueError(
            f"{where}: num_attention_heads: expected a divisor of hidden_size={value['hidden_size']}, since "
            f"{family.architecture} of transformers refuses others, got {heads}"
        )
    no_rope = _no_rope(raw, value, layers, where) if family.no_rope else ()
    window, sliding = _windows(raw, family, value, no_rope, where) if family.windows != "none" else (0, ())
    shape: dict[str, Any] = {
        key: value[key]
        for key in (
            *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
            *("max_position_embeddings", "rms_norm_eps", "tie_word_embeddings", "initializer_range"),
        )
    } | {
        "num_key_value_heads": heads if value["num_key_value_heads"] is None else value["num_key_value_heads"],
        "head_dim": head_dim,
        "qk_norm": family.qk_norm,
        "attention_bias": family.qkv_bias,
        "sliding_window": window,
        "sliding_layers": sliding,
        "no_rope_layers": no_rope,
        **_rope(raw, value["max_position_embeddings"], family.rope_theta, where),
        **{name: getattr(_NO_EXPERTS, name) for name in _EXPERT_FIELDS},
    }
    if family.experts:
        shape |= {name: value[name] for name in ("num_experts", "num_experts_per_tok", "moe_intermediate_size")}
        shape |= {"norm_topk_prob": value["norm_topk_prob"], "dense_layers": _dense(raw, value, layers, where)}
    try:
        return dataclasses.replace(base or ModelConfig(), **shape)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


_NO_EXPERTS = ModelConfig()
_EXPERT_FIELDS = ("num_experts", "num_experts_per_tok", "moe_intermediate_size", "norm_topk_prob", "dense_layers")


def _refuse_unknown(raw: dict, family: Family, where: str) -> None:
    known = READ | IRRELEVANT | {*family.defaults, *family.also}
    for key, found in raw.items():
        if key in MUST_BE:
            expected, why = MUST_BE[key]
            # Qwen2's class has biases on q, k and v whatever this key says.
            allowed = (True,) if key == "attention_bias" and family.qkv_bias else (expected,)
            if found not in (*allowed, None) and found != {}:
                raise ValueError(f"{where}: {key}: expected {allowed[0]!r}, got {found!r}; {why}")
        elif key not in known and not key.startswith("_"):
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
    if found is None and (key in MAY_BE_NULL or not default):
        return None if default else default
    default = 0 if default is None else default  # what may be absent is a whole number
    if isinstance(default, float) and isinstance(found, int) and not isinstance(found, bool):
        return float(found)
    if type(found) is not type(default):
        raise ValueError(f"{where}: {key}: expected {_NAMES[type(default)]}, got {found!r}")
    return found


_NAMES = {int: "a whole number", float: "a number", bool: "true or false"}


def _no_rope(raw: dict, value: dict, layers: int, where: str) -> tuple[int, ...]:
    """Layers that are not rotated. Their list holds a 0 for these, in spite of its name."""
    step, rotated = value["no_rope_layer_interval"], raw.get("no_rope_layers")
    if rotated is None:
        if step < 1:
            raise ValueError(f"{where}: no_rope_layer_interval: expected at least 1, got {step}")
        return tuple(range(step - 1, layers, step))
    if not isinstance(rotated, list) or len(rotated) < layers or any(y not in (0, 1) for y in rotated):
        raise ValueError(f"{where}: no_rope_layers: expected 0 or 1 for each of {layers} layers, got {rotated!r}")
    return tuple(y for y in range(layers) if not rotated[y])


def _windows(raw: dict, family: Family, value: dict, no_rope: tuple, where: str) -> tuple[int, tuple[int, ...]]:
    """(window, layers that have it)."""
    layers = range(value["num_hidden_layers"])
    window = value["sliding_window"] if value["use_sliding_window"] else None
    may = {"from": layers[max(value.get("max_window_layers", 0), 0) :], "all": layers, "no_rope": no_rope}[
        family.windows
    ]
    sliding = tuple(may) if window is not None else ()
    types = raw.get("layer_types")
    if types is not None:
        named = {"full_attention", "sliding_attention"}
        if not isinstance(types, list) or len(types) != len(layers) or not set(types) <= named:
            raise ValueError(
                f"{where}: layer_types: expected full_attention or sliding_attention for each of {len(layers)} layers, "
                f"got {types!r}"
            )
        given = tuple(y for y in layers if types[y] == "sliding_attention")
        if (given and window is None) or (family.windows == "all" and given != sliding):
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


def _rope(raw: dict, limit: int, theta: float, where: str) -> dict[str, Any]:
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
    theta = rope.pop("rope_theta", theta)
    if unknown := sorted(rope.keys() - _ROPE[kind]):
        raise ValueError(f"{where}: rope_parameters: {unknown[0]}: not understood for rope_type {kind}")
    if missing := [key for key in _ROPE_NEEDS[kind] if key not in rope]:
        raise ValueError(f"{where}: rope_parameters: {missing[0]}: expected a number for rope_type {kind}, got none")
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
        "rope_low_freq_factor": rope.get("low_freq_factor", 1.0),
        "rope_high_freq_factor": rope.get("high_freq_factor", 4.0),
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
    kind = (source or {}).get("model_type") or _kind(config)
    family, Y = FAMILIES[kind], config.num_hidden_layers
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
    if config.rope_type == "llama3":
        rope |= {
            "original_max_position_embeddings": config.rope_original_max_position_embeddings
            or config.max_position_embeddings,
            "low_freq_factor": config.rope_low_freq_factor,
            "high_freq_factor": config.rope_high_freq_factor,
        }
    written: dict[str, Any] = {key: getattr(config, key) for key in family.defaults if hasattr(config, key)}
    written |= {
        "model_type": kind,
        "architectures": [family.architecture],
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "attention_dropout": 0.0,
        "max_position_embeddings": config.max_position_embeddings or family.defaults["max_position_embeddings"],
        "rope_parameters": rope | {"rope_theta": config.rope_theta},
        "rope_theta": config.rope_theta,
        "rope_scaling": None if config.rope_type == "default" else rope,
        "dtype": dtype,
        "torch_dtype": dtype,
        "use_cache": True,
    }
    if family.windows != "none":
        kinds = ["sliding_attention" if y in config.sliding_layers else "full_attention" for y in range(Y)]
        written |= {
            "use_sliding_window": bool(config.sliding_layers),
            "sliding_window": config.sliding_window or None,
        }
        written |= {} if family.windows == "all" else {"layer_types": kinds}
    if family.windows == "from":
        written["max_window_layers"] = min(config.sliding_layers, default=Y)
    if family.experts:
        written |= {
            "num_local_experts": config.num_experts,
            "decoder_sparse_step": 1,
            "mlp_only_layers": list(config.dense_layers),
        }
    if family.no_rope:
        written["no_rope_layers"] = [int(y not in config.no_rope_layers) for y in range(Y)]
    if not family.qkv_bias:
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
        if expected != got and not (field.name in _EXPERT_FIELDS and not family.experts and not config.num_experts):
            raise ValueError(f"{where}: model.{field.name}={expected!r} can't be said in a config.json of {kind}")
    return whole


def _kind(config: ModelConfig) -> str:
    """The family that a shape without a source is written as; what it can't say is refused by whoever reads it back."""
    if config.num_experts:
        return "qwen3_moe"
    if config.qk_norm:
        return "qwen3"
    if config.attention_bias:
        return "qwen2"
    return "smollm3" if config.no_rope_layers else "llama"
