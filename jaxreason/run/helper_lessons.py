"""The start of the helpers on the policy's own chains: sample, measure, show. No label is read.

Minutes for a released model, and the same on every host. What is sampled here trains no reasoner.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from jaxreason import warmup
from jaxreason.agents import contribution, episode, own_chains
from jaxreason.agents.episode import Episode
from jaxreason.agents.roles import REASON
from jaxreason.grpo import batch
from jaxreason.run import keys
from jaxreason.run.interrupt import Abandoned, Interrupt
from jaxreason.run.programs import Programs
from jaxreason.run.progress import Display
from jaxreason.types import Params

MOVED = 0.05
"""Nats a token of the reasoner's own answers, above which the helpers' start says that it has changed the reasoner."""


def teacher(programs: Programs, display: Display, interrupt: Interrupt) -> Callable[[Params], Params] | None:
    """What teaches a policy before step 0, whatever the preset asks for, so that methods share a start; None where no
    chains are wanted."""
    config = programs.exp.config
    if not config.warmup.chains:
        return None

    def teach(params: Params) -> Params:
        try:
            episodes, measured = observe(params, programs, display, interrupt)
        except Abandoned:
            return params  # the caller asks the interrupt
        shape = programs.learners[-1].packing.shapes[-1]
        items = own_chains.lessons(episodes, measured, config, programs.exp.tokenizer)
        items = [item for item in items if len(item) <= shape.row_length]
        if not items:
            raise ValueError(
                f"warmup.chains: none of {config.warmup.chains} chains ended and has several steps; raise it, or "
                "sampling.max_completion_length"
            )
        own = [item for item in own_chains.own_answers(episodes) if len(item) <= shape.row_length]
        items = own_chains.shared([*items, *own])
        rows = batch.pack(
            items,
            dataclasses.replace(shape, max_micro=len(items)),
            num_candidates=own_chains.LEVELS if config.agents.decoding == "constrained" else 0,
        )
        steps = int(rows.num_micro) * config.warmup.chain_epochs
        with display.bar("helpers' start", steps, every=max(1, steps // 5)) as advance:
            params, moved = warmup.teach(params, rows, config, advance, interrupt.noticed)
        if moved > MOVED:
            display.warn(
                f"warmup.chains: teaching the helpers has moved the reasoner by {moved:.3f} nats a token, which may "
                f"cost it right answers (see the evaluation at step 0); lower warmup.chain_learning_rate="
                f"{config.warmup.chain_learning_rate}, or raise warmup.chains"
            )
        return params

    return teach


def observe(
    params: Params, programs: Programs, display: Display, interrupt: Interrupt
) -> tuple[list[Episode], list[np.ndarray]]:
    """Chains of the first training problems, in batches as a step samples them, with their natural steps, and what each
    step contributes.

    Raises:
      Abandoned: interrupted.
    """
    exp, config = programs.exp, programs.exp.config
    rows = config.data.prompts_per_step * config.sampling.num_generations
    played, measured = [], []
    with display.bar("own chains", config.warmup.chains, every=0) as advance:
        for number in range(-(-config.warmup.chains // rows)):
            interrupt.check()
            key = keys.of_own_chains(number, config)
            one = episode.run(
                params, None, exp.stream.batch(number), key, config, exp.tokenizer, programs.pool, interrupt.wait
            )
            rollout = one.rollouts[REASON.name]
            steps = own_chains.natural_steps(
                one.reasonings, rollout.finished, config, exp.tokenizer, shape=rollout.tokens.shape
            )
            one = dataclasses.replace(one, segmentation=steps)
            interrupt.check()
            found = contribution.contributions(
                params, one, programs.likelihood, count=len(one.problems), shapes=programs.contribution_shapes,
                look=contribution.look_for(config.agents, exp.tokenizer),
            )  # fmt: skip
            played.append(one)
            measured.append(found)
            advance(min(rows, config.warmup.chains - number * rows))
    return played, measured
