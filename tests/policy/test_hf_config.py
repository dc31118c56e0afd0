"""config.json: every key is read, known to change nothing, or refused by name; transformers reads ours as meant."""

import dataclasses
import json
import os

import pytest

from jaxreason.config import ModelConfig
from jaxreason.policy import hf_config
from jaxreason.policy.hf_families import FAMILIES
from tests.policy import checkpoints

QWEN2, QWEN3, MOE = (checkpoints.CONFIGS[kind] for kind in ("qwen2", "qwen3", "qwen3_moe"))
LLAMA, SMOLLM3 = (checkpoints.CONFIGS[kind] for kind in ("llama", "smollm3"))


def _transformers():
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    import transformers

    return {
        "qwen2": transformers.Qwen2Config,
        "qwen3": transformers.Qwen3Config,
        "qwen3_moe": transformers.Qwen3MoeConfig,
        "llama": transformers.LlamaConfig,
        "smollm3": transformers.SmolLM3Config,
    }


def test_absent_keys_have_the_defaults_of_the_classes():
    """A guess here is another model: hub files leave out what equals the default."""
    classes = _transformers()
    assert classes.keys() == FAMILIES.keys()
    for kind, cls in classes.items():
        fields = {field.name: field.default for field in dataclasses.fields(cls)}
        for key, default in FAMILIES[kind].defaults.items():
            assert fields[key] == default, (kind, key)
            assert type(fields[key]) is type(default), (kind, key)
        assert FAMILIES[kind].rope_theta == getattr(cls, "default_theta", 10000.0)
        assert (FAMILIES[kind].windows != "none") == ("sliding_window" in fields)


def test_every_field_of_the_model_is_either_shape_or_choice():
    """A new field would keep whatever the user had, though it may be the checkpoint's to say."""
    base = ModelConfig(
        dtype="bfloat16", param_dtype="bfloat16", remat=True, logp_chunk=7, num_experts=9, rope_factor=5.0
    )
    found = hf_config.parse(QWEN2, "here", base)
    for name in ("dtype", "param_dtype", "remat", "logp_chunk"):
        assert getattr(found, name) == getattr(base, name)
    assert found == dataclasses.replace(
        hf_config.parse(QWEN2, "here"), dtype="bfloat16", param_dtype="bfloat16", remat=True, logp_chunk=7
    )
    # parse gives every other field a value of its own, whatever the base has
    shape = {field.name for field in dataclasses.fields(ModelConfig)} - set(hf_config.CHOSEN)
    given = {}
    replace, hf_config.dataclasses.replace = dataclasses.replace, lambda base, **fields: given.update(fields)
    try:
        hf_config.parse(MOE, "here")
    finally:
        hf_config.dataclasses.replace = replace
    assert given.keys() == shape


def test_released_shapes():
    """Figures of model cards and of the hub's config.json files."""
    small = hf_config.parse(QWEN2, "here")
    assert (small.head_dim, small.attention_bias, small.qk_norm, small.sliding_layers) == (6, True, False, ())
    assert (small.rope_theta, small.rope_type, small.max_position_embeddings) == (1e6, "default", 512)
    sliding = hf_config.parse(QWEN3, "here")
    assert (sliding.head_dim, sliding.sliding_window, sliding.sliding_layers) == (16, 8, (2,))
    assert (sliding.attention_bias, sliding.qk_norm, sliding.tie_word_embeddings) == (False, True, True)
    moe = hf_config.parse(MOE, "here")
    assert (moe.num_experts, moe.num_experts_per_tok, moe.moe_intermediate_size) == (4, 2, 12)
    assert (moe.norm_topk_prob, moe.dense_layers) == (True, (1,))
    llama = hf_config.parse(LLAMA, "here")
    assert (llama.attention_bias, llama.qk_norm, llama.tie_word_embeddings, llama.head_dim) == (False, False, True, 6)
    assert (llama.rope_type, llama.rope_factor, llama.rope_low_freq_factor) == ("llama3", 32.0, 1.0)
    assert (llama.rope_high_freq_factor, llama.rope_original_max_position_embeddings) == (4.0, 64)
    no_rope = hf_config.parse(SMOLLM3, "here")
    assert (no_rope.attention_bias, no_rope.qk_norm, no_rope.no_rope_layers) == (False, False, (3,))


