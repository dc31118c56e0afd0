"""The schedule by hand, and the clip."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxreason.config import OptimizerConfig
from jaxreason.grpo.optimizer import make_optimizer
from tests.helpers import TOLERANCE


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("constant", [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1]),
        ("linear", [0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25, 0]),
        ("cosine", [0.25, 0.5, 0.75, 1, 1, 0.5 + 0.125**0.5, 0.5, 0.5 - 0.125**0.5, 0]),
    ],
)
def test_schedule_by_hand(kind, expected):
    """Catches a first step at rate 0, a jump after the warm-up, and a fall that ends elsewhere than at the end."""
    config = OptimizerConfig(learning_rate=2.0, warmup_steps=4, lr_scheduler_type=kind)
    _, schedule = make_optimizer(config, 8)
    got = [float(schedule(step)) for step in range(9)]
    np.testing.assert_allclose(got, 2 * np.array(expected), atol=TOLERANCE["elementwise"])


@pytest.mark.parametrize("warmup", [0, 1, 8, 20])
def test_warm_up_of_any_length(warmup):
    """Catches division by zero for no warm-up, or for one as long as the run."""
    config = OptimizerConfig(learning_rate=1.0, warmup_steps=warmup, lr_scheduler_type="cosine")
    _, schedule = make_optimizer(config, 8)
    rates = np.array([float(schedule(step)) for step in range(8)])
    assert np.isfinite(rates).all()
    np.testing.assert_allclose(rates[0], 1 / max(1, warmup), rtol=TOLERANCE["elementwise"])


def test_first_step_is_adam_with_decay():
    """Catches decay coupled into the moments: the first Adam step is lr * sign, plus lr * decay * parameter."""
    config = OptimizerConfig(learning_rate=0.1, warmup_steps=0, weight_decay=0.5, max_grad_norm=0.0)
    optimizer, _ = make_optimizer(config, 1)
    params = jnp.array([2.0, -4.0])
    updates, _ = optimizer.update(jnp.array([3.0, -7.0]), optimizer.init(params), params)
    np.testing.assert_allclose(updates, [-0.1 - 0.1, 0.1 + 0.2], rtol=TOLERANCE["sum"])


@pytest.mark.parametrize("limit", [1.0, 0.0])
def test_clip_by_global_norm(limit):
    """Catches a clip per array, and `max_grad_norm: 0` read as clipping everything away."""
    optimizer, _ = make_optimizer(OptimizerConfig(max_grad_norm=limit, warmup_steps=0), 1)
    params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    _, state = optimizer.update({"a": jnp.array([3.0]), "b": jnp.array([4.0])}, optimizer.init(params), params)
    mu = optax.tree_utils.tree_get(state, "mu")
    np.testing.assert_allclose(
        [mu["a"][0], mu["b"][0]], 0.1 * np.array([0.6, 0.8]) * (1 if limit else 5), rtol=TOLERANCE["sum"]
    )
