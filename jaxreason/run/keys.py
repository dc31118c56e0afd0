"""Where a run's randomness comes from: one key for each use, so that no two uses share any."""

import jax

from jaxreason.config import Config

EVALUATION, STEP, OWN_CHAINS = 1, 2, 3
"""What a key is for; folded in first."""
SAMPLING, REWARD = 0, 1
"""What a step's key is for; folded in last."""


def of_evaluation(config: Config) -> jax.Array:
    """The same at every evaluation of a policy, whenever it is."""
    return jax.random.fold_in(jax.random.key(config.run.seed), EVALUATION)


def of_step(number: int, use: int, config: Config) -> jax.Array:
    """One use, SAMPLING or REWARD, of step `number`."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(config.run.seed), STEP), number)
    return jax.random.fold_in(key, use)


def of_own_chains(number: int, config: Config) -> jax.Array:
    """Batch `number` of the chains that helpers are taught on."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(config.run.seed), OWN_CHAINS), number)
