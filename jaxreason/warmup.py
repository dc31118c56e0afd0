"""The supervised start: next-token prediction on demonstrations of the three roles.

A model trained from scratch learns here to be verbose in the way that the reinforcement learning then mends. A released
one knows how to reason; its helpers can be taught on chains of its own (`teach`, `agents.own_chains`).
"""

import functools
import random
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxreason.agents.examples import label_values, role_examples
from jaxreason.agents.roles import ANNOTATE, REASON, SCORE, SEGMENT
from jaxreason.agents.tags import SCORE_OPEN
from jaxreason.config import ROLES, Config, WarmupConfig
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.grpo.batch import PackItem, Shape, pack
from jaxreason.parallel.rules import place, shardings
from jaxreason.policy import api, lora
from jaxreason.sampling import methods
from jaxreason.tasks.base import Demonstrated, Drilled
from jaxreason.tasks.opening import task_of
from jaxreason.types import Params, UpdateBatch

Rows = dict[str, np.ndarray]
"""tokens, positions, segments and weight of packed rows, [N S] each; weight is 0 on prompts and the unused tail."""

BATCH_OF_EXAMPLES = 3000
"""Examples packed together: first-fit is quadratic in their number."""
SEGMENT_EVERY = 4
"""Of so many demonstrations the segmenter is shown one: copying is long to read and soon learnt."""
LARGEST = 3.0
"""Nats above which a likelier token pulls back no harder: one token must not rule a step."""
STEPS_A_CALL = 10
"""Optimiser steps a compiled call: dispatch and copies cost as much as a small step."""


def demonstration_rows(config: Config, tokenizer: Tokenizer, roles: Sequence[str] = ROLES) -> Rows:
    """Packed rows of all demonstrations of these roles. Examples longer than a row are left out."""

    task = task_of(config.data)
    if not isinstance(task, Demonstrated):
        raise ValueError(
            f"warmup.max_steps: expected 0 with data.task={task.name}, which has no demonstrations, got "
            f"{config.warmup.max_steps}; set it to 0, or data.task to one with demonstrations, such as calculator"
        )
    importance = task.importance
    guess = np.random.default_rng(config.data.seed) if config.warmup.score_labels == "random" else None

    def examples_of(shown, wanted):
        found = [
            role_examples(problem, pieces, task, config.agents, tokenizer, label_values(pieces, importance, guess))
            for problem, pieces in shown
        ]
        return [e for some in found for e in some if e.role in wanted and e.role.name in roles]

    examples = examples_of(task.demonstrations(config.data), {REASON})
    shown = task.helper_demonstrations(config.data)
    examples += examples_of(shown, {SCORE, ANNOTATE}) + examples_of(shown[::SEGMENT_EVERY], {SEGMENT})
    asked = tokenizer.encode_batch([e.prompt for e in examples])
    written = tokenizer.encode_batch([e.completion for e in examples])
    items = [
        _item(prompt, [*completion, tokenizer.eos_id], example.role.id, config, tokenizer)
        for prompt, completion, example in zip(asked, written, examples, strict=True)
        if len(prompt) + len(completion) < config.warmup.row_length
    ]
    if not items:
        raise ValueError(
            f"warmup.row_length: no demonstration is as short as {config.warmup.row_length} tokens; raise it"
        )
    return _pack(items, config.warmup.row_length)


