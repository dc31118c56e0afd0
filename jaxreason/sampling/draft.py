"""Tokens that are fed before they are drawn, because a constraint forces or suggests them.

A block of them is read in one pass, and every place of it is drawn with the key of its own place, as if nothing were
known. The draws stand up to the first that came out otherwise than was fed; so the tokens are those that one pass a
token would give, and only the number of passes is smaller. Everything here is about one part, as in `slots`.
"""

import jax
import jax.numpy as jnp

from jaxreason.types import Constraint, pytree


@pytree
class Draft:
    """What a pass feeds each slot, and what may be drawn behind each token of it."""

    fed: jax.Array  # int32 [B W]: the token drawn last, and those that are expected after it
    machine: jax.Array  # int32 [B W], state of the constraint behind each of them, if the expected ones are drawn
    allowed: jax.Array | None  # int32 [B W A], -1 filled; None: anything


def along(constraint: Constraint, row_B: jax.Array, token_B: jax.Array, machine_B: jax.Array, *, width: int) -> Draft:
    """Expect the first edge of every state: the only one where a token is forced, and a copy's next token."""
    fed, machines = [token_B], [machine_B]
    for _ in range(width - 1):
        at = row_B, machines[-1], 0
        fed.append(jnp.maximum(constraint.token.at[at].get(mode="clip"), 0))
        machines.append(constraint.next.at[at].get(mode="clip"))
    machine_BW = jnp.stack(machines, axis=1)
    allowed_BWA = constraint.token.at[row_B[:, None], machine_BW].get(mode="clip")
    return Draft(fed=jnp.stack(fed, axis=1), machine=machine_BW, allowed=allowed_BWA)


def after(constraint: Constraint, row_B: jax.Array, machine_B: jax.Array, choice_B: jax.Array) -> jax.Array:
    """State [B] that a choice leads to."""
    return constraint.next.at[row_B, machine_B, choice_B].get(mode="clip")
