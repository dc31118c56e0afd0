"""The programs of a training step with the shapes they will have, traced for devices that are not here."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.agents import constraints, contribution, sizes
from jaxreason.agents.roles import ANNOTATE, REASON, SCORE, SEGMENT
from jaxreason.grading.pool import Pool
from jaxreason.grpo import batch
from jaxreason.grpo.learner import Packing
from jaxreason.parallel.rules import abstract_rows
from jaxreason.plan.sampling import helper_work, reasoner_work
from jaxreason.plan.work import Work
from jaxreason.rewards.methods import named
from jaxreason.run import state as run_state
from jaxreason.run.programs import Programs, make_programs
from jaxreason.run.setup import Experiment
from jaxreason.sampling.engine import generate
from jaxreason.sampling.methods import Method
from jaxreason.sampling.query import Decoding, Query
from jaxreason.sampling.room import room_for
from jaxreason.types import Lift, PromptBatch, UpdateBatch, on_host


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

    state: int  # what is trained, and the optimiser
    policy: int  # what a program that samples is given
    start: int  # the starting policy, where the preset, a KL term or adapters ask for it

    @classmethod
    def of(cls, exp: Experiment) -> "Held":
        """On the mesh in force."""
        start = bytes_held(run_state.shape_of_start(exp.config)) if run_state.keeps_start(exp.config) else 0
        state = bytes_held(run_state.shape_of_state(exp.config).train)
        return cls(state, bytes_held(run_state.shape_of_policy(exp.config)), start)


def bytes_held(shapes: Any) -> int:
    """Bytes a device of arrays with these shapes and shardings."""
    return sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(shapes))


def of_a_step(exp: Experiment, lengths: Sequence[int] = ()) -> list[tuple[str, Callable[[], Program]]]:
    """Name and tracing of every program of a step, on the mesh in force.

    Args:
      lengths: of completions, for what the programs have to do; none: all reach their limits.
    """
    config, method = exp.config, named(exp.config.reward.preset)
    if config.agents.separate:
        raise ValueError(
            "agents.helper_policy: expected shared for a plan, which compiles one policy, got separate; plan that of "
            "the helpers with its shape as model"
        )
    programs = make_programs(exp, Pool(0))
    (learner,) = programs.learners
    P, G = config.data.prompts_per_step, config.sampling.num_generations
    L, T = config.data.max_prompt_length, config.sampling.max_completion_length
    held = Held.of(exp)

    def forward(name: str, call: Any, shape: batch.Shape, width: int, calls: int = 1):
        return lambda: _forward(name, call, exp, shape, width, held, calls)

    found = [
        ("update", lambda: _update(exp, programs, held, lengths)),
        (
            "sample reason",
            lambda: _sample(exp, REASON.name, reasoner_work(config, lengths), (P, G, L, T), None, held),
        ),
    ]
    if any(config.grpo.beta):
        calls = config.grpo.num_mini_batches
        found.append(("reference", forward("reference", learner.reference, learner.packing.shapes[-1], 0, calls)))
    if method.helpers == "none":
        return found
    constrained = config.agents.decoding == "constrained"
    N = P * G
    limits = sizes.limits_of_roles(config, exp.tokenizer)
    longest = sizes.row_limits(config, exp.tokenizer)

    def helper(role: str, made: Callable[[], Any]):
        shape = (N, 1, longest[role] - limits[role], limits[role])
        work = helper_work(config, role, shape, lengths)
        return lambda: _sample(exp, role, work, shape, made() if constrained else None, held)

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


def _update(exp: Experiment, programs: Programs, held: Held, lengths: Sequence[int]) -> Program:
    (learner,) = programs.learners
    shape = learner.packing.shapes[-1]
    packed = _packed(shape, learner.packing.num_candidates, learner.packing, lifted=run_state.calibrates(exp.config))
    state = run_state.shape_of_state(exp.config).train
    adapted = exp.config.lora.wanted
    beside = [run_state.shape_of_start(exp.config)] if adapted else []
    traced = learner.update.compiled.trace(state, packed, *beside)  # pyright: ignore[reportFunctionMemberAccess]
    calls = exp.config.grpo.num_mini_batches
    filled = dataclasses.replace(shape, max_micro=micro_batches(exp, shape, learner.roles, lengths))
    return Program("update", traced, packed_work(filled, 3), calls, 0 if adapted else held.start, state)


def micro_batches(exp: Experiment, shape: batch.Shape, roles: Sequence[str], lengths: Sequence[int]) -> int:
    """Micro-batches that the rows of a step fill, packed without gaps; the most there can be without lengths."""
    if not lengths:
        return shape.max_micro
    config, T = exp.config, exp.config.sampling.max_completion_length
    rows = config.data.prompts_per_step * config.sampling.num_generations // config.grpo.num_mini_batches
    short = T - float(np.minimum(lengths, T).mean())  # tokens that a completion leaves of its limit
    limits = sizes.row_limits(config, exp.tokenizer)
    # Helpers are shown y, and those that write it again have it twice.
    copies = {REASON.name: 1, SEGMENT.name: 2, SCORE.name: 1, ANNOTATE.name: 2}
    tokens = rows * sum(limits[role] - copies[role] * short for role in roles)
    return min(shape.max_micro, math.ceil(tokens / (shape.micro_batch_rows * shape.row_length)))


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


def _sample(exp: Experiment, role: str, work: Work, shape: tuple[int, int, int, int], constraint: Any, held: Held):
    """All of a step's completions of a role: P prompts of L tokens with G completions of T each."""
    config, sampling, (P, G, L, T) = exp.config, exp.config.sampling, shape
    like: Any = jax.ShapeDtypeStruct
    prompts = PromptBatch(tokens=like((P, L), jnp.int32), length=like((P,), jnp.int32))
    key = jax.eval_shape(lambda: jax.random.key(0))
    query = Query(
        prompts=prompts,
        limit=like((P, G), jnp.int32),
        constraint=jax.tree.map(np.asarray, constraint),
        number=like((P,), jnp.int32),
        expected=like((P,), jnp.float32),
    )
    method = Method(top_p=sampling.top_p, top_k=sampling.top_k, min_p=sampling.min_p)
    room = room_for(sampling, P * G, T)
    how = Decoding(config.model, T, exp.tokenizer.eos_ids, exp.tokenizer.pad_id, method, room)
    policy = run_state.shape_of_policy(config)
    traced = generate.trace(policy, abstract_rows(query, "batch"), key, sampling.temperature, how)
    return Program(f"sample {role}", traced, work, 1, held.state + held.start - held.policy)
