"""One optimiser step from one packed batch.

The policy comes in as a function from parameters and tokens to log-probabilities; nothing here knows what it is.
"""

from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from jaxreason.config import ROLES, GRPOConfig, of_each_role
from jaxreason.grpo import loss
from jaxreason.types import Metrics, Params, TrainState, UpdateBatch

LogpFn = Callable[..., tuple[jax.Array, jax.Array, Metrics]]
"""(params, tokens, positions, segments, candidates, lift), [B S] each, [B S A] or None, and a Lift or None -> logp
[B S], entropy [B S], and whatever sums and counts the policy reports about itself.

logp[b, s] is that of tokens[b, s] after what stands before it in its segment, under its candidates where it has any;
what stands at a segment's first token is not read.
"""


PolicyFn = Callable[[Params, Params | None], Params]
"""(what is trained, the policy before step 0 or None) -> the parameters that `LogpFn` takes."""


def alone(trained: Params, start: Params | None) -> Params:
    """The policy where all of it is trained."""
    del start
    return trained


def make_update(
    logp_fn: LogpFn,
    optimizer: optax.GradientTransformation,
    config: GRPOConfig,
    *,
    policy: PolicyFn = alone,
    roles: Sequence[str] = ROLES,
    state_shardings: Any = None,
) -> Callable[..., tuple[TrainState, Metrics]]:
    """Build the jitted update; the state it is given is donated.

    Gradients of the micro-batches that hold anything add up in float32, so their number changes nothing but rounding,
    and one program serves every number of them. Where the loss or the gradient's norm is not finite, or nothing was
    to be learnt, parameters and optimiser state stay as they were and `skipped` is 1; `step` counts calls.

    Args:
      logp_fn: see `LogpFn`; traced under `config`'s micro-batch shape.
      optimizer: from `make_optimizer`.
      config: what the loss reads of it, see `loss.policy_loss`.
      policy: what the state's parameters are trained as; see `PolicyFn`.
      roles: names of the role ids, for the metrics.
      state_shardings: a TrainState of shardings for the state that goes out, and for the sums of gradients; None leaves
        them to the compiler.

    Returns:
      update(state, batch, start=None) -> new state and metrics, where start is what `policy` reads beside the state.
      Metrics are `loss`, `grad_norm` (before the clip), `skipped`, `not_finite`, those of `loss.token_metrics` and
      those of `logp_fn`. A metric that came out not finite has count 0.
    """
    beta_R = of_each_role(config.beta)

    def micro_loss(params: Params, start: Params | None, micro: UpdateBatch) -> tuple[jax.Array, Metrics]:
        logp_BS, entropy_BS, own = logp_fn(
            policy(params, start), micro.tokens, micro.positions, micro.segments, micro.candidates, micro.lift
        )
        value, seen = loss.policy_loss(logp_BS, micro, config)
        return value, {**own, **loss.token_metrics(seen, entropy_BS, micro.role, micro.weight, roles)}

    gradient = jax.value_and_grad(micro_loss, has_aux=True)

    def accumulate(params: Params, start: Params | None, batch: UpdateBatch):
        def micro_batch(m):
            return jax.tree.map(
                lambda x: x if jnp.ndim(x) == 0 else jax.lax.dynamic_index_in_dim(x, m, keepdims=False), batch
            )

        def as_params(grads):
            # Sums of gradients stand where their parameters stand, so that they are never whole on a device.
            if state_shardings is None:
                return grads
            return jax.lax.with_sharding_constraint(grads, state_shardings.params)

        def body(m, total):
            value, grads = gradient(params, start, micro_batch(m))
            return jax.tree.map(lambda a, b: a + b.astype(a.dtype), total, (value, as_params(grads)))

        shapes = jax.eval_shape(lambda: gradient(params, start, micro_batch(0)))
        value, grads = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), shapes)
        return jax.lax.fori_loop(0, batch.num_micro, body, (value, as_params(grads)))

    def update(state: TrainState, batch: UpdateBatch, start: Params | None = None) -> tuple[TrainState, Metrics]:
        chex.assert_rank([batch.tokens, batch.weight], 3)
        chex.assert_equal_shape([batch.tokens, batch.positions, batch.segments, batch.role, batch.weight])
        if any(beta_R) and batch.ref_logp is None:
            raise ValueError(
                "UpdateBatch.ref_logp: expected log-probabilities of the reference, since grpo.beta is above 0"
            )
        (value, metrics), grads = accumulate(state.params, start, batch)
        norm = optax.tree.norm(grads)
        good = jnp.isfinite(value) & jnp.isfinite(norm) & (batch.num_micro > 0)

        # In the parameters' own type, so that the optimiser state keeps its types from step to step.
        grads = jax.tree.map(lambda g, p: g.astype(p.dtype), grads, state.params)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        params, opt_state = jax.tree.map(
            lambda new, old: jnp.where(good, new, old), (params, opt_state), (state.params, state.opt_state)
        )

        one = jnp.ones((), jnp.float32)
        metrics = {
            name: _finite(*pair) for name, pair in {**metrics, "loss": (value, one), "grad_norm": (norm, one)}.items()
        }
        metrics["skipped"] = (1.0 - good.astype(jnp.float32), one)
        metrics["not_finite"] = (1.0 - (jnp.isfinite(value) & jnp.isfinite(norm)).astype(jnp.float32), one)
        return TrainState(step=state.step + 1, params=params, opt_state=opt_state), metrics

    out_shardings = None if state_shardings is None else (state_shardings, None)
    return jax.jit(update, donate_argnums=0, out_shardings=out_shardings)


def _finite(total: jax.Array, count: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A sum that is not finite would spoil every average it enters."""
    good = jnp.isfinite(total)
    return jnp.where(good, total, 0.0), jnp.where(good, count, 0.0)
