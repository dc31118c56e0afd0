"""The compiled functions and fixed numbers of a run, made once from its configuration."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import optax
from jax.sharding import Mesh

from jaxreason.agents import contribution, frozen_scorer, sizes, teacher
from jaxreason.agents.roles import REASON
from jaxreason.config import Config, GRPOConfig
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.grading.pool import Pool
from jaxreason.grpo import batch, optimizer, reference, update
from jaxreason.grpo.learner import Learner, Packing
from jaxreason.parallel import hosts
from jaxreason.parallel.mesh import refuse_vocabulary
from jaxreason.parallel.rules import place, replicated
from jaxreason.policy import api, footprint, lora
from jaxreason.rewards import functions
from jaxreason.rewards.functions import RewardFunction
from jaxreason.rewards.methods import chosen, teacher_of
from jaxreason.run import room, setup
from jaxreason.run import state as run_state
from jaxreason.run.base_model import BaseModel
from jaxreason.run.folder import RunFolder
from jaxreason.run.progress import Display
from jaxreason.run.setup import Experiment
from jaxreason.sampling import methods
from jaxreason.sampling.lengths import Lengths
from jaxreason.tasks.grading import try_grading
from jaxreason.types import Metrics, Params, TrainState, UpdateBatch


@dataclasses.dataclass(frozen=True)
class Programs:
    """The compiled functions and fixed numbers of a run."""

    exp: Experiment
    learners: tuple[Learner, ...]  # the policy; then the helpers', where they are one of their own that is trained
    expect: Callable[[Params, UpdateBatch], jax.Array]  # expected index among candidates under the helpers' parameters
    schedule: optax.Schedule
    frozen_shapes: tuple[batch.Shape, ...]
    likelihood: Callable[[Params, UpdateBatch], jax.Array]  # log-probabilities of texts, under the starting policy
    contribution_shapes: tuple[batch.Shape, ...]
    teacher_shapes: tuple[batch.Shape, ...]
    limits: dict[str, int]
    pool: Pool
    reward_functions: tuple[RewardFunction, ...] = ()  # the user's own
    lengths: Lengths = dataclasses.field(default_factory=Lengths)  # of the training problems' completions


def prepare(
    config: Config,
    folder: RunFolder,
    pool: Pool,
    display: Display,
    released: BaseModel | None,
    helper_released: BaseModel | None,
) -> Programs:
    """Data, tokenizer and compiled functions, the same on every process and fitting into memory, or refused."""
    own = folder.path if hosts.first() else folder.path / "hosts" / str(jax.process_index())
    exp = setup.prepare(config, own, display.say, released, helper_released)
    hosts.refuse_difference(run_state.identity(exp))
    refuse_vocabulary(exp.config)
    exp = room.fit_training(exp, display.say)
    if config.lora.wanted:
        count = footprint.num_trained(exp.config.model, config.lora)
        display.say(f"adapters of rank {config.lora.r}: {count / 1e6:.2f}M parameters are trained")
    hosts.together(lambda: try_grading(exp.task, exp.test, pool))
    return make_programs(exp, pool, functions.load(config.reward, exp.columns))


def make_programs(exp: Experiment, pool: Pool, reward_functions: tuple[RewardFunction, ...] = ()) -> Programs:
    """Build what a step needs; nothing is compiled before it is used."""
    config, method = exp.config, chosen(exp.config)
    steps = config.run.max_steps * config.grpo.num_mini_batches
    # A constant rate has no end, so that a run that is given more steps has the programs it had.
    ends = 0 if config.optimizer.lr_scheduler_type == "constant" else steps
    batch.mini_batches(config.data.prompts_per_step, config.grpo.num_mini_batches)  # refuses shares that are not equal
    _, schedule = optimizer.make_optimizer(config.optimizer, steps)
    rows = config.data.prompts_per_step * config.sampling.num_generations
    lengths = sizes.row_limits(config, exp.tokenizer)
    shape = {"row_length": config.grpo.row_length, "micro_batch_rows": config.grpo.packed_rows}
    constrained = config.agents.decoding == "constrained" and method.helpers == "train"
    mesh, told = jax.sharding.get_mesh(), teacher_of(config)

    def learner(config: Config, roles: tuple[str, ...], prefix: str = "") -> Learner:
        compiled = jitted(compiled_for(config), ends, mesh)
        return Learner(
            prefix=prefix,
            roles=roles,
            update=_placed(compiled.update, beside=config.lora.wanted),
            reference=_placed(compiled.reference),
            packing=Packing(
                shapes=update_shapes(config, exp.tokenizer, roles),
                num_candidates=frozen_scorer.DIGITS if constrained and roles != (REASON.name,) else 0,
                with_ref=any(config.grpo.beta),
                with_trainer=config.grpo.importance_sampling_correction != "none",
            ),
        )

    learning = tuple(method.terms)
    if run_state.trains_helper(config):
        helpers = tuple(role for role in learning if role != REASON.name)
        learners = (learner(config, (REASON.name,)), learner(config.for_helpers, helpers, "helper/"))
    else:
        learners = (learner(config, learning),)
    return Programs(
        exp=exp,
        learners=learners,
        expect=_placed(jitted(compiled_for(config.for_helpers), ends, mesh).expect),
        schedule=schedule,
        frozen_shapes=batch.shapes([(rows, lengths[config.agents.helper_roles[-1]])], **shape)
        if method.helpers == "train"
        else (),
        likelihood=_placed(jitted(compiled_for(config), ends, mesh).likelihood),
        contribution_shapes=batch.shapes(
            [(contribution.num_texts(config.sampling.num_generations, config.agents.max_chunks), lengths[REASON.name])],
            **shape,
        )
        if method.measured or config.warmup.chains
        else (),
        teacher_shapes=batch.shapes([(rows, teacher.longest(told.instruction, config, exp.tokenizer))], **shape)
        if told
        else (),
        limits=sizes.limits_of_roles(config, exp.tokenizer),
        pool=pool,
        reward_functions=reward_functions,
    )


def update_shapes(config: Config, tokenizer: Tokenizer, roles: Sequence[str] = ()) -> tuple[batch.Shape, ...]:
    """What the batches of an update are packed into, with rows of these roles, or of all that learn."""
    rows = config.data.prompts_per_step * config.sampling.num_generations
    lengths = sizes.row_limits(config, tokenizer)
    return batch.shapes(
        [(rows, lengths[role]) for role in roles or chosen(config).terms],
        row_length=config.grpo.row_length,
        micro_batch_rows=config.grpo.packed_rows,
    )


class Jitted(NamedTuple):
    """Jitted functions that every run with the same policy, optimiser and clip can use."""

    update: Callable[..., tuple[TrainState, Metrics]]
    reference: Callable[[Params, UpdateBatch], jax.Array]
    expect: Callable[[Params, UpdateBatch], jax.Array]
    likelihood: Callable[[Params, UpdateBatch], jax.Array]


def compiled_for(config: Config) -> Config:
    """What `jitted` reads of a configuration, all else at its default, so that other differences do not matter."""
    grpo = config.grpo
    return Config(
        model=config.model,
        lora=config.lora,
        mesh=config.mesh,
        sampling=config.sampling,
        optimizer=config.optimizer,
        grpo=GRPOConfig(
            epsilon=grpo.epsilon,
            epsilon_high=grpo.epsilon_high,
            beta=grpo.beta,
            loss_type="cispo" if grpo.loss_type == "cispo" else "grpo",  # the others differ in weights, which are data
            importance_sampling_level=grpo.importance_sampling_level,
            importance_sampling_correction=grpo.importance_sampling_correction,
            importance_sampling_clip_min=grpo.importance_sampling_clip_min,
            importance_sampling_clip_max=grpo.importance_sampling_clip_max,
        ),
    )


@functools.lru_cache(maxsize=4)
def jitted(config: Config, steps: int, mesh: Mesh) -> Jitted:
    """Build the functions once for all runs of a process that can share them.

    Args:
      config: from `compiled_for`.
      steps: optimiser updates of a run, for a schedule that ends with it.
      mesh: the one in force, where the functions leave their results.
    """
    filters = methods.Method(config.sampling.top_p, config.sampling.top_k, config.sampling.min_p)
    logp_fn = api.logp_fn(config.model, config.sampling.temperature, methods.transform(filters))
    transformation, _ = optimizer.make_optimizer(config.optimizer, steps)
    state = run_state.placement(run_state.shape_of_state(config).train)
    return Jitted(
        update=update.make_update(
            logp_fn,
            transformation,
            config.grpo,
            policy=functools.partial(lora.policy, config=config.lora),
            state_shardings=state,
        ),
        reference=reference.make_reference(lambda *args: logp_fn(*args)[0], out_sharding=replicated()),
        expect=reference.make_reference(functools.partial(_expected, config), out_sharding=replicated()),
        likelihood=reference.make_reference(functools.partial(_likelihood, config), out_sharding=replicated()),
    )


def _placed(compiled: Callable, *, beside: bool = False) -> Callable:
    """A function of something on the mesh and of a packed batch, which is NumPy until here.

    Args:
      beside: whether it reads the policy before step 0 as well, which others are not given: a program would have to be
        compiled for it.
    """

    def call(held, packed, start=None):
        return compiled(held, place(packed, None, "batch"), *([start] if beside else []))

    call.compiled = compiled  # for `plan`, which has no arrays
    return call


def _expected(config: Config, *args) -> jax.Array:
    """Expected candidate under the distribution that scores are sampled from."""
    return api.expected_candidate(*args, config=config.model, temperature=config.sampling.temperature)


def _likelihood(config: Config, *args) -> jax.Array:
    """Log-probability of every token as the model has it, whatever the sampler does to it."""
    return api.token_logp(*args, config=config.model)[0]
