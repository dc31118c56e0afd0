"""Frequencies of the rotary embedding, by hand."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.config import ModelConfig
from jaxreason.policy import rope
from tests.helpers import TOLERANCE

YARN = ModelConfig(
    head_dim=128,
    rope_theta=1000000.0,
    rope_type="yarn",
    rope_factor=4.0,
    rope_original_max_position_embeddings=32768,
)
"""What Qwen's model cards say to write for long contexts."""
PLAIN = 1000000.0 ** (-np.arange(64) / 64)


def test_yarn_leaves_the_fast_divides_the_slow_and_mixes_between():
    """32 turns in 32768 tokens lie at pair 23.6 and one turn at 39.7: up to 23 plain, from 40 a quarter.

    Catches the ramp the wrong way round, bounds rounded inward, and a ramp over dimensions instead of pairs.
    """
    frequency, scale = rope.frequencies(YARN)
    np.testing.assert_allclose(frequency[:24], PLAIN[:24], rtol=TOLERANCE["elementwise"])
    np.testing.assert_allclose(frequency[40:], PLAIN[40:] / 4, rtol=TOLERANCE["elementwise"])
    np.testing.assert_allclose(frequency[31], PLAIN[31] * (9 / 17 + 8 / 17 / 4), rtol=TOLERANCE["elementwise"])
    assert scale == pytest.approx(1.138629436)


def test_yarn_without_truncation_ramps_between_fractions():
    """Catches bounds that are always rounded."""
    low, high = 128 * math.log(32768 / (64 * math.pi)) / 27.631021, 128 * math.log(32768 / (2 * math.pi)) / 27.631021
    share = (31 - low) / (high - low)
    frequency, _ = rope.frequencies(dataclasses.replace(YARN, rope_truncate=False))
    np.testing.assert_allclose(frequency[31], PLAIN[31] * (1 - share + share / 4), rtol=TOLERANCE["sum"])


@pytest.mark.parametrize(
    ("changes", "scale"),
    [
        ({"rope_attention_factor": 1.5}, 1.5),
        ({"rope_mscale": 2.0, "rope_mscale_all_dim": 1.0}, (1 + 0.2 * math.log(4)) / (1 + 0.1 * math.log(4))),
        ({"rope_mscale": 2.0}, 1 + 0.1 * math.log(4)),  # alone it says nothing, as in transformers
        ({"rope_factor": 1.0}, 1.0),
    ],
)
def test_scale_of_yarn(changes, scale):
    """Catches a scale squared, ignored, or taken from half of a pair of settings."""
    assert rope.frequencies(dataclasses.replace(YARN, **changes))[1] == pytest.approx(scale)


def test_the_scale_is_on_cosine_and_sine():
    """Catches a scale that reaches only one of them; position 0 has cosine 1."""
    cos, sin = rope.rotation(jnp.array([[0, 3]]), 4, YARN)
    scale = rope.frequencies(YARN)[1]
    np.testing.assert_allclose(np.hypot(cos, sin), scale, rtol=TOLERANCE["elementwise"])
