"""The loss and its gradient against loops; weights by their definitions; the awkward corners."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.config import GRPOConfig
from jaxreason.grpo import loss, mismatch
from jaxreason.types import UpdateBatch
from tests.helpers import TOLERANCE
from tests.reference import grpo as reference


@pytest.fixture(autouse=True)
def strict_promotion():
    with jax.numpy_dtype_promotion("strict"):
        yield


BETA = (0.1, 0.0, 0.4)
"""Of roles 0 to 2; role 3 has that of role 2."""


def random_tokens(seed, shape=(3, 8)):
    """Three rows of two sequences, of 5 tokens and 3."""
    rng = np.random.default_rng(seed)
    logp = -rng.gamma(2.0, 0.5, size=shape)
    return {
        "logp": logp,
        "old_logp": logp + rng.normal(scale=0.4, size=shape),
        "advantage": rng.normal(size=shape),
        "weight": np.where(rng.random(shape) < 0.7, rng.random(shape), 0.0),
        "role": rng.integers(0, 4, size=shape),
        "ref_logp": logp + rng.normal(scale=0.4, size=shape),
        "trainer_logp": logp + rng.normal(scale=0.4, size=shape),
        "segments": np.repeat([[1] * 5 + [2] * 3], shape[0], axis=0),
    }


def ours(case, **config):
    """The loss of a case; what it leaves out is 0, or absent."""
    shape = np.shape(case["logp"])
    arrays = {name: jnp.asarray(case.get(name, np.zeros(shape)), jnp.int32) for name in ("role", "segments")}
    arrays |= {name: jnp.asarray(case[name], jnp.float32) for name in ("old_logp", "advantage", "weight")}
    arrays |= {n: jnp.asarray(case[n], jnp.float32) if n in case else None for n in ("ref_logp", "trainer_logp")}
    none = {name: jnp.zeros(()) for name in ("tokens", "positions", "num_micro")}
    micro = UpdateBatch(**arrays, **none, candidates=None)
    grpo = GRPOConfig(**{"epsilon": 0.2, "epsilon_high": 0.28, "beta": BETA} | config)
    return loss.policy_loss(jnp.asarray(case["logp"], jnp.float32), micro, grpo)


def without(case, *names):
    return {name: value for name, value in case.items() if name not in names}


CORRECTIONS = ("none", "token_truncate", "token_mask", "sequence_truncate", "sequence_mask")


@pytest.mark.parametrize("correction", CORRECTIONS)
@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("loss_type", ["grpo", "cispo"])
@given(seed=st.integers(0, 2**31))
def test_value_and_gradient_against_loops(loss_type, level, correction, seed):
    """Catches a clip on the wrong side for a negative advantage, one epsilon used for both, k1 for k3, a ratio over
    tokens that do not count or over a neighbour's, a gradient through the correction, and bounds on the wrong ratio."""
    case = random_tokens(seed)
    if correction == "none":
        case = without(case, "trainer_logp")
    settings = {
        "loss_type": loss_type,
        "importance_sampling_level": level,
        "importance_sampling_correction": correction,
        "importance_sampling_clip_min": 0.6,
        "importance_sampling_clip_max": 1.5,
    }
    got, grad = jax.value_and_grad(lambda x: ours(case | {"logp": x}, **settings)[0])(
        jnp.asarray(case["logp"], jnp.float32)
    )
    grpo = GRPOConfig(epsilon=0.2, epsilon_high=0.28, beta=BETA, **settings)
    value, expected = reference.policy_loss(case, grpo)
    np.testing.assert_allclose(got, value, rtol=TOLERANCE["sum"], atol=TOLERANCE["sum"])
    np.testing.assert_allclose(grad, expected, rtol=TOLERANCE["sum"], atol=TOLERANCE["sum"])


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("loss_type", ["grpo", "cispo"])
@pytest.mark.parametrize("epsilon", [0.0, 0.2])
def test_on_policy_gradient_is_the_policy_gradient(epsilon, loss_type, level):
    """Catches the tie at ratio 1: `minimum` and `clip` pass half of the gradient there, and a half of a half. All
    losses and levels are one there, in value as well, where a sequence has one advantage."""
    logp = jnp.array([[-0.5, -1.5, -0.1]])
    case = {"old_logp": logp, "advantage": [[1.0, -2.0, -2.0]], "weight": [[1.0] * 3], "segments": [[1, 2, 2]]}
    settings = {"loss_type": loss_type, "importance_sampling_level": level}

    def value(x):
        return ours(case | {"logp": x}, epsilon=epsilon, epsilon_high=epsilon, **settings)[0]

    found, grad = jax.value_and_grad(value)(logp)
    np.testing.assert_allclose(grad, [[-1.0, 2.0, 2.0]], rtol=TOLERANCE["sum"])
    np.testing.assert_allclose(found, 3.0, rtol=TOLERANCE["sum"])


