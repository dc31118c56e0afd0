"""The loss and its gradient against loops; weights by their definitions; the awkward corners."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.grpo import loss
from tests.helpers import TOLERANCE
from tests.reference import grpo as reference


@pytest.fixture(autouse=True)
def strict_promotion():
    with jax.numpy_dtype_promotion("strict"):
        yield


def random_tokens(seed, shape=(3, 8)):
    rng = np.random.default_rng(seed)
    logp = -rng.gamma(2.0, 0.5, size=shape)
    return {
        "logp": logp,
        "old_logp": logp + rng.normal(scale=0.4, size=shape),
        "advantage": rng.normal(size=shape),
        "weight": np.where(rng.random(shape) < 0.7, rng.random(shape), 0.0),
        "beta": rng.choice([0.0, 0.1], size=shape),
        "ref_logp": logp + rng.normal(scale=0.4, size=shape),
    }


def ours(case, **changes):
    arrays = {k: jnp.asarray(v, jnp.float32) for k, v in (case | changes).items()}
    return loss.policy_loss(
        arrays["logp"],
        arrays["old_logp"],
        arrays["advantage"],
        arrays["weight"],
        epsilon=0.2,
        epsilon_high=0.28,
        beta_BS=arrays["beta"],
        ref_logp_BS=arrays["ref_logp"],
    )


@given(seed=st.integers(0, 2**31))
def test_value_and_gradient_against_loops(seed):
    """Catches a clip on the wrong side for a negative advantage, one epsilon used for both, and k1 for k3."""
    case = random_tokens(seed)
    got, grad = jax.value_and_grad(lambda x: ours(case, logp=x)[0])(jnp.asarray(case["logp"], jnp.float32))
    value, expected = reference.policy_loss(
        case["logp"], case["old_logp"], case["advantage"], case["weight"], 0.2, 0.28, case["beta"], case["ref_logp"]
    )
    np.testing.assert_allclose(got, value, rtol=TOLERANCE["sum"], atol=TOLERANCE["sum"])
    np.testing.assert_allclose(grad, expected, rtol=TOLERANCE["sum"], atol=TOLERANCE["sum"])


@pytest.mark.parametrize("epsilon", [0.0, 0.2])
def test_on_policy_gradient_is_the_policy_gradient(epsilon):
    """Catches the tie at ratio 1: `minimum` and `clip` pass half of the gradient there, and a half of a half."""
    advantage = jnp.array([[1.0, -2.0]])
    logp = jnp.array([[-0.5, -1.5]])

    def value(x):
        return loss.policy_loss(x, logp, advantage, jnp.ones((1, 2)), epsilon=epsilon, epsilon_high=epsilon)[0]

    assert jax.grad(value)(logp).tolist() == [[-1.0, 2.0]]


def test_clip_by_hand():
    """Catches each of the four corners: ratio 2 and 0.5 with either sign."""
    logp = jnp.log(jnp.array([[2.0, 2.0, 0.5, 0.5]]))
    advantage = jnp.array([[1.0, -1.0, 1.0, -1.0]])
    value, seen = loss.policy_loss(logp, jnp.zeros((1, 4)), advantage, jnp.ones((1, 4)), epsilon=0.2, epsilon_high=0.28)
    np.testing.assert_allclose(value, -(1.28 - 2.0 + 0.5 - 0.8), rtol=TOLERANCE["sum"])
    assert seen.clipped_high.tolist() == [[True, False, False, False]]
    assert seen.clipped_low.tolist() == [[False, False, False, True]]


@pytest.mark.parametrize("logp", [-1e4, -100.0, -1.0, 0.0])
@pytest.mark.parametrize("old_logp", [-1e4, -100.0, 0.0])
@pytest.mark.parametrize("advantage", [-3.0, 3.0])
def test_finite_for_huge_ratios(logp, old_logp, advantage):
    """Catches exp overflowing to inf, whose gradient against a clip is NaN; a reference far away as well."""
    case = {
        "logp": [[logp]],
        "old_logp": [[old_logp]],
        "advantage": [[advantage]],
        "weight": [[1.0]],
        "beta": [[1.0]],
        "ref_logp": [[old_logp]],
    }
    value, grad = jax.value_and_grad(lambda x: ours(case, logp=x)[0])(jnp.full((1, 1), logp))
    assert np.isfinite(value)
    assert np.isfinite(grad).all()


def test_tokens_without_weight_may_hold_anything():
    """Catches prompt and padding entries reaching the loss: NaN there must change neither value nor gradient."""
    case = random_tokens(2)
    idle = case["weight"] == 0
    assert idle.any()
    dirty = {k: np.where(idle, np.nan, v) for k, v in case.items() if k != "weight"}
    clean_value, clean_grad = jax.value_and_grad(lambda x: ours(case, logp=x)[0])(
        jnp.asarray(case["logp"], jnp.float32)
    )
    value, grad = jax.value_and_grad(lambda x: ours({**case, **dirty}, logp=x)[0])(
        jnp.asarray(dirty["logp"], jnp.float32)
    )
    assert float(value) == float(clean_value)
    assert np.array_equal(grad, clean_grad)


@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo"])
@given(seed=st.integers(0, 2**31))
def test_weights_against_definitions(loss_type, seed):
    """Catches denominators that count rows left out, or the padded T."""
    rng = np.random.default_rng(seed)
    length, keep = rng.integers(1, 7, size=(3, 4)), rng.random((3, 4)) < 0.7
    got = loss.token_weights(
        jnp.asarray(length),
        jnp.asarray(keep),
        role_weight=0.5,
        loss_type=loss_type,
        max_completion_length=10,
        num_tokens=8,
    )
    expected = reference.token_weights(length, keep, 0.5, loss_type, 10, 8)
    np.testing.assert_allclose(got, expected, rtol=TOLERANCE["sum"])


@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo"])
def test_weights_of_nothing(loss_type):
    """Catches 0/0 for a role without a row, and for a completion of no tokens."""
    arguments = {"role_weight": 1.0, "loss_type": loss_type, "max_completion_length": 4, "num_tokens": 4}
    none = loss.token_weights(jnp.array([[3, 2]]), jnp.zeros((1, 2), bool), **arguments)
    assert not np.asarray(none).any()
    empty = loss.token_weights(jnp.array([[0, 2]]), jnp.ones((1, 2), bool), **arguments)
    assert np.isfinite(empty).all()
    assert not np.asarray(empty[0, 0]).any()


def test_weights_sum_to_the_role_weight():
    """Catches role weights that scale with a role's number of rows or tokens."""
    length = jnp.array([[3, 1], [2, 6]])
    for loss_type in ("grpo", "dapo"):
        weight = loss.token_weights(
            length,
            jnp.ones((2, 2), bool),
            role_weight=0.25,
            loss_type=loss_type,
            max_completion_length=6,
            num_tokens=6,
        )
        np.testing.assert_allclose(weight.sum(), 0.25, rtol=TOLERANCE["sum"])