def drill_rows(config: Config, tokenizer: Tokenizer) -> Rows:
    """One row an equation sheet, enough for every drill step; only results are learnt, the rest is chance."""
    task = task_of(config.data)
    if not isinstance(task, Drilled):
        raise ValueError(
            f"warmup.drill_steps: expected 0 with data.task={task.name}, which has no drill, got "
            f"{config.warmup.drill_steps}; set it to 0"
        )
    rng = random.Random(f"{config.run.seed}/drill")
    count = config.warmup.drill_steps * config.warmup.rows_per_step
    (line,) = tokenizer.encode_batch([task.drill(rng, 1)])
    texts = [task.drill(rng, config.warmup.row_length // len(line)) for _ in range(count)]
    # Lines may be of several lengths: a sheet ends where its row does.
    sheets = [ids[: config.warmup.row_length] for ids in tokenizer.encode_batch(texts)]
    items = [_item(ids[:1], ids[1:], REASON.id, config, tokenizer) for ids in sheets]
    rows = _pack(items, config.warmup.row_length)
    return rows | {"weight": (rows["weight"] == config.warmup.result_weight).astype(np.float32)}


def _item(prompt, completion, role: int, config: Config, tokenizer: Tokenizer) -> PackItem:
    """A supervised sequence; results (what follows `=`) and scores weigh result_weight."""
    ids = np.array(completion, np.int32)
    before = np.array([*prompt[-1:], *completion[:-1]], np.int32)
    equals, opened = tokenizer.encode_batch(["=", SCORE_OPEN])
    hard = (before == equals[-1]) | (role == SCORE.id) | ((role == ANNOTATE.id) & (before == opened[-1]))
    weight = np.where(hard, config.warmup.result_weight, 1.0).astype(np.float32)
    return PackItem(
        prompt=np.array(prompt, np.int32),
        completion=ids,
        old_logp=np.zeros(len(ids), np.float32),
        weight=weight,
        advantage=weight,
        role=role,
    )


def _pack(items: list[PackItem], row_length: int) -> Rows:
    parts: dict[str, list[np.ndarray]] = {"tokens": [], "positions": [], "segments": [], "weight": []}
    for first in range(0, len(items), BATCH_OF_EXAMPLES):
        some = items[first : first + BATCH_OF_EXAMPLES]
        batch = pack(some, Shape(max_micro=len(some), micro_batch_rows=1, row_length=row_length))
        for name, found in parts.items():
            found.append(np.asarray(getattr(batch, name))[: int(batch.num_micro), 0])
    return {name: np.concatenate(found) for name, found in parts.items()}


def make_optimizer(config: WarmupConfig) -> optax.GradientTransformation:
    """Muon on the layers' matrices, AdamW on the rest; a short rise, then a linear fall to a hundredth."""
    rise = max(1, config.max_steps // 20)

    def schedule(peak):
        fall = optax.linear_schedule(peak, peak / 100, max(1, config.max_steps - rise))
        return optax.join_schedules([optax.linear_schedule(peak / rise, peak, rise), fall], [rise])

    def dimensions(params):
        # Layers, and experts behind them, are stacked in front: [Y in out] is Y matrices, [Y E in out] is Y * E.
        # Embeddings, norms and biases are left to Adam.
        stacked = optax.contrib.MuonDimensionNumbers(reduction_axis=-2, output_axis=-1)
        return jax.tree_util.tree_map_with_path(
            lambda path, x: stacked if path[0].key == "layers" and x.ndim >= 3 else None, params
        )

    muon = optax.contrib.muon(
        schedule(config.learning_rate),
        adam_learning_rate=schedule(config.adam_learning_rate),
        weight_decay=config.weight_decay,
        adam_weight_decay=config.weight_decay,
        adam_b2=0.99,
        muon_weight_dimension_numbers=dimensions,
    )
    return optax.chain(optax.clip_by_global_norm(1.0), muon)


def run(
    params: Params,
    config: Config,
    tokenizer: Tokenizer,
    advance: Callable[[int, str], None] = lambda steps, note: None,
    stop: Callable[[], bool] = lambda: False,
    *,
    roles: Sequence[str] = ROLES,
) -> Params:
    """Train on the task's demonstrations, of the reasoner behind bare equations.

    Args:
      params: start; donated.
      advance: is told how many steps were made, and their loss (nats a token) in words.
      stop: asked between calls; True ends the training early.
      roles: those demonstrated.

    Raises:
      FloatingPointError: the loss became not a number.
    """
    if config.warmup.max_steps == 0:
        return params
    optimizer = make_optimizer(config.warmup)
    B = config.warmup.rows_per_step

    def loss_fn(params, batch):
        logp, _ = api.token_logp(params, batch["tokens"], batch["positions"], batch["segments"], config=config.model)
        weight = batch["weight"]
        return -(weight * jnp.where(weight > 0, logp, 0.0)).sum() / jnp.maximum(weight.sum(), 1.0)

    places = shardings(jax.eval_shape(lambda p: (p, optimizer.init(p)), params))

    @functools.partial(jax.jit, donate_argnums=0, out_shardings=(places, None))
    def train(state, batches):
        def one(state, batch):
            params, opt_state = state
            loss, grads = jax.value_and_grad(loss_fn)(params, batch)
            updates, opt_state = optimizer.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), loss

        return jax.lax.scan(one, state, batches)

    state = (params, jax.jit(optimizer.init, out_shardings=places[1])(params))
    done = 0
    drilled = config.warmup.drill_steps if REASON.name in roles else 0
    shown = functools.partial(demonstration_rows, roles=roles)
    for make_rows, until in ((drill_rows, drilled), (shown, config.warmup.max_steps)):
        if done >= until:
            continue
        data = make_rows(config, tokenizer)
        chosen = _shuffled(len(data["tokens"]), np.random.default_rng([config.run.seed, 2, done]))
        while done < until and not stop():
            k = min(STEPS_A_CALL, until - done)
            index = np.array([next(chosen) for _ in range(k * B)]).reshape(k, B)
            state, losses = train(state, place({name: x[index] for name, x in data.items()}, None, "batch"))
            done += k
            loss = float(losses.mean())
            if not np.isfinite(loss):
                raise FloatingPointError(
                    f"warmup: the loss is {loss} at step {done}; "
                    f"lower warmup.learning_rate={config.warmup.learning_rate}"
                )
            advance(k, f"loss {loss:.3f}")
    return state[0]


def moved_by(log_ratio: jax.Array) -> jax.Array:
    """r - 1 - ln r of a ratio r, given ln r: at least 0, and 0 with no slope where nothing has moved. Over tokens drawn
    from the earlier distribution its mean is KL(before || now). Above LARGEST nats r goes on as its tangent.

    >>> [round(x, 3) for x in moved_by(jnp.array([0.0, 1.0, -1.0])).tolist()]
    [0.0, 0.718, 0.368]
    """
    most = jnp.minimum(log_ratio, LARGEST)
    return jnp.exp(most) * (1 + log_ratio - most) - 1 - log_ratio


def teach(
    params: Params,
    packed: UpdateBatch,
    config: Config,
    advance: Callable[[int, str], None] = lambda steps, note: None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Params, float]:
    """Train gently on lessons of the helpers, warmup.chain_epochs times: AdamW, a short rise and a linear fall.

    The helpers' rows are learnt. The reasoner's are kept: with r the ratio of what a token is now to what it was, its
    loss is r - 1 - ln r, which is 0 and has no gradient where nothing has moved, and in expectation is the divergence
    KL(before || now) of a token.

    With adapters (lora.r) adapters are what is trained, and merged at the end: a start fits where the run does.

    Args:
      params: start; donated.
      packed: `batch.pack` of the lessons; each of its micro-batches is a step. Log-probabilities are taken as the
        update takes them: under its candidates where it has some.
      advance, stop: as in `run`; the losses are in nats a choice, and in nats a token of the reasoner.

    Returns:
      The policy, and by how much its reasoner has moved, in nats a token: the mean of the last epoch; 0 without rows of
      its own.

    Raises:
      FloatingPointError: the loss became not a number.
    """
    count, epochs = int(packed.num_micro), config.warmup.chain_epochs
    steps = count * epochs
    rise, peak = max(1, steps // 10), config.warmup.chain_learning_rate
    fall = optax.linear_schedule(peak, peak / 100, max(1, steps - rise))
    schedule = optax.join_schedules([optax.linear_schedule(peak / rise, peak, rise), fall], [rise])
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=0.0))
    filters = methods.Method(config.sampling.top_p, config.sampling.top_k, config.sampling.min_p)
    logp_fn = api.logp_fn(config.model, config.sampling.temperature, methods.transform(filters))
    a_step = float(packed.weight.sum()) / max(count, 1)

    def loss_fn(trained, base, batch):
        policy = lora.policy(trained, base, config.lora)
        logp, *_ = logp_fn(
            policy, batch["tokens"], batch["positions"], batch["segments"], batch.get("candidates"), None
        )
        learnt = jnp.where(batch["role"] == REASON.id, 0.0, batch["weight"])
        kept = jnp.where(batch["role"] == REASON.id, batch["weight"], 0.0)
        log_ratio = jnp.where(kept > 0, logp - batch["old_logp"], 0.0)
        nll, moved = -(learnt * jnp.where(learnt > 0, logp, 0.0)).sum(), (kept * moved_by(log_ratio)).sum()
        return (nll + moved) / a_step, (nll, learnt.sum(), moved, kept.sum())

    base, trained = None, params
    if config.lora.wanted:
        base, shapes = params, api.shapes(config.model)
        places = shardings(lora.shapes(config.model, config.lora))
        trained = jax.jit(lambda: lora.initial(shapes, config.lora, config.run.seed), out_shardings=places)()
    places = shardings(jax.eval_shape(lambda p: (p, optimizer.init(p)), trained))

    @functools.partial(jax.jit, donate_argnums=0, out_shardings=(places, None))
    def train(state, base, batch):
        trained, opt_state = state
        (_, sums), grads = jax.value_and_grad(loss_fn, has_aux=True)(trained, base, batch)
        grads = jax.tree.map(lambda g, p: g.astype(p.dtype), grads, trained)
        updates, opt_state = optimizer.update(grads, opt_state, trained)
        return (optax.apply_updates(trained, updates), opt_state), jnp.stack(sums)

    names = ("tokens", "positions", "segments", "weight", "role", "old_logp", "candidates")
    arrays = {name: x for name in names if (x := getattr(packed, name)) is not None}
    state = (trained, jax.jit(optimizer.init, out_shardings=places[1])(trained))
    rng, last = np.random.default_rng([config.run.seed, 4]), np.zeros(4)
    for _ in range(epochs):
        last = np.zeros(4)
        for m in rng.permutation(count):
            if stop():
                break
            state, sums = train(state, base, place({name: x[m] for name, x in arrays.items()}, "batch"))
            sums = np.asarray(sums, float)
            if not np.isfinite(sums).all():
                raise FloatingPointError(
                    f"warmup: the loss on own chains is {sums[0] + sums[2]}; "
                    f"lower warmup.chain_learning_rate={config.warmup.chain_learning_rate}"
                )
            last += sums
            note = [f"{name} {sums[i] / sums[i + 1]:.3f}" for name, i in (("loss", 0), ("moved", 2)) if sums[i + 1]]
            advance(1, ", ".join(note))
    return lora.whole(lora.policy(state[0], base, config.lora)), float(last[2] / last[3]) if last[3] else 0.0


def _shuffled(count: int, rng: np.random.Generator) -> Iterator[int]:
    """Indices below count in a new order each epoch, without end."""
    while True:
        yield from rng.permutation(count)