CORNERS = {
    "logp": jnp.log(jnp.array([[2.0, 2.0, 0.5, 0.5]])),
    "old_logp": jnp.zeros((1, 4)),
    "advantage": [[1.0, -1.0, 1.0, -1.0]],
    "weight": jnp.ones((1, 4)),
}


def test_clip_by_hand():
    """Catches each of the four corners: ratio 2 and 0.5 with either sign."""
    value, seen = ours(CORNERS)
    np.testing.assert_allclose(value, -(1.28 - 2.0 + 0.5 - 0.8), rtol=TOLERANCE["sum"])
    assert seen.clipped_high.tolist() == [[True, False, False, False]]
    assert seen.clipped_low.tolist() == [[False, False, False, True]]


def test_cispo_by_hand():
    """Every token keeps a gradient: its advantage by a weight of at most 1.28, with no lower bound."""
    grad = jax.grad(lambda x: ours(CORNERS | {"logp": x}, loss_type="cispo")[0])(CORNERS["logp"])
    np.testing.assert_allclose(grad, [[-1.28, 1.28, -0.5, 0.5]], rtol=TOLERANCE["sum"])
    _, seen = ours(CORNERS, loss_type="cispo")
    assert seen.clipped_high.tolist() == [[True, True, False, False]]
    assert not seen.clipped_low.any()


