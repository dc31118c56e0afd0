"""The multiplier of a token budget: one update by hand, and lengths that answer late, noisily and more or less."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.config import RewardConfig
from jaxreason.rewards import budget
from tests.helpers import TOLERANCE

START = 100.0


def _state(alpha, tokens, target):
    return budget.BudgetState(
        alpha=jnp.float32(alpha), log_tokens=jnp.float32(math.log(tokens)), target=jnp.float32(target)
    )


@pytest.mark.parametrize(
    ("alpha", "before", "tokens", "target", "expected"),
    [
        # e times too long and not falling: 0.2 is the bound, so 1.0 e^0.2 - 0.2. Three times: still e^0.2.
        (0.8, 50 * math.e, 50 * math.e, 50, math.exp(0.2) - 0.2),
        (0.8, 150, 150, 50, math.exp(0.2) - 0.2),
        # A tenth too long, not falling: 0.2 log 1.1.
        (0.8, 55, 55, 50, 1.1**0.2 - 0.2),
        # A tenth too long, and a batch a tenth shorter: the average falls by 0.2 * 0.1, which counts 16-fold.
        (0.8, 55, 49.5, 50, math.exp(0.2 * (math.log(1.1) + 0.2 * math.log(0.9) * 16)) - 0.2),
        # Within the budget at alpha 0: it stays 0, not below.
        (0.0, 40, 40, 50, 0.0),
        # At the ceiling.
        (15.9, 100, 100, 50, 16.0),
        # A batch of empty completions counts as one token, and moves alpha by the bound.
        (0.8, 50, 0, 50, math.exp(-0.2) - 0.2),
    ],
)
def test_one_update_by_hand(alpha, before, tokens, target, expected):
    after = budget.update(_state(alpha, before, target), jnp.float32(tokens))
    assert float(after.alpha) == pytest.approx(expected, abs=10 * TOLERANCE["elementwise"])
    average = 0.8 * math.log(before) + 0.2 * math.log(max(tokens, 1))
    assert float(after.log_tokens) == pytest.approx(average, rel=TOLERANCE["elementwise"])
    assert float(after.target) == target


def _lagging(gain, scale, lag):
    """Lengths that approach START / (1 + alpha / scale)^gain with a lag in steps."""

    def plant(log_length, alpha):
        return log_length + (math.log(START) - gain * math.log1p(alpha / scale) - log_length) / lag

    return plant


def _pushing(rate, stiffness, needed=30.0):
    """Lengths that alpha pushes down at a rate, and that accuracy pushes up the harder the nearer the need."""

    def plant(log_length, alpha):
        length = math.exp(log_length)
        return log_length - rate * alpha * length / START + stiffness * (needed / length) ** 3

    return plant


PLANTS = {
    "weak": _lagging(0.3, 0.2, 10),
    "middle": _lagging(0.5, 0.5, 10),
    "strong": _lagging(0.8, 0.1, 10),
    "strong, quick": _lagging(0.8, 0.1, 3),
    "strong, slow": _lagging(0.8, 0.5, 25),
    "pushed": _pushing(0.03, 0.1),
    "pushed hard": _pushing(0.1, 0.1),
}


def _play(plant, target, *, noise, steps=250, seed=0, state=None, first=0, log_length=None):
    """True mean length and alpha by step; a batch's mean is off by `noise`, and by its own draw for a step."""
    state = budget.initial(target, START) if state is None else state
    log_length = math.log(START) if log_length is None else log_length
    lengths, alphas = [], []
    for step in range(first, steps):
        alpha = float(state.alpha)
        lengths.append(math.exp(log_length))
        alphas.append(alpha)
        seen = math.exp(log_length + noise * np.random.default_rng([seed, step]).standard_normal())
        state = budget.update(state, jnp.float32(seen))
        log_length = plant(log_length, alpha)
    return np.array(lengths), np.array(alphas), state, log_length


@pytest.mark.parametrize("target", [80.0, 60.0, 50.0])
@pytest.mark.parametrize("name", PLANTS)
def test_a_budget_is_met_and_not_overshot(name, target):
    """Three budgets, seven ways of answering. Dual ascent without the lookahead overshoots by a quarter here."""
    lengths, alphas, _, _ = _play(PLANTS[name], target, noise=0.0)
    assert lengths.min() > 0.95 * target, "overshoot"
    reached = int(np.argmax(lengths < 1.05 * target))
    assert lengths[reached:].max() <= 1.08 * target, "it left the budget again"
    assert lengths[-50:] == pytest.approx(np.full(50, target), rel=0.02)
    assert alphas.min() >= 0

    noisy, _, _, _ = _play(PLANTS[name], target, noise=0.1)
    assert noisy[-80:].mean() == pytest.approx(target, rel=0.05)


def test_without_the_lookahead_it_would_swing(monkeypatch):
    """That the bound of the test above is one that a wrong update misses."""
    plain = budget.update.__wrapped__
    monkeypatch.setattr(budget, "LOOKAHEAD", 0.0)
    monkeypatch.setattr(budget, "update", jax.jit(lambda *given: plain(*given)))
    lengths, _, _, _ = _play(PLANTS["strong, slow"], 60.0, noise=0.0)
    assert lengths.min() < 0.75 * 60.0


def test_a_budget_that_needs_no_pressure_gets_none():
    """Also after pressure that was once needed: lengths that stay below the budget let alpha go."""
    _, alphas, _, _ = _play(PLANTS["middle"], 120.0, noise=0.05)
    assert alphas.max() < 0.05
    state = _state(2.0, 60.0, 80.0)
    for _ in range(100):
        state = budget.update(state, jnp.float32(60.0))
    assert float(state.alpha) == 0.0


def test_an_unreachable_budget_ends_at_the_ceiling():
    _, alphas, _, _ = _play(_lagging(0.1, 1.0, 5), 20.0, noise=0.0)
    assert alphas[-1] == budget.CEILING


def test_a_controller_stopped_and_restored_is_the_same_to_the_bit():
    """Its memory is three numbers; anything kept elsewhere would be lost to a checkpoint."""
    straight = _play(PLANTS["middle"], 60.0, noise=0.1, steps=80)
    half = _play(PLANTS["middle"], 60.0, noise=0.1, steps=33)
    stored = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), half[2])
    rest = _play(PLANTS["middle"], 60.0, noise=0.1, steps=80, first=33, state=stored, log_length=half[3])
    chex.assert_trees_all_equal(rest[2], straight[2])
    np.testing.assert_array_equal(np.concatenate([half[1], rest[1]]), straight[1])


def test_the_target_in_tokens():
    assert budget.target_of(RewardConfig(target_tokens=64.0), 200.0) == 64.0
    assert budget.target_of(RewardConfig(target_reduction=0.25), 200.0) == 150.0
    with pytest.raises(ValueError, match=r"reward.target_reduction: expected to leave at least 1 token .* got 0.50"):
        budget.target_of(RewardConfig(target_reduction=0.9), 5.0)
