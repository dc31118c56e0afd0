"""The programs of a training step with the shapes they will have, traced for devices that are not here."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason import runstate
from jaxreason.agents import asking, constraints, episode
from jaxreason.agents.roles import REASON, SCORE, SEGMENT, token_limits
from jaxreason.experiment import Experiment
from jaxreason.grading.pool import Pool
from jaxreason.grpo import batch
from jaxreason.parallel.rules import abstract_rows
from jaxreason.rewards.presets import PRESETS
from jaxreason.sampling.generate import generate
from jaxreason.sampling.methods import Method
from jaxreason.tools import Tools, make_tools
from jaxreason.types import PromptBatch, UpdateBatch


@dataclasses.dataclass(frozen=True)
class Program:
    """One program, traced."""

    name: str
    traced: Any
    trips: int  # rounds of its loops whose number is data: micro-batches, or tokens of a completion
    state: Any  # shapes of what it is given and gives back in the same memory; None where nothing is
    tokens: int  # that go through the model in a call, all devices together


def of_a_step(exp: Experiment) -> list[tuple[str, Callable[[], Program]]]:
    """Name and tracing of every program of a step, on the mesh in force."""
    config, preset = exp.config, PRESETS[exp.config.reward.preset]
    tools = make_tools(exp, Pool(0))
    P, G = config.data.prompts_per_step, config.sampling.num_generations
    L, T = config.data.max_prompt_length, config.sampling.max_completion_length
    found = [
        ("update", lambda: _update(exp, tools)),
        ("sample reason", lambda: _sample(exp, REASON.name, P, G, L, T, None)),
    ]
    if any(config.grpo.beta):
        found.append(("reference", lambda: _forward("reference", tools.reference, exp, tools.packing.shapes[-1], 0)))
    if preset.helpers == "none":
        return found
    constrained = config.agents.decoding == "constrained"
    N = P * G // asking.batch_count(P * G, config.agents)
    limits = token_limits(config, tag_tokens=constraints.tag_tokens(exp.tokenizer))
    lengths = episode.row_limits(config, exp.tokenizer)

    def helper(role: str, made: Callable[[], Any]):
        width = lengths[role] - limits[role]
        return lambda: _sample(exp, role, N, 1, width, limits[role], made() if constrained else None)

    segment = helper(SEGMENT.name, lambda: constraints.segment_constraint([[]] * N, exp.tokenizer, max_tokens=T))
    score = helper(SCORE.name, lambda: constraints.score_constraint([0] * N, exp.tokenizer, config.agents))
    found += [("sample segment", segment), ("sample score", score)]
    if preset.helpers == "train":
        width = tools.packing.num_candidates or 5
        found.append(
            ("frozen scorer", lambda: _forward("frozen scorer", tools.expect, exp, tools.frozen_shapes[-1], width))
        )
    return found


def _update(exp: Experiment, tools: Tools) -> Program:
    shape = tools.packing.shapes[-1]
    packed = _packed(shape, tools.packing.num_candidates, tools.packing.with_ref)
    state = runstate.shape_of_state(exp.config).train
    traced = tools.update.compiled.trace(state, packed)  # pyright: ignore[reportFunctionMemberAccess]
    tokens = shape.max_micro * shape.micro_batch_rows * shape.row_length
    return Program("update", traced, shape.max_micro, state, tokens)


def _forward(name: str, call: Any, exp: Experiment, shape: batch.Shape, width: int) -> Program:
    params = runstate.shape_of_start(exp.config)
    traced = call.compiled.trace(params, _packed(shape, width, False))
    tokens = shape.max_micro * shape.micro_batch_rows * shape.row_length
    return Program(name, traced, shape.max_micro, None, tokens)


def _packed(shape: batch.Shape, num_candidates: int, with_ref: bool) -> UpdateBatch:
    empty = batch.pack([], shape, num_candidates=num_candidates)
    if with_ref:
        empty = dataclasses.replace(empty, ref_logp=empty.old_logp)
    return abstract_rows(empty, None, "batch")


def _sample(exp: Experiment, role: str, P: int, G: int, L: int, T: int, constraint: Any) -> Program:
    config, sampling = exp.config, exp.config.sampling
    shape: Any = jax.ShapeDtypeStruct
    prompts = PromptBatch(tokens=shape((P, L), jnp.int32), length=shape((P,), jnp.int32))
    key = jax.eval_shape(lambda: jax.random.key(0))
    traced = generate.trace(
        runstate.shape_of_start(config),
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
    return Program(f"sample {role}", traced, T, None, P * L + P * G * T)
