"""The programs of a training step with the shapes they will have, traced for devices that are not here."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.agents import constraints, contribution, episode, helper_sampling
from jaxreason.agents.roles import ANNOTATE, REASON, SCORE, SEGMENT
from jaxreason.config import Config, ModelConfig
from jaxreason.grading.pool import Pool
from jaxreason.grpo import batch
from jaxreason.grpo.learner import Packing
from jaxreason.ops import attention
from jaxreason.parallel.rules import abstract_rows
from jaxreason.rewards.methods import named
from jaxreason.run import state as run_state
from jaxreason.run.programs import Programs, make_programs
from jaxreason.run.setup import Experiment
from jaxreason.sampling.generate import generate
from jaxreason.sampling.methods import Method
from jaxreason.types import Lift, PromptBatch, UpdateBatch, on_host


@dataclasses.dataclass(frozen=True)
class Work:
    """What a call has to do, all devices together, with all its loops run to their limits."""

    trips: int  # rounds of its loops whose number is data: micro-batches, or tokens of a completion
    tokens: int  # that go through the layers
    predicted: int  # that go through the head
    pairs: float  # of a query and a key that it sees, of one head of one layer
    passes: int  # over the weights, each of about the same products: 3 with a backward pass
    cache_bytes: float = 0.0  # keys and values that are read again


@dataclasses.dataclass(frozen=True)
class Program:
    """One program, traced."""

    name: str
    traced: Any
    work: Work
    calls: int  # in a step, at most
    beside: int  # bytes a device that a run holds meanwhile and the program is not given
    state: Any = None  # shapes of what it is given and gives back in the same memory; None where nothing is


class Held(NamedTuple):
    """Bytes a device of what a run holds from step to step."""

    state: int  # parameters and optimiser
    params: int  # the parameters in it
    start: int  # the starting policy, where the preset or a KL term asks for it

    @classmethod
    def of(cls, exp: Experiment) -> "Held":
        """On the mesh in force."""
        params = bytes_held(run_state.shape_of_start(exp.config))
        state = bytes_held(run_state.shape_of_state(exp.config).train)
        return cls(state, params, params if run_state.keeps_start(exp.config) else 0)


def bytes_held(shapes: Any) -> int:
    """Bytes a device of arrays with these shapes and shardings."""
    return sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(shapes))


def of_a_step(exp: Experiment) -> list[tuple[str, Callable[[], Program]]]:
    """Name and tracing of every program of a step, on the mesh in force."""
    config, method = exp.config, named(exp.config.reward.preset)
    if config.agents.separate:
        raise ValueError(
            "agents.helper_policy: expected shared for a plan, which compiles one policy, got separate; plan that of "
            "the helpers with its shape as model"
        )
    programs = make_programs(exp, Pool(0))
    (learner,) = programs.learners
    P, G = config.data.prompts_per_step, config.sampling.num_generations
    shares = config.sampling.rollout_batches
    L, T = config.data.max_prompt_length, config.sampling.max_completion_length
    held = Held.of(exp)

    def forward(name: str, call: Any, shape: batch.Shape, width: int, calls: int = 1):
        return lambda: _forward(name, call, exp, shape, width, held, calls)

    found = [
        ("update", lambda: _update(exp, programs, held)),
        ("sample reason", lambda: _sample(exp, REASON.name, P // shares, G, L, T, None, shares, held)),
    ]
    if any(config.grpo.beta):
        calls = config.grpo.num_mini_batches
        found.append(("reference", forward("reference", learner.reference, learner.packing.shapes[-1], 0, calls)))
    if method.helpers == "none":
        return found
    constrained = config.agents.decoding == "constrained"
    batches = helper_sampling.batch_count(P * G, config.agents)
    N = P * G // batches
    limits = episode.limits_of_roles(config, exp.tokenizer)
    lengths = episode.row_limits(config, exp.tokenizer)

    def helper(role: str, made: Callable[[], Any]):
        width = lengths[role] - limits[role]
        return lambda: _sample(exp, role, N, 1, width, limits[role], made() if constrained else None, batches, held)

    def borders(scored: bool = False):
        lift = 0.0 if config.agents.calibrated else None
        return constraints.segment_constraint([[]] * N, exp.tokenizer, max_tokens=T, scored=scored, lift=lift)

    machines = {
        SEGMENT.name: borders,
        SCORE.name: lambda: constraints.score_constraint([0] * N, exp.tokenizer, config.agents),
        ANNOTATE.name: lambda: borders(scored=True),
    }
    found += [(f"sample {role}", helper(role, machines[role])) for role in config.agents.helper_roles]
    if method.helpers == "train":
        width = learner.packing.num_candidates or 5
        found.append(("frozen scorer", forward("frozen scorer", programs.expect, programs.frozen_shapes[-1], width)))
    if method.measured:
        calls = contribution.num_problems(config)
        found.append(
            ("contribution", forward("contribution", programs.likelihood, programs.contribution_shapes[-1], 0, calls))
        )
    return found


def _update(exp: Experiment, programs: Programs, held: Held) -> Program:
    (learner,) = programs.learners
    shape = learner.packing.shapes[-1]
    packed = _packed(shape, learner.packing.num_candidates, learner.packing, lifted=run_state.calibrates(exp.config))
    state = run_state.shape_of_state(exp.config).train
    traced = learner.update.compiled.trace(state, packed)  # pyright: ignore[reportFunctionMemberAccess]
    calls = exp.config.grpo.num_mini_batches
    return Program("update", traced, packed_work(shape, 3), calls, held.start, state)


def _forward(name: str, call: Any, exp: Experiment, shape: batch.Shape, width: int, held: Held, calls: int) -> Program:
    params = run_state.shape_of_start(exp.config)
    traced = call.compiled.trace(params, _packed(shape, width))
    return Program(name, traced, packed_work(shape, 1, width == 0), calls, held.state)


def packed_work(shape: batch.Shape, passes: int, whole_head: bool = True) -> Work:
    """Of rows that are one sequence each: more sequences in a row see fewer keys."""
    rows, S = shape.max_micro * shape.micro_batch_rows, shape.row_length
    pairs = rows * S * (S + 1) / 2
    return Work(shape.max_micro, rows * S, rows * S if whole_head else 0, pairs, passes)


def _packed(
    shape: batch.Shape, num_candidates: int, packing: Packing | None = None, *, lifted: bool = False
) -> UpdateBatch:
    lift = on_host(Lift, token=np.array(0, np.int32), logit=np.array(0, np.float32)) if lifted else None
    empty = batch.pack([], shape, num_candidates=num_candidates, lift=lift)
    if packing and packing.with_ref:
        empty = dataclasses.replace(empty, ref_logp=empty.old_logp)
    if packing and packing.with_trainer:
        empty = dataclasses.replace(empty, trainer_logp=empty.old_logp)
    return abstract_rows(empty, None, "batch")


def _sample(
    exp: Experiment, role: str, P: int, G: int, L: int, T: int, constraint: Any, calls: int, held: Held
) -> Program:
    config, sampling = exp.config, exp.config.sampling
    shape: Any = jax.ShapeDtypeStruct
    prompts = PromptBatch(tokens=shape((P, L), jnp.int32), length=shape((P,), jnp.int32))
    key = jax.eval_shape(lambda: jax.random.key(0))
    traced = generate.trace(
        run_state.shape_of_start(config),
        abstract_rows(prompts, "batch"),
        abstract_rows(shape((P, G), jnp.int32), "batch"),
        key,
        sampling.temperature,
        abstract_rows(jax.tree.map(np.asarray, constraint), "batch"),
        config=config.model,
        num_generations=G,
        max_completion_length=T,
        eos_ids=exp.tokenizer.eos_ids,
        pad_id=exp.tokenizer.pad_id,
        method=Method(top_p=sampling.top_p, top_k=sampling.top_k, min_p=sampling.min_p),
    )
    work = sampler_work(config.model, P, G, L, T, free=constraint is None)
    return Program(f"sample {role}", traced, work, calls, held.state - held.params + held.start)


def sampler_work(model: ModelConfig, P: int, G: int, L: int, T: int, *, free: bool = True) -> Work:
    """Of G completions of T tokens for each of P prompts of L; a draw that is not free needs little of the head."""
    pairs = P * L * (L + 1) / 2 + P * G * T * (L + (T + 1) / 2)
    return Work(T, P * L + P * G * T, P * G * T if free else 0, pairs, 1, cache_bytes(model, P, G, L, T))


def reasoner_work(config: Config) -> Work:
    """Of one of sampling.rollout_batches."""
    P = config.data.prompts_per_step // config.sampling.rollout_batches
    limits = config.data.max_prompt_length, config.sampling.max_completion_length
    return sampler_work(config.model, P, config.sampling.num_generations, *limits)


def cache_bytes(model: ModelConfig, P: int, G: int, L: int, T: int) -> float:
    """Bytes of keys and values read while G completions of T tokens are drawn for each of P prompts of L tokens.

    Each token reads the prompt's once a group, and its own up to the end that `attention.with_prefix` reads to.

    >>> cache_bytes(ModelConfig(num_hidden_layers=1, num_key_value_heads=1, head_dim=2), P=1, G=2, L=3, T=2)
    224.0
    """
    size = attention.step_size(T)
    ends = [min((t // size + 1) * size, T) for t in range(T)]
    places = 0
    for y in range(model.num_hidden_layers):
        window = model.layer_kind(y)[1]
        prompt = min(L, window) if window else L
        places += P * prompt * T + P * G * sum(min(end, window + size) if window else end for end in ends)
    return float(places * model.num_key_value_heads * model.head_dim * 2 * (2 if model.dtype == "bfloat16" else 4))
