"""Runs of one process share what is compiled: a grid of methods, alphas and seeds would spend its time tracing."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from jaxreason.config import Config, GRPOConfig, RewardConfig
from jaxreason.grpo.signal import compiled, signal
from jaxreason.rewards.importance import initial_ratio
from jaxreason.rewards.methods import METHODS
from jaxreason.run import programs
from tests.grpo.test_credit_wiring import T, outcome


def _changed(config: Config, section: str, **fields) -> Config:
    return dataclasses.replace(config, **{section: dataclasses.replace(getattr(config, section), **fields)})


@pytest.mark.parametrize(
    ("section", "fields", "shared"),
    [
        ("run", {"seed": 3, "output_dir": "elsewhere"}, True),
        ("reward", {"preset": "lp", "alpha": 4.0, "phi": (1.0, 1.0, 1.0, 1.0, 0.0)}, True),
        ("grpo", {"credit": "chunk", "scale_rewards": "none", "loss_type": "dapo"}, True),
        ("grpo", {"beta": (0.0, 0.0, 0.1)}, False),
        ("grpo", {"epsilon": 0.1}, False),
        ("model", {"hidden_size": 32}, False),
        ("optimizer", {"learning_rate": 1e-3}, False),
        ("sampling", {"temperature": 0.5}, False),
    ],
)
def test_programs_are_shared_by_runs_that_differ_elsewhere(section, fields, shared):
    """Catches a cell of a grid that compiles the update again, and one that trains with another's clip or rate."""
    config = Config()
    other = _changed(config, section, **fields)
    assert (programs.compiled_for(config) == programs.compiled_for(other)) is shared


def test_one_signal_serves_every_alpha_and_phi():
    """Catches a sweep that traces anew at each point, and one whose points all use the first one's numbers."""

    def rewards(alpha, phi):
        found, _, _ = signal(
            outcome(),
            jnp.float32(alpha),
            initial_ratio(),
            jax.random.key(0),
            reward=RewardConfig(preset="scma", alpha=alpha, phi=phi),
            grpo=GRPOConfig(scale_rewards="none"),
            method=METHODS["scma"],
            max_length=T,
        )
        return found.total["reason"].tolist()

    # Row 0 has a chunk of 2 of 8 tokens scored 1; the other chunks are free.
    first = rewards(0.4, (1.0, 0.75, 0.5, 0.25, 0.0))
    before = compiled._cache_size()
    assert first == [[pytest.approx(1 - 0.4 * 2 / 8), 1.0]]
    assert rewards(0.8, (0.5, 0.5, 0.5, 0.25, 0.0)) == [[pytest.approx(1 - 0.8 * 1 / 8), 1.0]]
    assert compiled._cache_size() == before
