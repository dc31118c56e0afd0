"""The policy and its tokenizer."""

import dataclasses
from typing import Literal

from jaxreason.config.require import require


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The policy's shape, in the names of a Hugging Face config.json."""

    vocab_size: int = 0
    """entries of the embedding; 0: the tokenizer's size, rounded up to a multiple of 64"""
    hidden_size: int = 128
    """width D"""
    intermediate_size: int = 384
    """width of the SwiGLU layer"""
    num_hidden_layers: int = 4
    """layers Y"""
    num_attention_heads: int = 4
    """query heads H"""
    num_key_value_heads: int = 2
    """key/value heads J; H must be a multiple of it"""
    head_dim: int = 32
    """head size C"""
    rope_theta: float = 10000.0
    """base of the rotary embedding"""
    rms_norm_eps: float = 1e-6
    """epsilon of every RMSNorm"""
    tie_word_embeddings: bool = True
    """whether the head is the transposed embedding"""
    qk_norm: bool = True
    """RMSNorm on queries and keys (Qwen3)"""
    attention_bias: bool = False
    """biases on q, k and v (Qwen2)"""
    initializer_range: float = 0.02
    """standard deviation of the initial weights"""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """type of the computation"""
    param_dtype: Literal["float32", "bfloat16"] = "float32"
    """type of the stored parameters"""
    remat: bool = False
    """recompute each layer in the backward pass"""
    logp_chunk: int = 4096
    """tokens whose logits exist at one time"""

    def __post_init__(self):
        for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "logp_chunk"):
            require(getattr(self, name) >= 1, f"model.{name}", "at least 1", getattr(self, name))
        require(self.num_key_value_heads >= 1, "model.num_key_value_heads", "at least 1", self.num_key_value_heads)
        require(
            self.num_attention_heads % self.num_key_value_heads == 0,
            "model.num_attention_heads",
            f"a multiple of model.num_key_value_heads={self.num_key_value_heads}",
            self.num_attention_heads,
        )
        require(
            self.head_dim >= 2 and self.head_dim % 2 == 0,
            "model.head_dim",
            "an even number (rotary embedding), at least 2",
            self.head_dim,
        )
        for name in ("rope_theta", "rms_norm_eps", "initializer_range"):
            require(getattr(self, name) > 0, f"model.{name}", "above 0", getattr(self, name))
        require(self.vocab_size >= 0, "model.vocab_size", "at least 0", self.vocab_size)


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """The tokenizer."""

    path: str = ""
    """folder of a tokenizer; empty: train a sentencepiece model on the training data, inside the run folder"""
    vocab_size: int = 420
    """pieces of a trained sentencepiece model, 256 of them byte fallbacks"""

    def __post_init__(self):
        require(self.vocab_size >= 1, "tokenizer.vocab_size", "at least 1", self.vocab_size)
