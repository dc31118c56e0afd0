"""Methods that read the prompt or the text, by numbers worked on paper."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.config import GRPOConfig, RewardConfig
from jaxreason.grpo.signal import signal
from jaxreason.rewards import length_asked as asked
from jaxreason.rewards.importance import initial_ratio
from jaxreason.rewards.length import Moment
from jaxreason.rewards.methods import METHODS
from jaxreason.rewards.outcome import Outcome
from tests.helpers import TOLERANCE
from tests.rewards.test_length import seen


def at(step, **moment):
    return dataclasses.replace(step, moment=Moment(**{name: jnp.asarray(value) for name, value in moment.items()}))


def near(got, expected):
    np.testing.assert_allclose(got, expected, atol=TOLERANCE["sum"])


STEP = at(seen([[True, True, False], [True, True, False]], [[20, 50, 30]] * 2, max_length=60), asked=[30, 0])
"""The first prompt asks for 30 tokens, the second for none."""


def test_l1_exact():
    """Catches a penalty for being long only, and one where nothing was asked for."""
    near(asked.l1_exact(STEP, weight=0.01).reward, [[0.9, 0.8, 0.0], [1.0, 1.0, 0.0]])


def test_l1_max():
    """Catches a wrong answer paid for its length, and a clip that lets a bonus through."""
    near(asked.l1_max(STEP, weight=0.01).reward, [[0.6, 0.3, 0.0], [1.0, 1.0, 0.0]])
    near(asked.l1_max(STEP, weight=1.0).reward, [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    with pytest.raises(ValueError, match=r"moment.asked: expected an array for this method"):
        asked.l1_max(seen())


def test_lc_r1():
    """Catches the longest answer taken for the longest right one: a wrong one beyond it earns less than 0."""
    step = seen([[True, True, False, False], [False] * 4], [[20, 40, 60, 10]] * 2, max_length=60)
    step = at(step, answer_at=[[5, 0, 5, 5]] * 2)
    found = asked.lc_r1(step)
    near(found.reward, [[1.5, 1.0, -0.5, 0.75], [0.0] * 4])
    near(found.closing, [[0.75, -1.0, 0.0, 0.0], [0.0] * 4])


def test_the_closing_term_is_an_advantage_of_one_token():
    """Catches it spread over the completion, put on a row that is left out, or lost where a group has no spread."""
    right = jnp.array([[True, True], [True, True]])
    outcome = Outcome(
        correct=right, gradable=jnp.array([[True, True], [True, False]]), length_y=jnp.full((2, 2), 4, jnp.int32),
        length={"reason": jnp.full((2, 2), 6, jnp.int32)}, finished={"reason": right}, chunks=None, scores=None,
        frozen_value=None, widths=(("reason", 8),),
        moment=Moment(answer_at=jnp.array([[1, 0], [2, 2]]), closes_at=jnp.array([[4, 5], [-1, 4]])),
    )  # fmt: skip
    rewards, advantages, _ = signal(
        outcome, jnp.float32(0), initial_ratio(), jax.random.key(0),
        reward=RewardConfig(preset="lc_r1"), grpo=GRPOConfig(), method=METHODS["lc_r1"], max_length=8,
    )  # fmt: skip
    near(rewards.total["reason"], [[1.0, 1.0], [1.0, 0.0]])
    expected = np.zeros((2, 2, 8))
    expected[0, 0, 4], expected[0, 1, 5] = 0.75, -1.0
    near(advantages.token["reason"], expected)
