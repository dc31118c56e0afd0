"""Checkpoint folders of the classes that are released, tiny and random: what a download would give, made in the test.

The chat templates are written here; each behaves as those of its class do towards thinking.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tokenizers
from safetensors.numpy import save_file
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from jaxreason.agents import prompts
from jaxreason.config import AgentsConfig

QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CORPUS = [
    *prompts.render_segment([""], AgentsConfig(prompts="plain"), None),
    *prompts.render_score([""], [["", ""]], AgentsConfig(prompts="plain"), None),
    "Split the reasoning into consecutive chunks. Rate how important each chunk is, with an integer from 1 to 5.\n",
    "Please reason step by step, and put your final answer within \\boxed{}.\n\n",
    "Wait, let me check that: 3+5=8, so the answer is \\boxed{8}.\n",
    "<seg>first chunk</seg><seg>second chunk</seg> <score>[1] 5 [2] 1</score>\n",
] * 8

_TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
_START = "{% if add_generation_prompt %}<|im_start|>assistant\n"
_CHATML = {"eos": "<|im_end|>", "pad": "<|endoftext|>", "also_ends": ["<|endoftext|>"]}
_R1 = {"eos": "<｜end▁of▁sentence｜>", "pad": "<｜end▁of▁sentence｜>", "also_ends": []}


EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


class Kind(NamedTuple):
    """A class of released models."""

    template: str | None
    model_type: str
    ends: dict


KINDS = {
    # Thinks unless told not to; then an empty thought stands in the prompt.
    "qwen3": Kind(
        _TURNS + _START + "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
        "{% endif %}{% endif %}",
        "qwen3",
        _CHATML,
    ),
    # Never thinks, and knows no switch.
    "qwen3_instruct": Kind(_TURNS + _START + "{% endif %}", "qwen3", _CHATML),
    # Always thinks: the prompt opens the thought whatever the switch says.
    "qwen3_thinking": Kind(_TURNS + _START + "<think>\n{% endif %}", "qwen3", _CHATML),
    "r1_distill": Kind(
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}<｜User｜>{{ m.content }}{% else %}"
        "<｜Assistant｜>{{ m.content }}<｜end▁of▁sentence｜>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<｜Assistant｜><think>\n{% endif %}",
        "qwen2",
        _R1,
    ),
    "qwen3_base": Kind(None, "qwen3", _CHATML | {"eos": "<|endoftext|>"}),
    # A mixture of experts as Qwen3-30B-A3B has one.
    "qwen3_moe": Kind(_TURNS + _START + "{% endif %}", "qwen3_moe", _CHATML),
}


def write_tokenizer(folder: Path, kind: str) -> None:
    """Byte-level BPE with Qwen's split, special tokens, template and generation_config.json."""
    ends = KINDS[kind].ends
    raw = tokenizers.Tokenizer(models.BPE())
    raw.normalizer = normalizers.NFC()
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(QWEN_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    raw.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False),
    )
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    if ends is _R1:
        special = ["<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"]
    raw.add_special_tokens(special)
    raw.add_tokens([tokenizers.AddedToken("<think>"), tokenizers.AddedToken("</think>")])
    raw.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": ends["eos"], "pad_token": ends["pad"]}
    if ends is _R1:
        settings |= {"tokenizer_class": "LlamaTokenizerFast", "bos_token": special[1]}
    template = KINDS[kind].template
    (folder / "tokenizer_config.json").write_text(
        json.dumps(settings | ({} if template is None else {"chat_template": template}))
    )
    ids = [raw.token_to_id(token) for token in (ends["eos"], *ends["also_ends"])]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ids[0] if len(ids) == 1 else ids}))


def write_checkpoint(folder: Path, kind: str, *, seed: int = 0, scale: float = 0.3, **shape) -> Path:
    """A whole checkpoint folder: config.json, random float32 weights under their released names, tokenizer.

    Args:
      scale: standard deviation of the weights. Those of the end tokens are twice as large, or a random model would
        hardly ever end by itself and no helper would be asked.
      shape: entries of config.json to set or replace.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder, kind)
    config = tiny_config(KINDS[kind].model_type) | shape
    (folder / "config.json").write_text(json.dumps(config))
    rng = np.random.default_rng(seed)
    weights = {
        name: (np.ones(size) if name.endswith("norm.weight") else scale * rng.standard_normal(size)).astype(np.float32)
        for name, size in tensors(config).items()
    }
    ids = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    weights[HEAD if HEAD in weights else EMBEDDING][ids] *= 2
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})
    return folder


def tiny_config(model_type: str) -> dict:
    """config.json in the form of the released ones: rope_theta beside the rest, torch_dtype, generous vocabulary."""
    config = {
        "architectures": [{"qwen2": "Qwen2", "qwen3": "Qwen3", "qwen3_moe": "Qwen3Moe"}[model_type] + "ForCausalLM"],
        "model_type": model_type,
        "vocab_size": 640,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0 if model_type != "qwen2" else 10000.0,
        "rope_scaling": None,
        "sliding_window": None,
        "use_sliding_window": False,
        "max_window_layers": 2,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "tie_word_embeddings": model_type == "qwen3",
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "bos_token_id": 600,
        "eos_token_id": 602,
    }
    if model_type != "qwen2":
        config |= {"head_dim": 16, "attention_bias": False}
    if model_type == "qwen3_moe":
        config |= {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
            "norm_topk_prob": True,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
            "router_aux_loss_coef": 0.001,
            "output_router_logits": False,
        }
    return config


def tensors(config: dict) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of a checkpoint; kernels are [out, in]."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    heads, few = config["num_attention_heads"], config["num_key_value_heads"]
    head = config.get("head_dim", width // heads)
    found: dict[str, tuple[int, ...]] = {
        EMBEDDING: (config["vocab_size"], width),
        "model.norm.weight": (width,),
    }
    if not config["tie_word_embeddings"]:
        found[HEAD] = (config["vocab_size"], width)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        found |= {f"{at}input_layernorm.weight": (width,), f"{at}post_attention_layernorm.weight": (width,)}
        for name, number in (("q", heads), ("k", few), ("v", few)):
            found[f"{at}self_attn.{name}_proj.weight"] = (number * head, width)
            if config["model_type"] == "qwen2":
                found[f"{at}self_attn.{name}_proj.bias"] = (number * head,)
            elif name != "v":
                found[f"{at}self_attn.{name}_norm.weight"] = (head,)
        found[f"{at}self_attn.o_proj.weight"] = (width, heads * head)
        if experts := config.get("num_experts"):
            found[f"{at}mlp.gate.weight"] = (experts, width)
            blocks = [(f"{at}mlp.experts.{e}.", config["moe_intermediate_size"]) for e in range(experts)]
        else:
            blocks = [(f"{at}mlp.", inner)]
        for block, size in blocks:
            found |= {f"{block}gate_proj.weight": (size, width), f"{block}up_proj.weight": (size, width)}
            found[f"{block}down_proj.weight"] = (width, size)
    return found