CASES = [
    (QWEN2, {"layer_types": ["full_attention"] * 3, "sliding_window": None}, {"sliding_layers": ()}),
    (QWEN2, {"use_sliding_window": True, "sliding_window": None}, {"sliding_layers": (), "sliding_window": 0}),
    (QWEN2, {"num_key_value_heads": None}, {"num_key_value_heads": 4}),
    (QWEN2, {"head_dim": 8}, {"head_dim": 8}),
    (QWEN2, {"rope_theta": None, "rope_parameters": {"rope_type": "default", "rope_theta": 5}}, {"rope_theta": 5.0}),
    (QWEN2, {"rope_theta": None}, {"rope_theta": 10000.0}),
    (QWEN2, {"rope_scaling": {"type": "linear", "factor": 2}}, {"rope_type": "linear", "rope_factor": 2.0}),
    (
        QWEN2,
        {"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}},
        {"rope_type": "yarn", "rope_original_max_position_embeddings": 128, "rope_theta": 1e6, "rope_truncate": True},
    ),
    (
        QWEN3,
        {
            "rope_parameters": {
                **{"rope_type": "yarn", "rope_theta": 1e6, "factor": 4, "beta_fast": 16, "beta_slow": None},
                **{"attention_factor": 1.25, "mscale": 0.5, "mscale_all_dim": 0.7, "truncate": False},
            }
        },
        {
            **{"rope_original_max_position_embeddings": 512, "rope_beta_fast": 16.0, "rope_beta_slow": 1.0},
            **{"rope_attention_factor": 1.25, "rope_mscale": 0.5, "rope_mscale_all_dim": 0.7, "rope_truncate": False},
        },
    ),
    (QWEN3, {"layer_types": ["sliding_attention", *["full_attention"] * 2]}, {"sliding_layers": (0,)}),
    (QWEN3, {"max_window_layers": 0}, {"sliding_layers": (0, 1, 2)}),
    (MOE, {"use_sliding_window": True, "sliding_window": 9}, {"sliding_window": 9, "sliding_layers": (0, 1, 2)}),
    (MOE, {"decoder_sparse_step": 2, "mlp_only_layers": []}, {"dense_layers": (0, 2)}),
    (MOE, {"mlp_only_layers": None}, {"dense_layers": ()}),
    (MOE, {"num_local_experts": 4}, {"num_experts": 4}),
    (LLAMA, {"num_key_value_heads": None}, {"num_key_value_heads": 4}),
    (LLAMA, {"rope_scaling": None}, {"rope_type": "default", "rope_original_max_position_embeddings": 0}),
    (LLAMA, {"rope_scaling": {"type": "linear", "factor": 2.0}}, {"rope_type": "linear"}),
    (LLAMA, {"tie_word_embeddings": False, "_name_or_path": "a/b", "_anything": {"at": "all"}}, {"qk_norm": False}),
    (SMOLLM3, {"no_rope_layers": [0, 1, 1, 0]}, {"no_rope_layers": (0, 3)}),
    (SMOLLM3, {"no_rope_layers": None, "no_rope_layer_interval": 2}, {"no_rope_layers": (1, 3)}),
    (SMOLLM3, {"rope_theta": None}, {"rope_theta": 2000000.0}),
    (
        SMOLLM3,
        {"use_sliding_window": True, "sliding_window": 8, "layer_types": None},
        {"sliding_layers": (3,), "sliding_window": 8},
    ),
]


@pytest.mark.parametrize(("raw", "change", "expected"), CASES)
def test_what_a_key_means(raw, change, expected):
    found = hf_config.parse(raw | change, "here")
    assert {key: getattr(found, key) for key in expected} == expected


def test_experts_under_their_other_name():
    """transformers 5 saves num_local_experts and nothing else; taken for absent it would be 128."""
    raw = {key: value for key, value in MOE.items() if key != "num_experts"}
    assert hf_config.parse(raw | {"num_local_experts": 4}, "here").num_experts == 4


REFUSED = [
    (QWEN2, {"model_type": "gemma"}, "expected one of llama, smollm3, qwen2, qwen3, qwen3_moe, got 'gemma'"),
    (QWEN3, {"model_type": "qwen3_5"}, "got 'qwen3_5'; three of four of its layers are linear attention"),
    (QWEN3, {"model_type": "qwen3_5_text"}, "got 'qwen3_5_text'; three of four of its layers are linear attention"),
    (LLAMA, {"attention_bias": True}, "attention_bias: expected False, got True; o_proj has no bias here"),
    (LLAMA, {"mlp_bias": True}, "mlp_bias: expected False, got True; gate_proj, up_proj and down_proj have no biases"),
    (LLAMA, {"rope_interleaved": True}, "rope_interleaved: expected False"),
    (LLAMA, {"layer_types": ["full_attention"] * 3}, "layer_types: not understood"),
    (LLAMA, {"no_rope_layers": [1, 1, 1]}, "no_rope_layers: not understood"),
    (LLAMA, {"num_attention_heads": 5, "num_key_value_heads": 5}, "num_attention_heads: expected a divisor of hidden"),
    (
        LLAMA,
        {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}},
        "high_freq_factor: expected a number for rope_ty",
    ),
    (
        LLAMA,
        {"rope_scaling": LLAMA["rope_scaling"] | {"low_freq_factor": 4.0}},
        "model.rope_low_freq_factor: expected above 0 and below model.rope_high_freq_factor=4.0",
    ),
    (SMOLLM3, {"no_rope_layers": [1, 1]}, "no_rope_layers: expected 0 or 1 for each of 4 layers, got [1, 1]"),
    (SMOLLM3, {"no_rope_layers": [1, 1, 2, 1]}, "no_rope_layers: expected 0 or 1 for each of 4 layers"),
    (SMOLLM3, {"no_rope_layers": None, "no_rope_layer_interval": 0}, "no_rope_layer_interval: expected at least 1"),
    (QWEN2, {"model_type": None}, "model_type: expected one of"),
    (QWEN2, {"architectures": ["Qwen2ForSequenceClassification"]}, "architectures: expected ['Qwen2ForCausalLM']"),
    (QWEN2, {"new_trick": 3}, "new_trick: not understood (its value is 3)"),
    (QWEN3, {"num_experts": 8}, "num_experts: not understood"),
    (QWEN2, {"hidden_act": "gelu"}, "hidden_act: expected 'silu', got 'gelu'"),
    (QWEN2, {"attention_dropout": 0.1}, "attention_dropout: expected 0, got 0.1"),
    (QWEN2, {"quantization_config": {"bits": 4}}, "take the unquantized checkpoint"),
    (QWEN2, {"auto_map": {"AutoModel": "x.Y"}}, "code of a checkpoint is never run"),
    (QWEN2, {"use_mrope": True}, "use_mrope: expected False"),
    (QWEN2, {"attention_bias": False}, "attention_bias: expected True, got False"),
    (QWEN3, {"attention_bias": True}, "attention_bias: expected False, got True; o_proj has no bias here"),
    (QWEN2, {"hidden_size": "24"}, "hidden_size: expected a whole number, got '24'"),
    (QWEN2, {"hidden_size": 24.0}, "hidden_size: expected a whole number, got 24.0"),
    (QWEN2, {"tie_word_embeddings": 1}, "tie_word_embeddings: expected true or false, got 1"),
    (QWEN2, {"num_key_value_heads": 3}, "a multiple of model.num_key_value_heads=3"),
    (QWEN3, {"layer_types": ["full_attention"]}, "layer_types: expected full_attention or sliding_attention for each"),
    (QWEN3, {"layer_types": ["linear_attention"] * 3}, "layer_types: expected full_attention or sliding_attention"),
    (
        QWEN2,
        {"layer_types": ["sliding_attention"] * 3},
        "expected the layers that use_sliding_window=False",
    ),
    (MOE, {"layer_types": ["sliding_attention"] * 3}, "expected the layers that use_sliding_window=False"),
    (MOE, {"num_local_experts": 128}, "num_experts: expected num_local_experts=128, got 4; make them equal"),
    (MOE, {"mlp_only_layers": "1"}, "mlp_only_layers: expected a list of layers"),
    (MOE, {"decoder_sparse_step": 0}, "decoder_sparse_step: expected at least 1"),
    (
        QWEN2,
        {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
        "expected one of default, linear, llama3, yarn",
    ),
    (QWEN2, {"rope_scaling": {"type": "yarn"}}, "factor: expected a number for rope_type yarn, got none"),
    (
        QWEN2,
        {"rope_scaling": {"type": "linear", "factor": 2, "beta_fast": 3}},
        "beta_fast: not understood",
    ),
    (QWEN2, {"rope_scaling": {"mrope_section": [1, 2]}}, "mrope_section: not understood"),
    (QWEN2, {"rope_scaling": [1]}, "rope_scaling: expected an object"),
    (QWEN2, {"rope_parameters": {"rope_theta": 10000.0}}, "rope_theta is 10000.0, but 1000000.0 in rope_theta"),
    (QWEN2, {"rope_theta": "big"}, "theta: expected a number, got 'big'"),
    (QWEN2, {"partial_rotary_factor": 0.5}, "partial_rotary_factor: expected 1"),
    (QWEN2, {"original_max_position_embeddings": 4}, "move it into rope_parameters"),
]


@pytest.mark.parametrize(("raw", "change", "message"), REFUSED)
def test_what_is_not_understood_is_named(raw, change, message):
    with pytest.raises(ValueError, match=r"^here: ") as error:
        hf_config.parse(raw | change, "here")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected the folder of a Hugging Face checkpoint, got no such file"),
        (b"{", "expected a JSON object, got: "),
        (b"[]", "expected a JSON object, got list"),
        (b"\xff", "expected a JSON object, got: "),
    ],
)
def test_a_file_that_is_no_config(tmp_path, content, message):
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"config\.json: ") as error:
        hf_config.model_config(tmp_path)
    assert message in str(error.value)


