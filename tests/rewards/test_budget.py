"""The multiplier of a token budget: one update by hand, and lengths that answer late, noisily and more or less."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.config import BudgetConfig
from jaxreason.rewards import budget
from tests.helpers import TOLERANCE

START = 100.0


def _state(multiplier, tokens, target):
    return budget.BudgetState(
        alpha=jnp.float32(0),
        multiplier=jnp.float32(multiplier),
        log_tokens=jnp.float32(math.log(tokens)),
        begun=jnp.float32(math.log(START)),
        target=jnp.float32(target),
    )


def _update(state, tokens, unit=1.0, share=1.0):
    return budget.update(state, jnp.float32(tokens), jnp.float32(unit), jnp.float32(share))


@pytest.mark.parametrize(
    ("multiplier", "before", "tokens", "target", "expected"),
    [
        # A twentieth too long, not falling: 0.08 log 1.05 more to keep, and 4 log 1.05 on top of it.
        (0.8, 52.5, 52.5, 50, (0.8 + 0.08 * math.log(1.05), 0.8 + 4.08 * math.log(1.05))),
        # A twentieth too long, and a batch a tenth shorter: the average falls by 0.2 * 0.1.
        (
            0.8,
            52.5,
            52.5 * 0.9,
            50,
            (0.8 + 0.08 * math.log(1.05 * 0.9**0.2), 0.8 + 4.08 * math.log(1.05 * 0.9**0.2)),
        ),
        # A quarter too long: only a tenth of it counts for what is kept.
        (0.1, 62.5, 62.5, 50, (0.1 + 0.008, 0.1 + 0.008 + 4 * math.log(1.25))),
        # A twentieth too short: the push is negative.
        (0.8, 47.5, 47.5, 50, (0.8 + 0.08 * math.log(0.95), 0.8 + 4.08 * math.log(0.95))),
        # Within the budget, without a price: it stays 0, not below.
        (0.0, 40, 40, 50, (0.0, 0.0)),
        # Far too long: the ceiling, for the multiplier too.
        (1.495, 100, 100, 50, (1.5, 1.5)),
        # A batch of empty completions counts as one token.
        (0.9, 50, 0, 50, (0.9 - 0.008, max(0.0, 0.9 - 0.008 - 0.8 * math.log(50)))),
    ],
)
def test_one_update_by_hand(multiplier, before, tokens, target, expected):
    average = 0.8 * math.log(before) + 0.2 * math.log(max(tokens, 1))
    for unit in (1.0, 2.5):
        after = _update(_state(multiplier * unit, before, target), tokens, unit)
        kept, paid = (unit * max(0.0, value) for value in expected)
        assert float(after.multiplier) == pytest.approx(kept, abs=10 * TOLERANCE["elementwise"])
        assert float(after.alpha) == pytest.approx(paid, abs=10 * TOLERANCE["elementwise"])
        assert float(after.log_tokens) == pytest.approx(average, rel=TOLERANCE["elementwise"])
        assert float(after.target) == target


def _lagging(gain, scale, lag):
    """Lengths that approach START / (1 + alpha / scale)^gain with a lag in steps."""

    def plant(log_length, alpha, step):
        return log_length + (math.log(START) - gain * math.log1p(alpha / scale) - log_length) / lag

    return plant


def _pushing(rate, stiffness, needed=30.0, steps=0):
    """Lengths that alpha pushes down at a rate, and that accuracy pushes up the harder the nearer the need.

    Far above the need next to nothing pushes them up. With `steps`, both fade as a learning rate does.
    """

    def plant(log_length, alpha, step):
        length, left = math.exp(log_length), max(0.0, 1 - step / steps) if steps else 1.0
        return log_length + left * (stiffness * (needed / length) ** 3 - rate * alpha * length / START)

    return plant


PLANTS = {
    "weak": (_lagging(0.3, 0.2, 10), 1.8),
    "middle": (_lagging(0.5, 0.5, 10), 1.5),
    "strong": (_lagging(0.8, 0.1, 10), 0.14),
    "strong, quick": (_lagging(0.8, 0.1, 3), 0.14),
    "strong, slow": (_lagging(0.8, 0.5, 25), 0.7),
    "pushed": (_pushing(0.03, 0.1), 1.5),
    "pushed hard": (_pushing(0.1, 0.1), 0.45),
    "stays short, for half the time": (_pushing(0.08, 0.02, needed=45.0, steps=125), 1.0),
}
"""Name -> how lengths answer, and the scale of alpha: about what halves them."""
WEAK = PLANTS["weak"][0]
STAYS_SHORT = _pushing(0.08, 0.01, needed=40.0, steps=250)
RAMP = 24
"""Steps in which the aim comes down."""


def _play(plant, target, *, noise, unit=1.0, steps=250, seed=0, state=None, first=0, log_length=None, ramp=RAMP):
    """True mean length and alpha by step; a batch's mean is off by `noise`, and by its own draw for a step."""
    state = budget.initial(target, START) if state is None else state
    log_length = math.log(START) if log_length is None else log_length
    lengths, alphas = [], []
    for step in range(first, steps):
        alpha = float(state.alpha)
        lengths.append(math.exp(log_length))
        alphas.append(alpha)
        seen = math.exp(log_length + noise * np.random.default_rng([seed, step]).standard_normal())
        state = _update(state, seen, unit, min(1.0, (step + 1) / ramp))
        log_length = plant(log_length, alpha, step)
    return np.array(lengths), np.array(alphas), state, log_length