def test_role_weights_by_hand():
    """Catches the reasoner's loss shrinking because a helper that has no row keeps its share."""
    keep = {"reason": jnp.ones((1, 2), bool), "segment": jnp.ones((1, 2), bool), "score": jnp.zeros((1, 2), bool)}
    got = loss.normalised_role_weights({"reason": 3.0, "segment": 1.0, "score": 5.0}, keep)
    assert {role: float(x) for role, x in got.items()} == {"reason": 0.75, "segment": 0.25, "score": 0.0}
    nothing = loss.normalised_role_weights({"reason": 1.0}, {"reason": jnp.zeros((1, 2), bool)})
    assert float(nothing["reason"]) == 0.0


def test_metrics_by_hand():
    """Catches tokens counted under another role, and tokens without weight counted at all."""
    logp = jnp.log(jnp.array([[2.0, 1.0, 0.5, 4.0]]))
    weight = jnp.array([[1.0, 1.0, 1.0, 0.0]])
    _, seen = loss.policy_loss(
        logp,
        jnp.zeros((1, 4)),
        jnp.array([[1.0, 1.0, -1.0, 1.0]]),
        weight,
        epsilon=0.2,
        epsilon_high=0.28,
        ref_logp_BS=logp,
    )
    got = loss.token_metrics(
        seen, jnp.array([[0.5, 1.5, 3.0, 9.0]]), jnp.array([[0, 0, 1, 1]]), weight, ("reason", "segment", "score")
    )
    got = {name: (float(s), float(c)) for name, (s, c) in got.items()}
    assert got["reason/clip_ratio/high_mean"] == (1.0, 2.0)
    assert got["reason/clip_ratio/low_mean"] == (0.0, 2.0)
    assert got["segment/clip_ratio/low_mean"] == (1.0, 1.0)
    assert got["segment/clip_ratio/region_mean"] == (1.0, 1.0)
    assert got["reason/entropy"] == (2.0, 2.0)
    assert got["reason/kl"] == (0.0, 2.0)
    np.testing.assert_allclose(got["reason/ratio/mean"], (3.0, 2.0), rtol=TOLERANCE["sum"])
    assert got["score/entropy"] == (0.0, 0.0)
