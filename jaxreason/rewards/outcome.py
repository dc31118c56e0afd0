"""What a reward looks at: a step's completions and the helpers' answers as arrays, without their text."""

import dataclasses

import jax

from jaxreason.rewards.length import Moment
from jaxreason.types import Chunks, Scores, pytree, static


@pytree
class Outcome:
    """What came of one step. Roles that were not asked are missing from the dicts."""

    correct: jax.Array  # bool [P G], the answer is right; read where gradable
    gradable: jax.Array  # bool [P G], False where the grader itself failed
    length_y: jax.Array  # int32 [P G], tokens of the reasoning text y
    length: dict[str, jax.Array]  # role -> int32 [P G], tokens of the whole completion; 0 where the role was not asked
    finished: dict[str, jax.Array]  # role -> bool [P G], the completion ended by itself
    chunks: Chunks | None  # the helpers' answers; None for a method without helpers
    scores: Scores | None
    frozen_value: jax.Array | None  # float32 [P G K], expected scores of the frozen scorer
    contribution: jax.Array | None = None  # float32 [P G K], nats, negative where not measured
    score_at: jax.Array | None = None  # int32 [P G T] of whoever scores, see `agents.constraints.score_places`
    functions: jax.Array | None = None  # float32 [P G], weighted sum of the user's reward functions
    functions_apply: jax.Array | None = None  # bool [P G], some function gave the completion a number
    moment: Moment = dataclasses.field(default_factory=Moment)  # where the run stands
    widths: tuple[tuple[str, int], ...] = static()  # (role, T) of the completions
