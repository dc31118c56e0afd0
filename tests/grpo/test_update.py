"""The update on a bigram policy, against gradients written out, and what must leave the state alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxreason.config import GRPOConfig, OptimizerConfig
from jaxreason.grpo import advantage, batch, loss
from jaxreason.grpo.optimizer import make_optimizer
from jaxreason.grpo.update import make_update
from jaxreason.types import TrainState
from tests.helpers import TOLERANCE
from tests.reference import grpo as reference

VOCABULARY = 6


def bigram(params, tokens, positions, segments, candidates, lift):
    """logp of each token after the one before it; -inf at the first of a segment, which nobody may read.

    Its own metric is the mean length of a segment.
    """
    del candidates
    inside = segments > 0
    previous = jnp.pad(tokens, ((0, 0), (1, 0)))[:, :-1]
    table = jax.nn.log_softmax(params["table"], -1)
    logp = jnp.take_along_axis(table[previous], tokens[..., None], -1)[..., 0]
    entropy = -(jnp.exp(table) * table).sum(-1)[previous]
    own = {"own": (jnp.sum(inside, dtype=jnp.float32), jnp.sum(inside & (positions == 0), dtype=jnp.float32))}
    return jnp.where(positions == 0, -jnp.inf, logp), entropy, own


def new_state(optimizer, seed=0):
    params = {"table": jax.random.normal(jax.random.key(seed), (VOCABULARY, VOCABULARY))}
    return TrainState(step=jnp.zeros((), jnp.int32), params=params, opt_state=optimizer.init(params))


def random_items(seed, count=14, ref=False):
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(count):
        t = int(rng.integers(1, 6))
        result.append(
            batch.PackItem(
                prompt=rng.integers(0, VOCABULARY, size=2),
                completion=rng.integers(0, VOCABULARY, size=t),
                old_logp=rng.normal(-1.8, 0.5, size=t).astype(np.float32),
                weight=rng.random(t).astype(np.float32),
                advantage=rng.normal(size=t).astype(np.float32),
                role=int(rng.integers(3)),
                ref_logp=rng.normal(-1.8, 0.5, size=t).astype(np.float32) if ref else None,
            )
        )
    return result


def plain_gradient(table, items, config):
    """Loss and gradient sequence by sequence, unpacked, in float64."""
    table = np.asarray(table, np.float64)
    logp_table = table - np.log(np.exp(table).sum(-1, keepdims=True))
    total, grad = 0.0, np.zeros_like(table)
    for q in items:
        tokens = np.concatenate([q.prompt[-1:], q.completion])
        logp = logp_table[tokens[:-1], tokens[1:]]
        row = {"logp": logp, "role": np.full(len(logp), q.role), "segments": np.ones(len(logp), int)}
        row |= {name: getattr(q, name) for name in ("old_logp", "advantage", "weight", "ref_logp")}
        row = {name: None if x is None else np.asarray(x)[None] for name, x in row.items()}
        value, grad_logp = reference.policy_loss(row, config)
        total += value
        for previous, token, g in zip(tokens[:-1], tokens[1:], grad_logp[0], strict=True):
            grad[previous] -= g * np.exp(logp_table[previous])
            grad[previous, token] += g
    return total, grad


def test_one_step_of_gradient_descent_against_loops():
    """Catches entries shifted by a token, beta of another role, sequences that see a neighbour, a mean for a sum."""
    config = GRPOConfig(beta=(0.1, 0.0, 0.5))
    optimizer = optax.sgd(1.0)
    items = random_items(0, ref=True)
    state = new_state(optimizer)
    table = np.asarray(state.params["table"])
    expected_loss, expected_grad = plain_gradient(table, items, config)
    packed = batch.pack(items, batch.Shape(max_micro=8, micro_batch_rows=2, row_length=9), with_ref=True)
    new, metrics = make_update(bigram, optimizer, config)(state, packed)
    np.testing.assert_allclose(new.params["table"], table - expected_grad, atol=TOLERANCE["sum"])
    np.testing.assert_allclose(metrics["loss"][0], expected_loss, rtol=TOLERANCE["sum"], atol=TOLERANCE["sum"])
    np.testing.assert_allclose(metrics["grad_norm"][0], np.linalg.norm(expected_grad), rtol=TOLERANCE["sum"])
    assert float(metrics["skipped"][0]) == 0
    assert int(new.step) == 1
    assert float(metrics["reason/kl"][1]) == sum(len(q.completion) for q in items if q.role == 0)
    assert [float(x) for x in metrics["own"]] == [sum(len(q.prompt) + len(q.completion) for q in items), len(items)]


def test_micro_batches_add_up_to_one_batch():
    """Catches an average over micro-batches, empty micro-batches that count, and statistics lost on the way."""
    config = GRPOConfig()
    optimizer, _ = make_optimizer(OptimizerConfig(learning_rate=0.1, warmup_steps=0), 10)
    items = random_items(1, 23)
    results = []
    for rows, max_micro in ((23, 1), (1, 30), (3, 9)):
        packed = batch.pack(items, batch.Shape(max_micro=max_micro, micro_batch_rows=rows, row_length=10))
        results.append(make_update(bigram, optimizer, config)(new_state(optimizer), packed))
    for state, metrics in results[1:]:
        for got, expected in zip(*map(jax.tree.leaves, (state, results[0][0])), strict=True):
            np.testing.assert_allclose(got, expected, rtol=TOLERANCE["sum"], atol=TOLERANCE["sum"])
        for name, (total, count) in metrics.items():
            np.testing.assert_allclose(total, results[0][1][name][0], rtol=TOLERANCE["sum"], atol=TOLERANCE["sum"])
            assert float(count) == float(results[0][1][name][1]), name


def test_new_data_does_not_retrace():
    """Catches a trip count or a number of sequences that became static."""
    traces = []

    def counted(*arguments):
        traces.append(1)
        return bigram(*arguments)

    optimizer = optax.sgd(0.1)
    update = make_update(counted, optimizer, GRPOConfig())
    state = new_state(optimizer)
    for seed, count in ((0, 3), (1, 20), (2, 11)):
        packed = batch.pack(random_items(seed, count), batch.Shape(max_micro=10, micro_batch_rows=2, row_length=10))
        state, _ = update(state, packed)
        if seed == 0:
            first = len(traces)
    assert len(traces) == first


@pytest.mark.parametrize("poison", ["advantage", "old_logp", "nothing to learn"])
def test_a_bad_batch_changes_nothing(poison):
    """Catches one NaN ending a run: parameters, moments and the optimiser's count must be as before, to the bit."""
    optimizer, _ = make_optimizer(OptimizerConfig(learning_rate=0.1, weight_decay=0.1), 10)
    update = make_update(bigram, optimizer, GRPOConfig())
    shape = batch.Shape(max_micro=10, micro_batch_rows=2, row_length=10)
    state, _ = update(new_state(optimizer), batch.pack(random_items(0), shape))
    before = jax.tree.map(np.asarray, (state.params, state.opt_state))
    before = jax.tree.map(np.copy, before)
    items = random_items(1)
    if poison == "nothing to learn":
        items = []
    else:
        getattr(items[3], poison)[0] = np.nan
    state, metrics = update(state, batch.pack(items, shape))
    for old, new in zip(*map(jax.tree.leaves, (before, (state.params, state.opt_state))), strict=True):
        assert np.array_equal(old, new)
    assert float(metrics["skipped"][0]) == 1
    assert all(np.isfinite(total) for total, _ in metrics.values())
    assert int(state.step) == 2
    state, metrics = update(state, batch.pack(random_items(2), shape))
    assert float(metrics["skipped"][0]) == 0


