"""What a policy takes in memory, in bytes, by formula alone: nothing is allocated, compiled or read from a disk.

Formulas count the large arrays that stand at the same time; what XLA holds beside them is small where a model is not.
"""

import math

import jax

from jaxreason.config import LoraConfig, ModelConfig
from jaxreason.ops.attention import BLOCK
from jaxreason.ops.attention_mesh import platform
from jaxreason.policy import api, lora

FLOAT32 = 4
LOGIT_COPIES = 6
"""Arrays like the logits that drawing a token holds at a time: logits, filtered ones, weights, and their parts."""
FEED_FORWARD_COPIES = 4
"""Arrays of tokens x inner width, in float32, that reading prompts holds at a time."""


def number_size(dtype: str) -> int:
    """Bytes of a number.

    >>> number_size("bfloat16"), number_size("float32")
    (2, 4)
    """
    return 2 if dtype == "bfloat16" else FLOAT32


def computed_size(config: ModelConfig) -> int:
    """Bytes of a number that is kept for a backward pass: on CPU, XLA computes what is no product in float32.

    >>> computed_size(ModelConfig())
    4
    """
    return FLOAT32 if platform() == "cpu" else number_size(config.dtype)


def num_params(config: ModelConfig) -> int:
    """Parameters of a model of this shape; its vocabulary is known.

    >>> num_params(ModelConfig(vocab_size=64, num_hidden_layers=1))
    205248
    """
    return sum(math.prod(x.shape) for x in jax.tree.leaves(api.shapes(config)))


def num_trained(config: ModelConfig, adapters: LoraConfig) -> int:
    """Parameters that are trained: all, or those of the adapters.

    >>> num_trained(ModelConfig(vocab_size=64, num_hidden_layers=1), LoraConfig(r=2, target_modules=("q_proj",)))
    512
    """
    return sum(math.prod(x.shape) for x in jax.tree.leaves(lora.shapes(config, adapters)))


def state(config: ModelConfig, adapters: LoraConfig, *, start: bool) -> int:
    """Bytes that a run holds throughout: what is trained with Adam's two moments, and the policy before step 0, which
    adapters are added to and which nothing else has to hold a second time.

    Args:
      start: whether that one is held, see `run.state.keeps_start`.
    """
    size = number_size(config.param_dtype)
    trained = 3 * num_trained(config, adapters) * (FLOAT32 if adapters.wanted else size)
    return trained + (num_params(config) * size if start else 0)


def embeddings(config: ModelConfig) -> int:
    """Parameters of the embedding and the head, which is the same where they are tied."""
    return config.vocab_size * config.hidden_size * (1 if config.tie_word_embeddings else 2)


def token_bytes(config: ModelConfig) -> int:
    """Bytes of keys and values of one token.

    >>> token_bytes(ModelConfig(num_hidden_layers=2, num_key_value_heads=2, head_dim=8))
    256
    """
    numbers = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    return numbers * number_size(config.dtype)


def cache_copies(config: ModelConfig) -> int:
    """How many times as much as the cache itself decoding holds: on CPU, XLA changes bfloat16 arrays in float32."""
    return 3 if config.dtype == "bfloat16" and platform() == "cpu" else 1


def decoding_copies(config: ModelConfig) -> int:
    """Bytes of weights that decoding holds beside the parameters: its layers cut apart in the type of the computation,
    and what a platform multiplies in another type."""
    layers = num_params(config) - embeddings(config)
    held = layers * number_size(config.dtype)
    head = config.vocab_size * config.hidden_size
    if config.dtype != config.param_dtype:
        held += head * number_size(config.dtype)
    if config.dtype == "bfloat16" and platform() == "cpu":
        held += head * FLOAT32  # the head in float32, made once before the loop
    return held


def reading(config: ModelConfig, tokens: int, length: int) -> int:
    """Bytes that reading prompts takes for a while, beyond the cache.

    Args:
      tokens: read at a time.
      length: of a prompt.
    """
    inner = config.intermediate_size
    if config.num_experts:
        inner = max(inner, config.num_experts_per_tok * (config.moe_intermediate_size + config.hidden_size))
    scores = 2 * config.num_attention_heads * min(length, BLOCK)
    return tokens * FLOAT32 * max(FEED_FORWARD_COPIES * inner, scores)


def drawing(config: ModelConfig, rows: int) -> int:
    """Bytes that drawing one token of so many rows takes: logits of the whole vocabulary."""
    return LOGIT_COPIES * rows * config.vocab_size * FLOAT32


def activations(config: ModelConfig, tokens: float, tensor: int = 1) -> float:
    """Bytes that a backward pass keeps of so many tokens on a device: all of every layer, or with `remat` the inputs of
    all layers and all of one.

    Args:
      tensor: devices that share each row.
    """
    inputs, whole = _kept(config, tokens, tensor)
    return inputs + 2 * whole if config.remat else config.num_hidden_layers * whole


def _kept(config: ModelConfig, tokens: float, tensor: int) -> tuple[float, float]:
    """Bytes of the inputs of all layers, and of everything in one."""
    heads = config.head_dim * (config.num_attention_heads + config.num_key_value_heads) / tensor
    inner = config.intermediate_size / tensor
    if config.num_experts:
        inner = config.num_experts_per_tok * (config.moe_intermediate_size / tensor + config.hidden_size)
    number = tokens * computed_size(config)
    return number * config.num_hidden_layers * config.hidden_size, number * (
        6 * config.hidden_size + 4 * heads + 4 * inner
    )


def update(
    config: ModelConfig, tokens: float, split: int = 1, vocab: int = 1, adapters: LoraConfig = LoraConfig()
) -> float:
    """Bytes that an update takes of a device beside parameters and optimiser state.

    Sums of gradients in float32, of what is trained; the head with its gradient and a copy, or only a copy where it is
    frozen; logits, their gradient and one more of as many tokens as exist at a time; what the backward pass keeps. With
    `remat` logits and a layer don't stand together.

    Args:
      tokens: of a micro-batch.
      split: devices that parameters are split over.
      vocab: devices that the vocabulary is split over.
      adapters: that are trained in place of everything.
    """
    head = config.vocab_size * config.hidden_size / vocab
    logits = 3 * min(config.logp_chunk, tokens) * config.vocab_size / vocab * FLOAT32
    gradients = num_trained(config, adapters) * FLOAT32 / split
    inputs, whole = _kept(config, tokens, vocab)
    kept = inputs + max(logits, 2 * whole) if config.remat else config.num_hidden_layers * whole + logits
    return gradients + (1 if adapters.wanted else 3) * head * computed_size(config) + kept
