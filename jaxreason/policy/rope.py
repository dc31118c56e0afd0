"""Rotary position embedding, plain or stretched over more tokens than it was trained on.

Frequencies are host constants in the names and by the formulas of transformers' `modeling_rope_utils`.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.config import ModelConfig


def frequencies(config: ModelConfig) -> tuple[np.ndarray, float]:
    """(radians a token [C/2], float32; what cosine and sine are multiplied by).

    - default: rope_theta ** (-2c/C);
    - linear: all of them divided by the factor;
    - llama3: those that turn more than rope_high_freq_factor times within the original length stay, those that turn
      less than rope_low_freq_factor times are divided by the factor, those between are mixed by how often they turn;
    - yarn (arXiv:2309.00071): those that turn more than beta_fast times within the original length stay, those that
      turn less than beta_slow times are divided by the factor, those between are mixed along a ramp. Queries and keys
      grow with the factor's logarithm, unless rope_attention_factor says by how much.

    >>> frequencies(ModelConfig(head_dim=4, rope_type="linear", rope_factor=2.0))
    (array([0.5  , 0.005], dtype=float32), 1.0)
    """
    half = config.head_dim // 2
    plain_C = config.rope_theta ** (-np.arange(half) / half)
    if config.rope_type == "default":
        return plain_C.astype(np.float32), 1.0
    slow_C = plain_C / config.rope_factor
    if config.rope_type == "linear":
        return slow_C.astype(np.float32), 1.0
    if config.rope_type == "llama3":
        turns_C = plain_C * _length(config) / (2 * math.pi)
        low, high = config.rope_low_freq_factor, config.rope_high_freq_factor
        fast_share_C = np.clip((turns_C - low) / (high - low), 0.0, 1.0)
        return (slow_C * (1.0 - fast_share_C) + plain_C * fast_share_C).astype(np.float32), 1.0
    low, high = _ramp_bounds(config)
    slow_share_C = np.clip((np.arange(half) - low) / max(high - low, 0.001), 0.0, 1.0)
    mixed_C = slow_C * slow_share_C + plain_C * (1.0 - slow_share_C)
    return mixed_C.astype(np.float32), config.rope_attention_factor or _attention_factor(config)


def _length(config: ModelConfig) -> int:
    """Tokens that the model was first trained on."""
    return config.rope_original_max_position_embeddings or config.max_position_embeddings


def _ramp_bounds(config: ModelConfig) -> tuple[float, float]:
    """Pairs of dimensions, as fractions unless truncated, at which YaRN's ramp begins and ends."""

    def pair(turns: float) -> float:
        """The pair that turns so many times within the original length."""
        return config.head_dim * math.log(_length(config) / (turns * 2 * math.pi)) / (2 * math.log(config.rope_theta))

    low, high = pair(config.rope_beta_fast), pair(config.rope_beta_slow)
    if config.rope_truncate:
        low, high = math.floor(low), math.ceil(high)
    return max(low, 0), min(high, config.head_dim - 1)


def _attention_factor(config: ModelConfig) -> float:
    def growth(rate: float) -> float:
        return 0.1 * rate * math.log(config.rope_factor) + 1.0

    if config.rope_mscale and config.rope_mscale_all_dim:
        return growth(config.rope_mscale) / growth(config.rope_mscale_all_dim)
    return growth(1.0)


def rotation(positions_BS: jax.Array, limit: int, config: ModelConfig) -> tuple[jax.Array, jax.Array]:
    """Cosine and sine [B S 1 C/2], float32, of the rotary embedding's angles at positions 0..limit-1, for all layers.

    Rows of a table, because XLA would copy the trigonometry itself into every layer and head that uses it. A position
    beyond the limit gives NaN.
    """
    frequency_C, scale = frequencies(config)
    angle_SC = jnp.arange(limit, dtype=jnp.float32)[:, None] * frequency_C[None]

    def at_positions(table_SC):
        scaled_SC = table_SC if scale == 1.0 else table_SC * scale
        return scaled_SC.at[positions_BS].get(mode="fill", fill_value=jnp.nan)[:, :, None]

    return at_positions(jnp.cos(angle_SC)), at_positions(jnp.sin(angle_SC))


def only_where(rotated: jax.Array, angles: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Cosine and sine that rotate by nothing where the flag (bool scalar) is False."""
    cos, sin = angles
    return jnp.where(rotated, cos, 1.0), jnp.where(rotated, sin, 0.0)


def rotate(x_BSHC: jax.Array, cos_BS1C: jax.Array, sin_BS1C: jax.Array) -> jax.Array:
    """Rotary embedding, in float32, halves paired as Hugging Face's Llama family pairs them."""
    first, second = jnp.split(x_BSHC.astype(jnp.float32), 2, axis=-1)
    rotated = [first * cos_BS1C - second * sin_BS1C, second * cos_BS1C + first * sin_BS1C]
    return jnp.concatenate(rotated, axis=-1).astype(x_BSHC.dtype)
