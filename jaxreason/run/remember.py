"""What a step's length method is told beside the completions, and what it remembers of them."""

import dataclasses
from typing import Any

import jax
import numpy as np

from jaxreason.agents.episode import Episode
from jaxreason.agents.moment import moment
from jaxreason.agents.roles import REASON
from jaxreason.rewards.methods import Method, chosen
from jaxreason.rewards.outcome import Outcome
from jaxreason.run.setup import Experiment
from jaxreason.types import Rewards


def added_to(seen: Outcome, played: Episode, memory: dict[str, Any] | None, number: int, exp: Experiment) -> Outcome:
    """The outcome of step `number` with its moment."""
    progress = number / max(1, exp.config.run.max_steps)
    now = moment(played, chosen(exp.config), memory or {}, progress, exp.tokenizer)
    return dataclasses.replace(seen, moment=now)


def after_step(
    memory: dict[str, Any] | None, method: Method, played: Episode, rewards: Rewards, max_length: int
) -> dict[str, Any] | None:
    """The memory with a step's outcome in it, the same on every host; None for a method without."""
    if method.memory is None:
        return None
    ids = [problem.id for problem in played.problems]
    right_PG = np.asarray(jax.device_get(rewards.parts["accuracy"])) > 0
    return method.memory.record(memory or {}, ids, right_PG, played.rollouts[REASON.name].length, max_length)