def test_a_sequence_has_one_ratio_by_hand():
    """The geometric mean of 2 and 1/2 is 1 and nothing is clipped; beside it one token alone at 2."""
    case = CORNERS | {"segments": [[1, 2, 2, 0]], "weight": [[1.0, 1.0, 1.0, 0.0]]}
    value, seen = ours(case, importance_sampling_level="sequence")
    np.testing.assert_allclose(value, -1.28 + 1.0 - 1.0, rtol=TOLERANCE["sum"])
    assert seen.clipped_high.tolist() == [[True, False, False, False]]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("token_truncate", [2.0, 1.5, 0.5, 0.25]),
        ("token_mask", [0.0, 1.5, 0.5, 0.0]),
        ("sequence_truncate", [2.0, 2.0, 0.25, 0.25]),
        ("sequence_mask", [0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_corrections_by_hand(mode, expected):
    """Ratios 4 and 1.5 of one sequence, 1/2 and 1/5 of the other, so 6 and 1/10 of the two; within 1/4 and 2."""
    grpo = GRPOConfig(
        importance_sampling_correction=mode, importance_sampling_clip_min=0.25, importance_sampling_clip_max=2.0
    )
    log_ratio = jnp.log(jnp.array([[4.0, 1.5, 0.5, 0.2]]))
    got = mismatch.correction(log_ratio, jnp.ones((1, 4), bool), jnp.array([[1, 1, 2, 2]]), grpo)
    np.testing.assert_allclose(got, [expected], rtol=TOLERANCE["sum"])


def test_how_far_sampler_and_trainer_are_apart_by_hand():
    """Of the reasoner's two tokens; the third is a helper's, the fourth has no loss."""
    row = {
        "role": np.array([[[0, 0, 1, 0]]]),
        "segments": np.array([[[1, 1, 2, 2]]]),
        "weight": np.array([[[0.1, 0.1, 1.0, 0.0]]]),
        "old_logp": np.zeros((1, 1, 4)),
        "trainer_logp": np.log([[[4.0, 0.5, 2.0, 100.0]]]),
    }
    none = dict.fromkeys(("tokens", "positions", "advantage", "ref_logp", "candidates", "num_micro"))
    packed = UpdateBatch(**row, **none)
    grpo = GRPOConfig(importance_sampling_correction="token_truncate", importance_sampling_clip_max=2.0)
    got = mismatch.metrics([packed], ("reason", "segment", "score"), grpo)
    name = "reason/sampling/"
    expected = {
        f"{name}importance_sampling_ratio/min": 0.5,
        f"{name}importance_sampling_ratio/mean": 2.25,
        f"{name}importance_sampling_ratio/max": 4.0,
        f"{name}sampling_logp_difference/mean": np.log(8) / 2,
        f"{name}sampling_logp_difference/max": np.log(4),
        f"{name}effective_sample_size": 2.5**2 / (2 * 4.25),
    }
    assert {k: v for k, v in got.items() if k.startswith(name)} == pytest.approx(expected)
    assert got["segment/sampling/importance_sampling_ratio/mean"] == pytest.approx(2.0)
    assert not any(k.startswith("score") for k in got)
    whole = mismatch.metrics([packed], ("reason",), GRPOConfig(importance_sampling_correction="sequence_mask"))
    assert whole[f"{name}importance_sampling_ratio/mean"] == pytest.approx(2.0)


@pytest.mark.parametrize("logp", [-1e4, -100.0, -1.0, 0.0])
@pytest.mark.parametrize("old_logp", [-1e4, -100.0, 0.0])
@pytest.mark.parametrize("advantage", [-3.0, 3.0])
@pytest.mark.parametrize("settings", [{}, {"loss_type": "cispo"}, {"importance_sampling_level": "sequence"}])
def test_finite_for_huge_ratios(logp, old_logp, advantage, settings):
    """Catches exp overflowing to inf, whose gradient against a clip is NaN; a reference or a sampler far away too."""
    case = {
        "old_logp": [[old_logp]],
        "advantage": [[advantage]],
        "weight": [[1.0]],
        "ref_logp": [[old_logp]],
        "trainer_logp": [[0.0]],
    }
    settings = settings | {"importance_sampling_correction": "sequence_truncate"}
    value, grad = jax.value_and_grad(lambda x: ours(case | {"logp": x}, **settings)[0])(jnp.full((1, 1), logp))
    assert np.isfinite(value)
    assert np.isfinite(grad).all()


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_tokens_without_weight_may_hold_anything(level):
    """Catches prompt and padding entries reaching the loss: NaN there must change neither value nor gradient."""
    case = random_tokens(2)
    idle = case["weight"] == 0
    assert idle.any()
    dirty = {k: np.where(idle, np.nan, v) for k, v in case.items() if k not in ("weight", "role", "segments")}
    settings = {"importance_sampling_level": level, "importance_sampling_correction": "token_truncate"}

    def found(case):
        return jax.value_and_grad(lambda x: ours(case | {"logp": x}, **settings)[0])(
            jnp.asarray(case["logp"], jnp.float32)
        )

    (clean_value, clean_grad), (value, grad) = found(case), found(case | dirty)
    assert float(value) == float(clean_value)
    assert np.array_equal(grad, clean_grad)


@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo", "cispo"])
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


@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo", "cispo"])
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
    _, seen = ours(
        {
            "logp": logp,
            "old_logp": jnp.zeros((1, 4)),
            "advantage": [[1.0, 1.0, -1.0, 1.0]],
            "weight": weight,
            "ref_logp": logp,
        }
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
