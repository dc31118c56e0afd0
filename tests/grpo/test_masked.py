"""Completions that reward.masking leaves out of the loss: out of their group's statistics too, or not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.config import GRPOConfig, RewardConfig
from jaxreason.grpo.signal import signal
from jaxreason.rewards.importance import initial_ratio
from jaxreason.rewards.methods import METHODS
from jaxreason.rewards.outcome import Outcome
from tests.helpers import TOLERANCE

T = 8


def _advantages(**reward) -> tuple[np.ndarray, np.ndarray]:
    """Of a short right answer, a long right one, a short wrong one and a long wrong one, target 5."""
    length = jnp.array([[5, 6, 5, 6]], jnp.int32)
    seen = Outcome(
        correct=jnp.array([[True, True, False, False]]),
        gradable=jnp.ones((1, 4), bool),
        length_y=length - 1,
        length={"reason": length},
        finished={"reason": jnp.ones((1, 4), bool)},
        chunks=None,
        scores=None,
        frozen_value=None,
        widths=(("reason", T),),
    )
    _, found, _ = signal(
        seen,
        jnp.float32(0),
        initial_ratio(),
        jax.random.key(0),
        reward=RewardConfig(preset="truncation", target_length=5, **reward),
        grpo=GRPOConfig(scale_rewards="none"),
        method=METHODS["truncation"],
        max_length=T,
    )
    return np.asarray(found.token["reason"])[0, :, 0], np.asarray(found.keep["reason"])[0]


@pytest.mark.parametrize(
    ("masking", "in_stats", "expected"),
    [  # the rewards are 1, 0, 0, 0
        ("all", False, [0.75, -0.25, -0.25, -0.25]),
        ("-I", False, [0.5, -0.5, 0, 0]),
        ("-I", True, [0.75, -0.25, 0, 0]),
        ("-L&C-S&I", False, [0.5, 0, 0, -0.5]),
        ("-L&C-S&I", True, [0.75, 0, 0, -0.25]),
    ],
)
def test_by_hand(masking, in_stats, expected):
    """Catches a mean over what is left out, one over what is left where the other reading was asked for, and a
    completion that is left out but still learnt from."""
    advantage, keep = _advantages(masking=masking, mask_in_stats=in_stats)
    np.testing.assert_allclose(advantage, expected, atol=TOLERANCE["sum"])
    assert keep.tolist() == [value != 0 for value in expected]


def test_without_a_mask_there_is_nothing_to_choose():
    with pytest.raises(ValueError, match=r"reward\.mask_in_stats: expected false where reward\.masking=all"):
        RewardConfig(mask_in_stats=True)