@pytest.mark.parametrize("target", [80.0, 60.0, 50.0])
@pytest.mark.parametrize("name", PLANTS)
def test_a_budget_is_met_and_not_overshot(name, target):
    """Three budgets, eight ways of answering."""
    plant, unit = PLANTS[name]
    lengths, alphas, _, _ = _play(plant, target, noise=0.0, unit=unit)
    assert lengths.min() > 0.95 * target, "overshoot"
    reached = int(np.argmax(lengths < 1.05 * target))
    assert lengths[reached:].max() <= 1.08 * target, "it left the budget again"
    assert lengths[-50:] == pytest.approx(np.full(50, target), rel=0.02)
    assert alphas.min() >= 0

    noisy, _, _, _ = _play(plant, target, noise=0.1, unit=unit)
    assert noisy[-80:].mean() == pytest.approx(target, rel=0.05)


@pytest.mark.parametrize("target", [80.0, 60.0, 50.0])
def test_a_policy_that_hardly_grows_again_comes_back(target):
    """Nothing but accuracy pushes its length up, and little: what is overshot is overshot for long."""
    lengths, _, _, _ = _play(STAYS_SHORT, target, noise=0.0)
    assert lengths.min() > 0.9 * target, "overshoot"
    assert lengths[-50:] == pytest.approx(np.full(50, target), rel=0.02)


def _with_momentum():
    """Lengths that go on falling when alpha has gone, as under Adam, and hardly grow again: what a quickstart does."""
    speed = 0.0

    def plant(log_length, alpha, step):
        nonlocal speed
        room = max(0.0, 1.0 - (46.0 / math.exp(log_length)) ** 4)
        speed = 0.9 * speed + 0.1 * (0.002 - 0.045 * math.tanh(alpha) * room)
        return log_length + speed

    return plant


@pytest.mark.parametrize("target", [70.0, 60.0, 50.0])
def test_an_aim_that_comes_down_is_not_overshot_by_momentum(target):
    """Catches an aim that stands at the budget from the start: momentum then carries lengths far below a mild one."""
    lengths, _, _, _ = _play(_with_momentum(), target, noise=0.0, unit=2.5, steps=120, ramp=80)
    assert lengths.min() > 0.9 * target, "overshoot"
    assert lengths[-20:].mean() == pytest.approx(target, rel=0.05)
    at_once, _, _, _ = _play(_with_momentum(), 70.0, noise=0.0, unit=2.5, steps=120, ramp=1)
    assert at_once.min() < 0.85 * 70.0


def test_the_aim():
    """Catches a fall in equal steps of tokens, and a default that is not two thirds of the run."""
    state = _state(0.0, START, 25.0)
    assert [float(budget.aim(state, jnp.float32(s))) for s in (0.0, 0.5, 1.0)] == pytest.approx([START, 50.0, 25.0])
    assert budget.approached(BudgetConfig(target_steps=10), 4, 1000) == 0.5
    assert budget.approached(BudgetConfig(), 39, 90) == pytest.approx(40 / 60)
    assert budget.approached(BudgetConfig(), 80, 90) == 1.0
    assert budget.approached(BudgetConfig(), 0, 0) == 1.0


def test_without_the_push_it_would_swing(monkeypatch):
    """That the bound of the test above is one that a wrong update misses: dual ascent alone."""
    plain = budget.update.__wrapped__
    monkeypatch.setattr(budget, "PUSH", 0.0)
    monkeypatch.setattr(budget, "update", jax.jit(lambda *given: plain(*given)))
    lengths, _, _, _ = _play(STAYS_SHORT, 60.0, noise=0.0, ramp=1)
    assert lengths.min() < 0.8 * 60.0


def test_a_budget_that_needs_no_pressure_gets_none():
    """Also after pressure that was once needed: lengths that stay below the budget let alpha go at once."""
    _, alphas, _, _ = _play(WEAK, 120.0, noise=0.05)
    assert alphas.max() < 0.05
    state = _state(0.5, 60.0, 80.0)
    assert float(_update(state, 60.0).alpha) == 0.0
    for _ in range(100):
        state = _update(state, 60.0)
    assert float(state.multiplier) == 0.0


def test_an_unreachable_budget_ends_at_the_ceiling():
    _, alphas, _, _ = _play(_lagging(0.1, 1.0, 5), 20.0, noise=0.0)
    assert alphas[-1] == budget.ceiling(1.0)


def test_a_controller_stopped_and_restored_is_the_same_to_the_bit():
    """Its memory is four numbers; anything kept elsewhere would be lost to a checkpoint."""
    straight = _play(WEAK, 60.0, noise=0.1, steps=80)
    half = _play(WEAK, 60.0, noise=0.1, steps=33)
    stored = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), half[2])
    rest = _play(WEAK, 60.0, noise=0.1, steps=80, first=33, state=stored, log_length=half[3])
    chex.assert_trees_all_equal(rest[2], straight[2])
    np.testing.assert_array_equal(np.concatenate([half[1], rest[1]]), straight[1])


def test_the_target_in_tokens():
    assert budget.target_of(BudgetConfig(target_tokens=64.0), 200.0) == 64.0
    assert budget.target_of(BudgetConfig(target_reduction=0.25), 200.0) == 150.0
    with pytest.raises(ValueError, match=r"budget.target_reduction: expected to leave at least 1 token .* got 0.50"):
        budget.target_of(BudgetConfig(target_reduction=0.9), 5.0)