@pytest.mark.parametrize(("raw", "change"), [case[:2] for case in CASES])
def test_what_is_written_is_read_the_same_by_transformers(tmp_path, raw, change):
    """Ours and transformers' reading of our file agree with transformers' reading of the source."""
    config = hf_config.parse(raw | change, "here")
    (tmp_path / "config.json").write_text(json.dumps(hf_config.to_json(config, raw | change, "bfloat16", "there")))
    assert hf_config.model_config(tmp_path, config) == config
    cls = _transformers()[raw["model_type"]]
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "config.json").write_text(json.dumps(raw | change))
    ours, theirs = cls.from_pretrained(tmp_path), cls.from_pretrained(tmp_path / "source")
    # What says nothing where there are no windows, or is one way of two to say the same.
    loose = {"max_window_layers", "use_sliding_window", "decoder_sparse_step", "mlp_only_layers", "layer_types"}
    loose |= {"use_cache"}  # released files turn it off by mistake; ours never do
    for field in dataclasses.fields(cls):
        if field.name == "rope_parameters":
            found = {k: v for k, v in theirs.rope_parameters.items() if v is not None and k != "type"}
            assert found.items() <= ours.rope_parameters.items()
        elif field.name not in (*loose, "dtype"):
            assert getattr(ours, field.name, None) == getattr(theirs, field.name, None), field.name
    if raw not in (MOE, LLAMA):
        assert ours.layer_types == theirs.layer_types
    old = json.loads((tmp_path / "config.json").read_text())
    # transformers 4 knows these and no rope_parameters, dtype or num_local_experts.
    assert old["rope_theta"] == ours.rope_parameters["rope_theta"]
    assert (old["rope_scaling"] or {"rope_type": "default"})["rope_type"] == ours.rope_parameters["rope_type"]
    assert old["torch_dtype"] == "bfloat16"
    assert raw is not MOE or old["num_experts"] == old["num_local_experts"] == 4


