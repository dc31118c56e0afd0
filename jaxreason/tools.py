"""The compiled functions and fixed numbers of a run, made once from its configuration."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import optax

from jaxreason import runstate
from jaxreason.agents import episode, frozen
from jaxreason.agents.constraints import tag_tokens
from jaxreason.agents.roles import token_limits
from jaxreason.config import Config
from jaxreason.experiment import Experiment
from jaxreason.grading.pool import Pool
from jaxreason.grpo import batch, optimizer, reference, update
from jaxreason.learning import Packing
from jaxreason.parallel.rules import place, replicated
from jaxreason.policy import api
from jaxreason.rewards.presets import PRESETS
from jaxreason.sampling import methods
from jaxreason.types import Metrics, Params, TrainState, UpdateBatch


@dataclasses.dataclass(frozen=True)
class Tools:
    """The compiled functions and fixed numbers of a run. Packed batches go in as NumPy."""

    exp: Experiment
    update: Callable[[TrainState, UpdateBatch], tuple[TrainState, Metrics]]
    reference: Callable[[Params, UpdateBatch], jax.Array]  # log-probabilities under other parameters
    expect: Callable[[Params, UpdateBatch], jax.Array]  # expected index among candidates, ditto
    schedule: optax.Schedule
    packing: Packing
    frozen_shapes: tuple[batch.Shape, ...]
    limits: dict[str, int]
    pool: Pool


def make_tools(exp: Experiment, pool: Pool) -> Tools:
    """Build what a step needs; nothing is compiled before it is used."""
    config, preset = exp.config, PRESETS[exp.config.reward.preset]
    method = methods.Method(config.sampling.top_p, config.sampling.top_k, config.sampling.min_p)
    logp_fn = api.logp_fn(config.model, config.sampling.temperature, methods.transform(method))
    steps = config.run.max_steps * config.grpo.num_mini_batches
    batch.mini_batches(config.data.prompts_per_step, config.grpo.num_mini_batches)  # refuses shares that are not equal
    if config.data.prompts_per_step % config.sampling.rollout_batches:
        raise ValueError(
            f"sampling.rollout_batches: expected a divisor of data.prompts_per_step={config.data.prompts_per_step}, "
            f"got {config.sampling.rollout_batches}"
        )
    transformation, schedule = optimizer.make_optimizer(config.optimizer, steps)
    rows = config.data.prompts_per_step * config.sampling.num_generations
    lengths = episode.row_limits(config, exp.tokenizer)
    shape = {"row_length": config.grpo.row_length, "micro_batch_rows": config.grpo.micro_batch_rows}
    learners = [(rows, lengths[role]) for role in preset.terms]
    constrained = config.agents.decoding == "constrained" and preset.helpers == "train"
    state = runstate.placement(runstate.shape_of_state(config).train)
    return Tools(
        exp=exp,
        update=_placed(update.make_update(logp_fn, transformation, config.grpo, state_shardings=state)),
        reference=_placed(reference.make_reference(lambda *args: logp_fn(*args)[0], out_sharding=replicated())),
        expect=_placed(reference.make_reference(functools.partial(_expected, config), out_sharding=replicated())),
        schedule=schedule,
        packing=Packing(
            shapes=batch.shapes(learners, **shape),
            num_candidates=frozen.DIGITS if constrained else 0,
            with_ref=any(config.grpo.beta),
        ),
        frozen_shapes=batch.shapes([(rows, lengths["score"])], **shape) if preset.helpers == "train" else (),
        limits=token_limits(config, tag_tokens=tag_tokens(exp.tokenizer)),
        pool=pool,
    )


def _placed(compiled: Callable) -> Callable:
    """A function of something on the mesh and of a packed batch, which is NumPy until here."""

    def call(held, packed):
        return compiled(held, place(packed, None, "batch"))

    call.compiled = compiled  # for `plan`, which has no arrays
    return call


def _expected(config: Config, *args) -> jax.Array:
    """Expected candidate under the distribution that scores are sampled from."""
    return api.expected_candidate(*args, config=config.model, temperature=config.sampling.temperature)
