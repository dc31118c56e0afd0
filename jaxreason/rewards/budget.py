"""A budget of tokens in place of alpha: the multiplier of the length penalty, moved until the mean length meets it.

max E[R_acc] subject to E[tokens] <= B has the Lagrangian E[R_acc] - alpha (E[tokens] - B), and dual ascent raises alpha
while the constraint is violated and lowers it, never below 0, while there is room. By Everett's theorem a maximiser at
any alpha is optimal for the budget that it happens to meet, so it is enough to find the alpha whose policy uses B
tokens. Tokens are those of the whole completion, counted plainly. Weighted by importance they would be a constraint
that a scorer can meet by calling everything important, and the answer line, which no penalty reaches, is what a user
pays for as well.

The multiplier moves by

    log(alpha + UNIT)  +=  STEP * (e + LOOKAHEAD * change of e),   e = log(mean tokens / B), a moving average

- Logarithms, since neither the scale of alpha nor that of lengths is known. UNIT lets alpha start at, and return to, 0.
- Dual ascent alone (LOOKAHEAD 0) swings: lengths answer late, and alpha rises on until they have. For lengths that
  approach -g * log(alpha + UNIT) with a lag of tau steps, the loop is tau s^2 + (1 + g STEP LOOKAHEAD) s + g STEP,
  whose damping is at least sqrt(LOOKAHEAD / tau) whatever the gain g: a LOOKAHEAD of at least the lag does not
  overshoot. The average itself lags by 1 / (1 - DECAY) steps. That the rate of change damps a dual ascent is known as
  PID control of the multiplier (arXiv:2007.03964); this is its PI form, in steps of alpha.
- GROWTH bounds a step, so that one odd batch moves alpha by a fifth or so.

On simulated lengths, with lags of 3 to 25 steps, gains that differ several-fold and noise of a tenth, budgets of
80, 60 and 50 % were met within 5 % and overshot by less than 5 % in 40 to 70 steps (tests/rewards/test_budget.py).
Accuracy is not looked at: a collapse into short wrong answers goes below the budget, which takes the pressure away.
"""

import chex
import jax
import jax.numpy as jnp

from jaxreason.config import RewardConfig
from jaxreason.types import pytree

STEP = 0.2
"""Of log(alpha + UNIT) for a length that is e-fold too long."""
LOOKAHEAD = 15.0
"""Steps by which the trend of the length is followed ahead."""
DECAY = 0.8
"""What a step keeps of the moving average of log-length."""
GROWTH = 0.2
"""The largest change of log(alpha + UNIT) in a step."""
UNIT = 0.2
"""Below it alpha moves in equal steps, above it by equal factors."""
CEILING = 16.0
"""The largest alpha; a budget that needs more is not to be had by paying more."""


@pytree
class BudgetState:
    """The multiplier and what moves it; part of a run's state."""

    alpha: jax.Array  # float32 [], at least 0
    log_tokens: jax.Array  # float32 [], moving average of log(mean tokens of a completion)
    target: jax.Array  # float32 [], B in tokens


def initial(target: float, tokens: float) -> BudgetState:
    """No pressure yet.

    Args:
      target: B, tokens.
      tokens: mean tokens of the starting policy's completions.
    """
    return BudgetState(
        alpha=jnp.zeros((), jnp.float32),
        log_tokens=jnp.log(jnp.float32(tokens)),
        target=jnp.float32(target),
    )


def target_of(config: RewardConfig, tokens: float) -> float:
    """B in tokens, for a starting policy that uses `tokens` on average.

    Raises:
      ValueError: less than one token would be left.
    """
    if config.target_tokens:
        return config.target_tokens
    target = (1.0 - config.target_reduction) * tokens
    if target < 1:
        raise ValueError(
            f"reward.target_reduction: expected to leave at least 1 token of the starting policy's {tokens:.1f}, "
            f"got {target:.2f}; lower it"
        )
    return target


@jax.jit
def update(state: BudgetState, tokens: jax.Array) -> BudgetState:
    """Take in one step's mean length.

    Args:
      tokens: float [], mean tokens of the step's completions; below 1 counts as 1.
    """
    chex.assert_rank(tokens, 0)
    before = state.log_tokens
    now = DECAY * before + (1 - DECAY) * jnp.log(jnp.maximum(jnp.float32(tokens), 1.0))
    move = STEP * (now - jnp.log(state.target) + LOOKAHEAD * (now - before))
    alpha = (state.alpha + UNIT) * jnp.exp(jnp.clip(move, -GROWTH, GROWTH)) - UNIT
    return BudgetState(alpha=jnp.clip(alpha, 0.0, CEILING), log_tokens=now, target=state.target)
