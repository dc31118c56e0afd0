"""What a run does at an alarm beside warning: it ends, or goes back to its best policy and on with half the pressure.

All that is remembered is a list of the times it went back, which stands with the monitor's memory in a checkpoint; the
settings that follow from it are worked out anew by every launch.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxreason.config import Config
from jaxreason.grpo import optimizer
from jaxreason.parallel import hosts
from jaxreason.rewards.methods import chosen
from jaxreason.run import state as run_state
from jaxreason.run.best import best_step
from jaxreason.run.checkpoint import Checkpoints
from jaxreason.run.folder import RunFolder
from jaxreason.run.programs import Programs, make_programs
from jaxreason.run.state import RunState
from jaxreason.types import Params

ACTED_ON = ("A", "D2", "E", "F", "G")
"""Alarms that say something is being lost. B and C ask to look; D comes in healthy long runs too."""

TOO_RANDOM = "D2"
"""The alarm that is about the size of the updates and not about the price of length."""


def goes_back(memory: Mapping[str, Any], config: Config) -> bool:
    """Whether the last step's alarms take the run back to its best policy: `run.max_rollbacks` times to go on from
    there, and once more to end there.

    >>> goes_back({"new": ["A"]}, Config())  # run.on_alarm=warn
    False
    """
    return config.run.on_alarm == "rollback" and bool(_raised(memory))


def end(memory: Mapping[str, Any], number: int, config: Config, warn: Callable[[str], None]) -> dict[str, Any] | None:
    """The alarm that ends the run after `number` steps, for its results; None where none does.

    Where runs go back, it is asked after `roll_back`, and its answer is remembered: a run that was killed before it
    could write its results still ends.
    """
    if config.run.on_alarm == "rollback":
        back = memory.get("rollbacks", ())
        return {key: back[-1][key] for key in ("alarm", "step")} if len(back) > config.run.max_rollbacks else None
    raised = _raised(memory)
    if not raised or config.run.on_alarm == "warn":
        return None
    warn(
        f"step {number}: alarm {raised[0][0]} ends the run (run.on_alarm={config.run.on_alarm}); "
        + ("the policy of its best evaluation is kept (--step best), and " if config.run.keep_best else "")
        + "with run.on_alarm=warn the same command goes on"
    )
    return {"alarm": raised[0][0], "step": number}


def _raised(memory: Mapping[str, Any]) -> list[str]:
    return [sign for sign in memory.get("new", ()) if sign in ACTED_ON]


def eased(programs: Programs, memory: Mapping[str, Any]) -> Programs:
    """The programs of a run that has gone back: half of alpha or of the learning rate, once for each time.

    Args:
      programs: as they were configured, not eased before.

    Nothing is compiled again for another alpha; for another learning rate the update is.
    """
    halved = [one["halved"] for one in memory.get("rollbacks", ())]
    if not halved:
        return programs
    config = programs.exp.config
    reward = dataclasses.replace(config.reward, alpha=config.reward.alpha * 0.5 ** halved.count("reward.alpha"))
    rate = config.optimizer.learning_rate * 0.5 ** halved.count("optimizer.learning_rate")
    settings = dataclasses.replace(
        config, reward=reward, optimizer=dataclasses.replace(config.optimizer, learning_rate=rate)
    )
    made = make_programs(dataclasses.replace(programs.exp, config=settings), programs.pool, programs.reward_functions)
    return dataclasses.replace(made, lengths=programs.lengths)


def roll_back(
    state: RunState,
    number: int,
    memory: Mapping[str, Any],
    config: Config,
    folder: RunFolder,
    bests: Checkpoints,
    begin: Callable[[], Params],
) -> tuple[RunState, dict[str, Any], str]:
    """Take the best policy that was evaluated, and forget what led away from it.

    The step's number, the position in the data, the helpers' own policy and the optimiser's second moments stay; its
    momentum, which points where the run was going, is zeroed, and so is what the dropped policy had begun of the next
    step. The monitor begins anew, with the evaluation of the policy taken as its first. A teacher that is renewed
    becomes the policy taken.

    Args:
      state: after the step; its parameters are let go of.
      number: of the step.
      memory: of the monitor, with the alarm in it.
      begin: makes the policy before step 0 once more, where none that was evaluated since was better.

    Returns:
      The state, the monitor's memory, and a line that says what was done.
    """
    to = hosts.agree(best_step(folder.path)) or 0
    if to and to in bests.steps():
        params = bests.restore(to, run_state.shape_of_trained(config))[0]
    else:
        to, params = 0, run_state.untrained(begin, config)
    train = dataclasses.replace(state.train, params=params, opt_state=_forgotten(state.train.opt_state, config))
    alarm = _raised(memory)[0]
    halved = "reward.alpha" if chosen(config).priced and alarm != TOO_RANDOM else "optimizer.learning_rate"
    before = list(memory.get("rollbacks", ()))
    done = {"step": number, "alarm": alarm[0], "to": to, "halved": halved}
    left = config.run.max_rollbacks - len(before)
    if left:
        then = f"{left - 1} more times at most" if left > 1 else "the next alarm ends the run"
        then = f"and on with half of {halved} ({then})"
    else:
        then = "and the run ends with it; run.max_rollbacks or run.on_alarm=warn lets the same command go on"
    line = f"step {number}: alarm {alarm[0]}: back to the policy of step {to}, the best so far, {then}"
    teacher = None if state.teacher is None else jax.tree.map(jnp.copy, params)
    state = run_state.without_ahead(dataclasses.replace(state, train=train, teacher=teacher), config)
    taken = [(*point[:3], False) for point in memory.get("evaluated", ()) if point[0] == to]
    return state, {"rollbacks": [*before, done], "evaluated": taken}, line


def _forgotten(opt_state, config: Config):
    shapes = run_state.shape_of_state(config).train.opt_state
    clear = jax.jit(optimizer.without_momentum, out_shardings=run_state.placement(shapes), donate_argnums=0)
    return clear(opt_state)
