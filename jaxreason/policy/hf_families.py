"""What each family of checkpoints has, and what the keys of its config.json mean: tables, no code."""

import dataclasses
from typing import Any, Literal

_COMMON = {
    "max_position_embeddings": 32768,
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "num_attention_heads": 32,
}
_QWEN = _COMMON | {"vocab_size": 151936, "use_sliding_window": False, "sliding_window": 4096}
_DENSE = _QWEN | {
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "max_window_layers": 28,
}


@dataclasses.dataclass(frozen=True)
class Family:
    """What a model_type has beside embedding, RMSNorms, SwiGLU layers and causal attention with rotary positions."""

    architecture: str
    """the class of transformers with a language model's head"""
    defaults: dict[str, Any]
    """what that class takes where a key is absent; a test compares"""
    qk_norm: bool = False
    """RMSNorm on queries and keys"""
    qkv_bias: bool = False
    """biases on q, k and v"""
    experts: bool = False
    """layers with a mixture of experts"""
    no_rope: bool = False
    """layers whose queries and keys are not rotated (no_rope_layers)"""
    windows: Literal["none", "from", "all", "no_rope"] = "none"
    """which layers use_sliding_window gives a window: those from max_window_layers on, all, or those without rope"""
    rope_theta: float = 10000.0
    """where no key says it"""
    also: tuple[str, ...] = ()
    """keys that are read, or change nothing, in this family alone"""


FAMILIES = {
    "llama": Family(
        "LlamaForCausalLM",
        _COMMON
        | {
            "vocab_size": 32000,
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_key_value_heads": None,
            "max_position_embeddings": 2048,
        },
    ),
    "smollm3": Family(
        "SmolLM3ForCausalLM",
        _COMMON
        | {
            "vocab_size": 128256,
            "hidden_size": 2048,
            "intermediate_size": 11008,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 4,
            "tie_word_embeddings": True,
            "use_sliding_window": False,
            "sliding_window": None,
            "no_rope_layer_interval": 4,
        },
        no_rope=True,
        windows="no_rope",
        rope_theta=2000000.0,
        also=("no_rope_layers", "layer_types", "max_window_layers"),
    ),
    "qwen2": Family("Qwen2ForCausalLM", _DENSE, qkv_bias=True, windows="from", also=("layer_types",)),
    "qwen3": Family(
        "Qwen3ForCausalLM", _DENSE | {"head_dim": 128}, qk_norm=True, windows="from", also=("layer_types",)
    ),
    "qwen3_moe": Family(
        "Qwen3MoeForCausalLM",
        _QWEN
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
        qk_norm=True,
        experts=True,
        windows="all",
        also=("layer_types", "num_local_experts", "mlp_only_layers", "max_window_layers"),
    ),
}
"""model_type -> what it has. DeepSeek-R1-Distill-Qwen is a qwen2; DeepSeek-R1-Distill-Llama and SmolLM2 are llama."""

_LINEAR = "three of four of its layers are linear attention (gated delta rule), which this policy does not have"
KNOWN_OTHERS = {
    **dict.fromkeys(("qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text", "qwen3_next"), _LINEAR),
    **dict.fromkeys(("mistral", "gemma2", "gemma3", "gemma3_text", "phi3", "gpt_oss"), "its layers are others"),
    "llama4": "its layers are others, and it reads images",
}
"""model_type -> why it is not read."""

MAY_BE_NULL = {"num_key_value_heads", "sliding_window"}
READ = {"model_type", "architectures", "head_dim", "rope_parameters", "rope_scaling", "rope_theta"}
"""Keys of every family beside those with defaults."""
MUST_BE: dict[str, tuple[Any, str]] = {
    "hidden_act": ("silu", "the only activation here"),
    "attention_dropout": (0, "nothing here drops out"),
    "attention_bias": (False, "o_proj has no bias here"),
    "mlp_bias": (False, "gate_proj, up_proj and down_proj have no biases here"),
    "rope_interleaved": (False, "halves of a head are paired here"),
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
IRRELEVANT = {
    # The type of the stored tensors, which say it themselves; where the file came from.
    *("dtype", "torch_dtype", "transformers_version", "name_or_path", "unsloth_version", "unsloth_fixed"),
    *("attn_implementation", "is_llama_config", "transformers.js_config"),
    # What a model class of transformers returns, or keeps, beside logits.
    *("use_cache", "output_attentions", "output_hidden_states", "return_dict", "output_router_logits"),
    *("router_aux_loss_coef", "chunk_size_feed_forward", "torchscript", "use_bfloat16", "tf_legacy_loss"),
    "pretraining_tp",
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
"""Keys that change nothing in logits, beside those that begin with an underscore: these are notes of transformers."""
