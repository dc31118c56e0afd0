"""What a step's reward is told beside the completions, and what is remembered of them for the next.

The memory is plain JSON: `method`, what the length method remembers, and `target`, what the target length follows; None
where there is neither.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxreason.agents.episode import Episode
from jaxreason.agents.moment import moment
from jaxreason.agents.roles import REASON
from jaxreason.config import Config
from jaxreason.rewards.methods import Method, chosen
from jaxreason.rewards.outcome import Outcome
from jaxreason.rewards.target import follow
from jaxreason.run.setup import Experiment
from jaxreason.types import Rewards

PARTS = ("method", "target")
"""Of the memory, and its names beside the arrays of a checkpoint."""


def added_to(seen: Outcome, played: Episode, memory: dict[str, Any] | None, number: int, exp: Experiment) -> Outcome:
    """The outcome of step `number` with its moment."""
    memory, config = memory or {}, exp.config
    progress = number / max(1, config.run.max_steps)
    target = None
    if config.reward.target_quantile:
        target, _ = _followed(memory, played, config)
    now = moment(played, chosen(config), memory.get("method", {}), progress, exp.tokenizer, target)
    return dataclasses.replace(seen, moment=now)


def after_step(
    memory: dict[str, Any] | None, method: Method, played: Episode, rewards: Rewards, config: Config
) -> dict[str, Any] | None:
    """The memory with a step's outcome in it, the same on every host."""
    before, after = memory or {}, {}
    if method.memory is not None:
        ids = [problem.id for problem in played.problems]
        right_PG = np.asarray(jax.device_get(rewards.parts["accuracy"])) > 0
        length_PG, limit = played.rollouts[REASON.name].length, config.sampling.max_completion_length
        after["method"] = method.memory.record(before.get("method", {}), ids, right_PG, length_PG, limit)
    if config.reward.target_quantile:
        after["target"] = _followed(before, played, config)[1]
    return after or None


def held(beside: Mapping[str, Any]) -> dict[str, Any] | None:
    """The memory in the JSON beside a checkpoint's arrays."""
    return {name: beside[name] for name in PARTS if name in beside} or None


def _followed(memory: Mapping[str, Any], played: Episode, config: Config) -> tuple[int, dict[str, Any]]:
    rollout, grades = played.rollouts[REASON.name], played.grades
    right_PG = (grades.correct & grades.gradable).reshape(played.shape)
    if config.reward.require_eos:
        right_PG = right_PG & rollout.finished
    limit = config.sampling.max_completion_length
    return follow(memory.get("target", {}), right_PG, rollout.length, config.reward, limit)
