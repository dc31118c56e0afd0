"""A budget of tokens in place of alpha: the multiplier of the length penalty, moved until the mean length meets it.

max E[R_acc] subject to E[tokens] <= B has the Lagrangian E[R_acc] - alpha (E[tokens] - B). By Everett's theorem a
maximiser at any alpha is optimal for the budget that it happens to meet, so it is enough to find the alpha whose policy
uses B tokens. Tokens are those of the whole completion, counted plainly. Weighted by importance they would be a
constraint that a scorer can meet by calling everything important, and the answer line, which no penalty reaches, is
what a user pays for as well.

Alpha is found by the method of multipliers for an inequality:

    aim     =  B, approached from the starting policy's mean in equal factors over budget.target_steps
    alpha   =  max(0, multiplier + PUSH * unit * e),     e = log(mean tokens / aim), a moving average
    multiplier  <-  max(0, multiplier + STEP * unit * clip(e, -NEAR, NEAR)),     both at most CEILING * unit, and the
                    multiplier once the aim is B: on the way it would gather what keeps lengths falling

- `unit` is reward.alpha, the price that a run without a budget would pay: prices have no scale of their own.
- Dual ascent alone (PUSH 0) swings: lengths answer late, and the multiplier rises on until they have. For lengths that
  approach -g * alpha with a lag of tau steps, the loop is tau s^2 + (1 + g PUSH) s + g STEP, whose damping is at least
  sqrt(PUSH / (STEP tau)) whatever the gain g: with PUSH / STEP = 50 steps no lag of up to 50 steps overshoots.
- NEAR: where lengths are far behind the aim the push decides alone; a multiplier that had grown all the way would still
  be paid on arrival.
- Alpha has to be gone by the time that the budget is met, not to begin to sink there: a policy that has learnt to be
  short does not grow again for want of a price. That is what the push does, being 0 at the budget and negative below
  it. Simulated policies of that kind end below a mild budget where alpha moves by factors only.
- The aim moves because the policy has momentum: the optimiser's own, about ten steps, goes on after alpha has gone. A
  quickstart asked for 30 % fewer tokens at once was there after 14 steps and 25 % below two steps later, to stay.

On simulated lengths, with lags of 3 to 25 steps, prices whose effect differs several-fold, policies that hardly grow
again, and noise of a tenth, budgets of 80, 60 and 50 % were met within 5 %, after going below them by up to a tenth
on the way (tests/rewards/test_budget.py).
Accuracy is not looked at: a collapse into short wrong answers goes below the budget, which takes the pressure away.
"""

import chex
import jax
import jax.numpy as jnp

from jaxreason.config import BudgetConfig, Config, RewardConfig
from jaxreason.types import pytree

PUSH = 4.0
"""Units of alpha for a length that is e-fold too long: one unit at a quarter too long."""
STEP = 0.08
"""Units by which the multiplier moves in a step, for the same."""
NEAR = 0.1
"""Log-length from the budget up to which the multiplier counts it."""
DECAY = 0.8
"""What a step keeps of the moving average of log-length."""
CEILING = 1.5
"""Units: more would soon cost an answer more than being right is worth."""


@pytree
class BudgetState:
    """The multiplier and what moves it; part of a run's state."""

    alpha: jax.Array  # float32 [], at least 0; what the next step pays
    multiplier: jax.Array  # float32 [], at least 0; alpha's part that stays when the budget is met
    log_tokens: jax.Array  # float32 [], moving average of log(mean tokens of a completion)
    begun: jax.Array  # float32 [], log of the starting policy's mean tokens
    target: jax.Array  # float32 [], B in tokens


def initial(target: float, tokens: float) -> BudgetState:
    """No pressure yet.

    Args:
      target: B, tokens.
      tokens: mean tokens of the starting policy's completions.
    """
    return BudgetState(
        alpha=jnp.zeros((), jnp.float32),
        multiplier=jnp.zeros((), jnp.float32),
        log_tokens=jnp.log(jnp.float32(tokens)),
        begun=jnp.log(jnp.float32(tokens)),
        target=jnp.float32(target),
    )


def target_of(config: BudgetConfig, tokens: float) -> float:
    """B in tokens, for a starting policy that uses `tokens` on average.

    Raises:
      ValueError: less than one token would be left.
    """
    if config.target_tokens:
        return config.target_tokens
    target = (1.0 - config.target_reduction) * tokens
    if target < 1:
        raise ValueError(
            f"budget.target_reduction: expected to leave at least 1 token of the starting policy's {tokens:.1f}, "
            f"got {target:.2f}; lower it"
        )
    return target


def approached(config: BudgetConfig, number: int, max_steps: int) -> float:
    """How far the aim has come from the starting policy's tokens to B by the end of step `number`, 0..1."""
    steps = config.target_steps or max(1, (2 * max_steps) // 3)
    return min(1.0, (number + 1) / steps)


def aim(state: BudgetState, share: jax.Array) -> jax.Array:
    """What lengths should be by now, float32 [] tokens; `share` is `approached`."""
    return jnp.exp(state.begun + share * (jnp.log(state.target) - state.begun))


@jax.jit
def update(state: BudgetState, tokens: jax.Array, unit: jax.Array, share: jax.Array) -> BudgetState:
    """Take in one step's mean length.

    Args:
      tokens: float [], mean tokens of the step's completions; below 1 counts as 1.
      unit: float [], the scale of alpha, above 0.
      share: float [], see `approached`.
    """
    chex.assert_rank([tokens, unit, share], 0)
    now = DECAY * state.log_tokens + (1 - DECAY) * jnp.log(jnp.maximum(jnp.float32(tokens), 1.0))
    excess = now - jnp.log(aim(state, share))
    highest = CEILING * unit
    moved = jnp.where(share < 1, 0.0, STEP * unit * jnp.clip(excess, -NEAR, NEAR))
    multiplier = jnp.clip(state.multiplier + moved, 0.0, highest)
    alpha = jnp.clip(multiplier + PUSH * unit * excess, 0.0, highest)
    return BudgetState(alpha=alpha, multiplier=multiplier, log_tokens=now, begun=state.begun, target=state.target)


def ceiling(unit: float) -> float:
    """The largest alpha, for a scale of alpha."""
    return CEILING * unit


def alpha_of(state: BudgetState | None, reward: RewardConfig, number: int) -> float:
    """What step `number` pays: the budget's alpha, or reward.alpha, which rises over reward.alpha_warmup_steps."""
    if state is not None:
        return float(state.alpha)
    return reward.alpha * min(1.0, (number + 1) / max(1, reward.alpha_warmup_steps))


def after_step(state: BudgetState | None, tokens: float, config: Config, number: int) -> BudgetState | None:
    """The budget after step `number`, whose completions had so many tokens on average."""
    if state is None:
        return None
    share = jnp.float32(approached(config.budget, number, config.run.max_steps))
    return update(state, jnp.float32(tokens), jnp.float32(config.reward.alpha), share)


def metrics(state: BudgetState | None, paid: float, config: Config, number: int) -> dict[str, float]:
    """What a step's row holds of a budget: the alpha that was paid, the moving mean, the aim and B in tokens."""
    if state is None:
        return {}
    share = jnp.float32(approached(config.budget, number, config.run.max_steps))
    return {
        "budget/alpha": paid,
        "budget/tokens": float(jnp.exp(state.log_tokens)),
        "budget/aim": float(aim(state, share)),
        "budget/target": float(state.target),
    }