def test_a_model_without_a_source():
    """What was trained from nothing is a Qwen3, with experts a Qwen3-MoE, with biases a Qwen2, with neither a Llama."""
    for change, kind in (
        ({}, "qwen3"),
        ({"num_experts": 4, "num_experts_per_tok": 2}, "qwen3_moe"),
        ({"qk_norm": False, "attention_bias": True}, "qwen2"),
        ({"qk_norm": False}, "llama"),
        ({"qk_norm": False, "no_rope_layers": (1,)}, "smollm3"),
    ):
        config = ModelConfig(vocab_size=64, **change)
        written = hf_config.to_json(config, None, "float32", "there")
        assert written["model_type"] == kind
        assert written["architectures"] == [FAMILIES[kind].architecture]
        assert hf_config.parse(written, "there").hidden_size == config.hidden_size


@pytest.mark.parametrize(
    "change",
    [
        {"attention_bias": True},
        {"no_rope_layers": (1,)},
        {"qk_norm": False, "sliding_window": 4, "sliding_layers": (1,)},
        {"qk_norm": False, "hidden_size": 130},
        {"num_experts": 4, "num_experts_per_tok": 2, "sliding_window": 4, "sliding_layers": (1,)},
    ],
)
def test_a_shape_that_no_class_has_is_not_written(change):
    """The file would load, as another model."""
    with pytest.raises(ValueError, match="there: "):
        hf_config.to_json(ModelConfig(vocab_size=64, **change), None, "float32", "there")
