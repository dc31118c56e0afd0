"""A step's completions through the user's reward functions: what they are given, and where what they say goes.

Process 0 calls them on all rows; every process gets what they returned, or ends as they ended.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from jaxreason.agents import prompts
from jaxreason.agents.episode import Clock, Episode
from jaxreason.agents.families import family
from jaxreason.agents.roles import REASON
from jaxreason.config import AgentsConfig
from jaxreason.config.doors import DoorFailed
from jaxreason.data.problems import Problem, column
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.parallel import hosts
from jaxreason.parallel.rules import place
from jaxreason.rewards import functions
from jaxreason.rewards.functions import Batch, Text, TrainerState, Values
from jaxreason.rewards.outcome import Outcome
from jaxreason.run.files import plain
from jaxreason.run.programs import Programs
from jaxreason.tasks.asking import turns_of
from jaxreason.tasks.base import Task


@dataclasses.dataclass(frozen=True)
class Given:
    """What the functions gave a step; empty where there are none."""

    names: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    values: Values | None = None

    @property
    def metrics(self) -> dict[str, float | None]:
        """Of the functions, and those that they logged."""
        return {} if self.values is None else self.values.metrics

    def added_to(self, seen: Outcome) -> Outcome:
        """The outcome with the weighted sum of the functions."""
        if self.values is None:
            return seen
        sum_N, any_N = functions.combine(self.values.value_FN, self.values.applies_FN, self.weights)
        shape = seen.length[REASON.name].shape
        sum_PG, any_PG = place((sum_N.reshape(shape), any_N.reshape(shape)), "batch")
        return dataclasses.replace(seen, functions=sum_PG, functions_apply=any_PG)

    def noted(self, samples: list[dict]) -> list[dict]:
        """Sample rows with what each function gave them, null where it does not apply, and what it logged."""
        if self.values is None:
            return samples
        found = self.values
        for n, row in enumerate(samples):
            of_row = zip(self.names, found.value_FN[:, n], found.applies_FN[:, n], strict=True)
            row["reward_funcs"] = {name: float(value) if applies else None for name, value, applies in of_row}
            if found.extras:
                row["extra"] = {column: values[n] for column, values in found.extras.items()}
        return samples


def of_step(
    played: Episode, number: int, place: int, programs: Programs, clock: Clock, wait: Callable = jax.block_until_ready
) -> Given:
    """Call the run's reward functions on the reasoner's completions.

    Args:
      number: of the step, from 0.
      place: the row of the data at which it begins.
      wait: raises to give the step up.

    Raises:
      DoorFailed: on every process, what `rewards.functions.call` raises.
    """
    exp, loaded = programs.exp, programs.reward_functions
    if not loaded:
        return Given()
    config = exp.config
    epoch = place / exp.stream.num_problems
    state = TrainerState(global_step=number, max_steps=config.run.max_steps, epoch=epoch)
    outcome: Any = None
    if hosts.first():
        timeout_s = config.reward.reward_timeout_s
        try:
            batch = batch_of(played, exp.task, config.agents, exp.tokenizer, exp.columns)
            found = functions.call(loaded, batch, state, timeout_s=timeout_s, wait=lambda: wait(()))
            outcome = dataclasses.replace(found, extras=plain(found.extras))  # what a function logs may be anything
        except DoorFailed as failed:
            outcome = failed
    outcome = hosts.agree(outcome)
    if isinstance(outcome, DoorFailed):
        raise outcome
    clock.lap("reward_functions")
    names = tuple(function.name for function in loaded)
    return Given(names, config.reward.reward_weights, outcome)


def batch_of(
    played: Episode, task: Task, config: AgentsConfig, tokenizer: Tokenizer, columns: tuple[str, ...]
) -> Batch:
    """What the functions are given of an episode: conversations where the model is asked in one, else plain texts."""
    G = played.shape[1]
    rollout = played.rollouts[REASON.name]
    T = rollout.tokens.shape[-1]
    ids = [
        row[:length].tolist()
        for row, length in zip(rollout.tokens.reshape(-1, T), rollout.length.reshape(-1), strict=True)
    ]
    texts = tokenizer.decode_batch(rollout.completion_ids)
    asked = prompts_of(played.problems, task, config, tokenizer)
    repeated = [(problem, prompt) for problem, prompt in zip(played.problems, asked, strict=True) for _ in range(G)]
    return Batch(
        prompts=[prompt for _, prompt in repeated],
        completions=[
            text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]
            for (_, prompt), text in zip(repeated, texts, strict=True)
        ],
        completion_ids=ids,
        columns={name: [column(problem, name) for problem, _ in repeated] for name in columns},
    )


def prompts_of(problems: list[Problem], task: Task, config: AgentsConfig, tokenizer: Tokenizer) -> list[Text]:
    """How each problem is asked: as messages for a chat template, else as the model reads it."""
    if family(config.prompts).conversational:
        return [[dict(turn) for turn in turns_of(task, problem)] for problem in problems]
    return list(prompts.render_reason(problems, task, config, tokenizer))
