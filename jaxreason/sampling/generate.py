"""Sampling a batch: one prefill a prompt, then one jitted while_loop until every row is done.

Nothing returns to the host inside the loop. Knows nothing of text, roles or rewards.
"""

import functools

import chex
import jax
import jax.numpy as jnp

from jaxreason.config import ModelConfig
from jaxreason.ops import logprob
from jaxreason.parallel.rules import everywhere, shard
from jaxreason.policy import api
from jaxreason.policy.cache import Cache
from jaxreason.sampling import methods
from jaxreason.types import Constraint, Params, PromptBatch, Rollout, pytree


@pytree
class State:
    """Where the loop stands: everything it reads and writes, and nothing else."""

    step: jax.Array  # int32 [], tokens drawn so far
    hidden: jax.Array  # [P G D], of the last token read
    done: jax.Array  # bool [P G]
    finished: jax.Array  # bool [P G], done by an end-of-sequence token
    tokens: jax.Array  # int32 [P G T]
    logp: jax.Array  # float32 [P G T]
    length: jax.Array  # int32 [P G]
    machine: jax.Array  # int32 [P G], state of the constraint
    candidates: jax.Array | None  # int32 [P G T A]
    cache: Cache


@functools.partial(
    jax.jit, static_argnames=("config", "num_generations", "max_completion_length", "eos_ids", "pad_id", "method")
)
def generate(
    params: Params,
    prompts: PromptBatch,
    limit_PG: jax.Array,
    key: jax.Array,
    temperature: jax.Array,
    constraint: Constraint | None = None,
    *,
    config: ModelConfig,
    num_generations: int,
    max_completion_length: int,
    eos_ids: tuple[int, ...],
    pad_id: int,
    method: methods.Method = methods.Method(),
) -> Rollout:
    """Sample G completions a prompt.

    Args:
      params: the policy's.
      prompts: left-padded.
      limit_PG: int32 token limit of each row, 0..T. A row of limit 0 stays empty.
      key: every draw of the call comes from it: the same key repeats the call, and the caller never passes one twice.
      temperature: float32 scalar; 0 decodes greedily.
      constraint: what each row may emit, over N = P*G rows; None samples freely. Filters of `method` apply to free
        sampling only: a constraint already says what may be drawn.
      eos_ids: tokens that end a completion; they count in its length.
      pad_id: what stands after a completion.

    Returns:
      Rollout with T = max_completion_length. logp is of the distribution sampled from, after temperature, filters and
      constraint (greedy: of the unscaled distribution). On a mesh every device holds all of it, so that every host can
      read it.
    """
    params, T = api.unstack(params, config), max_completion_length
    A = 0 if constraint is None else constraint.token.shape[-1]
    begun = begin(params, prompts, limit_PG, config=config, G=num_generations, T=T, pad_id=pad_id, A=A)
    end = advance(
        params,
        begun,
        limit_PG,
        key,
        temperature,
        jnp.int32(T),
        constraint,
        config=config,
        eos_ids=eos_ids,
        pad_id=pad_id,
        method=method,
    )
    return everywhere(
        Rollout(tokens=end.tokens, length=end.length, logp=end.logp, finished=end.finished, candidates=end.candidates)
    )


def begin(
    params: Params,
    prompts: PromptBatch,
    limit_PG: jax.Array,
    *,
    config: ModelConfig,
    G: int,
    T: int,
    pad_id: int,
    A: int = 0,
) -> State:
    """Read the prompts; no token is drawn yet.

    Args:
      params: from `api.unstack`.
      A: candidates of the constraint; 0 for none.
    """
    chex.assert_rank([prompts.tokens, prompts.length, limit_PG], [2, 1, 2])
    P = prompts.tokens.shape[0]
    chex.assert_shape(limit_PG, (P, G))
    hidden_PD, cache = api.prefill(params, prompts.tokens, prompts.length, config=config, G=G, T=T)
    return State(
        step=jnp.int32(0),
        hidden=shard(jnp.broadcast_to(hidden_PD[:, None], (P, G, hidden_PD.shape[-1])), "batch", None, None),
        done=limit_PG <= 0,
        finished=jnp.zeros((P, G), bool),
        tokens=jnp.full((P, G, T), pad_id, jnp.int32),
        logp=jnp.zeros((P, G, T), jnp.float32),
        length=jnp.zeros((P, G), jnp.int32),
        machine=jnp.zeros((P, G), jnp.int32),
        candidates=jnp.full((P, G, T, A), -1, jnp.int32) if A else None,
        cache=cache,
    )


def advance(
    params: Params,
    state: State,
    limit_PG: jax.Array,
    key: jax.Array,
    temperature: jax.Array,
    until: jax.Array,
    constraint: Constraint | None = None,
    *,
    config: ModelConfig,
    eos_ids: tuple[int, ...],
    pad_id: int,
    method: methods.Method,
) -> State:
    """Draw until `until` tokens (int32, up to T) are drawn or every row is done; stops and goes on without a trace."""
    P, G = state.done.shape
    head_VD = api.head(params, config)
    temperature = jnp.asarray(temperature, jnp.float32)

    def emit(state: State) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array | None]:
        """Draw the next token of every row: (token, logp, next machine state, what it was drawn among), [P G ...]."""
        step_key = jax.random.fold_in(key, state.step)
        uniform_N2 = jax.random.uniform(step_key, (2, P * G)).T
        h_ND = state.hidden.reshape(P * G, -1)
        if constraint is None:
            logits_NV = logprob.head_logits(h_ND, head_VD)
            token_N, logp_N = methods.sample(uniform_N2, logits_NV, temperature, method)
            return token_N.reshape(P, G), logp_N.reshape(P, G), state.machine, None
        row_N, at_N = jnp.arange(P * G), state.machine.reshape(-1)
        few_NA = constraint.token[row_N, at_N]
        logits_NA = methods.scale(logprob.candidate_logits(h_ND, head_VD, few_NA, constraint.lift), temperature)
        choice_N, logp_N = methods.draw(uniform_N2, logits_NA, temperature)
        token_N = few_NA[row_N, choice_N]
        next_N = constraint.next[row_N, at_N, choice_N]
        return token_N.reshape(P, G), logp_N.reshape(P, G), next_N.reshape(P, G), few_NA.reshape(P, G, -1)

    def body(state: State) -> State:
        token_PG, logp_PG, machine_PG, few_PGA = emit(state)
        live_PG = ~state.done
        token_PG = jnp.where(live_PG, token_PG, pad_id)
        length_PG = state.length + live_PG
        ended_PG = live_PG & functools.reduce(jnp.logical_or, [token_PG == e for e in eos_ids])
        hidden_PGD, cache = api.decode(params, state.cache, token_PG, state.step, config=config)

        def put(into, new):
            return jax.lax.dynamic_update_slice_in_dim(into, new[:, :, None], state.step, axis=2)

        return State(
            step=state.step + 1,
            hidden=hidden_PGD,
            done=state.done | ended_PG | (length_PG >= limit_PG),
            finished=state.finished | ended_PG,
            tokens=put(state.tokens, token_PG),
            logp=put(state.logp, jnp.where(live_PG, logp_PG, 0.0)),
            length=length_PG,
            machine=jnp.where(live_PG, machine_PG, state.machine),
            candidates=None if few_PGA is None else put(state.candidates, jnp.where(live_PG[:, :, None], few_PGA, -1)),
            cache=cache,
        )

    return jax.lax.while_loop(lambda s: (s.step < until) & ~s.done.all(), body, state)