def test_bfloat16_parameters_keep_their_types():
    """Catches float32 gradients that turn the moments to float32 at the first step: the second would compile anew."""
    optimizer, _ = make_optimizer(OptimizerConfig(learning_rate=0.01), 10)
    params = {"table": jnp.zeros((VOCABULARY, VOCABULARY), jnp.bfloat16)}
    state = TrainState(step=jnp.zeros((), jnp.int32), params=params, opt_state=optimizer.init(params))
    types = jax.tree.map(lambda x: x.dtype, state)
    packed = batch.pack(random_items(0), batch.Shape(max_micro=10, micro_batch_rows=2, row_length=10))
    state, _ = make_update(bigram, optimizer, GRPOConfig())(state, packed)
    assert jax.tree.map(lambda x: x.dtype, state) == types


def test_a_sharded_state_gives_the_same_step():
    """Catches sums taken per device, and a state that comes out sharded differently from how it went in."""
    optimizer = optax.adam(0.1)
    packed = batch.pack(random_items(4), batch.Shape(max_micro=4, micro_batch_rows=4, row_length=10))
    expected, _ = make_update(bigram, optimizer, GRPOConfig())(new_state(optimizer), packed)
    mesh = jax.make_mesh((2,), ("fsdp",), axis_types=(jax.sharding.AxisType.Auto,))

    def put(x, *spec):
        return jax.device_put(x, jax.NamedSharding(mesh, jax.P(*spec)))

    state = jax.tree.map(lambda x: put(x, "fsdp") if x.ndim == 2 else put(x), new_state(optimizer))
    shardings = jax.tree.map(lambda x: x.sharding, state)
    packed = jax.tree.map(lambda x: put(x, None, "fsdp") if x.ndim > 2 else put(x), packed)
    got, _ = make_update(bigram, optimizer, GRPOConfig(), state_shardings=shardings)(state, packed)
    assert jax.tree.map(lambda x: x.sharding, got) == shardings
    for a, b in zip(*map(jax.tree.leaves, (got, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=TOLERANCE["sum"], atol=TOLERANCE["sum"])


def test_beta_without_a_reference_is_refused():
    """Catches a KL term that is configured and silently missing."""
    optimizer = optax.sgd(0.1)
    packed = batch.pack(random_items(0), batch.Shape(max_micro=10, micro_batch_rows=2, row_length=10))
    with pytest.raises(ValueError, match=r"UpdateBatch\.ref_logp: expected"):
        make_update(bigram, optimizer, GRPOConfig(beta=(0.0, 0.1, 0.0)))(new_state(optimizer), packed)


@pytest.mark.parametrize("num_mini_batches", [1, 2])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_bandit_learns(seed, num_mini_batches):
    """Catches a wrong sign anywhere from reward to parameters: P(rewarded token) must rise from 0.5 above 0.9."""
    config = GRPOConfig()
    optimizer, _ = make_optimizer(OptimizerConfig(learning_rate=0.1, warmup_steps=0), 60)
    table = jnp.full((VOCABULARY, VOCABULARY), -20.0).at[0, 1:3].set(0.0)
    state = TrainState(
        step=jnp.zeros((), jnp.int32), params={"table": table}, opt_state=optimizer.init({"table": table})
    )
    update = make_update(bigram, optimizer, config)
    rng = np.random.default_rng(seed)
    length, keep = jnp.ones((4 // num_mini_batches, 8), jnp.int32), jnp.ones((4 // num_mini_batches, 8), bool)
    for _ in range(30):
        row = np.asarray(jax.nn.log_softmax(state.params["table"][0]))
        action = rng.choice([1, 2], p=np.exp(row[1:3]) / np.exp(row[1:3]).sum(), size=(4, 8))
        for part in batch.mini_batches(4, num_mini_batches):
            chosen = action[part]
            token_advantage = advantage.broadcast(
                advantage.group_relative(jnp.asarray(chosen == 1, jnp.float32), keep, scale="group"), length, 1
            )
            weight = loss.token_weights(
                length, keep, role_weight=1.0, loss_type="grpo", max_completion_length=1, num_tokens=1
            )
            items = [
                batch.PackItem(
                    prompt=np.array([0]),
                    completion=chosen[i][None],
                    old_logp=row[chosen[i]][None],
                    weight=np.asarray(weight[i]),
                    advantage=np.asarray(token_advantage[i]),
                    role=0,
                )
                for i in np.ndindex(*chosen.shape)
            ]
            state, _ = update(state, batch.pack(items, batch.Shape(max_micro=4, micro_batch_rows=4, row_length=8)))
    assert float(jax.nn.softmax(state.params["table"][0])[1]) > 0.9
