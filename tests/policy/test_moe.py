"""Experts against loops over tokens, their gradient against a form that runs every expert on every token."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.config import ModelConfig
from jaxreason.policy import api, moe
from tests.helpers import TOLERANCE

N, E, D, F = 13, 5, 6, 4
CONFIG = ModelConfig(
    vocab_size=11,
    hidden_size=D,
    intermediate_size=7,
    num_hidden_layers=3,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=4,
    initializer_range=0.5,
    num_experts=E,
    num_experts_per_tok=2,
    moe_intermediate_size=F,
    norm_topk_prob=True,
    dense_layers=(1,),
)
X_ND = np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)


def _params(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"gate_proj": (E, D, F), "up_proj": (E, D, F), "down_proj": (E, F, D)}
    experts = {name: jnp.asarray(rng.standard_normal(shape), jnp.float32) for name, shape in shapes.items()}
    return {"router": {"kernel": jnp.asarray(rng.standard_normal((D, E)), jnp.float32)}, "experts": experts}


def _mixture(params, x_ND, config):
    weight_Nk, expert_Nk = moe.Router(config).apply({"params": params["router"]}, x_ND)
    return moe.Experts(config).apply({"params": params["experts"]}, x_ND, weight_Nk, expert_Nk)


def _every_expert(params, x_ND, config):
    """The same by running all experts and weighing those that were not chosen by 0."""
    probability_NE = jax.nn.softmax(x_ND @ params["router"]["kernel"])
    least_N1 = jnp.sort(probability_NE)[:, -config.num_experts_per_tok][:, None]
    weight_NE = jnp.where(probability_NE >= least_N1, probability_NE, 0.0)
    if config.norm_topk_prob:
        weight_NE = weight_NE / weight_NE.sum(-1, keepdims=True)
    gate, up, down = (params["experts"][f"{name}_proj"] for name in ("gate", "up", "down"))
    h_NEF = jax.nn.silu(jnp.einsum("nd,edf->nef", x_ND, gate)) * jnp.einsum("nd,edf->nef", x_ND, up)
    return jnp.einsum("ne,nef,efd->nd", weight_NE, h_NEF, down)


@pytest.mark.parametrize("normalised", [True, False])
def test_values_are_those_of_loops(normalised):
    """Catches rows handed back to the wrong token, weights of another rank, softmax after instead of before top-k."""
    config, params = dataclasses.replace(CONFIG, norm_topk_prob=normalised), _params()
    got = _mixture(params, X_ND, config)
    expert = {name: np.asarray(x, np.float64) for name, x in params["experts"].items()}
    for n, x in enumerate(X_ND.astype(np.float64)):
        score = x @ np.asarray(params["router"]["kernel"], np.float64)
        probability = np.exp(score) / np.exp(score).sum()
        chosen = np.argsort(-probability)[:2]
        total, want = probability[chosen].sum() if normalised else 1.0, np.zeros(D)
        for e in chosen:
            gate = x @ expert["gate_proj"][e]
            h = gate / (1 + np.exp(-gate)) * (x @ expert["up_proj"][e])
            want += probability[e] / total * (h @ expert["down_proj"][e])
        np.testing.assert_allclose(got[n], want, rtol=TOLERANCE["logits"], atol=TOLERANCE["sum"])


def test_gradient_reaches_tokens_router_and_experts():
    """Catches a gradient lost in the sort, and one that reaches an expert nobody chose."""
    params = _params()
    # All inputs on one side of the last expert's column, which makes it nobody's choice.
    params["router"]["kernel"] = params["router"]["kernel"].at[:, -1].set(0.0).at[0, -1].set(-50.0)
    x_ND, toward_ND = np.abs(X_ND) + 0.1, np.random.default_rng(1).standard_normal((N, D)).astype(np.float32)

    def gradient(mixture):
        return jax.jit(jax.grad(lambda p, x: (mixture(p, x, CONFIG) * toward_ND).sum(), argnums=(0, 1)))(params, x_ND)

    got, want = gradient(_mixture), gradient(_every_expert)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=TOLERANCE["logits"], atol=TOLERANCE["logits"])
    assert not np.any(got[0]["experts"]["down_proj"][-1])
    assert np.abs(got[0]["router"]["kernel"]).max() > 0.01


def test_router_decides_in_float32():
    """Two experts whose scores differ by less than bfloat16 shows: catches a rounded score."""
    kernel = jnp.zeros((D, E)).at[0, 1].set(1.0).at[0, 3].set(1.001)
    x_ND = jnp.zeros((1, D), jnp.bfloat16).at[0, 0].set(1.0)
    config = dataclasses.replace(CONFIG, dtype="bfloat16", num_experts_per_tok=1)
    weight, expert = moe.Router(config).apply({"params": {"kernel": kernel}}, x_ND)
    assert weight.dtype == jnp.float32
    assert int(expert[0, 0]) == 3


def test_load_leaves_out_the_unused_tail():
    """Catches padding that counts: the same row with a longer tail reports the same figures."""
    params = jax.jit(functools.partial(api.init, config=CONFIG))(jax.random.key(0))
    score = jax.jit(api.logp_fn(CONFIG))
    row = np.arange(9, dtype=np.int32)[None]
    alone = score(params, row, row, np.ones_like(row))[2]
    longer = score(params, *(np.pad(x, ((0, 0), (0, 6))) for x in (row, row, np.ones_like(row))))[2]
    assert set(alone) == {"experts/busiest_share", "experts/load_entropy", "experts/unused"}
    for name, (total, count) in alone.items():
        assert float(count) == 9 * 2 * 2, "tokens, experts a token, layers with experts"
        np.testing.assert_allclose(longer[name], (total, count), rtol=TOLERANCE["sum"])
        assert 0 <= float(total / count) <= 1


def test_load_of_even_and_of_no_choices():
    """Hand numbers; catches a logarithm of 0 and a division by no tokens."""
    even = moe.load_metrics([jnp.full((2, 4), 3.0)])
    assert [float(total / count) for total, count in even.values()] == pytest.approx([0.25, 1.0, 0.0])
    assert all(
        float(count) == 0 and float(total) == 0 for total, count in moe.load_metrics([jnp.zeros((1, 4))]).values()
    )
    assert moe.load_metrics([]) == {}
