"""What a step's reward is told beside the completions, and what is remembered of them for the next.

The memory is plain JSON: `method`, what the length method remembers, `target`, what the target length follows, and
`curriculum`, how much of right answers was needed; None where there is none of them.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxreason.agents.episode import Episode
from jaxreason.agents.moment import moment
from jaxreason.agents.roles import REASON
from jaxreason.agents.rows import counted_right
from jaxreason.config import Config
from jaxreason.rewards.methods import Method, chosen
from jaxreason.rewards.outcome import Outcome
from jaxreason.rewards.target import follow
from jaxreason.run.setup import Experiment
from jaxreason.tasks.prefix import chunk_share
from jaxreason.types import Rewards

PARTS = ("method", "target", "curriculum")
"""Of the memory, and its names beside the arrays of a checkpoint."""
PACE = 0.2
"""Of the curriculum."""


def added_to(seen: Outcome, played: Episode, memory: dict[str, Any] | None, number: int, exp: Experiment) -> Outcome:
    """The outcome of step `number` with its moment."""
    memory, config = memory or {}, exp.config
    progress = number / max(1, config.run.max_steps)
    target = None
    if config.reward.target_quantile:
        target, _ = _followed(memory, played, config)
    now = moment(played, chosen(config), memory.get("method", {}), progress, exp.tokenizer, target)
    return dataclasses.replace(seen, moment=dataclasses.replace(now, teacher=seen.moment.teacher))


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
    if method.curriculum and config.grpo.dynamic_sampling:
        after["curriculum"] = _needed(before.get("curriculum", {}), played, config)
    return after or None


def easy_share(memory: Mapping[str, Any] | None) -> float:
    """The share of a step's batch that may be groups whose answers are all right, 0 to PACE.

    PACE times what the needed share of right answers has grown since the first step: as long as right answers are
    redundant, groups that are all right would teach little else than to be short.

    Source: arXiv:2509.25827 and the authors' code, whose kappa begins at 0 and moves by .2 of the change of that share.

    >>> easy_share({"curriculum": {"first": 0.5, "last": 0.75}}), easy_share(None)
    (0.05, 0.0)
    """
    seen = (memory or {}).get("curriculum", {})
    return max(0.0, PACE * (seen["last"] - seen["first"])) if seen else 0.0


def _needed(seen: Mapping[str, float], played: Episode, config: Config) -> Mapping[str, float]:
    """The first and the last step's mean place of the chunk that first holds the answer, over the chunks, of right
    answers; as before where no such answer is right."""
    rows = zip(_right(played, config).flat, played.reasonings, strict=True)
    shares = [share for right, y in rows if right and (share := chunk_share(y.text, y.answer)) is not None]
    if not shares:
        return seen
    last = float(np.mean(shares))
    return {"first": seen.get("first", last), "last": last}


def held(beside: Mapping[str, Any]) -> dict[str, Any] | None:
    """The memory in the JSON beside a checkpoint's arrays."""
    return {name: beside[name] for name in PARTS if name in beside} or None


def _followed(memory: Mapping[str, Any], played: Episode, config: Config) -> tuple[int, dict[str, Any]]:
    length_PG, limit = played.rollouts[REASON.name].length, config.sampling.max_completion_length
    return follow(memory.get("target", {}), _right(played, config), length_PG, config.reward, limit)


def _right(played: Episode, config: Config) -> np.ndarray:
    """Bool [P G], as `combine.score` has it."""
    right_PG = counted_right(played.rollouts[REASON.name], played.grades, require_eos=config.reward.require_eos)
    return right_PG & played.grades.gradable.reshape(played.shape)
